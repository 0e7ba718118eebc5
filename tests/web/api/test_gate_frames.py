"""Frames: which sites may show pages of the gate, what these pages tell, sign-out from an embedding page, embed.js."""

import base64
import dataclasses
import hashlib
import re
from html import unescape
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.stores import unavailable
from tests.support import ADMIN_PASSWORD, ROOT, STRONG_SECRET, Clock, application, basic
from tests.web.api.test_gate import check, gate_of, signed

PORTAL, OTHER, EVIL = "https://portal.example", "https://other.example", "https://evil.example"
FRAME = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}
FROM_PORTAL = {**FRAME, "Origin": PORTAL, "Sec-Fetch-Site": "cross-site"}
ALL = f"frame-ancestors 'self' {OTHER} {PORTAL}"


@pytest.fixture(autouse=True)
def _applications(caller: Caller) -> None:
    update(caller, origins=[PORTAL])
    update(caller, name="CRM", token_name="crm", secret=STRONG_SECRET + "2", origins=[OTHER])


def update(caller: Caller, **changes: Any) -> list[str]:
    response = caller.post("update", application(**{"secret": STRONG_SECRET, **changes}))
    assert response.status_code == 200, response.json
    found: list[str] = response.json.get("warnings", [])
    return found


def call(app: Flask, path: str, method: str = "GET", **headers: str) -> TestResponse:
    return app.test_client(use_cookies=False).open(path, method=method, headers=headers)


def session(app: Flask, **changes: Any) -> str:
    """Open a gate session and return its cookie."""
    return gate_of(call(app, f"/auth/enter?token={signed(**changes)}", **FRAME))


