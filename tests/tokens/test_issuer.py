"""Issued tokens: their exact bytes, and their verification by another library."""

import base64
import dataclasses
import json
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.applications.field_map import FieldMap
from datafor_token.applications.record import Application
from datafor_token.crypto import algorithms, keys
from datafor_token.errors import DataforTokenError, Forbidden, InvalidInput
from datafor_token.tokens import issuer
from tests.support import STRONG_SECRET, key_for, only_key, private_pem, public_pem, token_parts
from tests.validation.test_strict_json import JSON_VALUES

NOW = 1722929516
SAMPLE_TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJFUlAiOiJhZG1pbiIsImV4cCI6MTcyMzAxNTkxNn0"
    ".uEmUwBfNAd5FtzjPPrldU9bierng7fd8rCVlZtVPY2k"
)
ERP = Application(
    name="ERP",
    token_name="token",
    secret="abcd",
    expire=86400,
    fieldmap=FieldMap(username="ERP", name="name", email="mail"),
    algorithm="HS256",
    enable=True,
    inituser=True,
    initroles=("SYS_Reader",),
)


def issue(application: Application, private_key: str | None, payload: dict[str, Any] | None = None) -> str:
    claims = issuer.claims_for(application.fieldmap, "admin", payload or {})
    return issuer.issue(application, private_key, claims, NOW + 0.9).token


def test_the_documented_sample_token() -> None:
    """The documented sample token is issued byte for byte."""
    assert issue(ERP, "abcd") == SAMPLE_TOKEN


@pytest.mark.parametrize("algorithm", algorithms.ALGORITHMS)
def test_pyjwt_verifies_tokens(algorithm: str) -> None:
    """PyJWT decodes a token of each algorithm to the expected claims."""
    if algorithms.is_shared(algorithm):
        secret = private = verifying = STRONG_SECRET * 2
    else:
        secret = verifying = public_pem(key_for(algorithm))
        private = private_pem(key_for(algorithm))
    token = issue(dataclasses.replace(ERP, algorithm=algorithm, secret=secret), private, {"email": "a@b"})
    options: Any = {"verify_exp": False}
    claims = jwt.decode(token, verifying, algorithms=[algorithm], options=options)
    assert list(claims.items()) == [("ERP", "admin"), ("mail", "a@b"), ("exp", NOW + 86400)]


@pytest.mark.parametrize("algorithm", algorithms.ALGORITHMS)
def test_headers(algorithm: str) -> None:
    """The header for a shared key is typ and alg, in that order; for a public key, kid is added."""
    shared = algorithms.is_shared(algorithm)
    secret = STRONG_SECRET * 2 if shared else public_pem(key_for(algorithm))
    private = None if shared else private_pem(key_for(algorithm))
    header, _ = token_parts(issue(dataclasses.replace(ERP, algorithm=algorithm, secret=secret), private))
    expected = {"typ": "JWT", "alg": algorithm}
    kid = only_key(algorithm, secret).kid
    assert list(header.items()) == list((expected if shared else {**expected, "kid": kid}).items())


def test_the_stored_secret_signs_when_none_is_sent() -> None:
    """Without a sent secret, the stored one signs."""
    assert issue(ERP, None) == SAMPLE_TOKEN


