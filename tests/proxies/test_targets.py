"""Tokens in request targets of any spelling: what each shipped proxy passes on to the application."""

from pathlib import Path

import pytest

from tests.proxies.sites import FILES, REPORTS, Proxy, Sites, configured, cookie_of, seen, signed, start
from tests.support import STRONG_SECRET, application, basic, free_port

PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}
PART = {"Sec-Fetch-Mode": "no-cors", "Accept": "image/png,*/*;q=0.8"}
UNUSUAL = [
    "//p?token={}", "///p?token={}&x=1", "/a//b?token={}", "/./a?token={}", "/a/../b?token={}", "/a/%2e%2e/b?token={}",
    "/%5Ca?token={}", "/\\a?token={}", "/.//a?token={}", "/x/..//a?token={}", "/a;x?token={}", "/a%3Fb?token={}",
    "?token={}", f"http://{REPORTS}/p?token={{}}", f"http://{REPORTS}//p?token={{}}", f"http://{REPORTS}?token={{}}",
    "/p?to%6ben={}", "/p?a=1&%74oken={}&b=2", "/p?token={}&to%6Ben=x", "/p?%54oken=1&t%6Fken={}",
    "/p?token={}&token={}", "/p?token={}&token=", "/p?a=1&token={}&token={}&b=2&token={}", "/p?token={};x=1",
    "/p?&token={}", "/p?token={}&&x", "/p?token={}&a=%zz", "/p?token={}&a=1;b=2", "/p?token={}#x",
]  # fmt: skip


@pytest.mark.parametrize("sent", [PART, PAGE, {**PART, **basic()}, {**PAGE, **basic()}])
@pytest.mark.parametrize("target", UNUSUAL)
def test_no_spelling_passes_the_token_on(proxy: Proxy, target: str, sent: dict[str, str]) -> None:
    """No token reaches the application, with any spelling of the target."""
    token = signed()
    response = proxy.get(target.replace("{}", token), sent)
    assert response.status in (200, 302, 303, 400, 401, 404)
    # Traefik cannot remove a parameter from a URL, as its configuration says.
    if proxy.name != "traefik" or "navigate" in sent.values():
        assert token not in response.body.decode()


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("csrf_token=abc&token={}", "csrf_token=abc"),
        ("token={}&access_token=abc", "access_token=abc"),
        ("a=1&token={}&mytoken=abc&token2=3", "a=1&mytoken=abc&token2=3"),
        ("Token=1&token={}&token[]=2&TOKEN=3", "Token=1&token[]=2&TOKEN=3"),
        ("a=1;b=2&token={}", "a=1;b=2"),
        ("token={}&a=%zz&b=%", "a=%zz&b=%"),
        ("token={}&a=%26token=5&b={{env.HOME}}&c=${{1}}", "a=%26token=5&b={env.HOME}&c=${1}"),
        ("filter%5B0%5D=1&%E5%90%8D=2&token={}", "filter%5B0%5D=1&%E5%90%8D=2"),
        ("a=b?token=1&token={}&c?token=2", "a=b?token=1&c?token=2"),
        ("token={}", ""),
    ],
)
def test_other_parameters_stay_as_they_are(proxy: Proxy, dirty: str, clean: str) -> None:
    """Only the token is removed from a query: parameters of similar names and unusual texts stay."""
    token = signed()
    response = proxy.get(f"/p?{dirty.format(token)}", PART)
    expected = f"/p?{clean}" if clean else "/p"
    assert seen(response, "Remote-User") == ["lena"]
    if proxy.name != "traefik":
        assert response.json["path"] == expected
    response = proxy.get(f"/p?{dirty.format(token)}", PAGE)
    if proxy.name != "traefik" or "{" not in clean:
        # Traefik replaces each semicolon with &.
        semicolons = (";", "&") if proxy.name == "traefik" else ("", "")
        assert str(response.headers["Location"]).removeprefix(f"http://{REPORTS}") == expected.replace(*semicolons)
    assert response.status in (302, 303)


@pytest.mark.parametrize("query", ["csrf_token=a%20b", "access_token=1&x=token=2", "a=%74oken&b?token=1", "token"])
def test_a_query_without_a_token(proxy: Proxy, query: str) -> None:
    """A query without a token reaches the application unchanged, also on a navigation."""
    for sent in (PAGE, PART):
        assert proxy.get(f"/p?{query}", {**basic(), **sent}).json["path"] == f"/p?{query}"


@pytest.mark.parametrize("purpose", ["Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"])
@pytest.mark.parametrize("page", [PAGE, {"Accept": PAGE["Accept"]}])
def test_a_prefetch_does_not_sign_in(proxy: Proxy, purpose: str, page: dict[str, str]) -> None:
    """A prefetched link with a token is refused and sets no cookie: it signs nobody in."""
    anna = {"Cookie": cookie_of(proxy.get(f"/?token={signed('anna')}"))}
    value = "preview" if purpose == "X-Purpose" else "prefetch;prerender" if purpose == "Sec-Purpose" else "prefetch"
    for sent in ({**page, **anna}, page, {**PART, **anna}, PART):
        response = proxy.get(f"/r?a=1&token={signed('bert')}", {**sent, purpose: value})
        assert response.status in (403, 404)
        assert response.headers["Set-Cookie"] is None
        assert response.headers["Location"] is None
    assert seen(proxy.get("/", {**anna, **page, purpose: value}), "Remote-User") == ["anna"]
    form = {"Sec-Fetch-Mode": "navigate", purpose: value, **anna}
    assert proxy.get(f"/?token={signed('bert')}", form, "POST", b"x=1").status in (403, 404)


