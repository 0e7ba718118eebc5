"""The page /docs in a real browser: it shows the calls, and loads nothing from another host."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from flask import Flask

from tests.support import Server, need


@pytest.mark.browser
def test_the_page_shows_every_call_and_asks_no_other_host(tmp_path: Path) -> None:
    """Behind a prefix, Chromium renders all calls under the page's policy, and fetches from this host only."""
    need("chromium")
    server = Server(tmp_path, DATAFOR_TOKEN_URL_PREFIX="/datafor").start()
    host = f"http://127.0.0.1:{server.port}"
    log = tmp_path / "net.json"
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/browser",
         # The browser's own requests stay on this host as well.
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--log-net-log={log}",
         "--enable-logging=stderr", "--virtual-time-budget=60000", "--dump-dom", f"{host}/datafor/docs"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    paths = json.loads(server.request("GET", "/datafor/openapi.json").body)["paths"]
    server.stop()
    shown = re.findall(r'data-path="([^"]+)"', done.stdout)
    assert {path.replace("\u200b", "") for path in shown} == set(paths)
    assert "Content Security Policy" not in done.stderr
    fetched = re.findall(rf'"initiator":"{host}".*?"url":"([^"]*)"', log.read_text())
    assert f"{host}/datafor/openapi.json" in fetched
    assert {url for url in fetched if not url.startswith((f"{host}/datafor/", "data:"))} == set()


def test_the_pages_headers(app: Flask) -> None:
    """The policy of the page and its files allows only their own content, and no frames of other sites."""
    client = app.test_client()
    for path, kind in (
        ("/docs", "text/html"), ("/docs/start.js", "text/javascript"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/swagger-ui.css", "text/css"), ("/docs/favicon-32x32.png", "image/png"),
    ):  # fmt: skip
        response = client.get(path)
        assert (response.status_code, response.mimetype) == (200, kind)
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-cache"
        same = client.get(path, headers={"If-None-Match": response.headers["ETag"]})
        assert (same.status_code, same.data, same.headers["ETag"]) == (304, b"", response.headers["ETag"])
        assert client.get(path, headers={"If-None-Match": '"other"'}).data == response.data
    for other in ("LICENSE", "..%2Fapp.py", "swagger-ui.js"):
        assert client.get(f"/docs/{other}").status_code == 404


def test_the_page_has_no_script_or_style_of_its_own(app: Flask) -> None:
    """The page has no inline script or style, and no address of another host."""
    page = app.test_client().get("/docs").get_data(as_text=True)
    assert re.findall(r"<script(?! src=\"docs/)|<style|style=|\son\w+=|//", page) == []
