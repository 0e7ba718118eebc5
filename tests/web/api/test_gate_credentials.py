"""Credentials of ``auth/check`` by its options: ``ignore_authorization`` and ``header``; ``headers=percent``."""

import io
from urllib.parse import unquote

import pytest
from flask import Flask

from datafor_token.audit.filters import Filter
from datafor_token.web.services import services
from tests.conftest import Caller, put_user
from tests.support import STRONG_SECRET, application, basic
from tests.web.api.test_gate import IDENTITY, check, enter, gate_of, identity, signed

IGNORE, NAMED = "?ignore_authorization=1", "?header=X-Api-Token"
PAGE = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    assert caller.post("update", application(secret=STRONG_SECRET, initroles=["Sales"])).status_code == 200


def events(app: Flask) -> int:
    """Return how many events the audit log has."""
    with app.app_context():
        return len(services().audit.page(Filter(), 1000).events)


@pytest.mark.parametrize(
    "authorization",
    [
        basic("admin", "wrong")["Authorization"], basic()["Authorization"], "Basic", "Basic %%%", "Bearer", "Bearer x",
        "Bearer x.y.z", "Negotiate abc", "Digest username=lena", "", "\x80",
    ],
)  # fmt: skip
def test_the_authorization_of_the_application(
    app: Flask, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, authorization: str
) -> None:
    """With ignore_authorization=1 the header is neither verified nor counted nor logged, whatever it has."""
    cookie = gate_of(check(app, f"/?token={signed()}"))
    before, line = events(app), log.tell()

    def verified(*_: object, **__: object) -> None:
        raise AssertionError("a password was verified")

    monkeypatch.setattr("datafor_token.users.users.Users.with_password", verified)
    for _ in range(12):  # more than the throttle allows
        assert check(app, "/", IGNORE, Authorization=authorization).status_code == 401
        response = check(app, "/", IGNORE, Authorization=authorization, Cookie=cookie)
        assert (response.status_code, identity(response)[0]) == (200, "lena")
    assert events(app) == before
    for forbidden in (authorization, "way=basic", "way=bearer", "malformed"):
        assert not forbidden or forbidden not in log.getvalue()[line:]


def test_other_credentials_beside_it(app: Flask) -> None:
    """The token in the URL, the named header and the cookie are credentials also beside the application's header."""
    foreign = {"Authorization": basic("paul", "of the application")["Authorization"]}
    page = check(app, f"/?token={signed()}", IGNORE, **foreign, **PAGE)
    assert (page.status_code, identity(page)[0]) == (200, "lena")
    assert check(app, "/", IGNORE, Cookie=gate_of(page), **foreign).status_code == 200
    response = check(app, "/", f"{IGNORE}&header=X-Api-Token", X_Api_Token=signed(loginname="bert"), **foreign)
    assert (response.status_code, identity(response)[0]) == (200, "bert")
    assert check(app, "/?token=x", IGNORE, Cookie=gate_of(page), **foreign).status_code == 401
    for query in ("", "?ignore_authorization=0"):
        assert check(app, "/", query, Cookie=gate_of(page), **foreign).status_code == 401


@pytest.mark.parametrize("form", ["{}", " {} ", "\t{}", "Bearer {}", "bearer  {}"])
def test_a_token_in_a_header(app: Flask, form: str) -> None:
    """A token in the named header, with or without Bearer, comes before every other credential and sets no cookie."""
    lena, cookie = form.format(signed()), gate_of(check(app, f"/?token={signed(loginname='paul')}"))
    uri, password = f"/?token={signed(loginname='bert')}", basic()["Authorization"]
    for query in (NAMED, "?header=x-API-token"):
        response = check(app, uri, query, X_Api_Token=lena, Authorization=password, Cookie=cookie, **PAGE)
        assert (response.status_code, identity(response)[0]) == (200, "lena")
        assert response.headers.getlist("Set-Cookie") == []
    # Without the option the header is any header.
    assert identity(check(app, "/", "", X_Api_Token=lena, Cookie=cookie))[0] == "paul"


@pytest.mark.parametrize(
    "sent", ["x", "Bearer", "Basic YTpi", "{0},{0}", "{0}, {1}", "{0};", '"{0}"', "Bearer Bearer {0}", "Bearer{0}", "é"]
)
def test_an_invalid_token_in_a_header(app: Flask, sent: str) -> None:
    """An invalid token, and several values that a server joined by a comma, are 401 whatever else is sent."""
    valid = signed()
    cookie = gate_of(check(app, f"/?token={valid}"))
    header = sent.format(valid, signed(loginname="bert"))
    response = check(app, f"/?token={valid}", NAMED, X_Api_Token=header, Cookie=cookie, **basic())
    assert (response.status_code, response.get_json()["msg"]) == (401, "invalid token")
    assert response.headers.getlist("Set-Cookie") == []


