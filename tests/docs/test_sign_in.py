"""The page of the sign-in: its portal, and the headings of the pages that it explains."""

import re
import types
from urllib.parse import urlsplit

import pytest
from flask import Flask

from datafor_token.web.api.gate_texts import TEXTS
from tests.conftest import Caller
from tests.docs import pages
from tests.support import STRONG_SECRET, Clock, application
from tests.test_docs import section
from tests.web.api.test_gate import check, gate_of, identity
from tests.web.api.test_who_is_who import with_settings

PAGE = "docs/sign-in.md"


def test_the_portal(app: Flask, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The portal of the page leads a browser from the check back to the page that it asked for."""
    monkeypatch.setattr("time.time", clock)
    monkeypatch.setenv("PORTAL_KEY", "x")
    monkeypatch.setenv("ERP_SECRET", STRONG_SECRET)
    body = application(secret=STRONG_SECRET, fieldmap={"username": "loginname", "name": "", "email": ""})
    assert caller.post("update", body).status_code == 200
    (block,) = pages.blocks(PAGE, "python")
    assert len([line for line in block.splitlines() if line]) <= 16
    portal = types.ModuleType("portal")
    exec(block, vars(portal))  # noqa: S102 - the example of the page
    service = with_settings(
        app, clock, monkeypatch, url_prefix="/datafor", sign_in_url="https://portal.intra.example/sign-in"
    )
    client = service.test_client(use_cookies=False)
    sent = {"X-Original-URI": "/d/7?a=1&b=%26", "Accept": "text/html"}
    there = urlsplit(client.get("/datafor/auth/check?redirect=1", headers=sent).headers["Location"])
    browser = portal.app.test_client()
    assert urlsplit(browser.get(f"/sign-in?{there.query}").headers["Location"]).path == "/login"
    with browser.session_transaction() as session:
        session["user"] = "lena"
    assert urlsplit(browser.get(f"/sign-in?prompt=login&{there.query}").headers["Location"]).path == "/login"
    back = urlsplit(browser.get(f"/sign-in?{there.query}").headers["Location"])
    assert back.netloc == "reports.intra.example"
    entered = client.get(f"{back.path}?{back.query}")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/d/7?a=1&b=%26")
    assert identity(check(app, Cookie=gate_of(entered)))[0] == "lena"


def test_the_titles() -> None:
    """The table of pages has the title of each error page."""
    shown = section("sign-in", "What the pages mean")
    titles = ("not_signed_in", "ended", "refused", "no_cookie", "no_access", "request_refused", "unavailable", "outage")
    for key in titles:
        assert re.search(rf"^\|[^|]*{TEXTS['en'][key]}", shown, re.MULTILINE)
