"""Checks of the claims of a token by the trust policy of its application."""

import dataclasses
from typing import Any

import pytest

from datafor_token.applications.policy import REPORTABLE
from datafor_token.applications.record import Application
from datafor_token.tokens import claim_checks, verifier
from tests.handmade_tokens import NOW, SHARED_HEADER, claims, token
from tests.support import application

ISSUER = "https://id.example.com"
NAMESPACED = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/role"


def result(policy: dict[str, Any], header: Any = None, **changes: Any) -> tuple[str | None, str]:
    """Return the reason why an application with this policy refuses a token, or None, and the last sentence."""
    one = Application.from_document(application(**policy))
    read = verifier.read(token(claims(**changes), header=header))
    signer = one.signer(read.signing_input, read.signature, read.kid, NOW)
    assert signer is not None
    try:
        _, steps = claim_checks.check_claims(read, one, signer, verifier.Instant(NOW, 30))
    except verifier.Refused as refused:
        return refused.reason, refused.step.detail
    # The last step is about the user name.
    return None, steps[-2].detail


@pytest.mark.parametrize(
    ("audience", "aud", "accepted"),
    [
        (None, None, True),
        (None, "portal", False),
        (None, [], False),
        (None, "", False),
        ("portal", "portal", True),
        ("portal", ["other", "portal"], True),
        (["crm", "portal"], "portal", True),
        ("portal", None, False),
        ("portal", "portal ", False),
        ("portal", "Portal", False),
        ("portal", "portal,other", False),
        ("portal", ["other"], False),
        ("portal", [], False),
        ("portal", [["portal"]], False),
        ("portal", {"portal": 1}, False),
        ("portal", 5, False),
        ("5", 5, False),
        ("portal", "*", False),
        ("*", None, True),
        ("*", "anybody", True),
        ("*", 5, True),
        (["portal", "*"], "anybody", True),
    ],
)
def test_audience(audience: Any, aud: Any, *, accepted: bool) -> None:
    """A token with ``aud`` is accepted if it names an audience of the application, or if that is ``*``."""
    reason, sentence = result({"audience": audience}, aud=aud)
    assert reason == (None if accepted else "audience")
    if not accepted:
        assert "ERP" in sentence


def test_the_sentence_about_an_audience_names_the_values() -> None:
    """The sentence has the token's audience and the accepted ones."""
    assert result({"audience": ["a", "b"]}, aud=["x"])[1] == 'aud is ["x"]; ERP accepts "a", "b"'
    assert result({}, aud="x")[1] == 'aud is "x", and ERP has no audience: set its audience to accept the token'
    assert result({"audience": "a"}, aud="a")[1] == 'aud is "a", which is accepted'


@pytest.mark.parametrize(
    ("iss", "accepted"),
    [(ISSUER, True), (ISSUER + "/", False), (ISSUER.upper(), False), ([ISSUER], False), (None, False), (5, False)],
)
def test_issuer(iss: Any, *, accepted: bool) -> None:
    """With ``issuer``, ``iss`` must be exactly that text."""
    assert result({"issuer": ISSUER}, iss=iss)[0] == (None if accepted else "issuer")


@pytest.mark.parametrize(
    ("required", "changes", "accepted"),
    [
        ({"tenant": "a"}, {"tenant": "a"}, True),
        ({"tenant": "a"}, {"tenant": ["b", "a"]}, True),
        ({"tenant": ["a", "b"]}, {"tenant": "b"}, True),
        ({"tenant": "a"}, {"tenant": "A"}, False),
        ({"tenant": "a"}, {}, False),
        ({"tenant": "a"}, {"tenant": {"a": 1}}, False),
        ({"verified": True}, {"verified": True}, True),
        ({"verified": True}, {"verified": 1}, False),
        ({"verified": True}, {"verified": "true"}, False),
        ({"level": 2}, {"level": 2.0}, True),
        ({"level": 1}, {"level": True}, False),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, False),
        ({"/realm/roles": "staff"}, {"realm": {"roles": ["staff"]}}, True),
        ({"/realm/roles/0": "staff"}, {"realm": {"roles": ["staff"]}}, True),
        ({"/realm/roles/00": "staff"}, {"realm": {"roles": ["staff"]}}, False),
        ({"/realm/roles/1": "staff"}, {"realm": {"roles": ["staff"]}}, False),
        ({"/realm/roles/-1": "staff"}, {"realm": {"roles": ["staff"]}}, False),
        ({"/a~1b/c~0d": "x"}, {"a/b": {"c~d": "x"}}, True),
        ({NAMESPACED: "x"}, {NAMESPACED: "x"}, True),
        ({"/literal/name": "x"}, {"/literal/name": "x"}, True),
        ({"/literal/name": "x"}, {"/literal/name": "y", "literal": {"name": "x"}}, False),
        ({"a.b": "x"}, {"a": {"b": "x"}}, False),
    ],
)
def test_required_claims(required: dict[str, Any], changes: dict[str, Any], *, accepted: bool) -> None:
    """Each required claim, by name or JSON Pointer, must be, or contain, one of its values, of the same type."""
    assert result({"require": required}, **changes)[0] == (None if accepted else "claim")


