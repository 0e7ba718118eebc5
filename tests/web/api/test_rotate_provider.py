"""``token/rotate`` from and to the keys of a provider."""

from typing import Any

import pytest

from tests.conftest import Caller
from tests.handmade_tokens import NOW
from tests.support import Clock, application, key_for, private_pem, public_pem

DETAIL = "/plugin/datafor-modeler/api/user/detail"
OLD, NEW = key_for("ES256"), key_for("ES256", "-other")
# Nothing listens there.
URI, OTHER_URI = "https://localhost:1/keys", "https://localhost:1/others"


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    sent = application(algorithm="ES256", secret=public_pem(OLD), issuer="https://id.example", audience="erp")
    assert caller.post("update", sent).status_code == 200


def issued(caller: Caller, key: Any) -> str:
    response = caller.post("generate", {"name": "ERP", "privateKey": private_pem(key), "username": "lena"})
    return str(response.json["token"])


def accepted(caller: Caller, token: str) -> bool:
    return caller.get(DETAIL, {"Authorization": f"Bearer {token}"}).status_code == 200


def test_the_old_key_has_its_grace_period(caller: Caller, clock: Clock) -> None:
    """Rotated to a provider, tokens of the old key are accepted until the end of the grace period."""
    token = issued(caller, OLD)
    response = caller.post("rotate", {"name": "ERP", "jwks_uri": URI, "grace": 60}).json
    assert response == {"success": True, "previous": {"until": (NOW + 60) * 1000}}
    found = caller.get("content?name=ERP").json
    assert (found["jwks_uri"], found["previous"]["until"]) == (URI, (NOW + 60) * 1000)
    assert accepted(caller, token)
    clock.advance(60)
    assert not accepted(caller, token)


@pytest.mark.parametrize("new", [{"secret": public_pem(NEW)}, {"jwks_uri": OTHER_URI}])
def test_a_provider_ends_at_once(caller: Caller, new: dict[str, str]) -> None:
    """Rotated from a provider, its keys and the secret before it end at once, and the response says so."""
    token = issued(caller, OLD)
    caller.post("rotate", {"name": "ERP", "jwks_uri": URI, "grace": 600})
    assert accepted(caller, token)
    response = caller.post("rotate", {"name": "ERP", "grace": 600, **new}).json
    assert response == {"success": True, "previous": {"until": NOW * 1000}}
    found = caller.get("content?name=ERP").json
    assert ("previous" in found, found.get("jwks_uri")) == (False, new.get("jwks_uri"))
    assert not accepted(caller, token)
    if "secret" in new:
        assert accepted(caller, issued(caller, NEW))


@pytest.mark.parametrize(
    ("changes", "sent", "message"),
    [
        ({}, {"jwks_uri": URI, "secret": public_pem(NEW)}, "jwks_uri cannot be given together with secret"),
        ({}, {"jwks_uri": ""}, "jwks_uri must be a URL such as"),
        ({}, {"jwks_uri": "http://id.example/keys"}, "jwks_uri must begin with https://"),
        ({"issuer": ""}, {"jwks_uri": URI}, "issuer is missing: with jwks_uri"),
        ({"algorithm": "HS256", "secret": "abcd"}, {"jwks_uri": URI}, "jwks_uri needs an algorithm with public keys"),
        ({"secret": None, "jwks_uri": URI}, {"jwks_uri": URI}, "jwks_uri is the present one already"),
        ({"secret": None, "jwks_uri": URI}, {}, "secret is missing: the service makes none for ES256"),
    ],
)
def test_a_rotation_that_is_refused(
    caller: Caller, changes: dict[str, Any], sent: dict[str, Any], message: str
) -> None:
    """A rotation with both, with a URL that does not fit, or without an issuer is 400, and changes nothing."""
    body = {"algorithm": "ES256", "secret": public_pem(OLD), "issuer": "https://id.example"}
    assert caller.post("update", application(**{**body, **changes})).status_code == 200
    before = caller.get("content?name=ERP").json
    response = caller.post("rotate", {"name": "ERP", **sent})
    assert (response.status_code, response.json["msg"].startswith(message)) == (400, True), response.json
    after = caller.get("content?name=ERP").json
    for found in (before, after):
        # Set by the background thread, sooner or later.
        found.pop("keys", None)
    assert before == after