@pytest.mark.parametrize("purpose", ["Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"])
def test_the_check_sees_a_prefetch(proxy: Proxy, purpose: str) -> None:
    """The check receives the purpose: a prefetch with another application's token does not change the user."""
    anna = {"Cookie": cookie_of(proxy.get(f"/?token={signed('anna')}"))}
    proxy.call("update", application(name="Other", token_name="other_token", secret=STRONG_SECRET))
    path = f"/?other_token={signed('bert')}"
    assert proxy.get(path, {**PAGE, **anna, purpose: "prefetch"}).status == 403
    assert seen(proxy.get(path, {**PAGE, **anna}), "Remote-User") == ["bert"]


@pytest.mark.parametrize(
    ("target", "refused_by"),
    [
        ("//p", {"nginx", "caddy", "haproxy", "apache"}),
        (f"http://{REPORTS}/p", {"apache"}),
        ("/p?to%6Ben=1", {"nginx", "caddy"}),
        ("/p?a=1&%61", {"nginx", "caddy"}),
        ("/p?a%2Db=1", {"nginx", "caddy"}),
        ("/p?a%5Bb%5D=%61&%E5%90%8D", set()),
    ],
)
def test_refused_targets(proxy: Proxy, target: str, refused_by: set[str]) -> None:
    """The targets that the documentation names, and no others, are refused with 400."""
    assert proxy.get(target, basic()).status == (400 if proxy.name in refused_by else 200)


@pytest.mark.parametrize("name", list(FILES))
def test_another_token_name(name: str, sites: Sites, tmp_path: Path) -> None:
    """With the name changed in the marked lines, the token of that name opens a session and is removed."""
    port = free_port()
    text = configured(name, tmp_path, port, sites.service.port, sites.application.server_port)
    for old, new in (
        ("token=", "ticket9="),
        ("QueryRegexp(`token`", "QueryRegexp(`ticket9`"),
        ('"token"', '"ticket9"'),
        ("datafor_clean token", "datafor_clean ticket9"),
    ):
        text = text.replace(old, new)
    proxy = start(name, tmp_path, port, text)
    try:
        proxy.call("update", application(name="Ninth", token_name="ticket9", secret=STRONG_SECRET))
        token = signed("ninth")
        response = proxy.get(f"/p?a=1&ticket9={token}&other=x", PAGE)
        assert str(response.headers["Location"]).removeprefix(f"http://{REPORTS}") == "/p?a=1&other=x"
        assert proxy.get(f"/p?ticket9={token}", {**PAGE, "Sec-Purpose": "prefetch"}).status in (403, 404)
        if name != "traefik":
            assert proxy.get(f"/p?a=1&ticket9={token}", PART).json["path"] == "/p?a=1"
    finally:
        proxy.process.terminate()
        proxy.process.wait(30)


@pytest.mark.parametrize("path", ["/datafor2", "/datafor2/x", "/dataforest?a=1", "/datafor-x", "/x/datafor/y"])
def test_paths_like_the_prefix(proxy: Proxy, path: str) -> None:
    """Paths that only begin like the service's prefix belong to the application."""
    response = proxy.get(path, basic())
    assert (seen(response, "Remote-User"), response.json["path"]) == (["admin"], path)


@pytest.mark.parametrize("sent", [PAGE, {"Accept": PAGE["Accept"]}, PART, {}])
def test_a_public_page_with_a_token(public: Proxy, sent: dict[str, str]) -> None:
    """A public page passes without a redirect, an identity and a session, and without the token in its URL."""
    token = signed()
    for method in ("GET", "HEAD"):
        response = public.get(f"/public/start?a=1&token={token}&csrf_token=2", sent, method)
        assert response.status == 200
        assert "datafor_gate" not in response.headers.as_string()
        if method == "HEAD":
            continue
        assert [*seen(response, "Remote-User"), ""][0] == ""
        if public.name != "traefik":
            assert response.json["path"] == "/public/start?a=1&csrf_token=2"
            assert token not in str(response.json)
    if public.name != "traefik":
        for spelling in ("to%6ben={0}", "token={0}&token={0}"):
            assert public.get(f"/public/start?{spelling.format(token)}", sent).status in (200, 400)
            assert token not in str(public.get(f"/public/start?{spelling.format(token)}", sent).body)


def test_only_get_and_head_are_public(public: Proxy) -> None:
    """A public path passes without a credential for GET and HEAD only."""
    for method in ("POST", "PUT"):
        assert public.get("/public/x", PART, method, b"x").status == 401
