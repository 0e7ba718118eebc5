"""The original request behind a check: its URL, and whether it is a navigation."""

import time

import pytest

from datafor_token.gate import forwarded
from datafor_token.web import cookies

HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("environ", "navigates"),
    [
        ({"HTTP_SEC_FETCH_MODE": "navigate"}, True),
        ({"HTTP_SEC_FETCH_MODE": "navigate", "REQUEST_METHOD": "POST"}, True),
        ({"HTTP_SEC_FETCH_MODE": "no-cors", "HTTP_ACCEPT": HTML}, False),
        ({"HTTP_SEC_FETCH_MODE": "cors", "HTTP_ACCEPT": HTML}, False),
        ({"HTTP_SEC_FETCH_MODE": "", "HTTP_ACCEPT": HTML}, True),
        ({}, False),
        ({"HTTP_ACCEPT": HTML}, True),
        ({"HTTP_ACCEPT": "image/webp, TEXT/HTML;q=0.1"}, True),
        ({"HTTP_ACCEPT": "*/*"}, False),
        ({"HTTP_ACCEPT": "text/*,image/avif,application/text/html"}, False),
        ({"HTTP_ACCEPT": HTML, "REQUEST_METHOD": "POST"}, False),
        ({"HTTP_ACCEPT": HTML, "REQUEST_METHOD": "HEAD"}, False),
        ({"HTTP_ACCEPT": HTML, "HTTP_X_FORWARDED_METHOD": "POST"}, False),
        ({"HTTP_ACCEPT": HTML, "HTTP_X_ORIGINAL_METHOD": "PUT"}, False),
        ({"HTTP_ACCEPT": HTML, "HTTP_X_FORWARDED_METHOD": "GET", "REQUEST_METHOD": "POST"}, True),
        ({"HTTP_ACCEPT": HTML, "HTTP_X_ORIGINAL_METHOD": "GET", "REQUEST_METHOD": "HEAD"}, True),
        ({"HTTP_ACCEPT": HTML, "HTTP_X_FORWARDED_METHOD": ""}, True),
        ({"HTTP_ACCEPT": "text/html, */*; q=0.01", "HTTP_X_REQUESTED_WITH": "XMLHttpRequest"}, False),
    ],
)
def test_is_navigation(environ: dict[str, str], *, navigates: bool) -> None:
    """A navigation has Sec-Fetch-Mode navigate, or without it is a GET that names HTML and that no script sent."""
    assert forwarded.is_navigation({"REQUEST_METHOD": "GET", **environ}) is navigates


@pytest.mark.parametrize(
    ("uri", "target"),
    [
        ("/d/7?orgId=1&from=now", "/d/7?orgId=1&from=now"),
        ("/d/7?a=1&token=x.y.z&b=%26+2&&c", "/d/7?a=1&b=%26+2&&c"),
        ("/d/7?token=x", "/d/7"), ("/?%74oken=x&to%6ben=y", "/"), ("/?ticket=x&erp=y&a", "/?a"),
        ("/?Token=x", "/?Token=x"), ("https://intra.example/a?token=x&b=1", "/a?b=1"),
        ("https://intra.example?token=x", "/"), ("/a#token=x", "/a"), ("/a?next=/b", "/a?next=/b"),
        ("/%E6%8A%A5", "/%E6%8A%A5"), ("/æ\x8a¥", "/报"), ("/\xff", None),
        ("", None), ("?a", None), ("//evil.example/x", None), ("/\\evil", None), ("/%2fevil", None), ("/a//b", None),
        ("javascript:alert(1)", None), ("/" + "x" * 2048, None), ("/x?a=%0d%0aSet-Cookie:b", None), ("evil", None),
    ],
)  # fmt: skip
def test_the_way_back(uri: str, target: str | None) -> None:
    """The way back is path and query of the original request without tokens and tickets, on the same host."""
    for header in ("HTTP_X_ORIGINAL_URI", "HTTP_X_ORIGINAL_URL", "HTTP_X_FORWARDED_URI"):
        assert forwarded.way_back({header: uri}, {"token", "erp", "ticket"}) == target


@pytest.mark.parametrize("text", ["eyJ" * 5000, "eyJ" * 2500 + "." + "a" * 7500, "eyJa." * 3000, "%65yJ" * 3000])
def test_a_long_url_takes_linear_time(text: str) -> None:
    """A URL of beginnings of tokens, which anybody can send, takes a time in proportion to its length."""
    for mark in ("", "?", "?a=1#"):
        assert work(f"/{mark}{text}") < 24 * work(f"/{mark}{text[: len(text) // 8]}") + 10_000


