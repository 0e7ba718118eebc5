"""Ways back through each shipped proxy: from the sign-in page, and from sign-in and sign-out of the gate."""

import urllib.parse
import uuid
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from tests.proxies.sites import CONSOLE, FILES, REPORTS, SIGN_IN_URL, Proxy, Sites, cookie_of, seen, signed
from tests.support import ADMIN_PASSWORD, HttpResponse

PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}
FORM = {**PAGE, "Content-Type": "application/x-www-form-urlencoded"}
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJsb2dpbm5hbWUiOiJsZW5hIn0.c2lnbmF0dXJl"
# What no `next` may be: browsers read these as addresses of another host, or not at all.
HOSTILE = [
    "//evil.example", "/\\evil.example", "\\\\evil.example", "%2F%2Fevil.example", "/%5Cevil.example",
    "https:evil.example",
    "https://evil.example", "http:/evil.example", "javascript:alert(1)", "/%09/evil.example", "%09//evil.example",
    "/%0a/evil.example", "/%0d%0aSet-Cookie:a=b", "/%00", "evil.example", "///evil.example", "/%2f%2fevil.example",
    "%EF%BC%8F%EF%BC%8Fevil.example", "@evil.example", "/%e3%80%82", ".", "?//evil.example", "/..//evil.example",
]  # fmt: skip
FOREIGN = [
    f"http://sales.{REPORTS.partition('.')[2]}", "null", f"https://{REPORTS}", f"http://{REPORTS}:8080",
    f"http://{REPORTS}.evil.example", f"http://evil.example?{REPORTS}", "http://datafor.intra.example", "", "x",
]  # fmt: skip


@pytest.fixture(params=list(FILES))
def unlimited(request: pytest.FixtureRequest, sites: Sites) -> Proxy:
    """The proxy without nginx's limit of sign-ins."""
    return sites.proxy(request.param, "unlimited")


def fresh(name: str = "lena") -> str:
    """Return a token that has opened no session yet."""
    return signed(name, jti=uuid.uuid4().hex)


def leads_away(location: str | None) -> bool:
    """Return whether a browser follows a redirect of the application's host to another one."""
    # Browsers remove tabs and line breaks, and read a backslash as a slash.
    text = (location or "/").translate({9: None, 10: None, 13: None, 92: "/"})
    return urllib.parse.urlsplit(urllib.parse.urljoin(f"http://{REPORTS}/", text)).netloc != REPORTS


@pytest.mark.parametrize(
    "target",
    [
        "/", "/r/1?a=1&b=2", "/r?a=%26&b=%3D&c=%23", "/a%20b%2Bc+d?x=a+b", "/%E5%90%8D?%E5%90%8D=%E5%A7%93",
        "/r?next=%2Fx", "/r?a=%2Fx%3Fb%3D1%26c%3D2", "/a%25252F?a=%2525", "/r?a[]=1&b={2}&c=$3", "/r?a=1&&b&=c",
        "/r;v=1/x?a:b@c,d'e(f)!*~",
        "/r?q=%22%3Cb%3E", "/.well-known/x?y", "/r?url=https%3A%2F%2Fevil.example", "/r?u=https://other.example/x?y=1",
    ],
)  # fmt: skip
def test_the_way_back(unlimited: Proxy, target: str) -> None:
    """The sign-in page gets path and query of the page in such a form that they lead to the same page again."""
    response = unlimited.get(target, PAGE)
    assert response.status == 302
    page, query = str(response.headers["Location"]).split("?")
    ((name, way_back),) = urllib.parse.parse_qsl(query, strict_parsing=True)
    assert (page, name) == (SIGN_IN_URL, "next")
    # The portal passes it on to the gate, which leads to the page.
    entered = unlimited.get(f"/datafor/auth/enter?token={fresh()}&next={urllib.parse.quote(way_back, safe='')}", PAGE)
    assert entered.status == 303
    cookie = {**PAGE, "Cookie": cookie_of(entered)}
    same, direct = unlimited.get(end_of(unlimited, entered), cookie), unlimited.get(target, cookie)
    assert seen(same, "Remote-User") == ["lena"]
    read = [urllib.parse.unquote(response.json["path"]) for response in (same, direct)]
    assert read[0] == read[1]


@pytest.mark.parametrize(
    "path", ["//evil.example/x", "/\\evil.example", "/%5Cevil.example", "///evil.example", "/%09/evil"]
)
def test_a_page_that_looks_like_another_host(proxy: Proxy, path: str) -> None:
    """The way back is left out, or a path of this host, also for a path that looks like another host."""
    response = proxy.get(path, PAGE)
    if response.status == 302:
        (way_back,) = urllib.parse.parse_qs(urllib.parse.urlsplit(response.headers["Location"]).query).get(
            "next", ["/"]
        )
        assert not leads_away(way_back)
    else:
        assert response.status in (400, 404)


@pytest.mark.parametrize(
    "target",
    [
     f"/r?token={TOKEN}", f"/r?a=1&token={TOKEN}&b=2", f"/r?TOKEN={TOKEN}", f"/r?x=%26token%3D{TOKEN}",
     f"/r;token={TOKEN}",
     f"/r/{TOKEN}", f"/r?next=%2Fx%3Ftoken%3D{TOKEN}", f"/r?next=/x?token={TOKEN}", f"/r%3Ftoken={TOKEN}",
     "/r?ticket=secret-of-a-link",
    ],
)  # fmt: skip
def test_no_token_in_the_way_back(proxy: Proxy, target: str) -> None:
    """No redirect to the sign-in page has a token in it, however the link was mangled."""
    response = proxy.get(target, PAGE)
    assert response.status in (302, 404)
    assert TOKEN.split(".")[1] not in response.headers.as_string() + response.body.decode()
    assert "secret-of-a-link" not in response.headers.as_string()


