"""Errors of the gate in a browser: pages, redirects to the sign-in page, and no circles."""

import html
import io
import re
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token.gate import forwarded
from datafor_token.web.api.gate_texts import TEXTS
from datafor_token.web.services import services
from tests.conftest import Caller, put_user
from tests.log_lines import read
from tests.stores import unavailable
from tests.support import STRONG_SECRET, Clock, application
from tests.web.api.test_gate import check, enter, gate_of, signed, ticket_of
from tests.web.api.test_who_is_who import HTML, leave, session_of, with_settings

PORTAL = "https://portal.example/in"
NAVIGATION = {"Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document", "Accept": HTML}
FORMS = [
    {"Sec_Fetch_Mode": "navigate", "Accept": HTML, "X_Forwarded_Method": "POST"},
    {"Accept": HTML, "X_Original_Method": "POST"},
]
FRAMES = [{**NAVIGATION, "Sec_Fetch_Dest": kind} for kind in ("iframe", "frame", "embed", "object")]
OTHERS = [
    {}, {"Accept": "*/*"}, {"Accept": "image/avif,*/*"}, {"Sec_Fetch_Mode": "cors", "Accept": HTML},
    {"Sec_Fetch_Mode": "no-cors"}, {"Accept": HTML, "X_Requested_With": "XMLHttpRequest"},
    {"Accept": "application/json", "X_Forwarded_Method": "POST"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    body = application(secret=STRONG_SECRET, initroles=["Sales"])
    assert caller.post("update", body).status_code == 200


@pytest.fixture
def portal(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Flask:
    return with_settings(app, clock, monkeypatch, sign_in_url=PORTAL)


def heading_of(page: TestResponse) -> str:
    """Return the heading of a page of the gate."""
    assert page.mimetype == "text/html"
    (heading,) = re.findall("<h1>(.*)</h1>", page.text)
    return str(heading)


def links_of(page: TestResponse) -> dict[str, str]:
    """Return the links of a page by their text."""
    return {text: html.unescape(url) for url, text in re.findall('<a href="([^"]*)"[^>]*>([^<]*)</a>', page.text)}


class TestCheck:
    """Errors of ``auth/check``."""

    @pytest.mark.parametrize("headers", [NAVIGATION, {"Accept": HTML}])
    def test_not_signed_in(self, app: Flask, portal: Flask, headers: dict[str, str]) -> None:
        """Without redirect=1, a page is a 401 page with the challenge, and a link to SIGN_IN_URL with next."""
        page = check(portal, f"/d/7?a=1&token={signed()}x", **headers)
        assert (page.status_code, heading_of(page)) == (401, "You are not signed in")
        assert page.headers.getlist("WWW-Authenticate") == ['Bearer realm="datafor_token"']
        assert links_of(page) == {"Sign in": f"{PORTAL}?next=%2Fd%2F7%3Fa%3D1"}
        assert signed()[:-8] not in page.text
        assert links_of(check(app, "/", "?redirect=1", **headers)) == {}

    @pytest.mark.parametrize("headers", OTHERS)
    def test_what_is_no_page(self, portal: Flask, headers: dict[str, str]) -> None:
        """Calls of scripts, images and other clients get the envelope, whatever the error."""
        for query, status in (("?redirect=1", 401), ("?unknown=1", 403)):
            response = check(portal, "/", query, **headers)
            assert (response.status_code, response.get_json()["code"]) == (status, str(status))
        response = check(portal, "/", "?role=Other", Cookie=session_of(portal, "lena"), **headers)
        assert response.get_json() == {"success": False, "code": "403", "msg": "no permission"}

    @pytest.mark.parametrize("headers", FORMS)
    def test_a_form(self, portal: Flask, headers: dict[str, str]) -> None:
        """A form after the session's end is not redirected: its page says how to sign in and send it again."""
        page = check(portal, "/save?a=1", "?redirect=1", **headers)
        assert (page.status_code, heading_of(page)) == (401, "Your session has ended")
        assert "What you typed is not lost." in page.text
        assert links_of(page) == {"Sign in in a new tab": PORTAL}
        assert f'<a href="{PORTAL}" target="_blank" rel="noopener">' in page.text

    @pytest.mark.parametrize("headers", FRAMES)
    def test_a_frame(self, portal: Flask, headers: dict[str, str]) -> None:
        """A frame is not redirected: its page has a link that opens the sign-in page in a new tab."""
        page = check(portal, "/d/7", "?redirect=1", **headers)
        assert (page.status_code, heading_of(page)) == (401, "You are not signed in")
        assert f'<a href="{PORTAL}?next=%2Fd%2F7" target="_blank" rel="noopener">' in page.text

    @pytest.mark.parametrize("by", ["gate", "url"])
    def test_no_access(self, portal: Flask, by: str) -> None:
        """Without the required role, the 403 page says who is signed in, and offers to change that."""
        put_user(portal, "<i>lena", full_name="x", type="SYS_Reader")
        token = signed(loginname="<i>lena")
        cookie = gate_of(check(portal, f"/?token={token}"))
        target, sent = ("/d/7?a=1", {"Cookie": cookie}) if by == "gate" else (f"/d/7?a=1&token={token}", {})
        page = check(portal, target, "?redirect=1&role=Boss", **NAVIGATION, **sent)
        assert (page.status_code, heading_of(page)) == (403, "No access")
        assert "You are signed in as &lt;i&gt;lena." in page.text
        assert "Boss" not in page.text
        assert token not in page.text
        expected = {"Sign in as somebody else": f"{PORTAL}?prompt=login&next=%2Fd%2F7%3Fa%3D1"}
        assert links_of(page) == expected | ({"Sign out": "/auth/leave"} if by == "gate" else {})

    def test_signing_out_there(self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """The link of the 403 page to the sign-out is under URL_PREFIX, and signs out."""
        cookie = session_of(app, "lena")
        other = with_settings(app, clock, monkeypatch, url_prefix="/datafor")
        client = other.test_client(use_cookies=False)
        page = client.get("/datafor/auth/check?role=Boss", headers={"Cookie": cookie, "Accept": HTML})
        url = links_of(page)["Sign out"]
        assert url == "/datafor/auth/leave"
        left = client.get(url, headers={"Cookie": cookie, "Accept": HTML, "Sec-Fetch-Site": "same-origin"})
        assert heading_of(left) == "You are signed out"
        assert check(app, Cookie=cookie).status_code == 401

    def test_other_refusals(self, portal: Flask) -> None:
        """An unknown requirement is a 403 page that sends nobody away."""
        page = check(portal, "/", "?redirect=1&rolle=Boss", Cookie=session_of(portal, "lena"), **NAVIGATION)
        assert (page.status_code, heading_of(page), links_of(page)) == (403, "The request was refused", {})

    def test_an_outage(self, portal: Flask) -> None:
        """An outage is a 503 page with Retry-After, and no redirect; a sign-out does not speak of a sign-in."""
        with portal.app_context():
            folder = services().settings.data_dir
        cookie = session_of(portal, "lena")
        with unavailable(folder, "sessions"):
            refused = check(portal, "/", "?redirect=1", Cookie=cookie, **NAVIGATION)
            pages = refused, leave(portal, Cookie=cookie, Accept=HTML)
        for page in pages:
            assert (page.status_code, heading_of(page)) == (503, "This page is unavailable at the moment")
            assert int(page.headers["Retry-After"]) > 0
            assert "Try again later." in page.text

    def test_the_reference(self, portal: Flask, log: io.StringIO) -> None:
        """Each page names its request, as the header and the log do."""
        pages = [
            check(portal, "/", **NAVIGATION), check(portal, "/", "?x=1", **NAVIGATION),
            check(portal, f"/?token={signed()}", "?role=Boss", **NAVIGATION), enter(portal, "", Accept=HTML),
            leave(portal, "?next=//evil", Accept=HTML), leave(portal, method="POST", Accept=HTML, Origin="null"),
        ]  # fmt: skip
        lines = {line["request_id"] for line in read(log.getvalue()) if line["event"] == "request"}
        for page in pages:
            (reference,) = re.findall("Reference: ([0-9a-f]{32})", page.text)
            assert reference == page.headers["X-Request-ID"]
            assert reference in lines

    def test_in_chinese(self, portal: Flask) -> None:
        """Each page is in the reader's language."""
        for headers, heading in (
            (NAVIGATION, "您尚未登录"), (FORMS[0], "您的会话已结束"),
            ({**NAVIGATION, "Cookie": session_of(portal, "lena")}, "没有访问权限"),
        ):  # fmt: skip
            page = check(portal, "/", "?role=Boss", Accept_Language="zh-CN,zh;q=0.9", **headers)
            assert heading_of(page) == heading
            assert '<html lang="zh-Hans">' in page.text


class TestOwnPages:
    """Errors of ``auth/enter`` and ``auth/leave``."""

    def test_without_a_token(self, portal: Flask) -> None:
        """The link to SIGN_IN_URL on the page of a refused link has next without a token, or no next."""
        for target, url in (
            ("/d/7?a=1&token=x&ticket=y", f"{PORTAL}?next=%2Fd%2F7%3Fa%3D1"), ("//evil", PORTAL),
            ("/auth/leave", PORTAL),
        ):  # fmt: skip
            page = enter(portal, f"token=x&next={quote(target, safe='')}", Accept=HTML)
            assert links_of(page) == {"Sign in": url}

    def test_leaving(self, app: Flask) -> None:
        """A refused sign-out is a page that does not speak of signing in."""
        for page in (leave(app, "?next=//evil", Accept=HTML), leave(app, method="POST", Accept=HTML, Origin="null")):
            assert heading_of(page) == "The request was refused"


class TestCircles:
    """Nobody is redirected in a circle."""

    @pytest.mark.parametrize("site", ["cross-site", "same-site"])
    @pytest.mark.parametrize("by", ["token", "ticket"])
    def test_a_refused_cookie(self, app: Flask, caller: Caller, site: str, by: str) -> None:
        """A browser that a portal sends and that does not send the cookie gets a page, and no redirect."""
        headers = {**NAVIGATION, "Sec_Fetch_Site": site}
        target = "/d/7?a=1&b=2#c"
        ticket = ticket_of(caller, next=target)
        query = f"ticket={ticket}" if by == "ticket" else f"token={signed()}&next={quote(target, safe='')}"
        response = enter(app, query, **headers)
        assert response.status_code == 303
        assert response.headers["Location"] == f"/auth/enter?arrived=1&next={quote(target, safe='')}"
        back = response.headers["Location"].partition("?")[2]
        kept = enter(app, back, Cookie=gate_of(response), **headers)
        assert (kept.status_code, kept.headers["Location"]) == (303, target)
        page = enter(app, back, **headers)
        assert (page.status_code, heading_of(page)) == (401, "The browser does not keep you signed in")
        assert links_of(page)["Continue"] == target
        assert "Open this page in a new tab" not in links_of(page)
        assert "Set-Cookie" not in page.headers

    def test_without_a_detour(self, app: Flask) -> None:
        """A browser that sent a cookie of the gate, or that no other page sends, goes to next at once."""
        query = f"token={signed()}&next=/a"
        sent = {**NAVIGATION, "Sec_Fetch_Site": "cross-site"}
        for headers in ({**sent, "Cookie": f"datafor_gate={'x' * 43}"}, NAVIGATION, {"Accept": HTML}, {}):
            assert enter(app, query, **headers).headers["Location"] == "/a"
        assert enter(app, f"token={signed()}&next=/auth/frame", **sent).headers["Location"] == "/auth/frame"

    @pytest.mark.parametrize("url", ["/auth/leave", "/auth/./leave", "/auth/leave?x=1", "http://localhost/auth/leave"])
    def test_sign_out_that_leads_to_itself(
        self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, url: str
    ) -> None:
        """A SIGN_OUT_URL that is auth/leave itself is not followed."""
        other = with_settings(app, clock, monkeypatch, sign_out_url=url)
        assert heading_of(leave(other, Accept=HTML)) == "You are signed out"
        assert heading_of(leave(other, f"?next={quote('/auth/leave')}", Accept=HTML)) == "You are signed out"

    @pytest.mark.parametrize("url", ["/auth/sign-in", "/auth/sign-in?a=1#b", "http://localhost/auth/sign-in"])
    def test_a_sign_in_page_behind_the_check(
        self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, url: str, log: io.StringIO
    ) -> None:
        """A sign-in page that the proxy protects is a 401 page that says so, and the log warns."""
        other = with_settings(app, clock, monkeypatch, sign_in_url=url)
        page = check(other, "/auth/sign-in?next=/x", "?redirect=1", **NAVIGATION)
        assert (page.status_code, links_of(page)) == (401, {})
        assert "The sign-in page cannot be opened without signing in" in page.text
        assert 'event="SIGN_IN_URL is behind the check"' in log.getvalue()
        assert "the sign-in page of this service is /auth/sign-in" in log.getvalue()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/in", "/in?next=%2Fa%3Fb%3D1%26c%23d"), ("/x/in", "/x/in?next=%2Fa%3Fb%3D1%26c%23d"),
        ("https://p/?", "https://p/?next=%2Fa%3Fb%3D1%26c%23d"),
        ("https://p/?x=1", "https://p/?x=1&next=%2Fa%3Fb%3D1%26c%23d"),
        ("https://p/?x=1&", "https://p/?x=1&next=%2Fa%3Fb%3D1%26c%23d"),
        ("https://p/#/in", "https://p/?next=%2Fa%3Fb%3D1%26c%23d#/in"),
        ("https://p?x=1#/in?y", "https://p?x=1&next=%2Fa%3Fb%3D1%26c%23d#/in?y"),
    ],
)  # fmt: skip
def test_next_in_the_sign_in_url(url: str, expected: str) -> None:
    """SIGN_IN_URL may have a query and a fragment of its own; next is added to the query."""
    assert forwarded.with_next(url, "/a?b=1&c#d") == expected


def test_both_languages() -> None:
    """Each text exists in both languages, with the same values in it."""
    english, chinese = TEXTS.values()
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert re.findall("{.*?}", text) == re.findall("{.*?}", chinese[key])


@pytest.mark.parametrize("samesite", ["Lax", "None", "Strict"])
def test_nothing_to_ask(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, samesite: str) -> None:
    """A link of another site is asked about only if the browser may have a session: a portal may lead back here."""
    cookie = session_of(app, "lena")
    other = with_settings(app, clock, monkeypatch, gate_samesite=samesite, sign_out_url=PORTAL)
    client = other.test_client(use_cookies=False)
    sent = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site", "Accept": HTML}
    title = "Sign out?" if samesite == "Strict" else "You are signed out"
    assert heading_of(client.get("/auth/leave", headers=sent)) == title
    assert heading_of(client.get("/auth/leave", headers={**sent, "Cookie": cookie})) == "Sign out?"
    # A frame of another site has not the cookie of the tab.
    assert heading_of(client.get("/auth/leave", headers={**sent, "Sec-Fetch-Dest": "iframe"})) == "Sign out?"
