"""Gate: ``auth/check``, ``auth/enter`` and one-time links."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, put_user
from tests.handmade_tokens import NOW, claims, token
from tests.stores import records_in, unavailable
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application, basic, key_for, private_pem, public_pem

IDENTITY = ("Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups")
DETAIL = "/plugin/datafor-modeler/api/user/detail"


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    body = application(secret=STRONG_SECRET, initpwd="pw", initroles=["SYS_Creator", "Sales", "North"])
    assert caller.post("update", body).status_code == 200


def signed(**changes: Any) -> str:
    return token(claims(**changes), STRONG_SECRET)


def check(app: Flask, uri: str = "/", query: str = "", method: str = "GET", **headers: str) -> TestResponse:
    """Call ``auth/check`` for a request for ``uri``; ``headers`` have ``_`` for ``-``."""
    sent = {"X-Original-URI": uri, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return app.test_client(use_cookies=False).open(f"/auth/check{query}", method=method, headers=sent)


def gate_of(response: TestResponse) -> str:
    """Return the gate cookie that a response sets, or an empty text."""
    return response.headers.get("Set-Cookie", "").partition(";")[0]


def identity(response: TestResponse) -> list[str]:
    return [response.headers[name].encode("latin-1").decode() for name in IDENTITY]


@pytest.mark.parametrize("header", ["X-Original-URI", "X-Original-URL", "X-Forwarded-Uri"])
@pytest.mark.parametrize("uri", ["/reports/1?a=1&token={}", "https://intra/reports?token={}&b=%ff", "?token={}#x"])
def test_a_token_in_the_original_url(app: Flask, header: str, uri: str) -> None:
    """A token in the original URL signs in and sets the gate cookie."""
    text = signed(name="Lena Li", email="l@example.com")
    headers = {header: uri.format(text)}
    response = app.test_client().get("/auth/check", headers=headers)
    assert response.status_code == 200
    assert identity(response) == ["lena", "Lena Li", "l@example.com", "SYS_Creator,Sales,North"]
    attributes = response.headers["Set-Cookie"].split("; ")[1:]
    assert response.headers["Set-Cookie"].startswith("datafor_gate=")
    assert attributes == ["HttpOnly", "Path=/", "SameSite=Lax"]
    again = check(app, Cookie=gate_of(response))
    assert (again.status_code, identity(again), gate_of(again)) == (200, identity(response), "")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "BREW"])
def test_any_method(app: Flask, method: str) -> None:
    """The check accepts every method, and requests from every site."""
    assert check(app, f"/?token={signed()}", method=method, Sec_Fetch_Site="cross-site").status_code == 200
    assert check(app, method=method, Origin="https://evil.example").status_code == 401


def test_no_credential(app: Flask) -> None:
    """Without a credential the check is 401 with the envelope and without a Basic challenge."""
    for headers in ({}, {"Cookie": "datafor_gate=x"}, {"Cookie": f"datafor_gate={'x' * 43}"}):
        response = check(app, "/?other=1", **headers)
        assert (response.status_code, response.get_json()["msg"]) == (401, "not logged in")
        assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="datafor_token"']
        assert not set(IDENTITY) & set(response.headers.keys())
    response = check(app, f"/?token={signed()}x")
    assert (response.status_code, response.get_json()["msg"]) == (401, "invalid token")
    assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="datafor_token"']


def test_the_order_of_credentials(app: Flask, caller: Caller) -> None:
    """The order is Basic, Bearer, URL, gate cookie; the session cookie of the API is ignored."""
    gate = gate_of(check(app, f"/?token={signed()}"))
    uri = f"/?token={signed(loginname='paul')}"
    assert identity(check(app, uri, Cookie=gate, Authorization=basic()["Authorization"]))[0] == "admin"
    bearer = f"Bearer {signed(loginname='bearer')}"
    assert identity(check(app, uri, Cookie=gate, Authorization=bearer))[0] == "bearer"
    assert identity(check(app, uri, Cookie=gate))[0] == "paul"
    assert identity(check(app, Cookie=gate))[0] == "lena"
    assert check(app, uri, Cookie=gate, Authorization="Bearer x").status_code == 401
    assert check(app, "/?token=x", Cookie=gate).status_code == 401
    assert check(app, f"{uri}&token=x", Cookie=gate).status_code == 401
    login = caller.client.post(
        "/plugin/datafor/api/extension/auth/login", json={"username": "admin", "password": ADMIN_PASSWORD}
    )
    assert check(app, Cookie=f"JSESSIONID={login.get_json()['jsessionid']}").status_code == 401


def test_the_gates_cookie_is_of_no_use_elsewhere(app: Flask) -> None:
    """The gate cookie does not sign in to the API, not even as the session cookie."""
    gate = gate_of(check(app, f"/?token={signed()}"))
    client = app.test_client(use_cookies=False)
    for cookie in (gate, gate.replace("datafor_gate", "JSESSIONID")):
        assert client.get(DETAIL, headers={"Cookie": cookie}).status_code == 401


def test_headers_are_utf_8_and_always_there(app: Flask) -> None:
    """All four headers are always present, in UTF-8, without control characters."""
    put_user(app, "名前 é", full_name="Le\r\nna\x00: x", email="", type="SYS_Reader", roles=("销售", "a\nb"))
    response = check(app, f"/?token={signed(loginname='名前 é')}")
    assert identity(response) == ["名前 é", "Lena: x", "", "SYS_Reader,销售,ab"]
    assert len(response.headers.getlist("Remote-Email")) == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("?role=Sales", 200), ("?role=Other", 403), ("?role=Other&role=North", 200), ("?role=SYS_Creator", 200),
        ("?type=SYS_Creator", 200), ("?type=Administrator", 403), ("?type=Administrator&type=SYS_Creator", 200),
        ("?application=erp", 200), ("?application=CRM", 403), ("?application=CRM&application=ERP", 200),
        ("?role=Sales&type=Administrator", 403), ("?role=Sales&application=ERP", 200), ("?role=sales", 403),
        ("?role=", 403), ("?rolle=Sales", 403), ("?role[]=Sales", 403), ("?role=Sales&Type=x", 403),
    ],
)  # fmt: skip
def test_requirements(app: Flask, query: str, status: int) -> None:
    """The query of the check can require roles, types and applications, for cookies and tokens alike."""
    gate = gate_of(check(app, f"/?token={signed()}"))
    for response in (check(app, f"/?token={signed()}", query), check(app, query=query, Cookie=gate)):
        assert response.status_code == status
        assert response.get_json()["success"] is (status == 200)
        assert ("Remote-User" in response.headers) is (status == 200)


def test_a_password_is_no_application(app: Flask) -> None:
    """A user who signs in by password meets no requirement for an application."""
    authorization = basic()["Authorization"]
    assert check(app, query="?type=Administrator", Authorization=authorization).status_code == 200
    assert check(app, query="?application=ERP", Authorization=authorization).status_code == 403


def test_an_image_does_not_swap_users(app: Flask) -> None:
    """Only a navigation replaces another user's session; the same token opens no second session."""
    lena = gate_of(check(app, f"/?token={signed()}"))
    for headers in ({}, {"Sec_Fetch_Mode": "no-cors"}, {"Sec_Fetch_Mode": "cors"}):
        image = check(app, f"/i.png?token={signed(loginname='paul')}", Cookie=lena, **headers)
        assert (identity(image)[0], gate_of(image)) == ("paul", "")
    page = check(app, f"/?token={signed(loginname='paul')}", Cookie=lena, Sec_Fetch_Mode="navigate")
    assert identity(check(app, Cookie=gate_of(page)))[0] == "paul"
    assert identity(check(app, Cookie=lena))[0] == "lena"
    paul = gate_of(page)
    assert gate_of(check(app, f"/?token={signed(loginname='paul')}", Cookie=paul)) == ""
    assert gate_of(check(app, f"/?token={signed(loginname='paul', exp=NOW + 60)}", Cookie=paul)) == ""
    assert gate_of(check(app, f"/?token={signed(loginname='paul', exp=NOW + 7200)}", Cookie=paul)) != ""