@pytest.mark.parametrize("target", HOSTILE)
def test_a_hostile_next(unlimited: Proxy, target: str) -> None:
    """No `next` of sign-in or sign-out leads to another host, or adds a header."""
    cookie = cookie_of(unlimited.get(f"/?token={fresh()}"))
    for path in (f"enter?token={fresh()}&next=", "leave?next="):
        for text in (target, urllib.parse.quote(target, safe=""), urllib.parse.quote(target, safe="%")):
            response = unlimited.get(
                f"/datafor/auth/{path}{text}", {**PAGE, "Cookie": cookie, "Sec-Fetch-Site": "none"}
            )
            assert response.status in (200, 303, 400, 401)
            entered = response.status == 303 and path.startswith("enter")
            location = end_of(unlimited, response) if entered else response.headers["Location"]
            assert not leads_away(location), location
            assert "a=b" not in str(response.headers.get_all("Set-Cookie"))


def test_the_sign_in_page(unlimited: Proxy) -> None:
    """The page for user name and password, and its form, exist on the application's host, and lead to the page."""
    page = unlimited.get("/datafor/auth/sign-in?next=%2Fr%3Fa%3D1", {**PAGE, "Accept-Language": "zh-CN"})
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")
    assert 'lang="zh' in page.body.decode()
    response = sign_in(unlimited, "/r?a=1")
    assert (response.status, end_of(unlimited, response)) == (303, "/r?a=1")
    session = {**PAGE, "Cookie": cookie_of(response)}
    assert seen(unlimited.get("/r?a=1", session), "Remote-User") == ["admin"]
    wrong = sign_in(unlimited, "/r", password="wrong")
    assert (wrong.status, wrong.headers["Set-Cookie"]) == (401, None)
    assert unlimited.get("/datafor/auth/sign-in", host=CONSOLE).status in (403, 404)


@pytest.mark.parametrize(
    "target", [*HOSTILE, f"/r?token={TOKEN}", "/datafor/auth/leave", "/datafor/auth/sign-in?next=/x"]
)
def test_a_hostile_next_of_the_sign_in_page(unlimited: Proxy, target: str) -> None:
    """No `next` of the sign-in page leads to another host, to a page of the gate, or to an address with a token."""
    for text in (target, urllib.parse.unquote(target)):
        response = sign_in(unlimited, text)
        assert response.status in (303, 400)
        location = end_of(unlimited, response) if response.status == 303 else "/"
        assert not leads_away(location)
        assert TOKEN not in location
        assert "/auth/" not in location
        page = unlimited.get(f"/datafor/auth/sign-in?next={urllib.parse.quote(text, safe='')}", PAGE)
        assert page.status in (200, 400)
        assert "evil" not in page.body.decode() or not leads_away(urllib.parse.unquote(target))


@pytest.mark.parametrize("origin", FOREIGN)
def test_another_origin_does_not_sign_in(unlimited: Proxy, origin: str) -> None:
    """A form of another origin signs nobody in, with the right password and forged forwarding headers."""
    for site in ({}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"}):
        for forged in ({}, {"X-Forwarded-Host": urllib.parse.urlsplit(origin).netloc, "X-Forwarded-Proto": "https"}):
            response = sign_in(unlimited, "/", {**site, **forged, "Origin": origin})
            assert (response.status, response.headers["Set-Cookie"]) == (403, None)


def end_of(proxy: Proxy, response: HttpResponse) -> str:
    """Return where a sign-in leads, after the step in which the gate sees whether the browser has stored the cookie."""
    step = str(response.headers["Location"])
    if not step.startswith("/datafor/auth/enter?arrived=1&next="):
        # The browser has sent a cookie before.
        return step
    arrived = proxy.get(step, {**PAGE, "Cookie": cookie_of(response)})
    assert arrived.status == 303
    return str(arrived.headers["Location"])


def sign_in(
    proxy: Proxy, target: str, headers: Mapping[str, str] = MappingProxyType({}), **fields: str
) -> HttpResponse:
    body = urllib.parse.urlencode({"username": "admin", "password": ADMIN_PASSWORD, "next": target, **fields})
    return proxy.get("/datafor/auth/sign-in", {**FORM, **headers}, "POST", body.encode())


@pytest.mark.parametrize("origin", FOREIGN)
def test_another_origin_does_not_sign_out(proxy: Proxy, origin: str) -> None:
    """A POST to auth/leave from another origin is refused, and the session remains."""
    cookie = {"Cookie": cookie_of(proxy.get(f"/?token={fresh('stays')}"))}
    for site in ({}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site"}):
        for forged in ({}, {"X-Forwarded-Host": urllib.parse.urlsplit(origin).netloc, "X-Forwarded-Proto": "https"}):
            sent = {**FORM, **cookie, **site, **forged, "Origin": origin}
            response = proxy.get("/datafor/auth/leave", sent, "POST", b"")
            assert (response.status, response.headers["Set-Cookie"]) == (403, None)
            assert proxy.get("/", cookie).status == 200


@pytest.mark.parametrize("origin", [{"Origin": f"http://{REPORTS}"}, {"Sec-Fetch-Site": "same-origin"}, {}])
def test_the_own_origin_signs_out(proxy: Proxy, origin: dict[str, str]) -> None:
    """A POST to auth/leave from the application itself ends the session."""
    cookie = {"Cookie": cookie_of(proxy.get(f"/?token={fresh('goes')}"))}
    assert proxy.get("/datafor/auth/leave", {**FORM, **cookie, **origin}, "POST", b"").status == 200
    assert proxy.get("/", cookie).status == 401