def message_of(response: TestResponse) -> dict[str, str]:
    """Return what a page tells the page around it, after a look at its policy: no other script may run."""
    text = response.get_data(as_text=True)
    ((attributes, script),) = re.findall(r"<script(.*?)>(.*?)</script>", text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = response.headers["Content-Security-Policy"]
    assert f"script-src 'sha256-{digest}'; frame-ancestors 'self'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    values = {name: unescape(value) for name, value in re.findall(r' data-([a-z-]+)="(.*?)"', attributes)}
    assert values.pop("reference") == response.headers["X-Request-ID"]
    return values


def ancestors(response: TestResponse) -> str:
    (found,) = re.findall("frame-ancestors [^;]*", response.headers["Content-Security-Policy"])
    return str(found)


def test_the_frame_page(app: Flask, clock: Clock) -> None:
    """auth/frame tells the seconds until the token or the session ends, and an identifier that differs by user only."""
    assert message_of(call(app, "/auth/frame")) == {"state": "signed_out"}
    assert message_of(call(app, "/auth/frame", Cookie="datafor_gate=" + "x" * 86)) == {"state": "signed_out"}
    cookie = session(app, exp=int(clock()) + 600)
    first = message_of(call(app, "/auth/frame", Cookie=cookie))
    assert {**first, "user": ""} == {"state": "signed_in", "expires-in": "600", "user": ""}
    clock.advance(100.5)
    assert message_of(call(app, "/auth/frame", Cookie=cookie)) == {**first, "expires-in": "499"}
    again = message_of(call(app, "/auth/frame", Cookie=session(app, loginname="LENA", exp=int(clock()) + 700)))
    assert again["user"] == first["user"]
    for name in ("bert", "a.b.c", "a.b.d"):
        other = message_of(call(app, "/auth/frame", Cookie=session(app, loginname=name)))
        assert other["user"] != first["user"]
        assert name not in other["user"]
        first = other
    clock.advance(3600)
    assert message_of(call(app, "/auth/frame", Cookie=cookie)) == {"state": "signed_out"}


@pytest.mark.parametrize("limit", [None, 300])
def test_the_absolute_limit(app: Flask, caller: Caller, clock: Clock, limit: int | None) -> None:
    """A session ends at its absolute limit: that of its application, or SESSION_HOURS."""
    update(caller, expire=10**6, session_max=limit, origins=[PORTAL])
    cookie = session(app, exp=int(clock()) + 10**6)
    assert message_of(call(app, "/auth/frame", Cookie=cookie))["expires-in"] == str(limit or 12 * 3600)


def test_a_session_that_a_password_opened(app: Flask) -> None:
    """auth/frame tells the absolute limit of a session that a password opened; no application decides its frames."""
    with app.test_request_context():
        user = services().users.get("admin")
        assert user is not None
        cookie = services().gate.open_by_password(user, "127.0.0.1")
    response = call(app, "/auth/frame", Cookie=f"datafor_gate={cookie}")
    assert message_of(response)["expires-in"] == str(12 * 3600)
    assert ancestors(response) == ALL


def test_who_may_show_our_pages(app: Flask, caller: Caller) -> None:
    """Pages may be in a frame of the session's application; without a session, of every enabled application."""
    cookie = session(app)
    assert ancestors(call(app, "/auth/frame", Cookie=cookie)) == f"frame-ancestors 'self' {PORTAL}"
    # Another application signs in, and its portal must hear of the refusal.
    assert ancestors(call(app, "/auth/enter?crm=x", Cookie=cookie, **FRAME)) == ALL
    assert ancestors(call(app, "/auth/leave", Cookie=cookie, **FRAME)) == f"frame-ancestors 'self' {PORTAL}"
    assert ancestors(call(app, "/auth/frame")) == ALL
    update(caller, name="CRM", token_name="crm", secret=STRONG_SECRET + "2", origins=[OTHER], enable="0")
    assert ancestors(call(app, "/auth/frame")) == f"frame-ancestors 'self' {PORTAL}"
    update(caller, origins=[])
    assert ancestors(call(app, "/auth/frame")) == "frame-ancestors 'self'"
    assert ancestors(call(app, "/auth/frame", Cookie=session(app))) == "frame-ancestors 'self'"


def test_more_origins_than_a_header_can_have(app: Flask, caller: Caller) -> None:
    """If the origins of all applications would make the header too long for a proxy, none of them is in it."""
    for number in range(4):
        origins = [f"https://{'x' * 20}{number}-{other}.portal.example" for other in range(32)]
        update(caller, name=f"Many{number}", origins=origins)
    assert ancestors(call(app, "/auth/frame")) == "frame-ancestors 'self'"
    assert ancestors(call(app, "/auth/frame", Cookie=session(app))) == f"frame-ancestors 'self' {PORTAL}"


def test_the_check_has_the_policy(app: Flask, caller: Caller) -> None:
    """An accepted check has frame-ancestors with the origins of the application that signed in, if it has any."""
    for options in ({"uri": f"/?token={signed()}"}, {"Cookie": session(app)}, {"Authorization": f"Bearer {signed()}"}):
        response = check(app, **options)
        assert response.headers["Content-Security-Policy"] == f"frame-ancestors 'self' {PORTAL}"
    assert "Content-Security-Policy" not in check(app).headers
    update(caller, origins=[])
    assert "Content-Security-Policy" not in check(app, f"/?token={signed()}").headers


def test_the_policy_of_a_password(app: Flask, caller: Caller) -> None:
    """A page for a user with a password has the origins of all applications: no other site may show it in a frame."""
    form = {"username": "admin", "password": ADMIN_PASSWORD}
    signed_in = app.test_client().post("/auth/sign-in", data=form)
    for credential in ({"Cookie": gate_of(signed_in)}, basic()):
        assert check(app, **credential).headers["Content-Security-Policy"] == ALL
    for name in ({}, {"name": "CRM", "token_name": "crm", "secret": STRONG_SECRET + "2"}):
        update(caller, **name, origins=[])
    for credential in ({"Cookie": gate_of(signed_in)}, basic()):
        response = check(app, **credential)
        assert (response.status_code, "Content-Security-Policy" in response.headers) == (200, False)


def test_refusals_are_told(app: Flask) -> None:
    """An error page tells its status and reference, and reloads when the page around it asks."""
    response = call(app, "/auth/enter?token=x", **FRAME)
    assert (response.status_code, message_of(response)) == (401, {"state": "refused", "status": "401"})
    response = check(app, **{name.replace("-", "_"): value for name, value in FRAME.items()})
    assert (response.status_code, message_of(response)) == (401, {"state": "refused", "status": "401"})
    assert 'm.action==="reload")location.reload()' in response.get_data(as_text=True)


@pytest.mark.parametrize("collection", ["applications", "sessions"])
def test_an_outage(app: Flask, settings: Settings, collection: str) -> None:
    """An error page in an outage is no second error, whichever collection cannot be read."""
    cookie = session(app)
    with unavailable(settings.data_dir, collection):
        for path in ("/auth/enter?token=x", f"/auth/enter?token={signed(n=7)}", "/auth/frame", "/auth/leave?next=x"):
            response = call(app, path, Cookie=cookie, **FRAME)
            assert response.status_code in (200, 400, 401, 503)
            assert "frame-ancestors 'self'" in response.headers["Content-Security-Policy"]


def test_signing_out_in_a_frame(app: Flask) -> None:
    """In a frame, auth/leave shows its page, which tells the page around it, before it redirects to another page."""
    response = call(app, "/auth/leave?next=/bye%3Fa=%C3%A4", Cookie=session(app), **FRAME)
    assert (response.status_code, message_of(response)) == (200, {"state": "signed_out"})
    assert response.headers["Refresh"] == "0; url=/bye?a=%C3%A4"
    assert "Max-Age=0" in response.headers["Set-Cookie"]
    for without in ("", "?next=/auth/leave"):
        assert "Refresh" not in call(app, f"/auth/leave{without}", **FRAME).headers
    assert call(app, "/auth/leave?next=/bye", **{**FRAME, "Sec-Fetch-Dest": "document"}).status_code == 303


def test_the_sign_out_url_is_not_shown_in_a_frame(
    settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGN_OUT_URL, a page of the portal, is not shown in a frame of the portal."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    app = create_app(dataclasses.replace(settings, sign_out_url=PORTAL), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    assert call(app, "/auth/leave", Accept="text/html").headers["Location"] == PORTAL
    assert message_of(call(app, "/auth/leave", **FRAME)) == {"state": "signed_out"}


def test_the_embedding_page_signs_out(app: Flask) -> None:
    """A POST to auth/leave from an origin of the session's application ends the session."""
    cookie = session(app)
    response = call(app, "/auth/leave", "POST", Cookie=cookie, **FROM_PORTAL)
    assert (response.status_code, message_of(response)) == (200, {"state": "signed_out"})
    assert check(app, Cookie=cookie).status_code == 401
    cookie = session(app, n=2)
    old = {"Origin": PORTAL, "Accept": "text/html"}  # of a browser without Fetch Metadata
    assert call(app, "/auth/leave", "POST", Cookie=cookie, **old).status_code == 200
    assert check(app, Cookie=cookie).status_code == 401


@pytest.mark.parametrize(
    "origin", ["null", "", EVIL, OTHER, "https://portal.example.evil.example", "http://portal.example", PORTAL + "/"]
)
def test_no_other_page_signs_out(app: Flask, origin: str) -> None:
    """A cross-site POST to auth/leave from any other origin is 403, and the session remains."""
    cookie = session(app)
    for sent in ({**FROM_PORTAL, "Origin": origin}, {"Origin": origin}):
        assert call(app, "/auth/leave", "POST", Cookie=cookie, **sent).status_code == 403
    assert check(app, Cookie=cookie).status_code == 200


def test_what_an_origin_does_not_allow(app: Flask, caller: Caller) -> None:
    """An origin of an application may not sign out without a session, by GET, or call anything else."""
    assert call(app, "/auth/leave", "POST", **FROM_PORTAL).status_code == 403
    cookie = session(app)
    assert "<form" in call(app, "/auth/leave", Cookie=cookie, **FROM_PORTAL).get_data(as_text=True)
    assert check(app, Cookie=cookie).status_code == 200
    assert caller.post("list", headers=FROM_PORTAL).status_code == 403
    response = call(app, "/plugin/datafor/api/extension/auth/logout", "POST", Cookie=cookie, **FROM_PORTAL)
    assert response.status_code == 403
    update(caller, origins=[OTHER])
    assert call(app, "/auth/leave", "POST", Cookie=cookie, **FROM_PORTAL).status_code == 403


@pytest.mark.parametrize(
    ("samesite", "url", "wanted"),
    [
        ("Lax", "", "GATE_SAMESITE is Lax"),
        ("Strict", "", "GATE_SAMESITE is Strict"),
        ("None", "http://reports.example", "PUBLIC_URL is plain http"),
        ("None", "https://reports.example", None),
        ("None", "", None),
    ],
)
def test_settings_with_which_frames_do_not_work(
    settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch, samesite: str, url: str, wanted: str | None
) -> None:
    """An application with origins gets a warning for settings with which browsers send no cookie to a frame."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    changed = dataclasses.replace(settings, gate_samesite=samesite, public_url=url)
    caller = Caller(create_app(changed, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY).test_client())
    found = update(caller, origins=[PORTAL])
    assert [one.startswith(wanted or "-") for one in found] == ([True] if wanted else [])
    assert update(caller, origins=[]) == []


def test_the_script(app: Flask) -> None:
    """embed.js is served as it is in the package, in less than 6 kB, for pages of all sites, and revalidated."""
    source = ROOT / "datafor_token" / "web" / "embed" / "embed.js"
    response = call(app, "/embed.js", Origin=PORTAL)
    assert response.get_data() == source.read_bytes()
    assert len(response.get_data()) < 6000
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    again = call(app, "/embed.js", **{"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.get_data()) == (304, b"")
