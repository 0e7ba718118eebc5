"""Options of the check in each shipped configuration: for all paths, and for some."""

import pytest

from tests.proxies.sites import FILES, Proxy, Sites, cookie_of, seen, signed
from tests.support import basic

PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}
# Spellings of one path that some application reads as /admin/x.
ADMIN = [
    "/admin", "/admin/", "/admin/x", "/ADMIN/x", "/admin;a=1/x", "/admin%2fx", "/%61dmin/x", "/./admin/x",
    "/x/../admin/x", "/x/%2e%2e/admin/x", "/x/..;/admin/x", "/;/admin/x", "/admin?x", "/admin%3f", "/a//admin/x",
    "/api/../admin/x", "/api/%2e%2e/admin/x", "/api/..;/admin/x", "/api/admin/x",
]  # fmt: skip


@pytest.fixture(params=list(FILES))
def paths(request: pytest.FixtureRequest, sites: Sites) -> Proxy:
    """The proxy with the examples for paths."""
    return sites.proxy(request.param, "paths")


@pytest.fixture(params=list(FILES))
def header(request: pytest.FixtureRequest, sites: Sites) -> Proxy:
    """The proxy with &header=X-Api-Token."""
    return sites.proxy(request.param, "header")


@pytest.mark.parametrize("path", ADMIN)
def test_a_requirement_of_a_path(paths: Proxy, path: str) -> None:
    """No spelling of a path that requires a role is served without the role."""
    lena = {"Cookie": cookie_of(paths.get(f"/?token={signed()}"))}
    response = paths.get(path, lena)
    assert response.status in (400, 403, 404), response.body
    assert paths.get("/reports/1", lena).status == 200
    assert paths.get(path, basic()).status in (200, 400, 404)
    assert paths.get("/admin/x", basic()).status == 200
    assert paths.get("/admin/x", PAGE).status == 302


def test_authorization_of_the_application(paths: Proxy) -> None:
    """With ignore_authorization=1 the header reaches the application unchanged, and the cookie decides."""
    lena = {"Cookie": f"a=1; {cookie_of(paths.get(f'/?token={signed()}'))}"}
    for value in ("Bearer of-the-application", "Basic eDp5", "Digest a=b", "ApiKey x y", f"Bearer {signed('other')}"):
        response = paths.get("/api/1?x=1", {**lena, "Authorization": value})
        assert (seen(response, "Remote-User"), seen(response, "Authorization")) == (["lena"], [value])
        assert seen(response, "Cookie") == ["a=1"]
        # It is no credential.
        assert paths.get("/api/1", {"Authorization": value}).status == 401
    assert [one for one in seen(paths.get("/api/1", lena), "Authorization") if one] == []
    # Elsewhere it is the service's.
    assert paths.get("/reports/1", {**lena, "Authorization": "Bearer of-the-application"}).status == 401
    assert [one for one in seen(paths.get("/", {"Authorization": f"Bearer {signed()}"}), "Authorization") if one] == []


@pytest.mark.parametrize("name", list(FILES))
def test_authorization_on_public_paths(name: str, sites: Sites) -> None:
    """Without ignore_authorization, a header Authorization reaches the application nowhere."""
    proxy = sites.proxy(name, "public")
    for path in ("/public/x", "/"):
        response = proxy.get(path, {"Authorization": f"Bearer {signed()}"})
        assert [one for one in seen(response, "Authorization") if one] == []


def test_a_token_in_a_header(header: Proxy) -> None:
    """With header=X-Api-Token the header signs in before other credentials, and does not reach the application."""
    for more in ({}, basic(), {"Authorization": "Bearer x"}, {"Cookie": "datafor_gate=x"}):
        response = header.get("/api/1", {**more, "X-Api-Token": signed()})
        assert seen(response, "Remote-User") == ["lena"]
        assert [one for one in seen(response, "X-Api-Token") if one] == []
        assert [one for one in seen(response, "Authorization") if one] == []
    assert header.get("/api/1", {**basic(), "X-Api-Token": f"{signed()}x"}).status == 401
    assert seen(header.get("/", basic()), "Remote-User") == ["admin"]


def test_the_header_is_the_applications_by_default(proxy: Proxy) -> None:
    """Without the option, a header such as X-Api-Token is no credential and reaches the application."""
    response = proxy.get("/", {**basic(), "X-Api-Token": "x"})
    assert (seen(response, "Remote-User"), seen(response, "X-Api-Token")) == (["admin"], ["x"])
    assert proxy.get("/", {"X-Api-Token": signed()}).status == 401
