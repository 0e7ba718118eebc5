"""Two host names behind each shipped proxy: console and API apart from the application."""

import json

import pytest

from tests.proxies.sites import CONSOLE, REPORTS, Proxy, Sites, cookie_of, seen, signed
from tests.support import ADMIN_PASSWORD, API, basic

LOGIN = "/datafor/plugin/datafor/api/extension/auth/login"
CREDENTIALS = json.dumps({"username": "admin", "password": ADMIN_PASSWORD}).encode()
JSON = {"Content-Type": "application/json"}


CHECK = [
    "/datafor/auth/check", "//datafor/auth/check", "/datafor//auth/check", "/datafor/auth//check",
    "/datafor/auth/check/",
    "/datafor/auth%2fcheck", "/datafor%2fauth%2fcheck", "/datafor/auth/%63heck", "/datafor/%61uth/check",
    "/datafor/./auth/check", "/datafor/x/../auth/check", "/datafor/x/%2e%2e/auth/check", "/datafor/auth/check?role=x",
    "/datafor/auth/check;x", "/datafor/auth/enter/../check", "/datafor/auth/check%20", "/x/..%2fdatafor/auth/check",
    "/datafor/plugin/../auth/check", "/datafor/auth/./check", "/auth/check", "//auth/check", "/auth%2fcheck",
    "/DATAFOR/auth/check", "/_datafor_check", "/_datafor_clean", "/datafor/metrics", "/datafor//metrics",
    "/datafor/%6detrics", "/datafor/metrics/", "/datafor/metrics?x",
]  # fmt: skip
CONSOLE_PATHS = [
    "/datafor/console/", "/datafor/console/sign-in", f"/datafor{API}/list", "/datafor/docs", "/datafor/openapi.json",
    "/datafor/healthz", f"/datafor%2f{API[1:]}/list", f"/x/../datafor{API}/list", f"//datafor{API}/list",
    f"/datafor/auth/enter/..%2f..{API}/list", f"/datafor/auth/enter/../..{API}/list", f"/datafor/auth%2f..{API}/list",
    f"/datafor/auth/leave%2f..%2f..{API}/list", f"/datafor/%2e{API}/list", "/datafor", "/DATAFOR/console/",
]  # fmt: skip


def is_kept_away(proxy: Proxy, path: str, headers: dict[str, str], host: str) -> bool:
    """Return whether a path leads to an error or to the application, and not to the service."""
    response = proxy.get(path, headers, host=host)
    if response.status in (301, 302, 307, 308):
        # A redirect to the same path in another spelling.
        path = "/" + str(response.headers["Location"]).removeprefix(f"http://{host}").lstrip("/")
        response = proxy.get(path, headers, host=host)
    if response.status == 200 and response.body:
        return host.lower() == REPORTS and bool(seen(response, "Remote-User"))
    return response.headers["Remote-User"] is None and response.status in (400, 403, 404, 421)


def test_the_check_is_not_for_visitors(proxy: Proxy) -> None:
    """Nobody reaches the check or the metrics through a proxy, with any spelling of path and host."""
    for host in (CONSOLE, REPORTS, CONSOLE.upper(), "other.example", "127.0.0.1"):
        for path in CHECK:
            assert is_kept_away(proxy, path, {"Authorization": f"Bearer {signed()}"}, host), (host, path)


def test_the_applications_host_has_no_console(proxy: Proxy) -> None:
    """A script of the application reaches neither console nor API through its own host, even for an administrator."""
    for path in CONSOLE_PATHS:
        assert is_kept_away(proxy, path, basic(), REPORTS), path


def test_the_consoles_host(proxy: Proxy) -> None:
    """The console's host serves the console, the API and the public calls, and nothing of the application."""
    assert proxy.get(f"/datafor{API}/list", basic(), host=CONSOLE).json["success"]
    assert b"<form" in proxy.get("/datafor/console/sign-in", host=CONSOLE).body
    for path in ("/datafor/healthz", "/datafor/readyz", "/datafor/.well-known/jwks.json"):
        assert proxy.get(path, host=CONSOLE).status == 200
    for path in ("/", "/reports/1", "/datafor/auth/enter", "/datafor/auth/leave"):
        assert proxy.get(path, basic(), host=CONSOLE).status in (403, 404)


