"""Sign-in with tokens of an identity provider, whose keys come from its URL."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from tests.conftest import Caller
from tests.handmade_tokens import NOW
from tests.providers.idp import Provider, response, running
from tests.support import Clock, application, key_for, public_pem

ISSUER = "https://id.example.com/realms/main"
DETAIL = "/plugin/datafor-modeler/api/user/detail"


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider on loopback, for which plain http is allowed."""
    with running() as provider:
        yield provider


def jwk(kid: str, algorithm: str = "ES256", other: str = "") -> dict[str, Any]:
    """Return the public JWK of a key."""
    kinds: dict[str, Any] = {"E": jwt.algorithms.ECAlgorithm, "R": jwt.algorithms.RSAAlgorithm}
    public = key_for(algorithm, other).public_key()
    return {**json.loads(kinds[algorithm[0]].to_jwk(public)), "kid": kid, "use": "sig", "alg": algorithm}


def publish(provider: Provider, *keys: dict[str, Any]) -> None:
    """Let the provider publish a set of keys, and a discovery document."""
    provider.pages["/jwks"] = response({"keys": list(keys)})
    uri = provider.url("/jwks", "127.0.0.1")
    provider.pages["/realms/main/.well-known/openid-configuration"] = response({"issuer": ISSUER, "jwks_uri": uri})


def token(kid: str, other: str = "", algorithm: str = "ES256", **changes: Any) -> str:
    """Return a token of the provider for the user lena."""
    claims = {"preferred_username": "lena", "iss": ISSUER, "aud": "portal", "exp": NOW + 10_000_000, **changes}
    return jwt.encode(claims, key_for(algorithm, other), algorithm, headers={"kid": kid})


def register(caller: Caller, provider: Provider, name: str = "Portal", **changes: Any) -> Any:
    """Store an application whose keys are those of the provider."""
    fields = {
        "name": name,
        "secret": None,
        "jwks_uri": provider.url("/jwks", "127.0.0.1"),
        "issuer": ISSUER,
        "audience": "portal",
        "algorithm": "ES256",
        "fieldmap": {"username": "preferred_username", "name": "name", "email": "email"},
    }
    return caller.post("update", application(**{**fields, **changes}))


def status(caller: Caller, text: str) -> int:
    """Return the status of a call with a token."""
    return caller.get(DETAIL, headers={"Authorization": f"Bearer {text}"}).status_code


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what a background thread does."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def keys_of(caller: Caller) -> Any:
    """Return the state of the keys of the application."""
    return caller.get("content?name=Portal").json["keys"]


@pytest.mark.parametrize("path", ["/jwks", "/realms/main/.well-known/openid-configuration"])
def test_a_token_of_the_provider_signs_in(caller: Caller, provider: Provider, path: str) -> None:
    """The keys are fetched after the update, by the URL of the set or of the discovery document."""
    publish(provider, jwk("a"))
    stored = register(caller, provider, jwks_uri=provider.url(path, "127.0.0.1"))
    assert "plain http" in stored.json["warnings"][0]
    wait_until(lambda: keys_of(caller)["kids"] == ["a"])
    assert keys_of(caller) == {"kids": ["a"], "fetched": NOW * 1000, "error": None}
    assert (status(caller, token("a")), status(caller, token("a", "-other"))) == (200, 401)
    assert status(caller, token("a", iss="https://other.example.com")) == 401
    assert status(caller, token("a", aud="other")) == 401


def test_the_first_token_waits_for_the_keys(caller: Caller, provider: Provider) -> None:
    """A token that arrives before the keys waits for them, and signs in."""
    publish(provider, jwk("a"))
    register(caller, provider)
    assert status(caller, token("a")) == 200


def test_a_new_key_is_fetched_once_a_minute(caller: Caller, provider: Provider, clock: Clock) -> None:
    """A token with an unknown kid lets the keys be fetched again, but not more than once a minute."""
    publish(provider, jwk("a"))
    register(caller, provider)
    assert status(caller, token("a")) == 200
    publish(provider, jwk("b", other="-other"))
    before = len(provider.seen)
    assert [status(caller, token(kid, "-other")) for kid in ("b", "c", "b")] == [401, 401, 401]
    clock.advance(61)
    assert status(caller, token("b", "-other", iat=NOW)) == 200
    assert len(provider.seen) == before + 1
    # The provider no longer publishes the first key, although its token was accepted, and cached, before.
    assert status(caller, token("a")) == 401