def test_a_token_in_its_leeway_opens_no_session(app: Flask) -> None:
    """A token within its leeway is accepted, opens no session, and ends no session of its user."""
    good = gate_of(check(app, f"/?token={signed()}"))
    late = signed(exp=NOW - 20)
    for headers in ({}, {"Cookie": good}, {"Cookie": good, "Sec_Fetch_Mode": "navigate"}):
        response = check(app, f"/?token={late}", **headers)
        assert (response.status_code, gate_of(response)) == (200, "")
    assert check(app, Cookie=good).status_code == 200
    assert enter(app, f"token={late}").status_code == 401


def test_handshakes_and_preflights(app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A WebSocket handshake and a CORS preflight are checked like any other request."""
    cookie = gate_of(check(app, f"/?token={signed()}"))
    for headers in ({"Connection": "Upgrade", "Upgrade": "websocket"}, {"Connection": "keep-alive, upgrade"}):
        assert check(app, **headers).status_code == 401
        assert check(app, Cookie=cookie, **headers).status_code == 200
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    origin = "https://portal.example"
    cors = dataclasses.replace(settings, cors_origins=(origin,))
    other = create_app(cors, hasher=CHEAP_FOR_TESTS_ONLY)
    preflight = {"Origin": origin, "Access_Control_Request_Method": "POST"}
    assert check(other, method="OPTIONS", **preflight).status_code == 401


def test_an_ended_application_ends_its_sessions_unasked(app: Flask, caller: Caller, clock: Clock) -> None:
    """An application that was disabled and enabled, or deleted and created again, ends its sessions."""
    body = application(secret=STRONG_SECRET)
    for calls in (
        [("update", {**body, "enable": "0"}), ("update", body)],
        [("delete", {"name": "ERP"}), ("update", body)],
    ):
        cookie = gate_of(check(app, f"/?token={signed()}"))
        ticket = ticket_of(caller)
        clock.advance(1)
        for call, sent in calls:
            caller.post(call, sent)
        assert check(app, Cookie=cookie).status_code == 401
        assert enter(app, f"ticket={ticket}").status_code == 401
        assert check(app, f"/?token={signed()}").status_code == 200


def test_a_user_created_again_has_no_old_session(app: Flask, clock: Clock) -> None:
    """A user who was removed and created again by a token has none of the old sessions."""
    cookie = gate_of(check(app, f"/?token={signed()}"))
    with app.app_context():
        services().store.delete("users", "lena")
    clock.advance(1)
    assert check(app, f"/?token={signed()}").status_code == 200
    assert check(app, Cookie=cookie).status_code == 401


def test_a_gate_session_is_as_good_as_its_token(app: Flask, caller: Caller, clock: Clock) -> None:
    """A gate session ends with its token's exp, revocation, application, user and secret."""

    def opened(**changes: Any) -> str:
        return gate_of(check(app, f"/?token={signed(**changes)}"))

    def status(cookie: str) -> int:
        return check(app, Cookie=cookie).status_code

    first, second, third = (opened(n=number) for number in (1, 2, 3))
    caller.post("revoke", {"token": signed(n=1)})
    assert (status(first), status(second)) == (401, 200)
    body = application(secret=STRONG_SECRET, initpwd="pw", initroles=["SYS_Creator"])
    clock.advance(0.01)
    caller.post("update", {**body, "enable": "0"})
    assert status(second) == 401
    clock.advance(0.01)
    caller.post("update", body)
    # For good, also without a request in between.
    assert (status(second), status(third)) == (401, 401)
    third = opened(n=3)
    caller.post("rotate", {"name": "ERP", "grace": 60})
    assert status(third) == 200
    clock.advance(60)
    assert status(third) == 401
    # An update with the previous secret would undo the rotation.
    caller.post("delete", {"name": "ERP"})
    for change in ({"enabled": False}, {"password": "$argon2id$other"}):
        caller.post("update", body)
        put_user(app, "lena")
        fourth = opened(n=4)
        assert status(fourth) == 200
        put_user(app, "lena", **change)
        assert status(fourth) == 401
    fifth = opened(n=5, exp=NOW + 100)
    assert status(fifth) == 200
    clock.advance(40)
    assert status(fifth) == 401
    sixth, seventh = opened(n=6), opened(n=7)
    caller.post("update", {**body, "secret": STRONG_SECRET + "x"})
    assert status(sixth) == 401
    caller.post("delete", {"name": "ERP"})
    assert status(seventh) == 401


@pytest.mark.tokens_may_administer
def test_an_administrator_with_a_weak_secret(app: Flask, caller: Caller) -> None:
    """A session from a weak secret is refused once its user becomes an Administrator."""
    caller.post("update", application())
    cookie = gate_of(check(app, f"/?token={token(claims())}"))
    assert check(app, Cookie=cookie).status_code == 200
    put_user(app, "lena", type="Administrator")
    assert check(app, Cookie=cookie).status_code == 401


@pytest.mark.file_store
def test_a_disk_that_cannot_be_written(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only disk a known user passes without a cookie; a lost folder is 503."""
    put_user(app, "lena")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        response = check(app, f"/?token={signed()}")
        assert (response.status_code, gate_of(response)) == (200, "")
        assert check(app, f"/?token={signed(loginname='new')}").status_code == 503
    with app.app_context(), unavailable(services().settings.data_dir, "sessions"):
        assert check(app, Cookie=f"datafor_gate={'x' * 43}").status_code == 503


def enter(app: Flask, query: str, method: str = "GET", **headers: str) -> TestResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.test_client(use_cookies=False).open(f"/auth/enter?{query}", method=method, headers=sent)


def test_a_token_becomes_a_cookie(app: Flask) -> None:
    """The entrance sets the cookie and redirects to an address without the token."""
    response = enter(app, f"token={signed()}&next=/reports/1%3Fa=b")
    assert response.status_code == 303
    assert response.headers["Location"] == "/reports/1?a=b"
    assert (response.headers["Cache-Control"], response.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    assert signed() not in response.get_data(as_text=True)
    assert identity(check(app, Cookie=gate_of(response)))[0] == "lena"
    assert enter(app, f"token={signed()}").headers["Location"] == "/"
    assert enter(app, f"token={signed()}&next=/wiki/Talk:Main").headers["Location"] == "/wiki/Talk:Main"
    assert enter(app, f"token={signed()}&next=/{quote('报告')}").headers["Location"] == f"/{quote('报告')}"
    replaced = enter(app, f"token={signed(loginname='paul')}", Cookie=gate_of(response))
    assert identity(check(app, Cookie=gate_of(replaced)))[0] == "paul"
    assert identity(check(app, Cookie=gate_of(response)))[0] == "lena"


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        ("/a?token={}&b=1", "/a?b=1"), ("/a?to%6ben=x&ticket=y", "/a"), ("/a?c={}", "/a"), ("/a#token={}", "/a"),
        ("/a/{}", "/"), ("/auth/enter?token={}", "/auth/enter"), ("/a?tokens=x", "/a?tokens=x"),
    ],
)  # fmt: skip
def test_next_has_no_token(app: Flask, caller: Caller, target: str, kept: str) -> None:
    """The author of `next`, who is not that of the token, signs nobody in as somebody else with it."""
    target = target.format(signed(loginname="mallory"))
    query = f"next={quote(target, safe='')}"
    entered = enter(app, f"token={signed()}&{query}", Sec_Fetch_Site="none")
    assert entered.headers["Location"] == kept
    ticket = caller.post("link", {"name": "ERP", "username": "lena", "next": target}).json["url"].partition("=")[2]
    assert enter(app, f"ticket={ticket}").headers["Location"] == kept
    left = app.test_client().get(f"/auth/leave?{query}")
    assert (left.status_code, left.headers["Location"]) == (303, kept)
    framed = app.test_client().get(f"/auth/leave?{query}", headers={"Sec-Fetch-Dest": "iframe"})
    assert framed.headers["Refresh"] == f"0; url={kept}"


@pytest.mark.parametrize(
    "headers", [{"Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, {"Sec_Fetch_Mode": "cors"}]
)
def test_an_image_does_not_enter(app: Flask, caller: Caller, headers: dict[str, str]) -> None:
    """Requests other than navigations neither change the user nor use up a link."""
    cookie = gate_of(check(app, f"/?token={signed()}"))
    ticket = ticket_of(caller, username="paul")
    for query in (f"token={signed(loginname='paul')}", f"ticket={ticket}"):
        response = enter(app, query, Cookie=cookie, **headers)
        assert (response.status_code, gate_of(response)) == (403, "")
    assert check(app, Cookie=cookie).status_code == 200
    assert enter(app, f"ticket={ticket}", Sec_Fetch_Mode="navigate").status_code == 303


ELSEWHERE = [
    "", "x", "//evil", "///evil", "/\\evil", "\\evil", "/%2fevil", "/%5cevil", "/%252fevil", "https://evil",
    "https:evil", "javascript:alert(1)", "/\tx", "/\n/evil", "/%0a/evil", "/%0d%0aSet-Cookie:x", "/\uff0fevil",
    "/@evil", "/a//b",
    "/\u2028", "/x?\r\nSet-Cookie: a=b", "/..//evil", " //evil", "/\0", "/" + "x" * 2048,
]  # fmt: skip


@pytest.mark.parametrize("target", ELSEWHERE)
def test_next_stays_on_this_host(app: Flask, caller: Caller, target: str) -> None:
    """A next that leads to another host, also after decoding it once more, is 400."""
    response = enter(app, f"token={signed()}&next={quote(target, safe='')}")
    assert (response.status_code, response.get_json()["msg"].split()[0]) == (400, "next")
    assert "Set-Cookie" not in response.headers
    assert caller.post("link", {"name": "ERP", "next": target}).status_code == 400


def test_the_entrance_is_refused(app: Flask) -> None:
    """Without exactly one valid token and one target, the entrance is an error without cookie and Basic challenge."""
    for query, status in (
        ("", 401), ("next=/x", 401), (f"token={signed()}x", 401), (f"token={signed()}&token={signed()}", 401),
        (f"jwt={signed()}", 401), (f"token={signed()}&next=/a&next=/b", 400), ("ticket=x", 401),
        ("ticket=a&ticket=b", 400),
    ):  # fmt: skip
        response = enter(app, query)
        assert (response.status_code, "Set-Cookie" in response.headers) == (status, False)
        if status == 401:
            assert response.headers.getlist("WWW-Authenticate") == ['Bearer realm="datafor_token"']


@pytest.mark.parametrize(
    ("samesite", "attributes"),
    [("Lax", "HttpOnly; Path=/; SameSite=Lax"), ("Strict", "HttpOnly; Path=/; SameSite=Strict"),
     ("None", "Secure; HttpOnly; Path=/; SameSite=None; Partitioned")],
)  # fmt: skip
def test_a_cookie_for_frames(
    settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch, samesite: str, attributes: str
) -> None:
    """With GATE_SAMESITE None the cookie works in frames of other sites."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    framed = dataclasses.replace(settings, gate_samesite=samesite)
    app = create_app(framed, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    response = enter(app, f"token={signed()}")
    assert response.headers["Set-Cookie"].partition("; ")[2] == attributes


def ticket_of(caller: Caller, **body: Any) -> str:
    response = caller.post("link", {"name": "ERP", "username": "lena", **body})
    assert list(response.json) == ["success", "url", "expire"]
    path, _, ticket = response.json["url"].partition("?ticket=")
    assert path == "/auth/enter"
    return str(ticket)


class TestLinks:
    """``token/link``: one-time links."""

    def test_a_link_signs_in_once(self, app: Flask, caller: Caller, settings: Settings) -> None:
        """The first request for a link signs in and is redirected; the second is refused."""
        ticket = ticket_of(caller, next="/reports?x=1", payload={"name": "Lena", "email": "l@x"})
        (path,) = records_in(settings.data_dir, "tickets")
        assert ticket not in path.read_text() + path.name
        response = enter(app, f"ticket={ticket}")
        assert (response.status_code, response.headers["Location"]) == (303, "/reports?x=1")
        assert identity(check(app, Cookie=gate_of(response)))[:3] == ["lena", "Lena", "l@x"]
        second = enter(app, f"ticket={ticket}")
        assert (second.status_code, second.get_json()["msg"]) == (401, "invalid token")
        assert records_in(settings.data_dir, "tickets") == []

    def test_two_at_once(self, app: Flask, caller: Caller) -> None:
        """Of many simultaneous requests for a link, one is signed in."""
        ticket = ticket_of(caller)
        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(lambda _: enter(app, f"ticket={ticket}").status_code, range(8)))
        assert statuses == [303] + [401] * 7

    @pytest.mark.tokens_may_administer
    def test_the_defaults(self, caller: Caller, clock: Clock, app: Flask) -> None:
        """The defaults are one minute, the start page, the caller and the only application."""
        link = caller.post("link").json
        assert link["expire"] == 60
        response = enter(app, link["url"].partition("?")[2])
        assert response.headers["Location"] == "/"
        assert identity(check(app, Cookie=gate_of(response)))[0] == "admin"
        late = ticket_of(caller)
        clock.advance(60)
        assert enter(app, f"ticket={late}").status_code == 401

    def test_a_link_that_does_not_sign_in(self, app: Flask, caller: Caller) -> None:
        """A link that would be refused now says why in its response; any other has no further member."""
        admin = caller.post("link", {"username": "admin"}).json
        assert admin["warnings"] == [
            "it does not sign in now: tokens cannot sign in an Administrator: TOKENS_MAY_ADMINISTER is false"
        ]
        assert enter(app, admin["url"].partition("?")[2]).status_code == 401
        assert caller.post("link", {"username": "lena"}).json.keys() == {"success", "url", "expire"}
        caller.post("update", application(inituser="0"))
        (warning,) = caller.post("link", {"username": "otto"}).json["warnings"]
        assert "otto does not exist" in warning

    @pytest.mark.tokens_may_administer
    def test_a_link_of_a_weak_secret(self, caller: Caller) -> None:
        """With TOKENS_MAY_ADMINISTER, a link for an Administrator says that the secret is weak, if it is."""
        caller.post("update", application())
        (warning,) = caller.post("link", {"username": "admin"}).json["warnings"]
        assert warning == "it does not sign in now: the secret of ERP is weak: it cannot sign in an Administrator"
        caller.post("update", application(secret=STRONG_SECRET))
        assert "warnings" not in caller.post("link", {"username": "admin"}).json

    def test_where_the_link_begins(self, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """With PUBLIC_URL the link is absolute; the Host header is never used."""
        monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
        public = dataclasses.replace(settings, public_url="https://intra.example", url_prefix="/datafor")
        caller = Caller(create_app(public, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY).test_client())
        headers = {**basic(), "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
        response = caller.post("/datafor/plugin/datafor-modeler/api/token/link", {}, headers)
        assert response.json["url"].startswith("https://intra.example/datafor/auth/enter?ticket=")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec_Purpose": "prefetch"},
            {"Sec_Purpose": "prefetch;prerender"},
            {"Purpose": "prefetch"},
            {"X_Moz": "prefetch"},
        ],
    )
    def test_previews_do_not_use_it_up(self, app: Flask, caller: Caller, headers: dict[str, str]) -> None:
        """A HEAD request and a prefetch get no cookie and do not use up the ticket."""
        ticket = ticket_of(caller)
        assert "Set-Cookie" not in enter(app, f"ticket={ticket}", "HEAD").headers
        assert enter(app, f"ticket={ticket}", **headers).status_code == 403
        assert enter(app, f"ticket={ticket}", Sec_Fetch_Mode="navigate").status_code == 303

    def test_what_is_checked_again(self, app: Flask, caller: Caller, clock: Clock) -> None:
        """Application, secret and user are checked when the link is opened."""
        body = application(secret=STRONG_SECRET, inituser="0")
        unknown = ticket_of(caller)
        caller.post("update", body)
        assert enter(app, f"ticket={unknown}").status_code == 401
        put_user(app, "lena")
        for call, change in (
            ("update", {**body, "enable": "0"}),
            ("update", {**body, "secret": "another"}),
            ("delete", {"name": "ERP"}),
        ):
            caller.post("update", body)
            ticket = ticket_of(caller)
            caller.post(call, change)
            assert enter(app, f"ticket={ticket}").status_code == 401
        caller.post("update", body)
        in_grace, after = ticket_of(caller, ttl=600), ticket_of(caller, ttl=600)
        caller.post("rotate", {"name": "ERP", "grace": 60})
        assert enter(app, f"ticket={in_grace}").status_code == 303
        clock.advance(60)
        assert enter(app, f"ticket={after}").status_code == 401

    def test_its_session_ends_like_a_tokens(self, app: Flask, caller: Caller, clock: Clock) -> None:
        """A session from a ticket lasts as long as a token of the application."""
        caller.post("update", application(secret=STRONG_SECRET, expire=100))
        cookie = gate_of(enter(app, f"ticket={ticket_of(caller)}"))
        clock.advance(99)
        assert check(app, Cookie=cookie).status_code == 200
        clock.advance(1)
        assert check(app, Cookie=cookie).status_code == 401

    def test_an_outage_does_not_use_up_a_link(self, app: Flask, caller: Caller, settings: Settings) -> None:
        """A link that is opened during an outage works afterwards."""
        for folder in ("sessions", "tickets", "users"):
            ticket = ticket_of(caller)
            with unavailable(settings.data_dir, folder):
                assert enter(app, f"ticket={ticket}").status_code == 503
            assert enter(app, f"ticket={ticket}").status_code == 303

    def test_public_keys_too(self, app: Flask, caller: Caller) -> None:
        """A link of an application with a public key needs no private key."""
        key = key_for("ES256")
        caller.post("update", application(algorithm="ES256", secret=public_pem(key)))
        assert private_pem(key)
        assert enter(app, f"ticket={ticket_of(caller)}").status_code == 303

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"ttl": 0}, "ttl"), ({"ttl": 86401}, "ttl"), ({"ttl": "60"}, "ttl"), ({"ttl": True}, "ttl"),
            ({"username": "a:b"}, "username"), ({"payload": {"exp": 1}}, "payload.exp"), ({"payload": 5}, "payload"),
            ({"next": "//evil"}, "next"), ({"pay_load": "x"}, "pay_load"), ({"name": "a/b"}, "name"),
        ],
    )  # fmt: skip
    def test_a_wrong_value_is_named(self, caller: Caller, settings: Settings, body: dict[str, Any], field: str) -> None:
        """An invalid field is 400 and named, and no ticket is created."""
        response = caller.post("link", {"name": "ERP", **body})
        assert response.status_code == 400
        assert response.json["msg"].startswith(f"{field} ")
        assert records_in(settings.data_dir, "tickets") == []

    def test_only_administrators_create_links(self, app: Flask, caller: Caller) -> None:
        """Only Administrators create links, and only of enabled applications."""
        put_user(app, "lena", password=CHEAP_FOR_TESTS_ONLY.hash("pw"))
        assert caller.post("link", {}, basic("lena", "pw")).json["msg"] == "no permission"
        assert caller.post("link", {}, {}).json["msg"] == "not logged in"
        caller.post("update", application(secret=STRONG_SECRET, enable="0"))
        assert caller.post("link", {"name": "ERP"}).status_code == 403
        assert caller.post("link", {"name": "CRM"}).status_code == 404

    def test_old_tickets_are_swept(self, app: Flask, caller: Caller, settings: Settings, clock: Clock) -> None:
        """Expired tickets are removed."""
        ticket_of(caller)
        clock.advance(60)
        with app.app_context():
            services().gate.sweep()
        assert records_in(settings.data_dir, "tickets") == []

    def test_a_damaged_ticket(self, app: Flask, caller: Caller, settings: Settings) -> None:
        """A ticket with a damaged record is refused without an internal error."""
        for member in ("expires", "application", "secret_sealed", "username", "next", "made"):
            values: tuple[Any, ...] = (None, 5 if member not in ("expires", "made") else "x", [], {})
            for value in values:
                ticket = ticket_of(caller)
                (path,) = records_in(settings.data_dir, "tickets")
                path.write_text(json.dumps({**json.loads(path.read_text()), member: value}))
                assert enter(app, f"ticket={ticket}").status_code == 401
                path.unlink()

    def test_a_field_map_that_changed_in_between(self, app: Flask, caller: Caller) -> None:
        """A link signs in its user, also if the field map was changed since."""
        ticket = ticket_of(caller)
        fieldmap = {"username": "other", "name": "n", "email": "e"}
        caller.post("update", application(secret=STRONG_SECRET, fieldmap=fieldmap))
        response = enter(app, f"ticket={ticket}")
        assert identity(check(app, Cookie=gate_of(response)))[0] == "lena"

    def test_a_damaged_session(self, app: Flask, settings: Settings) -> None:
        """A gate session with a damaged record is refused without an internal error."""
        cookie = gate_of(check(app, f"/?token={signed()}"))
        (path,) = records_in(settings.data_dir, "sessions")
        record = json.loads(path.read_text())
        for member in ("expires", "application", "secret_sealed"):
            values: tuple[Any, ...] = (0, "x", [], {})
            for value in values:
                path.write_text(json.dumps({**record, "grant": {**record["grant"], member: value}}))
                assert check(app, Cookie=cookie).status_code == 401
