"""Gate sessions: two users in one browser, repeated tokens, and sign-out."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.settings import Settings
from datafor_token.tokens.networks import Client
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, put_user
from tests.handmade_tokens import NOW, claims, token
from tests.stores import records_in, unavailable
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application
from tests.web.api.test_gate import check, enter, gate_of, identity, signed, ticket_of

EXTENSION = "/plugin/datafor/api/extension"
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
# Headers of a navigation: over https, and over plain http.
PAGES = [{"Sec_Fetch_Mode": "navigate", "Accept": HTML}, {"Accept": HTML}]
PARTS = [
    {"Accept": "image/avif,image/webp,*/*;q=0.8"}, {"Accept": "*/*"}, {}, {"Sec_Fetch_Mode": "no-cors"},
 {"Sec_Fetch_Mode": "cors", "Accept": HTML},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _applications(caller: Caller) -> None:
    # Another token_name: otherwise the tokens would be those of the first application.
    for body in (application(initroles=["Sales"]), application(name="CRM", token_name="crm")):
        assert caller.post("update", {**body, "secret": STRONG_SECRET}).status_code == 200


def uri(name: str, **changes: Any) -> str:
    return f"/page?token={signed(loginname=name, **changes)}"


def session_of(app: Flask, name: str) -> str:
    return gate_of(check(app, uri(name)))


def with_settings(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Flask:
    """A second worker on the same store, with other settings."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    with app.app_context():
        settings = dataclasses.replace(services().settings, **changes)
    return create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)


