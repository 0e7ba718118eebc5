"""Requests of each shipped proxy to the check, and its use of the response, with a stub instead of the service."""

import re

import pytest

from tests.proxies.sites import REPORTS, Proxy, Sites, seen
from tests.proxies.stub import Stub

PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}
PASSED_ON = {
    "Authorization": "Bearer x", "Cookie": "datafor_gate=x; a=1", "Accept": "text/html",
    "Accept-Language": "zh-CN, zh;q=0.9", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe",
    "Sec-Fetch-Site": "cross-site", "X-Requested-With": "x",
    "Sec-Purpose": "x", "Purpose": "x", "X-Moz": "x", "X-Purpose": "x",
}  # fmt: skip
IDENTITY = [("Remote-User", "lena"), ("Remote-Name", ""), ("Remote-Email", ""), ("Remote-Groups", "Sales")]
ACCEPTED = [*IDENTITY, ("Cookie", ""), ("Content-Type", "application/json")]
SEPARATORS = "-_!#$%&'*+.^`|~"
PUBLISHED = ["auth/enter", "auth/sign-in", "auth/leave", "auth/frame", "embed.js"]


def test_the_request_to_the_check(stubbed: Proxy, stub: Stub) -> None:
    """The check receives credentials, language and kind of the request as the browser sent them, and nothing if not."""
    stub.reset(200, *ACCEPTED)
    assert stubbed.get("/reports/1?a=%2F", PASSED_ON).status == 200
    (asked,) = stub.asked
    assert {name: asked.headers.get(name.lower()) for name in PASSED_ON} == PASSED_ON
    assert asked.headers["x-forwarded-host"] == REPORTS
    for headers, method in (({}, "POST"), ({"Cookie": "a=1"}, "GET")):
        stub.reset(200, *ACCEPTED)
        assert stubbed.get("/reports/1?a=%2F", headers, method, b"x" if method == "POST" else None).status == 200
        (asked,) = stub.asked
        # HAProxy adds `Accept: */*`.
        assert {name for name in PASSED_ON if asked.headers.get(name.lower(), "") not in ("", "*/*")} == set(headers)
        method_sent = asked.headers.get("x-forwarded-method") or asked.headers.get("x-original-method")
        uri = asked.headers.get("x-original-uri") or asked.headers.get("x-forwarded-uri")
        assert (asked.method, method_sent, uri, asked.body) == ("GET", method, "/reports/1?a=%2F", b"")


