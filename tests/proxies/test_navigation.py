"""Pages behind each shipped proxy: tokens in URLs, users without a token, and public requests."""

import urllib.parse

import pytest

from tests.proxies.sites import SIGN_IN_URL, Proxy, cookie_of, seen, signed

# What browsers send for a page: over https or to loopback, and over plain http.
NAVIGATIONS = [
    {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"},
    {"Accept": "application/xhtml+xml, text/html;q=0.9, */*;q=0.8"},
]
# The same for parts of a page.
PARTS = [
    {"Sec-Fetch-Mode": "cors", "Accept": "text/html"},
    {"Sec-Fetch-Mode": "no-cors", "Accept": "image/png,*/*;q=0.8"},
    {"Accept": "*/*"},
    {},
]


@pytest.mark.parametrize("navigation", NAVIGATIONS)
@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("/?token={}", "/"),
        ("/reports/1?token={}", "/reports/1"),
        ("/r?token={}&a=1&b=%26", "/r?a=1&b=%26"),
        ("/r?a=1&token={}", "/r?a=1"),
        ("/r?a=1&token={}&b=2", "/r?a=1&b=2"),
        ("/r?mytoken=1&token={}&x?token=2", "/r?mytoken=1&x?token=2"),
        ("/a%20b%2Fc/%E5?q=%E5+x&token={}", "/a%20b%2Fc/%E5?q=%E5+x"),
        ("/$%7Benv.HOME%7D?token={}&x=%7Benv.HOME%7D", "/$%7Benv.HOME%7D?x=%7Benv.HOME%7D"),
    ],
)
def test_a_page_with_a_token(proxy: Proxy, navigation: dict[str, str], dirty: str, clean: str) -> None:
    """A navigation with a token opens a session and is redirected to the same address without the token."""
    response = proxy.get(dirty.format(signed()), navigation)
    assert response.status in (302, 303)
    location = urllib.parse.urlsplit(str(response.headers["Location"]))
    assert location.netloc in ("", "reports.intra.example")
    assert urllib.parse.urlunsplit(("", "", *location[2:])) == clean
    page = proxy.get(clean, {**navigation, "Cookie": cookie_of(response)})
    assert seen(page, "Remote-User") == ["lena"]
    assert page.json["path"] == clean


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_page_with_a_token(proxy: Proxy, part: dict[str, str]) -> None:
    """An image or a script's request with a token is served at once; the application does not see the token."""
    token = signed()
    response = proxy.get(f"/i.png?a=1&token={token}&b=2", part)
    assert seen(response, "Remote-User") == ["lena"]
    if proxy.name != "traefik":
        # It cannot remove a parameter from a URL, as its configuration says.
        assert response.json["path"] == "/i.png?a=1&b=2"
        assert token not in str(response.json)
    assert cookie_of(response)


def test_a_form_with_a_token_in_its_address(proxy: Proxy) -> None:
    """A POST with a token in its URL is not redirected: its body would be lost."""
    response = proxy.get(f"/form?token={signed()}", NAVIGATIONS[0], "POST", b"x=1")
    assert seen(response, "Remote-User") == ["lena"]
    assert (response.json["method"], response.json["length"]) == ("POST", 3)


@pytest.mark.parametrize("path", ["//evil.example/", "//evil.example", "///evil.example/x", "/%5Cevil.example/"])
def test_a_clean_address_is_on_the_same_host(proxy: Proxy, path: str) -> None:
    """No address leads to another host once its token is removed."""
    response = proxy.get(f"{path}?token={signed()}", NAVIGATIONS[0])
    target = urllib.parse.urljoin("http://reports.intra.example/", str(response.headers["Location"] or "/"))
    assert urllib.parse.urlsplit(target).netloc == "reports.intra.example"


def test_a_bad_token_in_a_page(proxy: Proxy) -> None:
    """A navigation with a token that is refused is sent to the sign-in page, without the token."""
    response = proxy.get(f"/r?a=1&token={signed()}x", NAVIGATIONS[0])
    assert response.status == 302
    assert response.headers["Location"] == f"{SIGN_IN_URL}?next=%2Fr%3Fa%3D1"
    assert response.headers["Set-Cookie"] is None


@pytest.mark.parametrize("navigation", NAVIGATIONS)
def test_a_navigation_without_a_token(proxy: Proxy, navigation: dict[str, str]) -> None:
    """A browser is sent to the sign-in page with the way back; a request of a script gets a 401."""
    response = proxy.get("/r/1?a=1&b=%2F", navigation)
    assert (response.status, response.headers["Location"]) == (302, f"{SIGN_IN_URL}?next=%2Fr%2F1%3Fa%3D1%26b%3D%252F")
    for part in PARTS:
        response = proxy.get("/r/1", part)
        assert response.status == 401
        assert response.headers.get_all("WWW-Authenticate") == ['Bearer realm="datafor_token"']
    form = proxy.get("/r/1", NAVIGATIONS[1], "POST", b"x=1")
    assert form.status == 401


