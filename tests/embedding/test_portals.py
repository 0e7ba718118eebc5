"""The portals of the page ``docs/embedding.md``, which run as a reader would start them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.docs import pages
from tests.embedding.sites import Sites
from tests.support import ROOT, STRONG_SECRET, need, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.proxy]

PAGE = "docs/embedding.md"
PASSWORD = "of-the-try"
EXPRESS = ROOT / "tests" / "embedding" / "express" / "node_modules"
# The file of each portal, and a text that only its block has.
FILES = {
    "flask": ("portal.py", "python", "from flask"),
    "express": ("portal.cjs", "js", 'require("express")'),
    "php": ("index.php", "php", "<?php"),
}


def block(language: str, text: str) -> str:
    (found,) = [one for one in pages.blocks(PAGE, language) if text in one]
    return found


@pytest.fixture(params=list(FILES))
def portal(request: pytest.FixtureRequest, sites: Sites, tmp_path: Path) -> Iterator[str]:
    """Run a portal of the page, and return its origin."""
    name: str = request.param
    host = f"{name}.example.test"
    port = str(sites.documented[host])
    file, language, text = FILES[name]
    (tmp_path / file).write_text(block(language, text))
    (tmp_path / "portal.html").write_text(block("html", "<title>Portal"))
    (tmp_path / "portal.js").write_text(block("js", 'fetch("/token"'))
    if name == "express":
        need("node")
        need("express", EXPRESS)
    elif name == "php":
        need("php")
    command = {
        "flask": [sys.executable, "-m", "flask", "--app", "portal", "run", "--port", port],
        "express": [str(shutil.which("node")), file],
        "php": [str(shutil.which("php")), "-S", f"127.0.0.1:{port}", file],
    }[name]
    environ = {
        "ERP_SECRET": STRONG_SECRET,
        "PORTAL_KEY": "k" * 40,
        "PORTAL_PASSWORD": PASSWORD,
        "PORT": port,
        "NODE_PATH": str(EXPRESS),
    }
    sites.update(origins=[f"https://{host}"])
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, **environ}, stdout=output, stderr=output)
    try:
        wait_for(int(port))
        yield f"https://{host}"
    finally:
        process.terminate()
        process.wait(30)


def sign_in(page: Page, portal: str, name: str) -> None:
    page.goto(portal)
    page.locator("[name=user]").fill(name)
    page.locator("[name=password]").fill(PASSWORD)
    page.get_by_role("button").click()
    expect(page.frame_locator("#reports").locator("#user")).to_have_text(name)


def test_a_portal_of_the_page(context: BrowserContext, portal: str) -> None:
    """Two people sign in one after the other; signing out in the portal or in the frame signs out of both."""
    page = context.new_page()
    sign_in(page, portal, "lena")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("[name=password]")).to_be_visible()
    assert "datafor_gate" not in [one["name"] for one in context.cookies()]
    sign_in(page, portal, "bert")
    page.frame_locator("#reports").locator("#out").click()
    expect(page.locator("[name=password]")).to_be_visible()
    page.goto(portal)
    expect(page.locator("[name=password]")).to_be_visible()


def test_who_gets_a_token(context: BrowserContext, portal: str, sites: Sites) -> None:
    """The portal issues tokens for the person of its session only, and no page of another site gets one."""
    page = context.new_page()
    sign_in(page, portal, "lena")
    host = portal.removeprefix("https://")
    session = "; ".join(f"{one['name']}={one['value']}" for one in context.cookies(portal))
    assert session
    assert sites.status(host, "POST", "/token", Cookie=session, Sec_Fetch_Site="same-origin") == 200
    assert sites.status(host, "POST", "/token", Sec_Fetch_Site="same-origin") == 401
    for others in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        assert sites.status(host, "POST", "/token", Cookie=session, **others) == 403
    assert sites.status(host, "GET", "/token", Cookie=session, Sec_Fetch_Site="same-origin") in (404, 405)
    form = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "same-origin"}
    assert sites.status(host, "POST", "/sign-in", f"user=bert&password={PASSWORD}x", **form) == 403