def work(target: str) -> int:
    """Return the least processor time of several runs in microseconds."""
    found = []
    for _ in range(5):
        begun = time.process_time_ns()
        forwarded.without_secrets(target, {"token"})
        found.append(time.process_time_ns() - begun)
    return min(found) // 1000


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("eyJh.eyJl.c2ln", False), ("xeyJeyJh.eyJl.", False), ("eyJh.x.eyJl.c2ln", False), ("eyJ.eyJh.eyJl.c", False),
        ("eyJh+eyJh.eyJl.c2ln", False), ("eyJ%68.eyJl.c2ln", False),
        ("eyJh.eyJl", True), ("eyJ.a.b", True), ("eyJh..b.", True), ("ey.eyJh", True), ("eyJeyJ", True),
    ],
)  # fmt: skip
def test_what_looks_like_a_token(text: str, kept: bool) -> None:
    """A query that has the first two parts of a token with their dots is left out, wherever they are in it."""
    assert forwarded.without_secrets(f"/a?b={text}", ()) == (f"/a?b={text}" if kept else "/a")
    assert forwarded.without_secrets(f"/{text}", ()) == (f"/{text}" if kept else None)


def test_next_in_a_url() -> None:
    """``next`` is percent-encoded, and added behind the URL's query and before its fragment."""
    with_next = forwarded.with_next
    assert with_next("https://p.example/in", "/a?b=1&c=%20") == "https://p.example/in?next=%2Fa%3Fb%3D1%26c%3D%2520"
    assert with_next("/in?app=7#/x", "/报") == "/in?app=7&next=%2F%E6%8A%A5#/x"
    assert with_next("/in", None) == "/in"


def test_a_request_for_the_sign_in_page() -> None:
    """A request for the sign-in page is recognised under any name of its host, to prevent a redirect loop."""

    def is_it(uri: str, url: str) -> bool:
        return forwarded.is_request_for({"HTTP_X_ORIGINAL_URI": uri}, url, {"Intra.example"})

    assert is_it("/in?next=%2Fa", "/in?app=7")
    assert is_it("/%69n", "https://intra.example/in")
    assert is_it("/", "https://intra.example")
    assert is_it("/in?next=%2Fin", "https://other.name/in")
    assert not is_it("/in", "https://portal.example/in")
    assert not is_it("/inside", "/in")


def test_a_page_of_the_application_like_the_sign_in_page() -> None:
    """If the request's host is known, a page of the application at the same path is not taken for the sign-in page."""
    for url, wanted in (("https://portal.example/in", False), ("https://intra.example/in", True), ("/in", True)):
        environ = {"HTTP_X_ORIGINAL_URI": "/in?next=%2Fa"}
        assert forwarded.is_request_for(environ, url, {"intra.example"}, hosts_are_known=True) is wanted
        assert forwarded.is_request_for(environ, url, {"intra.example"})


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("gate=x", ["x"]), ("a=1; gate=x; b=2", ["x"]), ("a=1;gate=x", ["x"]), ('gate="x"', ["x"]),
        ("\tgate=x ", ["x"]),
        ("gate=x; gate=y", ["x", "y"]), ("gate=; gate=a.b; gate=y", ["y"]),
        ("xgate=x", []), ("a=1,gate=x", []), ("a=1, gate=x", []), ("my_gate=x", []), ("gate2=x", []), ("Gate=x", []),
        ("a=gate=x", []), ('a="; gate=x"', []), ("gate", []), ("gate=x y", []), ('gate="x', []), ("gate=x,", []),
        ("a=1 gate=x", []), ("", []), (";;", []),
    ],
)  # fmt: skip
def test_a_cookie_has_one_name(header: str, values: list[str]) -> None:
    """A cookie is found by its whole name, between semicolons, and only with a value that the service can set."""
    assert cookies.values_of(header, "gate") == values


@pytest.mark.parametrize(
    ("header", "left"),
    [
        ("gate=x; sid=7", "sid=7"), ("a=1; gate=x; b=2", "a=1; b=2"), ("a=1;gate=x;b=2", "a=1;b=2"), ("gate=x", ""),
        ("", ""), ("a=1; gate=x", "a=1"), ("my_gate=1; gate=x; gate2=2", "my_gate=1; gate2=2"),
        ("gate=x; a=1; gate=y; S=z", "a=1"), ("a=gate=x; b=,gate=1", "a=gate=x; b=,gate=1"),
        ("a=\xff;  b", "a=\xff;  b"),
        ("gate; a=1", "a=1"), ("s=1; S=2", "s=1"), ("a=\x01; b=2", "b=2"), ('gate="x;y"; a=1', 'y"; a=1'),
    ],
)  # fmt: skip
def test_the_other_cookies(header: str, left: str) -> None:
    """The service's cookies are removed by their whole names; all others remain unchanged, byte for byte."""
    assert cookies.without(header, ("gate", "S")) == left
