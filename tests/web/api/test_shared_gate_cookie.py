"""``GATE_COOKIE_DOMAIN``: one cookie of the gate for all hosts of a domain; several cookies of one name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token import create_app
from datafor_token.gate.gate import Gate, GateSession
from datafor_token.settings import Settings
from datafor_token.tokens.networks import ClientSource
from datafor_token.web import cookies
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.console.client import Client
from tests.handmade_tokens import NOW
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application
from tests.web.api.test_gate import check, gate_of, identity, signed

DOMAIN = "intra.example"
REPORTS, CRM = f"reports.{DOMAIN}", f"crm.{DOMAIN}"
LOGOUT = "/plugin/datafor/api/extension/auth/logout"
MAKE = Callable[..., Flask]


@pytest.fixture
def make(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> MAKE:
    """Return a function that starts the service with other settings, on the same records."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)

    def made(domain: str = DOMAIN, **changes: Any) -> Flask:
        return create_app(
            dataclasses.replace(settings, gate_cookie_domain=domain, **changes),
            clock=clock,
            hasher=CHEAP_FOR_TESTS_ONLY,
        )

    return made


@pytest.fixture
def app(make: MAKE) -> Flask:
    app = make()
    assert Caller(app.test_client()).post("update", application(secret=STRONG_SECRET)).status_code == 200
    return app


def opened(app: Flask, name: str = "lena", host: str = REPORTS, **headers: str) -> str:
    """Return the cookie that a navigation with a token of this user sets."""
    return gate_of(page(app, name, host, **headers))


def page(app: Flask, name: str = "lena", host: str = REPORTS, **headers: str) -> TestResponse:
    return check(app, f"/?token={signed(loginname=name)}", Host=host, Accept="text/html", **headers)


def user(app: Flask, *sent: str, host: str = REPORTS) -> str | None:
    """Return whom the cookies sign in, or ``None``."""
    response = check(app, Host=host, Cookie="; ".join(sent))
    assert response.status_code in (200, 401)
    return identity(response)[0] if response.status_code == 200 else None


def attributes(response: TestResponse) -> list[str]:
    """Return the attributes of each cookie that a response sets."""
    return [header.partition("; ")[2] for header in response.headers.getlist("Set-Cookie")]