@pytest.mark.parametrize("sent", ["", " ", "\t"])
def test_an_empty_header(app: Flask, sent: str) -> None:
    """An empty header counts as absent: the next credential decides."""
    assert identity(check(app, "/", NAMED, X_Api_Token=sent, **basic()))[0] == "admin"
    assert check(app, "/", NAMED, X_Api_Token=sent).get_json()["msg"] == "not logged in"


def test_the_header_counts_as_bearer(app: Flask, log: io.StringIO) -> None:
    """In the log, audit log and requirements, the named header is a Bearer token."""
    response = check(app, "/", f"{NAMED}&application=ERP&role=Sales", X_Api_Token=signed())
    assert response.status_code == 200
    assert "way=bearer" in log.getvalue()
    with app.app_context():
        events = services().audit.page(Filter(event="sign_in"), 1000).events
    assert [(event["actor"], event["way"]) for event in events] == [("lena", "bearer"), ("admin", "basic")]
    assert check(app, "/", f"{NAMED}&application=CRM", X_Api_Token=signed()).status_code == 403


def test_one_cookie_for_each_check(app: Flask) -> None:
    """A check sets at most one cookie, and only for a token in the URL."""
    uri = f"/?token={signed()}"
    other = gate_of(check(app, f"/?token={signed(loginname='bert')}"))
    for query in ("", "?cookies=1&redirect=1"):
        for headers in ({}, {"Cookie": f"{other}; {other}; datafor_gate=x"}):
            response = check(app, uri, query, **headers, **PAGE)
            assert (response.status_code, len(response.headers.getlist("Set-Cookie"))) == (200, 1)
    for headers in ({"Authorization": f"Bearer {signed()}"}, basic(), {"Cookie": other}):
        assert check(app, "/", **headers, **PAGE).headers.getlist("Set-Cookie") == []


def test_percent_encoded_headers(app: Flask) -> None:
    """With headers=percent each value is UTF-8, percent-encoded but for RFC 3986's unreserved characters."""
    put_user(
        app, "李 雷,%", full_name="Ann-É. ~_/?", email="a+b@例.example", type="SYS_Reader", roles=("销售", "a b", "50%")
    )
    text = signed(loginname="李 雷,%")
    response = check(app, f"/?token={text}", "?headers=percent")
    assert [response.headers[name] for name in IDENTITY] == [
        "%E6%9D%8E%20%E9%9B%B7%2C%25",
        "Ann-%C3%89.%20~_%2F%3F",
        "a%2Bb%40%E4%BE%8B.example",
        "SYS_Reader,%E9%94%80%E5%94%AE,a%20b,50%25",
    ]
    plain = identity(check(app, f"/?token={text}"))
    assert [unquote(response.headers[name]) for name in IDENTITY] == plain
    assert [unquote(one) for one in response.headers["Remote-Groups"].split(",")] == [
        "SYS_Reader",
        "销售",
        "a b",
        "50%",
    ]


def test_percent_encoded_headers_that_are_empty(app: Flask) -> None:
    """Empty values stay empty, and all four headers are there."""
    put_user(app, "lena", full_name="", email="")
    response = check(app, f"/?token={signed()}", "?headers=percent")
    assert identity(response) == ["lena", "", "", "SYS_Reader"]


def test_a_query_with_an_unknown_parameter_signs_nobody_in(app: Flask, caller: Caller) -> None:
    """An unknown parameter is 403 before any credential is verified: only the refused access is recorded."""
    before = events(app)
    for headers in ({}, basic("admin", "wrong"), {"Cookie": "datafor_gate=x"}):
        response = check(app, f"/?token={signed(loginname='new')}", "?rolle=Sales&redirect=1", **headers, **PAGE)
        assert (response.status_code, response.headers.getlist("Set-Cookie")) == (403, [])
    assert check(app, "/", "?rolle=Sales").status_code == 403
    assert events(app) == before + 1
    with app.app_context():
        assert services().users.get("new") is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize(
    "query",
    [
        "?" + "role=x&" * 20_000, "?" + "a" * 100_000, "?role=%ff%00", "?%ed%a0%80=1", "?header=%00", "?role", "?=&=",
    ],
    ids=range(7),
)  # fmt: skip
def test_no_query_is_an_internal_error(app: Flask, method: str, query: str) -> None:
    """Whatever the query of the check is, the response is 200, 401 or 403, by any method."""
    for headers in ({}, {"Cookie": gate_of(check(app, f"/?token={signed()}"))}):
        assert check(app, "/", query, method, **headers).status_code in (200, 401, 403)


def test_the_options_are_those_of_the_check_alone(app: Flask) -> None:
    """A visitor's own query neither adds requirements or options, nor takes them away."""
    uri = f"/?token={signed()}&role=Other&redirect=1&ignore_authorization=1&cookies=1&headers=percent"
    response = check(app, uri, "?role=Sales", Cookie="a=1")
    assert (response.status_code, "Cookie" in response.headers) == (200, False)
    assert (
        check(app, "/?ignore_authorization=1&header=X-A", "", Authorization="Bearer x", X_A=signed()).status_code == 401
    )
    assert enter(app, f"token={signed()}&role=Other").status_code == 303
