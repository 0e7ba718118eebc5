"""Responses about applications of every kind, which can be sent back whole."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from datafor_token.applications import record
from datafor_token.applications.record import MASK
from datafor_token.crypto.keys import as_jwk
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.stores import Record
from tests.support import STRONG_SECRET, application, key_for, only_key, public_base64, public_pem, record_of

KEY, OTHER = (public_pem(key_for("ES256", other)) for other in ("", "-other"))
JWKS = [as_jwk(only_key("ES256", pem)) for pem in (KEY, OTHER)]
SETS = {
    "two": json.dumps({"keys": [{**JWKS[0], "kid": "first"}, {**JWKS[1], "kid": None}]}),
    "one": json.dumps({"keys": [{**JWKS[0], "kid": "first"}]}),
}
# Nothing listens there.
PROVIDER = {"secret": None, "jwks_uri": "https://localhost:1/keys", "issuer": "https://id.example"}
POLICY = {
    "audience": ["portal", '["text", that looks like a list'],
    "issuer": "https://id.example",
    "require": {"azp": "erp", "http://schemas.example/a.b": [1, 1.5, True, "x"], "/realm/roles": ["a", "b"]},
    "token_types": ["JWT", "at+jwt"],
    "max_lifetime": 86400,
    "networks": ["10.0.0.0/8", "2001:db8::/32"],
    "users": "own",
    "report": ["issuer", "networks"],
    "sync": ["name", "roles"],
    "roles_claim": "/realm/roles",
    "roles_map": {"a.b[c]": "Sales", "boss": "Administrator"},
    "origins": ["https://portal.example", "http://localhost:8080"],
    "session_idle": 1800,
    "session_max": 28800,
    "rate": "600/minute",
}
APPLICATIONS = {
    "shared": application(initpwd="a-long-Password-7", self_service="1"),
    "policy": application(secret=STRONG_SECRET, **POLICY),
    "no claims": application(fieldmap={"username": "/a/b", "name": "", "email": ""}, audience="*"),
    "pem": application(algorithm="ES256", secret=KEY, **POLICY),
    "base64": application(algorithm="RS256", secret=public_base64(key_for("RS256"))),
    "jwk": application(algorithm="ES256", secret=json.dumps({**JWKS[0], "kid": "first"})),
    "jwk set": application(algorithm="ES256", secret=SETS["two"]),
    "jwk set of one": application(algorithm="ES256", secret=SETS["one"]),
    "provider": application(algorithm="RS256", **POLICY | PROVIDER),
}


def as_form(body: dict[str, Any]) -> str:
    return urlencode(
        {
            name: json.dumps(value) if isinstance(value, dict | list) else "" if value is None else value
            for name, value in body.items()
        }
    )


def from_content(caller: Caller) -> dict[str, Any]:
    found: dict[str, Any] = caller.get("content?name=ERP").json
    return found


def from_list(caller: Caller) -> dict[str, Any]:
    (found,) = caller.get("list").json["data"]
    return dict(found)


@pytest.mark.parametrize("kind", APPLICATIONS)
@pytest.mark.parametrize("rotated", [False, True], ids=["", "rotated"])
def test_a_response_that_is_sent_back_changes_nothing(
    caller: Caller, settings: Settings, kind: str, *, rotated: bool
) -> None:
    """Each application from list or content, sent back whole as JSON or as a form, stays as it is stored."""
    sent = APPLICATIONS[kind]
    assert caller.post("update", sent).status_code == 200
    if rotated and "jwks_uri" not in sent:
        new = public_pem(key_for(sent["algorithm"], "-other")) if sent["algorithm"] != "HS256" else STRONG_SECRET[::-1]
        assert caller.post("rotate", {"name": "ERP", "secret": new}).status_code == 200
    before = record_of(settings.config_dir, settings.data_dir, "erp")
    for read in (from_content, from_list):
        for write in (dict[str, Any], as_form):
            response = caller.post("update", write(read(caller)))
            assert response.status_code == 200, response.json
            assert record_of(settings.config_dir, settings.data_dir, "erp") == before


def test_public_keys_are_shown(caller: Caller) -> None:
    """A public key is shown as it is stored, with the kid of a single key or those of a set; secrets are masked."""
    thumbprints = [jwk["kid"] for jwk in JWKS]
    expected: dict[str, dict[str, Any]] = {
        "shared": {"secret": MASK},
        "pem": {"secret": KEY, "kid": thumbprints[0]},
        "jwk": {"secret": APPLICATIONS["jwk"]["secret"], "kid": thumbprints[0]},
        "jwk set": {"secret": SETS["two"], "keys": {"kids": ["first", thumbprints[1]]}},
        "jwk set of one": {"secret": SETS["one"], "keys": {"kids": ["first"]}},
        "provider": {"secret": MASK, "keys": {"kids": [], "fetched": None}},
    }
    for kind, members in expected.items():
        caller.post("delete", {"name": "ERP"})
        caller.post("update", APPLICATIONS[kind])
        for read in (from_content, from_list):
            found = read(caller)
            # Set by the background thread, sooner or later.
            found.get("keys", {}).pop("error", None)
            assert {name: found.get(name) for name in ("secret", "kid", "keys") if name in found} == members, kind


def test_a_public_key_in_a_response_becomes_no_secret(caller: Caller) -> None:
    """A listed public key that is sent back with a shared algorithm is refused."""
    caller.post("update", APPLICATIONS["pem"])
    response = caller.post("update", {**from_content(caller), "algorithm": "HS256"})
    assert (response.status_code, [*response.json["errors"]]) == (400, ["secret"])


@pytest.mark.parametrize("empty", ["", "[]", "{}"])
@pytest.mark.parametrize("kind", ["policy", "provider"])
def test_a_form_clears_the_policy(caller: Caller, kind: str, empty: str) -> None:
    """In a form, an empty text, list or object clears each field of the trust policy."""
    fields = [name for name in record.POLICY if name in APPLICATIONS[kind]]
    assert caller.post("update", APPLICATIONS[kind]).status_code == 200
    sent = application(algorithm="ES256", secret=KEY, **dict.fromkeys(fields, empty))
    response = caller.post("update", as_form(sent))
    assert response.status_code == 200, response.json
    found = from_content(caller)
    assert [name for name in fields if found.get(name)] == []


@pytest.mark.parametrize("again", [{"audience": ""}, {}, {"audience": []}])
@pytest.mark.parametrize("before", [None, "portal"])
def test_a_cleared_audience_stays_cleared(
    app: Flask, caller: Caller, settings: Settings, before: str | None, again: dict[str, Any]
) -> None:
    """An application from before the rule whose audience was cleared never accepts any audience again."""
    caller.post("update", application())
    path = Record(settings.data_dir, "applications", "erp")
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "createdDate": 1}))
    if before is not None:
        caller.post("update", application(audience=before))
    caller.post("update", application(audience=""))
    for sent in (from_content(caller), {**from_content(caller), **again}, application(**again)):
        assert caller.post("update", sent).status_code == 200
        with app.app_context():
            assert not services().registry.get("ERP").accepts_any_audience
