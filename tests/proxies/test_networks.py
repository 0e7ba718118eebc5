"""Networks of an application behind each shipped proxy: the client is the visitor, not the proxy."""

import time
from collections.abc import Iterator

import pytest

from tests.handmade_tokens import token
from tests.proxies.sites import CONSOLE, Proxy, cookie_of
from tests.support import STRONG_SECRET, application

SECRET = STRONG_SECRET[::-1]
INSIDE, OUTSIDE = "127.0.0.2", "127.0.0.1"
FORGED = {
    "X-Forwarded-For": INSIDE,
    "X-Real-IP": INSIDE,
    "Forwarded": f"for={INSIDE}",
    "Client-IP": INSIDE,
    "X-Client-IP": INSIDE,
}


@pytest.fixture(autouse=True)
def _guarded(proxy: Proxy) -> Iterator[None]:
    """Store an application whose only network is the address of one visitor; the proxy has another."""
    body = application(name="Guarded", token_name="guarded", secret=SECRET, networks=[INSIDE], inituser="1")
    assert proxy.call("update", body).status == 200
    yield
    proxy.call("delete", {"name": "Guarded"})


def signed() -> str:
    return token({"loginname": "guarded", "exp": int(time.time()) + 3600}, SECRET)


def status(proxy: Proxy, address: str, path: str = "/", **headers: str) -> int:
    return proxy.get(path, headers, address=address).status


def test_a_token_in_the_header(proxy: Proxy) -> None:
    """A visitor inside is accepted, and one outside refused, also with forged headers."""
    bearer = {"Authorization": f"Bearer {signed()}"}
    assert [status(proxy, address, **bearer) for address in (INSIDE, OUTSIDE, INSIDE)] == [200, 401, 200]
    assert status(proxy, OUTSIDE, **bearer, **FORGED) == 401


def test_a_session(proxy: Proxy) -> None:
    """The cookie of a token is valid inside only."""
    assert status(proxy, OUTSIDE, f"/?guarded={signed()}") == 401
    cookie = {"Cookie": cookie_of(proxy.get(f"/?guarded={signed()}", address=INSIDE))}
    assert [status(proxy, address, **cookie) for address in (INSIDE, OUTSIDE, INSIDE)] == [200, 401, 200]
    assert status(proxy, OUTSIDE, **cookie, **FORGED) == 401


def test_a_link(proxy: Proxy) -> None:
    """A one-time link is redeemed inside only, through the proxy."""
    link = proxy.call("link", {"name": "Guarded", "username": "guarded"}).json["url"]
    path = "/" + link.partition("://")[2].partition("/")[2]
    assert [status(proxy, address, path) for address in (OUTSIDE, INSIDE, INSIDE)] == [401, 303, 401]


def test_the_api(proxy: Proxy) -> None:
    """A call of the API is checked by the visitor's address too."""
    path, bearer = "/datafor/plugin/datafor-modeler/api/user/detail", {"Authorization": f"Bearer {signed()}"}
    found = [proxy.get(path, {**bearer, **FORGED}, host=CONSOLE, address=one).status for one in (INSIDE, OUTSIDE)]
    assert found == [200, 401]