@pytest.mark.parametrize("status", [401, 403, 503])
@pytest.mark.parametrize(
    ("headers", "method"), [(PAGE, "GET"), (PAGE, "POST"), ({**PAGE, "Sec-Fetch-Dest": "iframe"}, "GET")]
)
def test_the_page_of_a_refusal(stubbed: Proxy, stub: Stub, status: int, headers: dict[str, str], method: str) -> None:
    """The page of the check's 401, 403 and 503 reaches the browser whole, with its policy and its reference."""
    page = "<!doctype html><meta charset=utf-8><title>登录</title>".encode()
    own = {
        "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "default-src 'none'",
        "X-Request-ID": "abc", "Vary": "Accept", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    more = {"Retry-After": "7"} if status == 503 else {}
    stub.reset(status, *own.items(), *more.items(), body=page)
    for path in ("/reports/1", "/r?a=1&token=x.y.z"):
        response = stubbed.get(path, headers, method, b"x=1" if method == "POST" else None)
        assert (response.status, response.body) == (status, page), path
        for name, value in {**own, **more}.items():
            found = response.headers.get_all(name)
            assert found == [value] or (name == "Content-Type" and found == ["text/html"]), (name, found)
        assert response.headers["Remote-User"] is None
    assert {asked.method for asked in stub.asked} == {"GET"}


def test_the_second_request_of_nginx(sites: Sites, stub: Stub) -> None:
    """nginx, which drops the response of a refusal, asks again with refused=1, and without a wrong password."""
    proxy = sites.proxy("nginx", stub=True)
    basic, bearer = "Basic eDp5", "Bearer x.y.z"
    for status, sent, again in ((401, basic, None), (401, bearer, bearer), (403, basic, basic), (503, basic, basic)):
        stub.reset(status, ("Retry-After", "9"))
        response = proxy.get("/", {**PAGE, "Authorization": sent}, "POST", b"x=1")
        assert (response.status, response.headers.get_all("Retry-After")) == (status, ["9"])
        first, second = stub.asked
        assert "refused=1" not in first.path
        assert second.path == "/datafor/auth/check?refused=1&redirect=1"
        assert second.headers.get("authorization") == again
        assert (second.headers["x-original-method"], second.body) == ("POST", b"")


def test_a_wrong_password_is_asked_about_once(stubbed: Proxy, stub: Stub) -> None:
    """A request with a wrong password is one failed password for the service."""
    for headers in ({}, PAGE):
        stub.reset(401)
        assert stubbed.get("/", {**headers, "Authorization": "Basic eDp5"}).status == 401
        assert [asked.headers.get("authorization") for asked in stub.asked].count("Basic eDp5") == 1


def test_own_refusals_of_nginx(sites: Sites, stub: Stub) -> None:
    """A refusal of nginx itself leads to no page of the check."""
    proxy = sites.proxy("nginx", stub=True)
    stub.reset(200, *ACCEPTED)
    for path, headers, status in (
        ("/?token=x", {**PAGE, "Sec-Purpose": "prefetch"}, 403),
        ("/?token=x&token=y", PAGE, 400),
        ("/_datafor_refused", PAGE, 404),
        ("/_datafor_denied", PAGE, 404),
        ("/_datafor_", PAGE, 404),
    ):
        assert proxy.get(path, headers).status == status
    assert stub.asked == []


def test_frame_ancestors(stubbed: Proxy, stub: Stub, sites: Sites) -> None:
    """The policy of an accepted check is added to the application's own; Traefik has a static one instead."""
    proxy = sites.proxy("traefik", "origins", stub=True) if stubbed.name == "traefik" else stubbed
    policy = "frame-ancestors 'self' https://portal.intra.example"
    stub.reset(200, *ACCEPTED, ("Content-Security-Policy", policy))
    own = [] if proxy.name == "traefik" else ["script-src 'self'"]
    assert proxy.get("/").headers.get_all("Content-Security-Policy") == [policy]
    assert sorted(proxy.get("/own-policy").headers.get_all("Content-Security-Policy") or []) == sorted([*own, policy])
    stub.reset(200, *ACCEPTED)
    for path, expected in (("/", None), ("/own-policy", ["script-src 'self'"])):
        forged = {"Content-Security-Policy": "frame-ancestors *"}
        assert stubbed.get(path, forged).headers.get_all("Content-Security-Policy") == expected


@pytest.mark.parametrize("signed", [True, False])
def test_the_signed_identity(stubbed: Proxy, stub: Stub, *, signed: bool) -> None:
    """X-Datafor-Assertion comes from the check alone, whatever the client sends under this name in any spelling."""
    stub.reset(200, *ACCEPTED, *([("X-Datafor-Assertion", "a.b.c")] if signed else []))
    spellings = {f"X{one}Datafor{other}Assertion" for one in "-_." for other in "-_."}
    spellings |= {f"X{one}Datafor{one}Assertion" for one in SEPARATORS}
    for names in (spellings, {name.upper() for name in spellings}, {name.lower() for name in spellings}):
        forged = [(name, "forged") for name in sorted(names)]
        response = stubbed.get("/", [*forged, ("Connection", "X-Datafor-Assertion")])
        assert [one for one in seen(response, "X-Datafor-Assertion") if one] == (["a.b.c"] if signed else [])
    assert "datafor-assertion" not in stubbed.get("/").headers.as_string().lower()


def test_a_public_path_has_no_signed_identity(public: Proxy) -> None:
    """On public paths, no X-Datafor-Assertion of the client reaches the application."""
    forged = [(f"X{one}Datafor{one}Assertion", "forged") for one in SEPARATORS]
    assert [one for one in seen(public.get("/public/x", forged), "X-Datafor-Assertion") if one] == []


def test_a_large_signed_identity(stubbed: Proxy, stub: Stub) -> None:
    """The largest identity, and the same signed, reach the application whole."""
    groups, assertion = "g" * 16_640, "a" * 24_000
    more = [
        ("Remote-User", "u" * 512),
        ("Remote-Groups", groups),
        ("X-Datafor-Assertion", assertion),
        ("Cookie", "c" * 8000),
    ]
    stub.reset(200, *IDENTITY[1:3], *more)
    response = stubbed.get("/", {"Cookie": "c" * 8000})
    assert (seen(response, "Remote-Groups"), seen(response, "X-Datafor-Assertion")) == ([groups], [assertion])


def test_the_cookie_of_all_hosts(stubbed: Proxy, stub: Stub) -> None:
    """The cookie of an accepted check reaches the browser with all its attributes, GATE_COOKIE_DOMAIN among them."""
    cookie = "datafor_gate=x; Domain=intra.example; Secure; HttpOnly; Path=/; SameSite=None; Partitioned"
    stub.reset(200, *ACCEPTED, ("Set-Cookie", cookie))
    for path, headers in (("/?token=x.y.z", {}), ("/?token=x.y.z", PAGE)):
        found = [one for one in stubbed.get(path, headers).headers.get_all("Set-Cookie") or [] if "gate" in one]
        assert [set(one.split("; ")) for one in found] == [set(cookie.split("; "))]


@pytest.mark.parametrize("path", PUBLISHED)
def test_calls_on_the_applications_host(stubbed: Proxy, stub: Stub, path: str) -> None:
    """The calls of the gate for browsers reach the service on the application's host, with query, origin and body."""
    sent = {
        "Origin": "null", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe",
        "Cookie": "datafor_gate=x", "Accept-Language": "zh", "If-None-Match": '"x"', "X-Forwarded-Host": "evil.example",
    }  # fmt: skip
    expected = {
        "Content-Type": "text/html",
        "Content-Security-Policy": "frame-ancestors 'self'",
        "Set-Cookie": "datafor_gate=y",
    }
    stub.reset(200, *expected.items(), body=b"page")
    for method in ("GET", "POST"):
        response = stubbed.get(f"/datafor/{path}?next=%2F&a=1", sent, method, b"a=1" if method == "POST" else None)
        assert (response.status, response.body) == (200, b"page")
        assert {name: response.headers.get_all(name) for name in expected} == {
            name: [one] for name, one in expected.items()
        }
        asked = stub.asked[-1]
        assert (asked.method, asked.path) == (method, f"/datafor/{path}?next=%2F&a=1")
        assert asked.body == (b"a=1" if method == "POST" else b"")
        assert {name: asked.headers[name.lower()] for name in sent} == {**sent, "X-Forwarded-Host": REPORTS}
        assert (asked.headers["host"], asked.headers["x-forwarded-for"]) == (REPORTS, "127.0.0.1")


@pytest.mark.parametrize(
    "path",
    [
        "auth/check", "auth/", "auth", "auth/enter/", "auth/enter/x",
        "embed.jsx", "embed.js/x", "auth/sign-in/x", "auth/sign-inx", "auth/frames",
        "auth/../console/", "embed_js", "embed.js%2f..%2fauth%2fcheck", "auth/frame/../check",
        "auth/frame%2f..%2fcheck", "auth/sign-in;/../check", "x/embed.js", "auth/embed.js", "console/embed.js",
        "auth/sign-in%00", "auth//check", "auth/%63heck",
    ],
)  # fmt: skip
def test_no_other_call(stubbed: Proxy, stub: Stub, path: str) -> None:
    """No other path of the service exists on the application's host: at most the check is asked about it."""
    stub.reset(200, ("Remote-User", "stub"), body=b"of the service")
    response = stubbed.get(f"/datafor/{path}")
    assert response.body != b"of the service"
    # Paths in another spelling, with which HAProxy and Apache leave the prefix, are the application's.
    assert {re.sub(r"\?.*", "", asked.path) for asked in stub.asked} <= {"/datafor/auth/check"}
    assert stub.asked == [] or "x-original-uri" in stub.asked[0].headers


def test_the_script_on_the_consoles_host(stubbed: Proxy, stub: Stub) -> None:
    """The script for embedding exists on the console's host too, the gate's other calls do not."""
    stub.reset(200, body=b"of the service")
    for path in PUBLISHED:
        response = stubbed.get(f"/datafor/{path}", host="datafor.intra.example")
        assert (response.body == b"of the service") == (path == "embed.js")
