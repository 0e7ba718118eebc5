"""The identity that the application behind each shipped proxy receives."""

import time

import pytest

from tests.handmade_tokens import token
from tests.proxies.sites import Proxy, Sites, cookie_of, seen, signed
from tests.stores import unavailable
from tests.support import application, basic

IDENTITY = ("Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups")
PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}


def session(proxy: Proxy, name: str = "lena") -> str:
    return cookie_of(proxy.get(f"/?token={signed(name)}"))


def test_no_credential_no_page(proxy: Proxy) -> None:
    """Without a credential, no request reaches the application, and no password dialog opens."""
    for headers in (
        {},
        {"Remote-User": "admin"},
        {"Cookie": "datafor_gate=x"},
        {"X-Original-URI": f"/?token={signed()}"},
    ):
        response = proxy.get("/reports/1", headers)
        assert response.status == 401
        assert response.headers.get_all("WWW-Authenticate") == ['Bearer realm="datafor_token"']


@pytest.mark.parametrize(
    "query",
    [
        "role=x",
        "type=Administrator",
        "cookies=0",
        "application=none&x",
        "a=%20b&role=Sales",
        "jwt=x&Token=y&%ff=%fe&next=//evil&=",
    ],
)
def test_a_query_is_not_a_requirement(proxy: Proxy, query: str) -> None:
    """The query of a visitor reaches the application unchanged, and the check does not read it."""
    response = proxy.get(f"/reports/1?{query}", {"Cookie": session(proxy)})
    assert seen(response, "Remote-User") == ["lena"]
    assert response.json["path"] == f"/reports/1?{query}"


@pytest.mark.parametrize(
    "forged",
    [
        [(name, "admin") for name in IDENTITY],
        [(name, "admin") for name in IDENTITY] * 2,
        [(name.replace("-", "_"), "admin") for name in IDENTITY],
        [(name.lower(), "admin") for name in IDENTITY],
        [(name.upper().replace("-", "_"), "admin") for name in IDENTITY],
        [(name.replace("-", sign), "admin") for name in IDENTITY for sign in "!#$%&'*"],
        [(name.replace("-", sign).upper(), "admin") for name in IDENTITY for sign in "+.^_`|~"],
        [("Connection", "Remote-User, Remote-Groups"), ("Remote-User", "admin")],
        [("Connection", "close, Remote-User,remote-groups, Cookie")],
        [("Connection", "keep-alive"), ("Connection", "Remote-User"), ("Connection", "remote-groups,X-Forwarded-For")],
        [("Connection", "X-Original-URI, X-Forwarded-Uri, Remote-Email"), ("Authorization", "Digest x")],
    ],
)
def test_headers_of_the_client_are_removed(proxy: Proxy, forged: list[tuple[str, str]]) -> None:
    """Identity headers in any spelling come from the check only, and the client's Connection header removes none."""
    response = proxy.get("/", [("Authorization", f"Bearer {signed('forger')}"), *forged])
    if forged[-1][0] == "Authorization":
        # Two Authorization headers: refused, or one of them.
        assert response.status in (200, 400, 401)
        return
    assert seen(response, "Remote-User") == ["forger"]
    assert seen(response, "Remote-Groups") == ["SYS_Creator,Sales"]
    for name in ("Remote-Name", "Remote-Email"):
        assert seen(response, name) in ([], [""])


def test_credentials_stay_with_the_service(proxy: Proxy) -> None:
    """Neither a password nor a token of the service reaches the application."""
    for headers in (basic(), {"Authorization": f"Bearer {signed()}"}):
        assert seen(proxy.get("/", headers), "Authorization") == []


@pytest.mark.parametrize(
    ("shape", "left"),
    [
        ("{}", ""),
        ("{}; sid=7", "sid=7"),
        ("sid=7; {}", "sid=7"),
        ("a=1; {}; b=2", "a=1; b=2"),
        ("my_datafor_gate=keep; {}; xdatafor_gate=keep", "my_datafor_gate=keep; xdatafor_gate=keep"),
        ("{}; a=1; datafor_gate=second; b=2; datafor_gate=third", "a=1; b=2"),
        ("a=datafor_gate=x; {};b=2", "a=datafor_gate=x; b=2"),
        ("{}; JSESSIONID=" + "s" * 43 + "; a=1", "a=1"),
        # A Java application has a JSESSIONID of its own.
        ("{}; JSESSIONID=" + "A1" * 16, "JSESSIONID=" + "A1" * 16),
        ('{}; a="1; b=é', 'a="1; b=é'),
    ],
)
def test_cookies(proxy: Proxy, shape: str, left: str) -> None:
    """The application receives all cookies but those of the service, wherever these are and however many."""
    response = proxy.get("/", {"Cookie": shape.format(session(proxy)).encode().decode("latin-1")})
    (cookies,) = seen(response, "Cookie") or [""]
    assert cookies.replace(";b", "; b") == left
    assert seen(response, "Remote-User") == ["lena"]


def test_forwarding_headers(proxy: Proxy) -> None:
    """The application receives the client's address and host from the proxy only."""
    forged = {
        "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "gopher",
        "X-Original-URI": "/evil", "X-Original-URL": "/evil", "Forwarded": "for=6.6.6.6", "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Uri": "/evil", "X-Forwarded-Method": "EVIL",
    }  # fmt: skip
    response = proxy.get("/", {"Cookie": session(proxy), **forged})
    assert seen(response, "X-Forwarded-For") == ["127.0.0.1"]
    assert seen(response, "X-Forwarded-Proto") == ["http"]
    assert seen(response, "X-Forwarded-Host") == ["reports.intra.example"]
    for name in ("X-Original-URI", "X-Original-URL", "Forwarded", "X-Forwarded-Prefix"):
        assert seen(response, name) == [], name


def test_disabled_and_revoked(proxy: Proxy) -> None:
    """A revoked token and its cookie, and those of a disabled application, are refused at once."""
    name = f"goes-{proxy.name}"
    text = signed(name)
    cookie = {"Cookie": cookie_of(proxy.get(f"/?token={text}"))}
    assert proxy.call("revoke", {"token": text}).status == 200
    assert proxy.get(f"/?token={text}").status == 401
    assert proxy.get("/", cookie).status == 401
    assert proxy.get("/", {"Cookie": session(proxy, "stays")}).status == 200
    body = application(name="Off", token_name="off", secret="off")
    proxy.call("update", body)
    off = token({"loginname": "offline", "exp": int(time.time()) + 60}, "off")
    assert proxy.get(f"/?off={off}").status == 200
    proxy.call("update", {**body, "enable": "0"})
    assert proxy.get(f"/?off={off}").status == 401


def test_a_name_that_would_split_headers(proxy: Proxy) -> None:
    """Line breaks in a display name do not reach a header."""
    response = proxy.get(f"/?token={signed('splitter', name='a' + chr(13) + chr(10) + 'Remote-User: admin')}")
    assert seen(response, "Remote-User") == ["splitter"]
    assert seen(response, "Remote-Name") == ["aRemote-User: admin"]


def test_an_outage(proxy: Proxy, sites: Sites) -> None:
    """While the store is unavailable, pages are an error; afterwards they are served again."""
    cookie = {"Cookie": session(proxy)}
    with unavailable(sites.service.data_dir, "applications"):
        assert proxy.get("/", cookie).status == 503
    assert proxy.get("/", cookie).status == 200