class TestTwoUsers:
    """A browser with anna's cookie opens a link of bert."""

    @pytest.mark.parametrize("page", PAGES)
    def test_a_page_swaps(self, app: Flask, page: dict[str, str]) -> None:
        """A page with bert's token replaces anna's cookie; her session remains valid elsewhere."""
        anna = session_of(app, "anna")
        response = check(app, uri("bert"), Cookie=anna, **page)
        assert identity(response)[0] == "bert"
        assert len(response.headers.getlist("Set-Cookie")) == 1
        for part in PARTS:
            assert identity(check(app, "/part", Cookie=gate_of(response), **part))[0] == "bert"
        assert identity(check(app, Cookie=anna))[0] == "anna"

    @pytest.mark.parametrize("part", PARTS)
    def test_a_part_of_a_page_does_not(self, app: Flask, part: dict[str, str]) -> None:
        """An image or script with bert's token is bert's, and changes no cookie."""
        anna = session_of(app, "anna")
        response = check(app, uri("bert"), Cookie=anna, **part)
        assert (identity(response)[0], response.headers.getlist("Set-Cookie")) == ("bert", [])
        for refused in ("x", f"{signed(loginname='bert')}x", signed(loginname="bert", exp=NOW - 3600)):
            response = check(app, f"/part?token={refused}", Cookie=anna, **part)
            assert (response.status_code, response.headers.getlist("Set-Cookie")) == (401, [])
        assert identity(check(app, Cookie=anna, **part))[0] == "anna"

    @pytest.mark.parametrize("header", ["X_Original_Method", "X_Forwarded_Method"])
    def test_a_form_over_plain_http(self, app: Flask, header: str) -> None:
        """A form with bert's token over plain http is refused: its page would mix both users."""
        anna = session_of(app, "anna")
        form = {"Accept": HTML, header: "POST"}
        response = check(app, uri("bert"), Cookie=anna, **form)
        assert (response.status_code, response.headers.getlist("Set-Cookie")) == (403, [])
        assert identity(check(app, uri("anna"), Cookie=anna, **form))[0] == "anna"
        assert identity(check(app, uri("bert"), **form))[0] == "bert"

    @pytest.mark.parametrize("page", PAGES)
    def test_no_page_of_bert_where_the_cookie_stays_annas(self, app: Flask, page: dict[str, str]) -> None:
        """If bert's session cannot be opened, his page is refused: its images would be anna's."""
        anna = session_of(app, "anna")
        put_user(app, "bert")
        late = check(app, uri("bert", exp=NOW - 20), Cookie=anna, **page)
        assert (late.status_code, gate_of(late)) == (401, "")
        refused = check(app, uri("bert", exp=NOW - 3600), Cookie=anna, **page)
        assert (refused.status_code, gate_of(refused)) == (401, "")
        assert identity(check(app, Cookie=anna))[0] == "anna"

    @pytest.mark.file_store
    @pytest.mark.parametrize("page", PAGES)
    def test_no_page_of_bert_on_a_full_disk(
        self, app: Flask, monkeypatch: pytest.MonkeyPatch, page: dict[str, str]
    ) -> None:
        """On a read-only disk bert's page is 503; parts of a page and anna's own pages pass."""
        anna = session_of(app, "anna")
        put_user(app, "bert")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            response = check(app, uri("bert"), Cookie=anna, **page)
            assert (response.status_code, gate_of(response)) == (503, "")
            assert identity(check(app, uri("bert"), Cookie=anna))[0] == "bert"
            assert identity(check(app, uri("bert"), **page))[0] == "bert"
            assert identity(check(app, uri("anna"), Cookie=anna, **page))[0] == "anna"

    def test_no_swap_ahead_of_a_click(self, app: Flask) -> None:
        """A prefetch of bert's link is refused while anna is signed in; one of her own passes."""
        anna = session_of(app, "anna")
        ahead = {**PAGES[0], "Sec_Purpose": "prefetch;prerender"}
        response = check(app, uri("bert"), Cookie=anna, **ahead)
        assert (response.status_code, gate_of(response)) == (403, "")
        assert check(app, uri("anna"), Cookie=anna, **ahead).status_code == 200
        assert gate_of(check(app, uri("bert"), **ahead)) != ""

    @pytest.mark.parametrize("query", ["token", "ticket"])
    def test_the_entrance_ahead_of_a_click(self, app: Flask, caller: Caller, query: str) -> None:
        """A prefetch and a HEAD request at the entrance sign nobody in, and use up no ticket."""
        anna = session_of(app, "anna")
        secret = signed(loginname="bert") if query == "token" else ticket_of(caller, username="bert")
        for cookie in ({}, {"Cookie": anna}):
            for ahead in ({"Sec_Purpose": "prefetch"}, {"Purpose": "prefetch"}, {"X_Moz": "prefetch"}):
                response = enter(app, f"{query}={secret}", **cookie, **ahead, **PAGES[0])
                assert (response.status_code, gate_of(response)) == (403, "")
            response = app.test_client().head(f"/auth/enter?{query}={secret}", headers=cookie)
            assert (response.status_code, gate_of(response)) == (403, "")
        assert gate_of(enter(app, f"{query}={secret}", **PAGES[0])) != ""

    def test_a_prefetch_after_leaving(self, app: Flask) -> None:
        """After leaving, a prefetch of the same link is refused, and a click signs in again."""
        leave(app, Cookie=session_of(app, "anna"))
        response = check(app, uri("anna"), Sec_Purpose="prefetch", **PAGES[0])
        assert (response.status_code, gate_of(response)) == (403, "")
        assert gate_of(check(app, uri("anna"), **PAGES[0])) != ""

    @pytest.mark.parametrize("page", PAGES)
    def test_one_user_by_two_applications(self, app: Flask, page: dict[str, str]) -> None:
        """A page of the same user by another application replaces the session, as requirements may name it."""
        by_erp = session_of(app, "anna")
        by_crm = f"/?crm={token(claims(loginname='anna', exp=NOW + 60), STRONG_SECRET)}"
        assert gate_of(check(app, by_crm, Cookie=by_erp)) == ""
        response = check(app, by_crm, "?application=CRM", Cookie=by_erp, **page)
        assert response.status_code == 200
        assert check(app, query="?application=CRM", Cookie=gate_of(response)).status_code == 200
        assert check(app, query="?application=ERP", Cookie=by_erp).status_code == 200

    def test_the_entrance(self, app: Flask, caller: Caller) -> None:
        """The entrance replaces a session for a navigation; otherwise it is 403 and uses up no ticket."""
        anna = session_of(app, "anna")
        for part in ({"Accept": "image/webp,*/*"}, {"Accept": "*/*"}, {"Sec_Fetch_Mode": "no-cors"}):
            ticket = ticket_of(caller, username="bert")
            for query in (f"token={signed(loginname='bert')}", f"ticket={ticket}"):
                response = enter(app, query, Cookie=anna, **part)
                assert (response.status_code, gate_of(response)) == (403, "")
            for page in PAGES:
                swapped = enter(app, f"token={signed(loginname='bert')}", Cookie=anna, **page)
                assert identity(check(app, Cookie=gate_of(swapped)))[0] == "bert"
            swapped = enter(app, f"ticket={ticket}", Cookie=anna, **PAGES[1])
            assert identity(check(app, Cookie=gate_of(swapped)))[0] == "bert"
        assert identity(check(app, Cookie=anna))[0] == "anna"

    def test_an_application_may_sign_its_user_in_by_an_image(self, app: Flask) -> None:
        """Without another user's session, every request with a token gets the cookie."""
        for part in PARTS:
            assert gate_of(check(app, uri("anna"), **part)) != ""
        assert enter(app, f"token={signed()}", Accept="*/*").status_code == 303


