"""Trusted proxies, and requests of pages of other origins (CORS)."""

import dataclasses
import io
from typing import Any

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY
from tests.support import ADMIN_PASSWORD, API, SAMPLE_APPLICATION, basic

LOGIN = "/plugin/datafor/api/extension/auth/login"
ORIGIN = "https://portal.example"


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(**changes: Any) -> Flask:
        monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
        changed = dataclasses.replace(settings, **changes)
        return create_app(changed, hasher=CHEAP_FOR_TESTS_ONLY)

    return make


FORWARDED = {
    "X-Forwarded-For": "6.6.6.6, 7.7.7.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "intra.example",
    "X-Forwarded-Prefix": "/base",
    "X-Script-Name": "/base",
    "Script-Name": "/base",
}


@pytest.mark.parametrize(("trusted", "address"), [(0, "127.0.0.1"), (1, "7.7.7.7"), (2, "6.6.6.6")])
def test_as_many_proxies_as_are_trusted(make: Any, log: io.StringIO, trusted: int, address: str) -> None:
    """As many hops as configured are trusted for the client's address; by default none."""
    make(trusted_proxies=trusted).test_client().get("/healthz", headers=FORWARDED)
    assert f"address={address} " in log.getvalue().replace("\n", " ")


def test_scheme_and_host(make: Any) -> None:
    """A trusted proxy sets the scheme of cookies and the host of our origin, but no prefix."""
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    believed = make(trusted_proxies=1, url_prefix="/datafor").test_client()
    response = believed.post(f"/datafor{LOGIN}", json=body, headers={**FORWARDED, "Origin": "https://intra.example"})
    assert "; Secure; HttpOnly; Path=/datafor; SameSite=Lax" in response.headers["Set-Cookie"]
    unbelieved = make(url_prefix="/datafor").test_client()
    response = unbelieved.post(f"/datafor{LOGIN}", json=body, headers=FORWARDED)
    assert response.headers["Set-Cookie"].endswith("; HttpOnly; Path=/datafor; SameSite=Lax")
    response = unbelieved.post(f"/datafor{LOGIN}", json=body, headers={**FORWARDED, "Origin": "https://intra.example"})
    assert response.status_code == 403


@pytest.mark.own_app
def test_an_untrusted_proxy_is_logged_once(make: Any, log: io.StringIO) -> None:
    """Forwarding headers without a trusted proxy are logged once, not for each request."""
    client = make().test_client()
    client.get("/healthz")
    assert "TRUSTED_PROXIES" not in log.getvalue()
    for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        client.get("/healthz", headers={header: "1.2.3.4"})
    assert log.getvalue().count("TRUSTED_PROXIES") == 1


def test_no_origin_by_default(make: Any) -> None:
    """Without CORS_ORIGINS, no response allows another origin, and its POST is refused."""
    client = make().test_client()
    response = client.get("/healthz", headers={"Origin": ORIGIN})
    assert not [name for name, _ in response.headers if name.startswith("Access-Control") or name == "Vary"]
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    assert client.options(f"{API}/update", headers=preflight).status_code == 405
    refused = client.post(f"{API}/update", json=SAMPLE_APPLICATION, headers={**basic(), "Origin": ORIGIN})
    assert refused.status_code == 403


def test_named_origins_may_call(make: Any) -> None:
    """A page of a configured origin may call, after a preflight request; a page of another origin may not."""
    client = make(cors_origins=(ORIGIN,)).test_client()
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    response = client.options(f"{API}/update", headers=preflight)
    assert response.status_code == 204
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    headers = {**basic(), "Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
    response = client.post(f"{API}/update", json=SAMPLE_APPLICATION, headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    for origin in ("https://evil.example", "null", f"{ORIGIN}.evil.example", "http://portal.example", ""):
        other = {**headers, "Origin": origin}
        refused = client.post(f"{API}/update", json=SAMPLE_APPLICATION, headers=other)
        assert refused.status_code == 403
        assert "Access-Control-Allow-Origin" not in refused.headers
        assert refused.headers["Vary"] == "Origin"
        assert client.options(f"{API}/update", headers={**preflight, "Origin": origin}).status_code == 405


@pytest.mark.parametrize("prefix", ["/base", "http://evil", "//evil", "p", "/a b", "/a//b", "/<x>"])
def test_a_prefix_of_a_client(make: Any, prefix: str) -> None:
    """X-Forwarded-Prefix, which many proxies pass on from clients, changes neither cookies nor pages."""
    client = make(trusted_proxies=1).test_client()
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    response = client.post(LOGIN, json=body, headers={"X-Forwarded-Prefix": prefix})
    assert "; Path=/;" in response.headers["Set-Cookie"]
    page = client.get("/console/sign-in", headers={"X-Forwarded-Prefix": prefix})
    assert 'action="/console/sign-in"' in page.text


def test_other_hosts(make: Any) -> None:
    """With TRUSTED_HOSTS, requests for other hosts are 403, also at the check."""
    client = make(trusted_hosts=("intra.example", ".sub.example")).test_client()
    for host, status in (
        ("intra.example", 200), ("INTRA.example:8080", 200), ("a.sub.example", 200),
        ("evil.example", 403), ("intra.example.evil", 403), ("localhost", 403),
    ):  # fmt: skip
        assert client.get("/docs", headers={"Host": host}).status_code == status
    assert client.get("/auth/check", headers={"Host": "evil.example"}).status_code == 403


def test_probes_use_an_address(make: Any) -> None:
    """TRUSTED_HOSTS does not apply to health checks and metrics, with or without a prefix."""
    for prefix in ("", "/datafor"):
        client = make(trusted_hosts=("intra.example",), url_prefix=prefix).test_client()
        for path in ("/healthz", "/readyz", "/metrics"):
            assert client.get(f"{prefix}{path}", headers={"Host": "10.0.0.7:28080"}).status_code == 200
            assert client.get(f"{prefix}{path}/x", headers={"Host": "10.0.0.7:28080"}).status_code == 403
