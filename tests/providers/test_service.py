"""Keys by URL in the whole service."""

import threading
import time

import pytest
from flask import Flask

from datafor_token.crypto.keys import Key
from datafor_token.providers.client import Client
from datafor_token.web import hooks
from tests.conftest import Caller, services_in
from tests.handmade_tokens import NOW, base64url, part
from tests.providers.idp import Provider, jwk, jwk_set
from tests.support import application, private_key

ISSUER = "https://idp.example/realm"


def token(kid: str, kind: str = "ES256") -> str:
    claims = {"loginname": "lena", "iss": ISSUER, "exp": NOW + 3600}
    text = f"{part({'typ': 'JWT', 'alg': 'ES256', 'kid': kid})}.{part(claims)}"
    return f"{text}.{base64url(Key('ES256', private_key(kind)).sign(text.encode()))}"


def add(caller: Caller, provider: Provider, **changes: object) -> None:
    fields = {"algorithm": "ES256", "secret": None, "issuer": ISSUER, "jwks_uri": provider.url(), **changes}
    assert caller.post("update", application(**fields)).status_code == 200


@pytest.fixture(autouse=True)
def trusted(app: Flask, client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the service trust the private CA."""
    monkeypatch.setattr(services_in(app).key_sets, "_client", client)
    provider.pages["/jwks"] = jwk_set(jwk("ES256", "one"))


def test_a_token_of_a_provider(app: Flask, caller: Caller, provider: Provider) -> None:
    """A token that is signed with a key of the provider signs in, whatever its kid; one of another key does not."""
    add(caller, provider)
    services_in(app).key_sets.refresh()
    for kid, kind, status in (("one", "ES256", 200), ("two", "ES256", 200), ("one", "ES256-other", 401)):
        response = caller.get(
            "/plugin/datafor-modeler/api/user/detail", headers={"Authorization": f"Bearer {token(kid, kind)}"}
        )
        assert response.status_code == status


def test_only_enabled_applications(app: Flask, caller: Caller, provider: Provider) -> None:
    """The keys of a disabled application are not fetched, neither in the background nor for a token."""
    add(caller, provider, enable="0")
    add(caller, provider, name="Other", jwks_uri=provider.url("/other"), issuer="other")
    services = services_in(app)
    services.key_sets.refresh()
    url = "/plugin/datafor-modeler/api/user/detail"
    assert caller.get(url, headers={"Authorization": f"Bearer {token('two', 'ES256-other')}"}).status_code == 401
    while services.key_sets._fetches:
        time.sleep(0.01)
    assert "/jwks" not in {text.split()[1] for text in provider.seen}


def test_the_thread(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker starts the thread when it has read the applications."""
    services = services_in(app)
    started = threading.Event()
    monkeypatch.setattr(services.key_sets, "start", started.set)
    monkeypatch.setattr(hooks, "_DELAY", 0)
    hooks.read_ahead(app)
    started.wait()


def test_the_master(app: Flask) -> None:
    """Creating the application, as gunicorn's master does, starts no thread."""
    assert services_in(app).key_sets._thread is None