class TestOneSession:
    """One token, presented many times."""

    def test_again_and_again(self, app: Flask, settings: Settings) -> None:
        """A token opens one session, at the check and the entrance, with and without the cookie."""
        cookies = {gate_of(check(app, uri("anna"), **headers)) for headers in (*PARTS, *PAGES)}
        cookies |= {gate_of(enter(app, f"token={signed(loginname='anna')}")) for _ in range(3)}
        assert len(cookies) == 1
        (cookie,) = cookies
        (path,) = records_in(settings.data_dir, "sessions")
        before = path.read_text()
        assert gate_of(check(app, uri("anna"))) == cookie
        assert gate_of(check(app, uri("anna"), Cookie=cookie)) == ""
        (path,) = records_in(settings.data_dir, "sessions")
        assert path.read_text() == before

    def test_many_at_once_in_two_workers(
        self, app: Flask, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Simultaneous requests in two workers get the same cookie, which is valid in both."""
        other = with_settings(app, clock, monkeypatch)
        put_user(app, "anna")
        with ThreadPoolExecutor(16) as pool:
            cookies = set(pool.map(lambda worker: gate_of(check(worker, uri("anna"))), [app, other] * 20))
        assert len(cookies) == 1
        assert len(records_in(settings.data_dir, "sessions")) == 1
        for worker in (app, other):
            assert identity(check(worker, Cookie=cookies.copy().pop()))[0] == "anna"

    def test_a_longer_token_of_the_same_user(self, app: Flask) -> None:
        """Of two tokens of a user, the cookie is that of the one that expires later."""
        cookie = session_of(app, "anna")
        longer = check(app, uri("anna", exp=NOW + 7200), Cookie=cookie)
        assert gate_of(longer) not in ("", cookie)
        assert gate_of(check(app, uri("anna"), Cookie=gate_of(longer))) == ""

    def test_a_session_that_ended_begins_anew(self, app: Flask, clock: Clock, settings: Settings) -> None:
        """After an idle hour the token opens another session; the old cookie stays invalid."""
        cookie = gate_of(check(app, uri("anna", exp=NOW + 86400)))
        clock.advance(3600)
        assert check(app, Cookie=cookie).status_code == 401
        again = gate_of(check(app, uri("anna", exp=NOW + 86400)))
        assert identity(check(app, Cookie=again))[0] == "anna"
        assert check(app, Cookie=cookie).status_code == 401
        assert len(records_in(settings.data_dir, "sessions")) == 1

    def test_a_changed_password_ends_it_for_good(self, app: Flask) -> None:
        """After a changed password the token opens another session; the old cookie stays invalid."""
        cookie = session_of(app, "anna")
        put_user(app, "anna", password=CHEAP_FOR_TESTS_ONLY.hash("pw"))
        assert check(app, Cookie=cookie).status_code == 401
        again = session_of(app, "anna")
        assert again != cookie
        assert check(app, Cookie=again).status_code == 200
        assert check(app, Cookie=cookie).status_code == 401

    def test_a_copy_of_the_store_opens_nothing(self, app: Flask, settings: Settings) -> None:
        """The record does not reveal the cookie, and its name neither opens nor ends a session."""
        cookie = session_of(app, "anna").partition("=")[2]
        (path,) = records_in(settings.data_dir, "sessions")
        text = path.read_text() + path.name
        for secret in (cookie, cookie[:43], cookie[43:], signed(loginname="anna").rpartition(".")[2], STRONG_SECRET):
            assert secret not in text
        for forged in (cookie[:43], cookie[:43] * 2, cookie[:-1] + ("A" if cookie[-1] != "A" else "E"), cookie + "A"):
            assert check(app, Cookie=f"datafor_gate={forged}").status_code == 401
            leave(app, Cookie=f"datafor_gate={forged}")
        assert check(app, Cookie=f"datafor_gate={cookie}").status_code == 200

    def test_another_installations_key(self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a change of the key sessions remain valid, and the token opens another one."""
        cookie = session_of(app, "anna")
        other = with_settings(app, clock, monkeypatch)
        with other.app_context():
            services().gate._keys = [b"x" * 32]
        assert identity(check(other, Cookie=cookie))[0] == "anna"
        assert session_of(other, "anna") not in ("", cookie)

    def test_records_of_before(self, app: Flask, caller: Caller, settings: Settings) -> None:
        """A session with a random cookie and no policy, as an older version opened it, is valid."""
        # As an application of that version counts.
        caller.post("update", application(name="CRM", token_name="crm", secret=STRONG_SECRET, audience="*"))
        with app.app_context():
            bundle = services()
            verdict = bundle.signin.sign_in(signed(loginname="anna"), None, lambda: Client("127.0.0.1"))
            assert verdict.user is not None
            assert verdict.token is not None
            verified = verdict.token
            cookie = bundle.gate._sessions.open(
                verdict.user,
                application="CRM",
                token=verified.identifier,
                expires=verified.expires,
                secret_sealed=verified.signer.name,
            )
        assert len(cookie) == 43
        assert identity(check(app, Cookie=f"datafor_gate={cookie}"))[0] == "anna"
        leave(app, Cookie=f"datafor_gate={cookie}")
        assert check(app, Cookie=f"datafor_gate={cookie}").status_code == 401
        assert records_in(settings.data_dir, "sessions") == []


def leave(app: Flask, query: str = "", method: str = "GET", **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client(use_cookies=False).open(f"/auth/leave{query}", method=method, headers=sent)


CLEARED = "datafor_gate=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Path=/; SameSite=Lax"


class TestLeaving:
    """``auth/leave`` and the other ways to sign out."""

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_it_ends_the_session(self, app: Flask, method: str) -> None:
        """Leaving ends the session, clears the cookie with its attributes, and redirects to next."""
        cookie, other = session_of(app, "anna"), session_of(app, "bert")
        response = leave(app, "?next=/bye%3Fa=1", method, Cookie=f"{cookie}; a=1; {other.replace('bert', '')}")
        assert (response.status_code, response.headers["Location"]) == (303, "/bye?a=1")
        assert response.headers.getlist("Set-Cookie") == [CLEARED]
        # Both cookies of the request.
        for one in (cookie, other):
            assert check(app, Cookie=one).status_code == 401

    def test_where_it_leads(self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without next, leaving redirects to SIGN_OUT_URL, or returns a page in the reader's language."""
        assert leave(app).get_json() == {"success": True}
        for language, words in (("de, en", "You are signed out"), ("zh-TW,en;q=0.8", "您已退出登录")):
            page = leave(app, Accept=HTML, Accept_Language=language)
            assert (page.status_code, page.mimetype) == (200, "text/html")
            assert f"<h1>{words}</h1>" in page.get_data(as_text=True)
        other = with_settings(app, clock, monkeypatch, sign_out_url="https://portal.example/bye?x=1")
        response = leave(other, Cookie=session_of(app, "anna"), Accept=HTML)
        assert (response.status_code, response.headers["Location"]) == (303, "https://portal.example/bye?x=1")
        assert leave(other, "?next=/").headers["Location"] == "/"

    @pytest.mark.parametrize("target", ["//evil", "https://evil", "/\\evil", "x", ""])
    def test_next_stays_on_this_host(self, app: Flask, target: str) -> None:
        """A next on another host is 400, and the session is kept."""
        cookie = session_of(app, "anna")
        response = leave(app, f"?next={quote(target, safe='')}", Cookie=cookie)
        assert (response.status_code, "Set-Cookie" in response.headers) == (400, False)
        assert check(app, Cookie=cookie).status_code == 200

    @pytest.mark.parametrize(
        ("method", "headers", "status"),
        [
            ("GET", {"Sec_Fetch_Site": "cross-site"}, 200), ("GET", {"Sec_Fetch_Site": "same-site"}, 200),
            ("GET", {"Origin": "https://evil.example"}, 200), ("GET", {"Sec_Purpose": "prefetch"}, 200),
            ("HEAD", {}, 200), ("POST", {"Sec_Fetch_Site": "cross-site"}, 403), ("POST", {"Origin": "null"}, 403),
        ],
    )  # fmt: skip
    def test_from_elsewhere(self, app: Flask, method: str, headers: dict[str, str], status: int) -> None:
        """A link from another site and a prefetch get a page that asks; a form from another site is refused."""
        cookie = session_of(app, "anna")
        response = leave(app, "?next=/bye", method, Cookie=cookie, Accept=HTML, **headers)
        assert (response.status_code, "Set-Cookie" in response.headers) == (status, False)
        assert check(app, Cookie=cookie).status_code == 200
        if method == "GET":
            text = response.get_data(as_text=True)
            assert '<form method="post"><button>Sign out</button></form>' in text
            assert "<script" not in text
            assert response.headers["Referrer-Policy"] == "same-origin"
            # The form of the page is sent from this host.
            sure = leave(app, "?next=/bye", "POST", Cookie=cookie, Origin="http://localhost")
            assert (sure.status_code, sure.headers["Location"]) == (303, "/bye")
            assert check(app, Cookie=cookie).status_code == 401

    @pytest.mark.parametrize("headers", [{"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"}, {}])
    def test_from_here(self, app: Flask, headers: dict[str, str]) -> None:
        """A link on the same site signs out at once."""
        cookie = session_of(app, "anna")
        assert leave(app, "?next=/bye", Cookie=cookie, **headers).status_code == 303
        assert check(app, Cookie=cookie).status_code == 401

    def test_the_token_afterwards(self, app: Flask, settings: Settings, clock: Clock) -> None:
        """After leaving, the token opens another session for a navigation only; the old cookie stays invalid."""
        cookie = session_of(app, "anna")
        leave(app, Cookie=cookie)
        for part in PARTS:
            response = check(app, uri("anna"), **part)
            assert (identity(response)[0], gate_of(response)) == ("anna", "")
        for page in PAGES:
            again = gate_of(check(app, uri("anna"), **page))
            assert again not in ("", cookie)
            assert gate_of(check(app, uri("anna"))) == again
            assert check(app, Cookie=cookie).status_code == 401
            leave(app, Cookie=again)
            # Twice, and with an invalid cookie.
            leave(app, Cookie=again)
            leave(app, Cookie=cookie)
        assert gate_of(check(app, uri("anna"))) == ""
        entered = gate_of(enter(app, f"token={signed(loginname='anna')}"))
        assert identity(check(app, Cookie=entered))[0] == "anna"
        leave(app, Cookie=entered)
        assert len(records_in(settings.data_dir, "sessions")) == 1
        with app.app_context():
            services().sessions.sweep()
            assert len(records_in(settings.data_dir, "sessions")) == 1
            clock.advance(3600 + 86400 - 1)
            services().sessions.sweep()
            assert len(records_in(settings.data_dir, "sessions")) == 1
            clock.advance(1)
            services().sessions.sweep()
        assert records_in(settings.data_dir, "sessions") == []

    def test_leaving_in_another_worker(self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """Other workers see at once that a session was left or opened again."""
        other = with_settings(app, clock, monkeypatch)
        cookie = session_of(app, "anna")
        assert check(other, Cookie=cookie).status_code == 200
        leave(other, Cookie=cookie)
        assert check(app, Cookie=cookie).status_code == 401
        assert gate_of(check(app, uri("anna"))) == ""
        again = gate_of(check(app, uri("anna"), **PAGES[1]))
        assert gate_of(check(other, uri("anna"))) == again
        assert check(other, Cookie=again).status_code == 200

    def test_a_ticket_session(self, app: Flask, caller: Caller, settings: Settings) -> None:
        """A session from a ticket is removed."""
        cookie = gate_of(enter(app, f"ticket={ticket_of(caller)}"))
        leave(app, Cookie=cookie)
        assert check(app, Cookie=cookie).status_code == 401
        assert records_in(settings.data_dir, "sessions") == []

    def test_an_outage(self, app: Flask, settings: Settings) -> None:
        """In an outage leaving is 503."""
        cookie = session_of(app, "anna")
        with unavailable(settings.data_dir, "sessions"):
            assert leave(app, Cookie=cookie, Accept=HTML).status_code == 503
        assert check(app, Cookie=cookie).status_code == 200

    def test_a_cookie_for_frames(self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """A partitioned cookie is cleared with Partitioned: browsers treat others as another cookie."""
        framed = with_settings(app, clock, monkeypatch, gate_samesite="None")
        (header,) = leave(framed, Cookie="datafor_gate=x").headers.getlist("Set-Cookie")
        assert header.endswith("; Max-Age=0; Secure; HttpOnly; Path=/; SameSite=None; Partitioned")

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_logout(self, app: Flask, method: str) -> None:
        """Logout ends the gate session of the browser, and clears its cookie only if it was sent."""
        cookie = session_of(app, "anna")
        client = app.test_client(use_cookies=False)
        response = client.open(f"{EXTENSION}/auth/logout", method=method, headers={"Cookie": cookie})
        assert response.get_json() == {"success": True, "code": "200"}
        assert CLEARED in response.headers.getlist("Set-Cookie")
        assert check(app, Cookie=cookie).status_code == 401
        response = client.open(f"{EXTENSION}/auth/logout", method=method, headers={"Cookie": "xdatafor_gate=y"})
        assert len(response.headers.getlist("Set-Cookie")) == 1

    def test_the_consoles_sign_out(self, app: Flask) -> None:
        """Signing out of the console ends the gate session too."""
        cookie = session_of(app, "anna")
        client = app.test_client()
        page = client.get("/console/sign-in").get_data(as_text=True)
        form_token = page.partition('name="form_token" value="')[2].partition('"')[0]
        client.set_cookie("datafor_gate", cookie.partition("=")[2])
        response = client.post("/console/sign-out", data={"form_token": form_token})
        assert response.status_code == 303
        assert CLEARED in response.headers.getlist("Set-Cookie")
        assert check(app, Cookie=cookie).status_code == 401


class TestEntering:
    """The URL of ``auth/enter``."""

    @pytest.mark.parametrize(
        "query",
        [
            "token={}&next=/d/7?orgId=1&from=now", "next=/d/7?orgId=1&from=now&token={}", "token={}&next=/d/7?a&b",
            "next=%2Fd%2F7%3ForgId%3D1&from=now&token={}", "from=1&token={}&next=/d/7?a=1&from=2",
            "token={}&next=/?&a=",
            "token={}&next=/d/7%23/view%3Fx%3D1&y=2",
        ],
    )  # fmt: skip
    def test_a_next_that_loses_its_parameters(self, app: Flask, query: str) -> None:
        """A next with a query that is not percent-encoded is 400, at auth/enter and auth/leave."""
        cookie = session_of(app, "anna")
        for response in (
            enter(app, query.format(signed())),
            leave(app, "?" + query.replace("token={}&", "").replace("&token={}", ""), Cookie=cookie),
        ):
            assert response.status_code == 400
            assert response.get_json()["msg"].startswith("next must be percent-encoded")
            assert "Set-Cookie" not in response.headers
        assert check(app, Cookie=cookie).status_code == 200

    @pytest.mark.parametrize(
        ("query", "target"),
        [
            ("token={}&next=/d/7?orgId=1", "/d/7?orgId=1"), ("next=/d/7?orgId=1&token={}", "/d/7?orgId=1"),
            ("token={}&next=%2Fd%2F7%3ForgId%3D1%26from%3Dnow", "/d/7?orgId=1&from=now"),
            ("utm_source=mail&token={}&next=/d/7?a=1", "/d/7?a=1"), ("token={}&next=/d/7&utm_source=mail", "/d/7"),
            ("token={}&next=/d/7%23/view", "/d/7#/view"), ("token={}&utm_source=mail", "/"),
        ],
    )  # fmt: skip
    def test_a_next_that_is_whole(self, app: Flask, query: str, target: str) -> None:
        """A next with one parameter, an encoded next, and parameters before it are accepted."""
        response = enter(app, query.format(signed()))
        assert (response.status_code, response.headers.get("Location")) == (303, target)

    def test_a_ticket_and_a_token(self, app: Flask, caller: Caller) -> None:
        """A ticket and a token in one URL are refused like two tokens, and the ticket is not used up."""
        ticket = ticket_of(caller, username="bert")
        assert enter(app, f"ticket={ticket}&token={signed()}").status_code == 401
        assert enter(app, f"ticket={ticket}&next=/x?a=1&b=2").status_code == 400
        assert enter(app, f"ticket={ticket}").status_code == 303

    def test_errors_are_pages_in_a_browser(self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """In a browser an error is a page in the reader's language, with a link to SIGN_IN_URL."""
        portal = with_settings(app, clock, monkeypatch, sign_in_url="https://portal.example/in?a=1")
        for query, status in (
            (f"token={signed()}x&next=/d/7%3Fa%3D%3Cb%3E", 401), ("next=/d/7%3Fa%3D%3Cb%3E", 401),
            (f"next=//evil&token={signed()}", 400), (f"token={signed()}&next=/a?b=1&c=2", 400), ("ticket=x", 401),
        ):  # fmt: skip
            for language, words in (("en-GB", "Sign-in failed"), ("zh-CN", "登录失败")):
                response = enter(portal, query, Accept=HTML, Accept_Language=language)
                text = response.get_data(as_text=True)
                assert (response.status_code, response.mimetype) == (status, "text/html")
                assert f"<h1>{words}</h1>" in text
                assert '<a href="https://portal.example/in?a=1' in text
                assert signed()[:-8] not in text
                assert "evil" not in text
                # The one that tells the page around a frame.
                assert text.count("<script") == 1
                assert response.headers["Referrer-Policy"] == "no-referrer"
                if "%3Cb%3E" in query:
                    assert "in?a=1&amp;next=%2Fd%2F7%3Fa%3D%3Cb%3E" in text
        assert "<a " not in enter(app, "", Accept=HTML).get_data(as_text=True)
        assert enter(app, "", Accept="application/json").get_json()["msg"] == "not logged in"
        with unavailable(services_settings(app), "applications"):
            response = enter(app, f"token={signed()}", Accept=HTML)
            assert (response.status_code, response.mimetype) == (503, "text/html")


def services_settings(app: Flask) -> Any:
    with app.app_context():
        return services().settings.data_dir


@pytest.mark.parametrize(
    "cookie",
    ["x{}", "a=1,{}", "a=1, {}", "my_{}", "{}x", "a={}", "DATAFOR_GATE{v}", 'a="; {}"', "{}.x", "datafor_gate ={v}"],
)
def test_a_cookie_has_its_whole_name(app: Flask, cookie: str) -> None:
    """The gate cookie is found by its whole name between semicolons only."""
    gate = session_of(app, "anna")
    value = gate.partition("=")[2]
    assert check(app, Cookie=cookie.format(gate, v=f"={value}")).status_code == 401
    assert check(app, Cookie=f"a=1; {gate}").status_code == 200
    assert check(app, Cookie=f'a=1;datafor_gate="{value}" ; b=2').status_code == 200


def test_the_sessions_cookie_has_its_whole_name(app: Flask, caller: Caller) -> None:
    """The session cookie is found by its whole name; of several the first one is valid."""
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    session = caller.client.post(f"{EXTENSION}/auth/login", json=body).get_json()["jsessionid"]
    client = app.test_client(use_cookies=False)
    for path, passes in (("/plugin/datafor-modeler/api/user/detail", 200), ("/console/me", 200)):
        for cookie in (
            f"JSESSIONID={session}",
            f"JSESSIONID=0A1B.node1; JSESSIONID={session}",
            f"a=b;JSESSIONID={session}",
        ):
            assert client.get(path, headers={"Cookie": cookie}).status_code == passes
        for cookie in (
            f"a=1,JSESSIONID={session}",
            f"XJSESSIONID={session}",
            f"JSESSIONID={'x' * 43}; JSESSIONID={session}",
        ):
            assert client.get(path, headers={"Cookie": cookie}).status_code != passes


def test_a_known_credential_is_looked_up_once(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check with a known cookie or token looks up session, user and application once."""
    cookie = session_of(app, "anna")
    with app.app_context():
        store = type(services().gate._store)
    whole, asked = store.version, []

    def counted(self: Any, collection: str, name: str) -> Any:
        asked.append(collection)
        return whole(self, collection, name)

    monkeypatch.setattr(store, "version", counted)
    check(app, Cookie=cookie)
    assert sorted(asked) == ["applications", "sessions", "users"]
    for headers in (*PARTS, *PAGES):
        asked.clear()
        check(app, uri("anna"), Cookie=cookie, **headers)
        assert asked.count("sessions") == 1
