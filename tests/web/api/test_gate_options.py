"""Options of ``auth/check``: ``redirect``, ``cookies`` and ``refused``; unknown requirements."""

import dataclasses
import io
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.log_lines import read
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application, basic
from tests.web.api.test_gate import check, gate_of, signed

PORTAL = "https://portal.example/sign-in?app=7"
PAGE = {"Accept": "text/html,*/*;q=0.8"}


@pytest.fixture
def app(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Flask:
    return with_portal(settings, clock, monkeypatch, PORTAL)


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    assert caller.post("update", application(secret=STRONG_SECRET, initroles=["Sales"])).status_code == 200


def with_portal(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch, url: str) -> Flask:
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    return create_app(dataclasses.replace(settings, sign_in_url=url), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("/d/7?orgId=1&from=now", "/d/7?orgId=1&from=now"),
        (f"/d/7?a=1&token={'x' * 20}&b=2", "/d/7?a=1&b=2"),
        ("/?ticket=x&token=y", "/"),
        ("//evil.example", None),
        ("/?TOKEN=eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln", "/"),
        ("/d?x=1%26token=eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln&y=2", "/d"),
        ("/d?a=1;token=eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln", "/d"),
        ("/d%3Ftoken=eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln", None),
    ],
)
def test_a_page_leads_to_the_sign_in_page(app: Flask, uri: str, target: str | None) -> None:
    """A page without a valid credential is redirected to SIGN_IN_URL, with its own address as next."""
    for headers in (PAGE, {"Sec_Fetch_Mode": "navigate"}):
        response = check(app, uri, "?redirect=1", **headers)
        assert (response.status_code, response.get_data()) == (302, b"")
        assert "WWW-Authenticate" not in response.headers
        assert "Set-Cookie" not in response.headers
        place = urlsplit(response.headers["Location"])
        assert (place.netloc, place.path) == ("portal.example", "/sign-in")
        assert parse_qsl(place.query) == [("app", "7"), *([("next", target)] if target else [])]


