"""Sign-in page of the gate: ``auth/sign-in``."""

import html
import re
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from markupsafe import escape
from werkzeug.test import TestResponse

from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.metrics.test_metrics import count, samples
from tests.stores import records_in, unavailable
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application
from tests.web.api.test_gate import ELSEWHERE, check, gate_of, identity, signed
from tests.web.api.test_who_is_who import CLEARED, EXTENSION, HTML, with_settings

PASSWORD = "long enough"
USERS = "/plugin/datafor-modeler/api/user"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln"


@pytest.fixture(autouse=True)
def _users(app: Flask, caller: Caller) -> None:
    assert caller.post("update", application(secret=STRONG_SECRET)).status_code == 200
    with app.app_context():
        for name in ("lena", "paul"):
            services().accounts.add(name, PASSWORD, roles=("Sales",))


def show(app: Flask, query: str = "", **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in {"Accept": HTML, **headers}.items()}
    return app.test_client(use_cookies=False).get(f"/auth/sign-in{query}", headers=sent)


def send(app: Flask, name: str = "lena", password: str = PASSWORD, target: str | None = None, **headers: str) -> Any:
    """Send the form of the page as a browser over plain http does."""
    sent = {name.replace("_", "-"): value for name, value in {"Accept": HTML, **headers}.items() if value}
    form = {"username": name, "password": password} | ({} if target is None else {"next": target})
    return app.test_client(use_cookies=False).post("/auth/sign-in", data=form, headers=sent)


def cookie_of(app: Flask, name: str = "lena", **options: str) -> str:
    """Sign in, and return the gate cookie."""
    response = send(app, name, **options)
    assert response.status_code == 303
    return gate_of(response)


def next_of(page: TestResponse) -> str:
    """Return the target that the form of a page sends."""
    (value,) = re.findall('<input type="hidden" name="next" value="([^"]*)">', page.get_data(as_text=True))
    return html.unescape(value)