def test_a_wrong_key_is_refused_before_signing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is signed with a private key that does not belong to the application."""
    monkeypatch.setattr(keys.Key, "sign", lambda *_: pytest.fail("signed"))
    with pytest.raises(Forbidden):
        issue(ERP, "abcde")
    with pytest.raises(Forbidden):
        issue(ERP, "äbcd")
    rs256 = dataclasses.replace(ERP, algorithm="RS256", secret=public_pem(key_for("RS256")))
    with pytest.raises(Forbidden):
        issue(rs256, private_pem(key_for("RS256", "-other")))
    with pytest.raises(InvalidInput, match="privateKey is missing"):
        issue(rs256, None)


def test_a_disabled_application_issues_nothing() -> None:
    """A disabled application is 403 with any key."""
    for key in ("abcd", "wrong", None):
        with pytest.raises(Forbidden, match="not enabled"):
            issue(dataclasses.replace(ERP, enable=False), key)


def test_the_payload_becomes_claims() -> None:
    """Mapped keys are renamed, lists remain lists, other values become text, in the order sent."""
    payload = {"z": 1, "email": "a@b", "roles": ["x", 2], "ok": True, "x": 1.5, "o": {"a": [1]}, "name": "Lena"}
    _, claims = token_parts(issue(ERP, "abcd", payload))
    assert list(claims.items()) == [
        ("ERP", "admin"),
        ("z", "1"),
        ("mail", "a@b"),
        ("roles", ["x", 2]),
        ("ok", "true"),
        ("x", "1.5"),
        ("o", '{"a":[1]}'),
        ("name", "Lena"),
        ("exp", NOW + 86400),
    ]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"exp": 1}, "payload.exp"),
        ({"nbf": 1}, "payload.nbf"),
        ({"iat": 1}, "payload.iat"),
        ({"jti": "1"}, "payload.jti"),
        ({"ERP": "eve"}, "payload.ERP"),
        ({"mail": "1", "email": "2"}, "payload.email"),
        ({"email": "2", "mail": "1"}, "payload.mail"),
    ],
)
def test_claims_that_would_be_lost(payload: dict[str, Any], field: str) -> None:
    """Time claims, and two keys that map to one claim, are refused by name."""
    with pytest.raises(InvalidInput) as caught:
        issue(ERP, "abcd", payload)
    assert list(caught.value.errors) == [field]


def test_the_audience_and_issuer_are_those_of_the_application() -> None:
    """An aud or iss in the payload is refused with the field of the application that sets it."""
    for claim, field in (("aud", "audience"), ("iss", "issuer")):
        with pytest.raises(InvalidInput, match=rf"^payload\.{claim} .* from the application's {field}$"):
            issue(ERP, "abcd", {claim: "x"})


def test_the_user_of_a_token() -> None:
    """The user is username, else the payload's, else the caller; two different names are refused."""
    assert issuer.username_for(None, {}, "admin") == "admin"
    assert issuer.username_for("lena", {}, "admin") == "lena"
    assert issuer.username_for(None, {"username": "lena"}, "admin") == "lena"
    assert issuer.username_for("lena", {"username": "lena"}, "admin") == "lena"
    assert issuer.username_for(None, {"username": 42}, "admin") == "42"
    with pytest.raises(InvalidInput, match="differs"):
        issuer.username_for("lena", {"username": "paul"}, "admin")
    with pytest.raises(InvalidInput, match=r"^username can not be empty$"):
        issuer.username_for(None, {"username": ""}, "admin")
    for bad in ("a:b", ["lena"], " x"):
        with pytest.raises(InvalidInput, match=r"^payload\.username "):
            issuer.username_for(None, {"username": bad}, "admin")


def test_a_token_is_at_most_4096_characters() -> None:
    """A longer token, which proxies might refuse, is not issued, and the error states its length."""
    with pytest.raises(InvalidInput, match="4096"):
        issue(ERP, "abcd", {"x": "y" * 4000})
    fits = issue(ERP, "abcd", {"x": "y" * 2900})
    assert len(fits) <= 4096


CLAIM_NAMES = st.text(min_size=1, max_size=20).filter(lambda name: name not in ("exp", "nbf", "iat"))


@given(
    claims=st.lists(CLAIM_NAMES, min_size=3, max_size=3, unique=True),
    payload=st.dictionaries(st.sampled_from(["name", "email", "aud", "iss", "sub", "jti", "x", "é"]), JSON_VALUES),
    expire=st.integers(1, 315360000),
)
def test_all_legal_payloads_are_issued(claims: list[str], payload: dict[str, Any], expire: int) -> None:
    """Any valid field map, payload and lifetime gives a token whose claims are text, lists and exp, or a 400."""
    application = dataclasses.replace(ERP, fieldmap=FieldMap(claims[0], claims[1], claims[2]), expire=expire)
    try:
        token = issue(application, "abcd", payload)
    except DataforTokenError as error:
        assert error.status == 400
        return
    _, found = token_parts(token)
    assert next(iter(found)) == claims[0]
    assert found[claims[0]] == "admin"
    assert found.pop("exp") == NOW + expire
    assert all(isinstance(value, str | list) for value in found.values())
    assert len(found) == 1 + len([name for name in payload if name != "username"])


def test_a_token_is_compact() -> None:
    """Header and claims have no white space, and the parts have no padding."""
    parts = issue(ERP, "abcd", {"x": "a b", "l": [1, 2]}).split(".")
    assert all("=" not in part for part in parts)
    for part in parts[:2]:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        assert text == json.dumps(json.loads(text), separators=(",", ":"))