def test_what_does_not_lead_there(
    app: Flask, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of a page, and checks without the option or SIGN_IN_URL are 401."""
    for headers in ({}, {"Accept": "*/*"}, {"Sec_Fetch_Mode": "cors", **PAGE}):
        response = check(app, "/", "?redirect=1", **headers)
        assert (response.status_code, response.get_json()["msg"]) == (401, "not logged in")
        assert "WWW-Authenticate" in response.headers
    for query in ("", "?redirect=0"):
        assert check(app, "/", query, **PAGE).status_code == 401
    assert check(with_portal(settings, clock, monkeypatch, ""), "/", "?redirect=1", **PAGE).status_code == 401


def test_only_a_401_leads_there(app: Flask) -> None:
    """A signed-in user is never redirected: the check is 200, or 403 without the role."""
    uri = f"/?token={signed()}"
    assert check(app, uri, "?redirect=1&role=Sales", **PAGE).status_code == 200
    assert check(app, uri, "?redirect=1&role=Other", **PAGE).status_code == 403


@pytest.mark.parametrize("url", ["/in", "http://localhost/in", "http://intra.example/in"])
def test_no_redirect_loop(
    settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch, url: str, log: io.StringIO
) -> None:
    """If SIGN_IN_URL is behind the check, the check is 401 instead of a redirect loop, and the log states why."""
    app = with_portal(settings, clock, monkeypatch, url)
    headers = {"X_Forwarded_Host": "intra.example", **PAGE}
    assert check(app, "/in?a=1", "?redirect=1", **headers).status_code == 401
    assert 'event="SIGN_IN_URL is behind the check"' in log.getvalue()
    assert check(app, "/a?b=1", "?redirect=1", **headers).headers["Location"] == f"{url}?next=%2Fa%3Fb%3D1"


def test_a_disabled_applications_token_does_not_travel(app: Flask, caller: Caller) -> None:
    """The next of the redirect has no token, not even of a disabled application."""
    caller.post("update", application(name="Off", token_name="off", secret=STRONG_SECRET, enable="0"))
    response = check(app, f"/a?off={signed()}", "?redirect=1", **PAGE)
    assert response.headers["Location"] == f"{PORTAL}&next=%2Fa"


@pytest.mark.parametrize(
    ("sent", "left"),
    [
        ("{}", ""), ("a=1; {}; b=2", "a=1; b=2"), ("{}; sid=7", "sid=7"), (f"{{}}; JSESSIONID={'x' * 43}", ""),
        ("{}; JSESSIONID=0A1B2C3D0A1B2C3D0A1B2C3D0A1B2C3D.node1", "JSESSIONID=0A1B2C3D0A1B2C3D0A1B2C3D0A1B2C3D.node1"),
        ("my_datafor_gate=1; {}; JSESSIONID2=2", "my_datafor_gate=1; JSESSIONID2=2"), ("a=é; {}", "a=é"),
        ("{}; datafor_gate=y; a=\x01; b=2", "b=2"),
    ],
)  # fmt: skip
def test_the_cookies_for_the_application(app: Flask, sent: str, left: str) -> None:
    """With cookies=1 an accepted check returns all cookies but those of the service, byte for byte."""
    gate = gate_of(check(app, f"/?token={signed()}"))
    for query, expected in (("?cookies=1", [left]), ("?cookies=0", []), ("", [])):
        response = check(app, "/", query, Cookie=sent.format(gate))
        assert (response.status_code, response.headers.getlist("Cookie")) == (200, expected)
    assert "Cookie" not in check(app, "/", "?cookies=1", Cookie="a=1").headers


def test_no_cookies_for_the_application(app: Flask) -> None:
    """The header Cookie is present also if the client sent none."""
    response = check(app, "/", "?cookies=1&redirect=1", Authorization=basic()["Authorization"])
    assert (response.status_code, response.headers["Cookie"]) == (200, "")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?rolle=Sales", "rolle"), ("?role[]=Sales", "role[]"), ("?redirect=yes", "redirect"),
        ("?cookies=1&cookies=x", "cookies"), ("?role=Sales&Type=x&q=1", "Type, q"), ("?token=SECRET", "token"),
        (f"?{'x' * 43}", "(too long, or not plain text)"), ("?a.b.c=1", "(too long, or not plain text)"),
        ("?%1b%0a=1", "(too long, or not plain text)"),
    ],
)  # fmt: skip
def test_an_unknown_requirement(app: Flask, log: io.StringIO, query: str, name: str) -> None:
    """An unknown requirement is 403, and the log line of the request has its name without its value."""
    assert check(app, f"/?token={signed()}", query).status_code == 403
    line = log.getvalue()
    (fields,) = [one for one in read(line) if one["event"] == "request"]
    assert (fields["level"], fields["status"]) == ("warning", 403)
    assert fields["reason"] == "unknown requirement in the URL of the check"
    assert fields["detail"].startswith(f"{name}; known: ")
    for value in ("SECRET", "x" * 43, "yes"):
        assert value not in line


def test_a_request_that_is_accepted_now(app: Flask) -> None:
    """With refused=1, what would be a 200 is a 503 to be sent again, without an identity and a cookie."""
    for uri, headers in (("/", basic()), (f"/?token={signed()}", {})):
        response = check(app, uri, "?refused=1&cookies=1", **headers)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.get_json()["msg"] == "the request is accepted now: send it again"
        for name in ("Remote-User", "Remote-Groups", "Cookie", "Set-Cookie"):
            assert name not in response.headers


def test_a_refusal_is_the_same(app: Flask) -> None:
    """With refused=1, a refusal is the same as without."""
    for uri, query, status in (("/", "", 401), ("/?token=x", "", 401), (f"/?token={signed()}", "&role=None", 403)):
        first = check(app, uri, f"?{query.removeprefix('&')}")
        second = check(app, uri, f"?refused=1{query}")
        assert (second.status_code, second.json) == (first.status_code, first.json) == (status, first.json)