def test_tokens_of_another_issuer_fetch_nothing(caller: Caller, provider: Provider, clock: Clock) -> None:
    """A token fetches the keys of its own issuer only, whatever kid it has."""
    publish(provider, jwk("a"))
    register(caller, provider)
    assert status(caller, token("a")) == 200
    clock.advance(120)
    before = len(provider.seen)
    assert status(caller, token("x", "-other", iss="https://elsewhere.example.com")) == 401
    assert len(provider.seen) == before


def test_the_last_keys_are_used_for_a_week(caller: Caller, provider: Provider, clock: Clock) -> None:
    """While the provider is away, its keys are used for 7 days; then ``explain`` names the reason."""
    publish(provider, jwk("a"))
    register(caller, provider)
    assert status(caller, token("a")) == 200
    provider.stop()
    clock.advance(6 * 86400)
    assert status(caller, token("a")) == 200
    clock.advance(2 * 86400)
    assert status(caller, token("a")) == 401
    explained = caller.post("explain", {"token": token("a")}).json
    assert (explained["reason"], explained["application"]) == ("keys_unavailable", "Portal")


def test_explain_names_the_keys(caller: Caller, provider: Provider) -> None:
    """``explain`` says which kid was looked for, which ones are known, and since when; it fetches nothing."""
    publish(provider, jwk("a"), jwk("b", "RS256"))
    register(caller, provider)
    assert status(caller, token("a")) == 200
    before = len(provider.seen)
    explained = caller.post("explain", {"token": token("x", "-other")}).json
    steps = {step["step"]: step["detail"] for step in explained["steps"]}
    assert (explained["accepted"], explained["reason"]) == (False, "signature")
    assert steps["keys"] == (
        "Portal has the keys b, a of its provider, fetched 2024-08-06T07:31:56Z; the token's kid is x"
    )
    assert len(provider.seen) == before


def test_explain_before_the_first_fetch(caller: Caller, provider: Provider) -> None:
    """Before the first fetch, ``explain`` says so; ``generate`` says that the provider issues the tokens."""
    publish(provider, jwk("a"))
    provider.stop()
    register(caller, provider)
    explained = caller.post("explain", {"token": token("a")}).json
    step = next(one for one in explained["steps"] if one["step"] == "keys")
    assert step["detail"].startswith("no keys of the provider of Portal were fetched yet; the token's kid is a; ")
    refused = caller.post("generate", {"name": "Portal"}).json
    assert refused["msg"] == "privateKey is missing: the identity provider of Portal issues its tokens"


def test_a_secret_and_a_url_replace_each_other(caller: Caller, provider: Provider) -> None:
    """One of ``secret`` and ``jwks_uri`` replaces the other; both at once, and neither, are errors."""
    publish(provider, jwk("a"))
    both = register(caller, provider, secret=public_pem(key_for("ES256")))
    assert (both.status_code, [*both.json["errors"]]) == (400, ["jwks_uri"])
    register(caller, provider)
    stored = caller.get("content?name=Portal").json
    assert stored["secret"] == "************"
    # A client that knows only the documented fields sends them back, and changes nothing.
    known = {name: stored[name] for name in application() if name in stored}
    assert caller.post("update", known).status_code == 200
    assert caller.get("content?name=Portal").json["jwks_uri"] == stored["jwks_uri"]
    neither = caller.post("update", {**known, "jwks_uri": ""})
    assert (neither.status_code, [*neither.json["errors"]]) == (400, ["secret"])
    assert caller.post("update", {**known, "secret": public_pem(key_for("ES256"))}).status_code == 200
    assert "jwks_uri" not in caller.get("content?name=Portal").json


def test_a_provider_without_an_audience_is_warned_of(caller: Caller, provider: Provider) -> None:
    """Tokens of most providers have an ``aud``, so an application without ``audience`` gets a warning."""
    assert any("audience is not set" in one for one in register(caller, provider, audience=None).json["warnings"])
    assert not any("audience" in one for one in register(caller, provider).json["warnings"])


def test_only_allowed_hosts_may_use_http(caller: Caller, provider: Provider) -> None:
    """A plain http URL of another host is refused, unless a setting names the host; other schemes always are."""
    for url in ("http://id.example.com/keys", "file:///etc/passwd", "https://user@id.example.com/", "//x/y"):
        refused = register(caller, provider, jwks_uri=url)
        assert (refused.status_code, [*refused.json["errors"]]) == (400, ["jwks_uri"]), url
