"""Compressed pages: gzip where the browser accepts it, and never beside a secret."""

import gzip

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import Caller
from tests.console.client import Client, Page, api
from tests.support import STRONG_SECRET, Server, application

GZIP = {"Accept-Encoding": "gzip, deflate, br, zstd"}
PAGES = ["/console/sign-in", "/docs/guide", "/docs/guide/audit", "/docs", "/docs/swagger-ui.css", "/openapi.json"]


def is_compressed(response: TestResponse) -> bool:
    assert "Accept-Encoding" in response.vary
    return response.headers.get("Content-Encoding") == "gzip"


def plain(response: TestResponse) -> str:
    assert int(response.headers["Content-Length"]) == len(response.data)
    return gzip.decompress(response.data).decode()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
def test_pages_are_compressed(app: Flask, path: str, headers: dict[str, str]) -> None:
    """Pages and files of console, guide and API page are compressed, and the same as without."""
    client = app.test_client()
    client.get("/console/sign-in")
    response, expected = client.get(path, headers=GZIP | headers), client.get(path)
    if path == "/docs":
        # Smaller than a packet.
        assert not is_compressed(response)
        return
    assert is_compressed(response)
    assert not is_compressed(expected)
    assert len(response.data) < len(expected.data) / 2
    if "console" in path:
        assert Page(plain(response)).values.keys() == Page(expected.text).values.keys()
    else:
        assert plain(response) == expected.text


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br", "*;q=0"])
def test_what_the_browser_does_not_accept(app: Flask, accepted: str) -> None:
    """Without gzip among the accepted encodings, a page is not compressed."""
    assert not is_compressed(app.test_client().get("/docs/guide", headers={"Accept-Encoding": accepted}))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_from_another_site(app: Flask, site: str) -> None:
    """A page that another site asks for is not compressed: its length would tell whether a guess is in it."""
    assert not is_compressed(app.test_client().get("/console/sign-in", headers=GZIP | {"Sec-Fetch-Site": site}))


def test_pages_with_a_secret(app: Flask) -> None:
    """A page for a one-time result, and the response to a form, are not compressed."""
    api(app, "update", application(secret=STRONG_SECRET))
    console = Client(app)
    console.sign_in()
    assert is_compressed(console.get("applications/ERP", headers=GZIP))
    for page in ("applications/ERP/new-secret", "user/new-password?name=admin"):
        shown = console.get(page, headers=GZIP)
        assert (shown.status_code, is_compressed(shown)) == (200, False), page
    refused = console.post("applications/new", {"name": "x" * 100}, headers=GZIP)
    assert refused.status_code != 303
    assert not is_compressed(refused)


def test_a_stored_page_is_still_valid(app: Flask) -> None:
    """A page that was stored compressed or plain is revalidated with either, and so is the response without it."""
    client = app.test_client()
    tags = [client.get("/docs/guide", headers=headers).headers["ETag"] for headers in (GZIP, {})]
    assert tags[0] == f"W/{tags[1]}"
    for tag in tags:
        for headers in (GZIP, {}):
            response = client.get("/docs/guide", headers={**headers, "If-None-Match": tag})
            assert (response.status_code, response.data) == (304, b"")
            assert "Content-Encoding" not in response.headers
            assert "Accept-Encoding" in response.vary


def test_calls_are_not_compressed(caller: Caller) -> None:
    """Responses of the API and pictures are sent as they are."""
    caller.post("update", application(secret=STRONG_SECRET))
    for path in ("/plugin/datafor-modeler/api/token/content", "/docs/favicon-32x32.png", "/metrics"):
        response = caller.client.get(path, headers=GZIP)
        assert "Content-Encoding" not in response.headers
        assert "Vary" not in response.headers


def test_a_head_request(server: Server) -> None:
    """HEAD has the headers of GET."""
    head, got = (server.request(method, "/docs/guide", headers=GZIP) for method in ("HEAD", "GET"))
    assert head.headers["Content-Encoding"] == "gzip"
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_download_is_not_collected(app: Flask) -> None:
    """A response that is streamed is not compressed: its size, which may exceed the memory, would have to be known."""
    for number in range(5):
        api(app, "update", application(name=f"App{number}", secret=STRONG_SECRET))
    client = Client(app)
    client.sign_in()
    for kind in ("csv", "json"):
        response = client.get(f"audit/export?as={kind}", headers=GZIP)
        assert len(response.data) > 1024
        assert "Content-Length" not in response.headers
        assert "Content-Encoding" not in response.headers