def test_the_sentence_about_a_claim_says_when_only_the_type_differs() -> None:
    """A text and a number that look alike differ in the sentence."""
    hint = "only a text has double quotes, so the types differ"
    assert result({"require": {"ver": 2.0}}, ver="2.0")[1] == f'the claim ver is "2.0"; ERP requires 2.0: {hint}'
    assert result({"require": {"ver": "5"}}, ver=[5])[1] == f'the claim ver is [5]; ERP requires "5": {hint}'
    assert hint not in result({"require": {"ver": "5"}}, ver="6")[1]
    assert hint not in result({"require": {"ver": "missing"}})[1]


@pytest.mark.parametrize(
    ("types", "header", "accepted"),
    [
        (None, {}, True),
        (None, {"typ": "jwt"}, True),
        (None, {"typ": "application/JWT"}, True),
        (None, {"typ": "at+jwt"}, False),
        (None, {"typ": ""}, False),
        ("at+jwt", {"typ": "AT+JWT"}, True),
        ("application/at+jwt", {"typ": "at+jwt"}, True),
        ("at+jwt", {"typ": "JWT"}, False),
        ("k+jwt", {"typ": "\u212a+jwt"}, False),
        ("at+jwt", {}, False),
        (["at+jwt", "JWT"], {}, True),
    ],
)
def test_types(types: Any, header: dict[str, str], *, accepted: bool) -> None:
    """The header's ``typ``, ``JWT`` if missing, must be accepted, without case and without ``application/``."""
    sent = {name: value for name, value in SHARED_HEADER.items() if name != "typ"} | header
    assert result({"token_types": types}, header=sent)[0] == (None if accepted else "header")


@pytest.mark.parametrize(
    ("times", "accepted"),
    [
        ({"iat": NOW, "exp": NOW + 600}, True),
        ({"iat": NOW, "exp": NOW + 601}, False),
        ({"iat": NOW, "exp": NOW + 600.5}, False),
        ({"iat": NOW - 10, "exp": NOW + 590}, True),
        ({"exp": NOW + 1}, False),
    ],
)
def test_lifetime(times: dict[str, float], *, accepted: bool) -> None:
    """From ``iat`` to ``exp`` a token may last ``max_lifetime``; without ``iat`` it is refused."""
    assert result({"max_lifetime": 600, "expire": 600}, **times)[0] == (None if accepted else "too_long_lived")


def test_a_check_of_the_policy_leaves_a_step() -> None:
    """An accepted token has a step with values for each field of the policy."""
    policy = {
        "audience": "portal",
        "issuer": ISSUER,
        "require": {"tenant": "a"},
        "token_types": "JWT",
        "max_lifetime": 86400,
    }
    one = Application.from_document(application(**policy))
    read = verifier.read(token(claims(aud="portal", iss=ISSUER, tenant="a", iat=NOW)))
    signer = one.signer(read.signing_input, read.signature, read.kid, NOW)
    assert signer is not None
    _, steps = claim_checks.check_claims(read, one, signer, verifier.Instant(NOW, 30))
    assert [step.step for step in steps] == [
        "header", "time", "audience", "issuer", "claims", "lifetime", "username",
    ]  # fmt: skip
    assert all(step.ok and step.detail for step in steps)


WRONG: dict[str, Any] = {"aud": "b", "iss": "j", "azp": "q", "iat": NOW - 1000, "exp": NOW + 86400}


def test_reported_rules_are_the_enforced_ones() -> None:
    """The steps of rules that are only reported have the reasons and sentences with which each refuses if enforced."""
    policy = {"audience": "a", "issuer": "i", "require": {"azp": "p"}, "token_types": "JWT", "max_lifetime": 86400}
    one = Application.from_document(application(**policy, report=list(REPORTABLE)))
    read = verifier.read(token(claims(**WRONG), header={**SHARED_HEADER, "typ": "at+jwt"}))
    signer = one.signer(read.signing_input, read.signature, read.kid, NOW)
    assert signer is not None
    instant = verifier.Instant(NOW, 30)
    verified, steps = claim_checks.check_claims(read, one, signer, instant)
    assert [step.reported for step in verified.reported] == [field for field in REPORTABLE if field in policy]
    assert set(verified.reported) <= set(steps)
    for step in verified.reported:
        others = tuple(field for field in REPORTABLE if field != step.reported)
        with pytest.raises(verifier.Refused) as refusal:
            claim_checks.check_claims(read, dataclasses.replace(one, report=others), signer, instant)
        assert refusal.value.reason == step.reason
        assert step.detail == f"not refused, as {step.reported} is only reported: {refusal.value.step.detail}"
    with pytest.raises(verifier.Refused):
        claim_checks.check_claims(read, dataclasses.replace(one, report=None), signer, instant)


@pytest.mark.parametrize("field", ["audience", "issuer", "require", "token_types", "max_lifetime"])
def test_a_policy_adds_to_the_checks(field: str) -> None:
    """Whatever the policy, the checks of times and of the user name remain."""
    values = {"audience": "*", "issuer": ISSUER, "require": {"x": "y"}, "token_types": "JWT", "max_lifetime": 86400}
    policy = {field: values[field]}
    good = {"iss": ISSUER, "x": "y", "iat": NOW - 1000, "aud": "z" if field == "audience" else None}
    assert result(policy, **good)[0] is None
    policy["report"] = [field]
    assert result(policy, **good, nbf=NOW + 60)[0] == "not_yet_valid"
    assert result(policy, **{**good, "exp": NOW - 60})[0] == "expired"
    assert result(policy, **{**good, "exp": None})[0] == "no_expiry"
    assert result(policy, **good, loginname=None)[0] == "no_username"