def test_other_hosts(proxy: Proxy) -> None:
    """A request for a host name that is not configured reaches neither service nor application."""
    for host in ("other.example", "127.0.0.1", "datafor.intra.example.evil", "x.reports.intra.example"):
        for path in ("/", "/datafor/console/sign-in", "/datafor/auth/enter"):
            assert is_kept_away(proxy, path, basic(), host)
    assert proxy.get("/", basic(), host="other.example").status == (403 if proxy.name == "apache" else 404)


@pytest.mark.parametrize("site", ["same-site", "cross-site", None])
def test_a_script_of_the_application_at_the_consoles_host(proxy: Proxy, site: str | None) -> None:
    """A POST from the application's origin to the API is refused, with the administrator's session or password."""
    response = proxy.get(LOGIN, JSON, "POST", CREDENTIALS, host=CONSOLE)
    session = str(response.headers["Set-Cookie"]).partition(";")[0]
    origin = {"Origin": f"http://{REPORTS}", **({"Sec-Fetch-Site": site} if site else {}), **JSON}
    for credential in ({"Cookie": session}, basic()):
        path = f"/datafor{API}/delete"
        assert proxy.get(path, {**credential, **origin}, "POST", b'{"name":"none"}', host=CONSOLE).status == 403
        own = {"Origin": f"http://{CONSOLE}", **JSON}
        assert proxy.get(path, {**credential, **own}, "POST", b'{"name":"none"}', host=CONSOLE).status == 200


def test_the_sessions_cookie_is_the_consoles(proxy: Proxy) -> None:
    """A client's forwarding headers change neither the path of the session cookie nor any link."""
    forged = {
        "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil", "Forwarded": "for=6.6.6.6;host=evil.example;proto=https",
        "X-Script-Name": "/evil",
        "Script-Name": "/evil", "X-Original-URI": "/?token=x", "X-Real-IP": "6.6.6.6",
    }  # fmt: skip
    response = proxy.get(LOGIN, {**JSON, **forged}, "POST", CREDENTIALS, host=CONSOLE)
    assert str(response.headers["Set-Cookie"]).endswith("; HttpOnly; Path=/datafor; SameSite=Lax")
    page = proxy.get("/datafor/console/", forged, host=CONSOLE)
    assert "evil" not in page.headers.as_string() + page.body.decode()
    link = proxy.call("link", {"name": "ERP"}, {**basic(), **forged}).json["url"]
    assert link.startswith(f"http://{REPORTS}/datafor/auth/enter?ticket=")


def test_the_entrance(proxy: Proxy) -> None:
    """A token or a one-time link becomes a cookie and a clean address on the application's host, once."""
    response = proxy.get(f"/datafor/auth/enter?token={signed()}&next=/reports/1")
    assert (response.status, response.headers["Location"]) == (303, "/reports/1")
    cookie = {"Cookie": cookie_of(response)}
    assert seen(proxy.get("/reports/1", cookie), "Remote-User") == ["lena"]
    link = proxy.call("link", {"name": "ERP", "username": "lena", "next": "/x"}).json["url"]
    path = link.removeprefix(f"http://{REPORTS}")
    assert [proxy.get(path).status for _ in range(2)] == [303, 401]


def test_the_clients_address(proxy: Proxy, sites: Sites) -> None:
    """The service logs the address of the client, not one that the client sends."""
    proxy.get("/datafor/healthz", {"X-Forwarded-For": "6.6.6.6, 7.7.7.7", "X-Real-IP": "6.6.6.6"}, host=CONSOLE)
    proxy.get("/", {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"})
    assert "6.6.6.6" not in sites.service.output
    assert "7.7.7.7" not in sites.service.output