def test_two_users_in_one_browser(proxy: Proxy) -> None:
    """Over plain http, a page with another user's token changes the user; other requests with it change no cookie."""
    anna = {"Cookie": cookie_of(proxy.get(f"/?token={signed('anna')}"))}
    page = NAVIGATIONS[1]
    for headers, method in ((PARTS[2], "GET"), (PARTS[1], "GET"), (PARTS[2], "POST"), (PARTS[0], "PUT")):
        response = proxy.get(
            f"/part?token={signed('bert')}", {**anna, **headers}, method, b"" if method != "GET" else None
        )
        assert seen(response, "Remote-User") == ["bert"]
        assert "datafor_gate" not in response.headers.as_string()
    # The response to a form is a page, whose parts would come with the other user's cookie.
    assert proxy.get(f"/form?token={signed('bert')}", {**anna, **page}, "POST", b"x=1").status == 403
    assert seen(proxy.get("/", {**anna, **page}), "Remote-User") == ["anna"]
    bert = {"Cookie": cookie_of(proxy.get(f"/?token={signed('bert')}", {**anna, **page}))}
    assert seen(proxy.get("/", {**bert, **page}), "Remote-User") == ["bert"]
    assert seen(proxy.get("/", {**anna, **page}), "Remote-User") == ["anna"]
    left = proxy.get("/datafor/auth/leave?next=/bye", {**bert, "Sec-Fetch-Site": "same-origin", **page})
    assert (left.status, left.headers["Location"]) == (303, "/bye")
    assert proxy.get("/", bert).status == 401
    assert seen(proxy.get("/", anna), "Remote-User") == ["anna"]


def test_the_applications_own_response(proxy: Proxy) -> None:
    """A 401, a Referrer-Policy and a cookie of the application reach the browser unchanged."""
    cookie = {"Cookie": cookie_of(proxy.get(f"/?token={signed()}"))}
    response = proxy.get("/its-own-401", {**cookie, **NAVIGATIONS[0]})
    assert (response.status, response.json["path"]) == (401, "/its-own-401")
    for one in (response, proxy.get("/x-accel", cookie)):
        assert one.headers.get_all("Referrer-Policy") == ["same-origin"]
        assert one.headers.get_all("Set-Cookie") == ["sid=8; Path=/"]
    response = proxy.get(f"/?token={signed()}")
    assert len(response.headers.get_all("Set-Cookie") or []) == 2


def test_nothing_is_public_as_shipped(proxy: Proxy) -> None:
    """Preflights and public paths need a credential unless the commented lines are in force."""
    for method, path in (("OPTIONS", "/api"), ("GET", "/public/logo.png")):
        assert proxy.get(path, {"Access-Control-Request-Method": "POST", "Origin": "https://x"}, method).status == 401


def test_public_requests(public: Proxy) -> None:
    """Preflights and public paths pass without an identity, whatever credentials and headers the client sends."""
    cookie = cookie_of(public.get(f"/?token={signed()}"))
    forged = [
        ("Remote-User", "admin"), ("remote_user", "admin"), ("Remote-Groups", "Administrator"), ("Remote_Name", "x"),
        ("Remote-Email", "x"), ("Authorization", f"Bearer {signed()}"), ("Cookie", f"a=1; {cookie}"),
        ("X-Original-URI", "/x"), ("Connection", "Remote-User"),
        *((f"Remote{sign}User", "admin") for sign in "!#$%&'*+.^`|~"), ("REMOTE.GROUPS", "Administrator"),
    ]  # fmt: skip
    preflight = {"Access-Control-Request-Method": "POST", "Origin": "https://x"}
    for method, path in (("OPTIONS", "/api/1?x=1"), ("GET", "/public/a-b/logo.png?v=1"), ("HEAD", "/public/logo.png")):
        response = public.get(path, [*forged, *preflight.items()], method)
        assert response.status == 200
        if method == "HEAD":
            continue
        assert (response.json["method"], response.json["path"]) == (method, path)
        for name in ("Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Authorization", "Cookie"):
            assert seen(response, name) in ([], [""])
    assert seen(public.get("/", {"Cookie": cookie}), "Remote-User") == ["lena"]


@pytest.mark.parametrize(
    "path",
    [
        "/public", "/publicity", "/Public/x", "/x/public/", "/public/../secret", "/public/%2e%2e/secret",
        "/public/..%2fsecret", "/public/..;/secret", "/public/a;/../../secret", "/public%2f..%2fsecret",
        "/public/\\..\\secret",
        "//public/x", "/secret?/public/", "/secret?x=/public/", "/secret%3f/public/", "/public/..",
        "/public/a/../../secret",
        "/public/%252e%252e/secret", "/public/.../secret", "/public/a..b",
    ],
)  # fmt: skip
def test_paths_that_look_public(public: Proxy, path: str) -> None:
    """No other spelling of a path is public."""
    response = public.get(path)
    if response.status == 200:
        # Traefik merges slashes, for the application too.
        assert (path, response.json["path"]) == ("//public/x", "/public/x")
    else:
        assert response.status in (400, 401, 403, 404)