class TestPage:
    """The page with the form."""

    @pytest.mark.parametrize(("language", "words"), [("en-GB", "Sign in"), ("zh-CN", "登录"), ("fr", "Sign in")])
    def test_the_form(self, app: Flask, language: str, words: str) -> None:
        """The page is in the reader's language, and its labelled fields are known to password managers."""
        page = show(app, "?next=/reports/1", Accept_Language=language)
        text = page.get_data(as_text=True)
        assert (page.status_code, page.mimetype) == (200, "text/html")
        assert f"<h1>{words}</h1>" in text
        for name, known_as in (("username", "username"), ("password", "current-password")):
            (field,) = re.findall(f'<input id="{name}"[^>]*>', text)
            assert f'<label for="{name}">' in text
            assert f'autocomplete="{known_as}"' in field
            assert (" autofocus" in field) is (name == "username")
        assert next_of(page) == "/reports/1"

    def test_it_needs_nothing_else(self, app: Flask) -> None:
        """The page has no script and no foreign resource, is not stored, and only our own pages may frame it."""
        page = show(app)
        text, policy = page.get_data(as_text=True), page.headers["Content-Security-Policy"]
        assert not re.search("<(script|img|link|iframe)|javascript:|https?://", text)
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "; frame-ancestors 'self'; " in policy
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["Cache-Control"] == "no-store"

    def test_somebody_is_signed_in(self, app: Flask) -> None:
        """For a signed-in user the page says who that is, links to next, and has the form for another user."""
        for cookie in (cookie_of(app), gate_of(check(app, f"/?token={signed()}"))):
            page = show(app, "?next=/reports/1%3Fa=1%26b=2", Cookie=cookie)
            text = page.get_data(as_text=True)
            assert "You are signed in as lena." in text
            assert '<a href="/reports/1?a=1&amp;b=2">Continue</a>' in text
            assert next_of(page) == "/reports/1?a=1&b=2"

    def test_the_prefix(self, app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """The form is sent to the path below URL_PREFIX."""
        other = with_settings(app, clock, monkeypatch, url_prefix="/datafor")
        text = other.test_client().get("/datafor/auth/sign-in?next=/a").get_data(as_text=True)
        assert '<form method="post" action="/datafor/auth/sign-in?next=%2Fa">' in text


class TestNext:
    """The page to go to afterwards."""

    @pytest.mark.parametrize(
        ("target", "kept"),
        [
            ("/d/7?orgId=1&from=now", "/d/7?orgId=1&from=now"), ("/d/7#/view?x=1", "/d/7#/view?x=1"),
            ("/报告?a=%25&b=%2F", "/报告?a=%25&b=%2F"), (f"/d?a=1&token={JWT}&b=2", "/d?a=1&b=2"),
            ("/d?ticket=x", "/d"), (f"/d?TOKEN={JWT}", "/d"), (f"/d#token={JWT}", "/d"), (f"/d/{JWT}", "/"),
        ],
    )  # fmt: skip
    def test_without_a_token(self, app: Flask, target: str, kept: str) -> None:
        """Page and redirect keep path, query and fragment of next, but no token."""
        page = show(app, f"?next={quote(target, safe='')}")
        assert next_of(page) == kept
        assert JWT not in page.get_data(as_text=True)
        assert send(app, target=target, Cookie="datafor_gate=x").headers["Location"] == quote(kept, safe="/?&=#%")

    @pytest.mark.parametrize(
        "target",
        ["/auth/sign-in", "/auth/sign-in?next=/x", "/auth/leave", "/auth/enter?arrived=1", "/auth/frame", "/auth/",
         "/auth", "/./auth/leave", "/x/../auth/leave", "/%61uth/leave", "/auth%2Fleave", "/%2e/auth/leave",
         "/%252561uth/leave"],
    )  # fmt: skip
    def test_never_to_our_own_pages(self, app: Flask, target: str) -> None:
        """A next that is a page of the gate, such as the sign-out, leads to / instead."""
        assert next_of(show(app, f"?next={quote(target, safe='')}")) == "/"
        assert send(app, target=target, Cookie="datafor_gate=x").headers["Location"] == "/"

    @pytest.mark.parametrize("target", ELSEWHERE)
    def test_it_stays_on_this_host(self, app: Flask, target: str) -> None:
        """A next that leads to another host is 400, and signs nobody in."""
        page = show(app, f"?next={quote(target, safe='')}")
        assert (page.status_code, page.mimetype) == (400, "text/html")
        assert '<a href="/auth/sign-in">Sign in</a>' in page.get_data(as_text=True)
        response = send(app, target=target)
        assert (response.status_code, "Set-Cookie" in response.headers) == (400, False)

    def test_without_next(self, app: Flask) -> None:
        """Without next, the sign-in leads to /."""
        assert next_of(show(app)) == "/"
        assert send(app, Cookie="datafor_gate=x").headers["Location"] == "/"

    def test_a_next_that_loses_its_parameters(self, app: Flask) -> None:
        """A next with a query that is not percent-encoded is 400."""
        assert show(app, "?next=/d/7?a=1&b=2").status_code == 400

    def test_a_wrong_password_keeps_it(self, app: Flask) -> None:
        """After a wrong password the form has the same next."""
        assert next_of(send(app, password="x", target="/d/7?a=1&b=2")) == "/d/7?a=1&b=2"


class TestSignIn:
    """The form is sent."""

    def test_it_opens_a_session(self, app: Flask) -> None:
        """The right password sets the gate cookie, which is that user's at the check."""
        response = send(app, target="/reports/1", Cookie="datafor_gate=x")
        assert (response.status_code, response.headers["Location"]) == (303, "/reports/1")
        attributes = response.headers["Set-Cookie"].split("; ")[1:]
        assert attributes == ["HttpOnly", "Path=/", "SameSite=Lax"]
        assert identity(check(app, Cookie=gate_of(response)))[0] == "lena"

    def test_its_requirements(self, app: Flask) -> None:
        """A session that a password opened meets requirements for roles and types, but none for an application."""
        cookie = cookie_of(app)
        for query, status in (
            ("?role=Sales", 200), ("?role=Other", 403), ("?type=SYS_Reader", 200), ("?type=Administrator", 403),
            ("?application=ERP", 403), ("?role=Sales&application=ERP", 403),
        ):  # fmt: skip
            assert check(app, query=query, Cookie=cookie).status_code == status

    def test_it_is_not_a_session_of_the_api(self, app: Flask) -> None:
        """The cookie does not sign in to calls and the console."""
        value = cookie_of(app).partition("=")[2]
        client = app.test_client(use_cookies=False)
        for name in ("datafor_gate", "JSESSIONID"):
            assert client.get(f"{USERS}/detail", headers={"Cookie": f"{name}={value}"}).status_code == 401

    def test_another_user(self, app: Flask, caller: Caller) -> None:
        """Signing in as somebody else replaces the cookie, and ends the session that a password opened before."""
        lena, by_token = cookie_of(app), gate_of(check(app, f"/?token={signed()}"))
        paul = cookie_of(app, "paul", Cookie=f"{lena}; {by_token}")
        assert identity(check(app, Cookie=paul))[0] == "paul"
        assert check(app, Cookie=lena).status_code == 401
        # Everybody who presents the token shares its session.
        assert identity(check(app, Cookie=by_token))[0] == "lena"
        assert len(caller.get(f"{USERS}/sessions?username=lena").json["data"]) == 1

    @pytest.mark.parametrize(
        "headers", [{"Sec_Fetch_Mode": "cors"}, {"Sec_Fetch_Mode": "no-cors"}, {"X_Requested_With": "XMLHttpRequest"}]
    )
    def test_a_script_does_not_replace_a_user(self, app: Flask, headers: dict[str, str]) -> None:
        """A script of an open page cannot replace its user, but can sign in where nobody is signed in."""
        response = send(app, "paul", Cookie=cookie_of(app), **headers)
        assert (response.status_code, "Set-Cookie" in response.headers) == (403, False)
        assert send(app, "paul", **headers).status_code == 303

    def test_a_client_without_pages(self, app: Flask) -> None:
        """A client that is not a browser may send JSON, and gets the envelope."""
        client = app.test_client(use_cookies=False)
        body = {"username": "lena", "password": PASSWORD, "next": "/a"}
        response = client.post("/auth/sign-in", json=body)
        assert (response.status_code, response.headers["Location"]) == (303, "/a")
        assert response.get_json() == {"success": True}
        response = client.post("/auth/sign-in", json={**body, "password": "x"})
        assert (response.status_code, response.get_json()["msg"]) == (401, "wrong password")
        assert client.post("/auth/sign-in", json={}).get_json()["errors"].keys() == {"username", "password"}

    def test_the_records(self, app: Flask, caller: Caller) -> None:
        """Audit log and metrics have a sign-in, and a refused one with the request that the page names."""
        page = send(app, password="x")
        (reference,) = re.findall("Reference: ([0-9a-f]{32})", page.get_data(as_text=True))
        cookie_of(app)
        found = samples(app.test_client().get("/metrics").get_data(as_text=True))
        events = [
            (event["event"], event.get("reason"), event["way"])
            for event in caller.get("audit?user=lena").json["data"]
            if event["event"].startswith("sign_in")
        ]
        assert events == [("sign_in", None, "login"), ("sign_in_refused", "wrong_password", "login")]
        refused = caller.get("audit?event=sign_in_refused").json["data"]
        assert [event["request_id"] for event in refused] == [reference]
        for outcome in ("accepted", "wrong_password"):
            assert count(found, "sign_ins_total", way="login", outcome=outcome) == 1


class TestRefusal:
    """The form is sent, and nobody is signed in."""

    @pytest.mark.parametrize(
        ("name", "password"),
        [("lena", "x"), ("nobody", PASSWORD), ("", ""), ("a:b", "x"), ("lena", ""), ('"><script>', "x")],
    )
    def test_a_wrong_password(self, app: Flask, name: str, password: str) -> None:
        """A wrong password is a 401 page with the name that was typed, an alert, and no password."""
        response = send(app, name, password)
        text = response.get_data(as_text=True)
        assert (response.status_code, response.mimetype) == (401, "text/html")
        assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="datafor_token"']
        assert '<p role="alert" id="error">The user name or the password is wrong.</p>' in text
        assert f'name="username" value="{escape(name)}"' in text
        assert "<script" not in text
        assert PASSWORD not in text
        assert 'type="password" required autocomplete="current-password" autofocus' in text or not name
        assert (response.headers["Referrer-Policy"], "Set-Cookie" in response.headers) == ("same-origin", False)

    def test_too_many(self, app: Flask) -> None:
        """After ten failures the right password too is a 429 page with Retry-After."""
        for _ in range(10):
            assert send(app, password="x").status_code == 401
        response = send(app)
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 300
        assert re.search(r'role="alert"[^>]*>Too many failed attempts. Try again in [1-5] min', response.text)
        assert send(app, "paul").status_code == 303

    def test_an_outage(self, app: Flask, settings: Settings) -> None:
        """In an outage the form is a 503 page with Retry-After that has the name and next, but no password."""
        for records in ("users", "sessions"):
            with unavailable(settings.data_dir, records):
                response = send(app, target="/reports/1")
                assert (response.status_code, "Set-Cookie" in response.headers) == (503, False)
                assert int(response.headers["Retry-After"]) > 0
                assert 'role="alert"' in response.text
                assert (next_of(response), 'value="lena"' in response.text) == ("/reports/1", True)
                assert PASSWORD not in response.text

    # Of a database, all tables can be read, or none.
    @pytest.mark.file_store
    def test_an_outage_of_applications(self, app: Flask, settings: Settings) -> None:
        """While the applications cannot be read, a password signs in, and next loses what is a credential anyway."""
        with unavailable(settings.data_dir, "applications"):
            response = send(app, target=f"/reports/1?ticket=x&a=1#{JWT}", Cookie="datafor_gate=x")
        assert (response.status_code, response.headers["Location"]) == (303, "/reports/1?a=1")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://evil.example"},
            {"Origin": "http://other.localhost"}, {"Origin": "http://localhost:81"}, {"Origin": "https://localhost"},
            {"Origin": "null"},
        ],
    )  # fmt: skip
    def test_a_form_of_another_site(self, app: Flask, headers: dict[str, str]) -> None:
        """A form of another site, or of another host of the same domain, is a 403 page and signs nobody in."""
        response = send(app, **headers)
        assert (response.status_code, response.mimetype) == (403, "text/html")
        assert "Set-Cookie" not in response.headers
        assert '<a href="/auth/sign-in">Sign in</a>' in response.text
        own = {"Sec_Fetch_Site": "same-origin"} if "Sec_Fetch_Site" in headers else {"Origin": "http://localhost"}
        assert send(app, **own).status_code == 303