@pytest.mark.parametrize(
    ("host", "shared"),
    [
        (REPORTS, True), (f"{REPORTS}:8443", True), ("Reports.INTRA.example", True), (DOMAIN, True),
        (f"a.b.{DOMAIN}", True), (f"evil{DOMAIN}", False), (f"{DOMAIN}.evil.example", False), ("example", False),
        # Browsers compare the text, and so keep the cookie of such a host for it alone.
        (f"{REPORTS}.", False), (f"{DOMAIN}.", False),
        ("127.0.0.1:8080", False), ("[::1]:8080", False), ("[2001:db8::1]", False), ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_only_hosts_of_the_domain_share_the_cookie(app: Flask, host: str, shared: bool) -> None:
    """The cookie has the domain where the host is in it, and is the host's own elsewhere: it works in both cases."""
    response = page(app, host=host)
    assert attributes(response) == [("Domain=intra.example; " if shared else "") + "HttpOnly; Path=/; SameSite=Lax"]
    assert user(app, gate_of(response), host=host) == "lena"
    assert user(app, gate_of(response), host=CRM) == ("lena" if shared else None)


def test_the_host_that_the_proxy_passes_on(make: MAKE, app: Flask) -> None:
    """Behind a trusted proxy the host is that of X-Forwarded-Host, and from others the header changes nothing."""
    forwarded = {"X_Forwarded_Host": "other.example", "X_Forwarded_For": "10.0.0.1"}
    assert attributes(page(app, **forwarded)) == ["Domain=intra.example; HttpOnly; Path=/; SameSite=Lax"]
    assert attributes(page(make(trusted_proxies=1), **forwarded)) == ["HttpOnly; Path=/; SameSite=Lax"]


def test_a_shared_cookie_for_frames(make: MAKE, app: Flask) -> None:
    """With GATE_SAMESITE None the shared cookie is partitioned too, and is cleared with the same attributes."""
    framed = make(gate_samesite="None")
    response = page(framed)
    expected = "Domain=intra.example; Secure; HttpOnly; Path=/; SameSite=None; Partitioned"
    assert attributes(response) == [expected]
    cleared = leave(framed, gate_of(response))
    past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; "
    rest = "Secure; HttpOnly; Path=/; SameSite=None; Partitioned"
    assert sorted(attributes(cleared)) == [f"Domain=intra.example; {past}{rest}", past + rest]


def leave(app: Flask, *sent: str, host: str = REPORTS) -> TestResponse:
    headers = {"Host": host, "Cookie": "; ".join(sent)}
    return app.test_client(use_cookies=False).post("/auth/leave", headers=headers)


def logout(app: Flask, *sent: str) -> TestResponse:
    return app.test_client(use_cookies=False).get(LOGOUT, headers={"Host": CRM, "Cookie": "; ".join(sent)})


@pytest.mark.parametrize("sign_out", [leave, logout])
def test_signing_out_on_one_host_signs_out_of_all(app: Flask, sign_out: Callable[..., TestResponse]) -> None:
    """Sign-out ends the sessions of all cookies of the browser, on every host, and clears both forms."""
    sent = [opened(app), opened(app, "bert"), opened(app, "paul", "other.example"), "datafor_gate=x"]
    cleared = [
        header for header in sign_out(app, *sent).headers.getlist("Set-Cookie") if header.startswith("datafor_gate=;")
    ]
    assert sorted("Domain=intra.example" in header for header in cleared) == [False, True]
    for one in sent:
        assert (user(app, one), user(app, one, host=CRM), user(app, one, host="other.example")) == (None, None, None)


def test_the_consoles_sign_out(app: Flask) -> None:
    """The console's sign-out ends the shared session of the same browser, on whatever host the console is."""
    console = Client(app)
    console.sign_in("admin", ADMIN_PASSWORD)
    cookie = opened(app)
    console.client.set_cookie("datafor_gate", cookie.partition("=")[2])
    assert user(app, cookie) == "lena"
    console.post("sign-out")
    assert user(app, cookie) is None


def test_cookies_of_before_the_setting(make: MAKE, app: Flask) -> None:
    """A cookie that was set under another domain, or none, signs nobody in, and leaving ends its session."""
    cookie, other = opened(make("")), opened(make("example"))
    assert [user(app, one) for one in (cookie, other)] == [None, None]
    assert user(make(""), cookie) == user(make("example"), other) == "lena"
    leave(app, cookie, other)
    assert user(make(""), cookie) is None
    assert user(make("example"), other) is None


def test_no_page_is_half_one_users_after_the_setting_changed(make: MAKE, app: Flask, clock: Clock) -> None:
    """Beside another user's cookie from before the setting, a page and its parts belong to the token's user."""
    bert = opened(app, "bert")
    clock.advance(60)
    anna = opened(make(""), "anna")
    # The token of bert has the older session, and the browser keeps both cookies.
    again = opened(app, "bert", Cookie=anna)
    assert again == bert
    for sent in ((anna, again), (again, anna)):
        assert user(app, *sent) == "bert"


def test_back_to_no_domain(make: MAKE, app: Flask) -> None:
    """Without the setting, the cookies of the domain sign nobody in."""
    cookie = opened(app)
    assert user(make(""), cookie) is None


def test_two_cookies_of_one_name(app: Flask, clock: Clock) -> None:
    """Of several valid cookies, the session that was opened last counts, in whatever order they are sent."""
    first = opened(app, "anna")
    clock.advance(1)
    second = opened(app, "bert")
    assert user(app, first, second) == user(app, second, first) == "bert"
    assert user(app, "datafor_gate=x", first, f"datafor_gate={'x' * 43}") == "anna"


def test_many_cookies(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many cookies of the name are sent, at most four records are read; the rest counts as none."""
    mine = opened(app)
    mark = mine.partition("=")[2][:8]
    find, looked_up = Gate.find, []

    def counted(gate: Gate, cookie: str, client: ClientSource | None) -> GateSession | None:
        looked_up.append(cookie)
        return find(gate, cookie, client)

    monkeypatch.setattr(Gate, "find", counted)
    bomb = [f"datafor_gate={mark}{number:043}" for number in range(100)]
    assert user(app, *bomb, mine) is None
    assert len(looked_up) == 4
    assert user(app, *bomb[:3], mine) == "lena"
    # Of another form, they cost nothing.
    assert user(app, *(f"datafor_gate={number:043}" for number in range(100)), mine) == "lena"


def test_a_cookie_of_another_host_cannot_be_guessed_from_the_mark(app: Flask) -> None:
    """The mark alone, or in front of what is no cookie, signs nobody in."""
    value = opened(app).partition("=")[2]
    for sent in (value[:8], value[8:], value[:8] * 2 + value[8:], value + "x", value[:51], "x" * 8 + value[8:]):
        assert user(app, f"datafor_gate={sent}") is None


def test_the_cookies_for_the_application(app: Flask) -> None:
    """With cookies=1 the application behind gets no gate cookie of whatever form."""
    sent = f"a=1; {opened(app)}; datafor_gate={'x' * 43}; b=2"
    assert check(app, "/", "?cookies=1", Host=REPORTS, Cookie=sent).headers["Cookie"] == "a=1; b=2"


def test_marks() -> None:
    """A mark tells the cookies of one domain from those of a host and of other domains."""
    cookie = "c" * 43
    values = [cookies.marked(cookie, domain) for domain in (None, "a.example", "b.example")]
    assert len(set(values)) == 3
    assert [cookies.unmarked(values, domain) for domain in ("a.example", "b.example")] == [[cookie], [cookie]]
    assert cookies.without_marks([*values, "", "x"]) == [cookie] * 3 + ["", ""]


def test_a_renewed_session(app: Flask, clock: Clock) -> None:
    """A later token of the same user replaces the shared cookie; both hosts use the new session."""
    first = opened(app)
    clock.advance(1)
    later = gate_of(check(app, f"/?token={signed(exp=NOW + 7200)}", Host=CRM, Accept="text/html", Cookie=first))
    assert later not in ("", first)
    assert user(app, later) == user(app, later, host=CRM) == "lena"