class TestEnd:
    """The end of a session that a password opened."""

    @pytest.mark.parametrize("change", ["disabled", "deleted", "password"])
    def test_with_its_user(self, app: Flask, caller: Caller, change: str) -> None:
        """It ends at once when its user is disabled or deleted, or gets another password."""
        cookie = cookie_of(app)
        profile = {"username": "lena", "name": "", "email": "", "usertype": "SYS_Reader", "enabled": "1"}
        call, body = {
            "disabled": ("insertOrUpdate", {**profile, "enabled": "0"}),
            "deleted": ("delete", {"username": "lena"}),
            "password": ("insertOrUpdate", {**profile, "password": "another password"}),
        }[change]
        assert caller.post(f"{USERS}/{call}", body).status_code == 200
        assert check(app, Cookie=cookie).status_code == 401

    def test_in_the_list_of_sessions(self, app: Flask, caller: Caller) -> None:
        """It is in user/sessions, and can be ended there."""
        cookie, other = cookie_of(app), cookie_of(app)
        listed = caller.get(f"{USERS}/sessions?username=lena").json["data"]
        assert {(one["kind"], one["application"]) for one in listed} == {("gate", "")}
        assert caller.post(f"{USERS}/sessions/end", {"id": listed[0]["id"]}).status_code == 200
        assert sorted(check(app, Cookie=one).status_code for one in (cookie, other)) == [200, 401]
        assert caller.post(f"{USERS}/sessions/end", {"username": "lena"}).status_code == 200
        assert check(app, Cookie=other).status_code == 401

    @pytest.mark.parametrize("path", ["/auth/leave", f"{EXTENSION}/auth/logout"])
    def test_signing_out(self, app: Flask, settings: Settings, path: str) -> None:
        """auth/leave and auth/logout end it, and nothing of it remains."""
        cookie = cookie_of(app)
        response = app.test_client(use_cookies=False).post(path, headers={"Cookie": cookie})
        assert CLEARED in response.headers.getlist("Set-Cookie")
        assert check(app, Cookie=cookie).status_code == 401
        assert records_in(settings.data_dir, "sessions") == []

    def test_its_time(self, app: Flask, clock: Clock) -> None:
        """It ends after SESSION_IDLE_MINUTES without a request."""
        cookie = cookie_of(app)
        clock.advance(3599)
        assert check(app, Cookie=cookie).status_code == 200
        clock.advance(3600)
        assert check(app, Cookie=cookie).status_code == 401


@pytest.mark.file_store
def test_a_password_is_in_no_log(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the log nor the audit log has a password, a cookie or the name of an unknown user."""
    for name, password in (("lena", PASSWORD), ("lena", "guessed-word"), ("typed-password", "x")):
        send(app, name, password)
    with app.app_context():
        lines = capsys.readouterr().err + (services().settings.data_dir / "audit.log").read_text()
    for secret in (PASSWORD, "guessed-word", "typed-password", ADMIN_PASSWORD):
        assert secret not in lines
