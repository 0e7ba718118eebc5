"""The table of an application's fields."""

import dataclasses
import math
from ipaddress import ip_network
from typing import Any

import pytest

from datafor_token.applications.field_map import FieldMap
from datafor_token.applications.record import DEFAULTS, FIELDS, MASK, POLICY, SECRETS, Application
from datafor_token.applications.signing import Previous
from datafor_token.errors import RecordDamaged, RuleError
from datafor_token.validation.rates import Rate
from tests.support import application

APPLICATION = Application(
    name="ERP",
    token_name="jwt",
    secret="a-secret-of-more-than-32-characters",
    expire=60,
    fieldmap=FieldMap("u", "n", "e", {"later": 1}),
    algorithm="HS384",
    enable=False,
    inituser=True,
    initroles=("SYS_Creator", "Boss"),
    initpwd="initial-password",
    self_service=True,
    audience=("portal",),
    issuer="https://id.example.com",
    require={"tenant": ("a", True)},
    token_types=("at+jwt",),
    max_lifetime=120,
    networks=(ip_network("10.0.0.0/8"),),
    users="own",
    report=("issuer", "networks"),
    sync=("roles",),
    roles_claim="/realm_access/roles",
    roles_map={"boss": "Boss"},
    origins=("https://portal.example",),
    session_idle=600,
    session_max=3600,
    rate=Rate(600, 60),
    created_date=1,
    last_modified_date=2,
    creator_id="admin",
    disabled_date=3,
    last_expiry=7,
    previous=Previous("old", 4, 5, 6, {"later": 2}),
    extra={"later": 3},
)


def test_a_record_has_every_attribute() -> None:
    """An application that is written and read again is equal, so no attribute is left out of its record."""
    different = [
        field.name for field in dataclasses.fields(Application) if field.default == getattr(APPLICATION, field.name)
    ]
    # The first replaces the secret, and the others are not in the record.
    assert different == ["jwks_uri", "is_older_than_audience", "provider_keys"]
    assert Application.from_document(APPLICATION.to_document()) == APPLICATION


def test_defaults_follow_the_rules() -> None:
    """Each default is the JSON form of a valid value, and a record may leave out a field that is not required."""
    for name, default in DEFAULTS.items():
        assert FIELDS[name].to_json(FIELDS[name].rule(default)) == default
    document = {**APPLICATION.to_document(), "format": 1}
    for name, field in FIELDS.items():
        if not field.required:
            document.pop(name, None)
    assert {name: getattr(Application.from_document(document), name) for name in ("token_name", "initpwd")} == {
        "token_name": "token",
        "initpwd": "",
    }


def test_secrets_are_hidden() -> None:
    """No secret is in the repr of an application or in a response."""
    assert SECRETS == ("secret", "initpwd")
    response = APPLICATION.to_response(now=0.001)
    assert [response[name] for name in SECRETS] == [MASK, MASK]
    for text in (repr(APPLICATION), repr(response)):
        assert not any(secret in text for secret in (APPLICATION.secret, APPLICATION.initpwd, "'old'"))
    assert set(response) == {*FIELDS, "createdDate", "lastModifiedDate", "creatorId", "previous"} - {"jwks_uri"}


def test_an_application_without_a_policy_has_none_in_its_record() -> None:
    """A policy field that is not set, or was cleared, is in neither record nor response."""
    nothing: dict[str, Any] = dict.fromkeys(POLICY)
    plain = dataclasses.replace(APPLICATION, **nothing)
    cleared = Application.from_document({**plain.to_document(), **dict.fromkeys(POLICY, "")}, audience_since=0)
    assert {*plain.to_document(), *plain.to_response(0)} & {*POLICY} == set()
    # A cleared audience is stored: it ends the permission that an old application has without one.
    assert {*cleared.to_document()} & {*POLICY} == {"audience"}


def test_the_keys_of_a_provider_replace_the_secret() -> None:
    """An application with ``jwks_uri`` has no secret in its record, and the mask in responses."""
    one = dataclasses.replace(APPLICATION, secret="", algorithm="RS256", self_service=False, previous=None)
    one = dataclasses.replace(one, jwks_uri="https://id.example.com/keys")
    assert "secret" not in one.to_document()
    assert one.to_response(0)["secret"] == MASK
    assert Application.from_document(one.to_document()) == one


def test_only_an_old_application_accepts_any_audience() -> None:
    """Only an application from before the rule accepts any audience without one; a cleared one ends that."""
    document = dataclasses.replace(APPLICATION, audience=None).to_document()
    old = Application.from_document(document, audience_since=2)
    assert (old.accepts_any_audience, [*old.rule_violations]) == (True, ["audience"])
    for changed, since in ((document, 1), ({**document, "audience": "x"}, 2), ({**document, "audience": []}, 2)):
        one = Application.from_document(changed, since)
        assert (one.accepts_any_audience, [*one.rule_violations]) == (False, [])


@pytest.mark.parametrize("changes", [{"algorithm": "HS256"}, {"issuer": ""}])
def test_a_provider_needs_public_keys_and_an_issuer(changes: dict[str, Any]) -> None:
    """A record with jwks_uri that was edited by hand is damaged with a shared algorithm, or without an issuer."""
    document = application(algorithm="RS256", jwks_uri="https://idp.example/jwks", issuer="https://idp.example")
    Application.from_document(document)
    with pytest.raises(RecordDamaged) as caught:
        Application.from_document({**document, **changes})
    assert "jwks_uri needs" in str(caught.value.reason)


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**64, [1, -(2**63) - 1]])
def test_required_numbers_can_be_stored(value: Any) -> None:
    """A number that JSON cannot hold, as TOML has them, is refused: the record could not be read again."""
    with pytest.raises(RuleError, match=r"NaN|64 bits"):
        FIELDS["require"].rule({"level": value})


def test_the_digest_of_the_policy() -> None:
    """Sessions end when a rule is reported or enforced, but for networks, which are checked at each use."""
    plain = dataclasses.replace(APPLICATION, report=None)
    digests = [
        dataclasses.replace(APPLICATION, report=report).policy_digest
        for report in (("networks",), ("issuer",), ("issuer", "networks"), ("issuer", "users"))
    ]
    assert digests[0] == plain.policy_digest
    assert digests[1] == digests[2]
    assert len({*digests}) == 3


@pytest.mark.parametrize(
    ("policy", "number"),
    [
        ({}, 1),
        ({"audience": "*"}, 1),
        ({"users": "any"}, 1),
        ({"sync": ["name"]}, 1),
        ({"origins": ["https://portal.example"], "rate": "600/minute"}, 1),
        ({"audience": "portal"}, 2),
        ({"audience": []}, 2),
        ({"issuer": "https://id.example.com"}, 2),
        ({"require": {"tenant": "a"}}, 2),
        ({"token_types": "at+jwt"}, 2),
        ({"max_lifetime": 120}, 2),
        ({"networks": "10.0.0.0/8"}, 2),
        ({"users": "own"}, 2),
        ({"session_idle": 60}, 2),
        ({"session_max": 3600}, 2),
    ],
)
def test_an_earlier_version_takes_a_record_with_rules_for_damaged(policy: dict[str, Any], number: int) -> None:
    """A record with rules that version 0.2.0 would ignore has a format that it does not accept."""
    nothing: dict[str, Any] = dict.fromkeys(POLICY)
    plain = dataclasses.replace(APPLICATION, **nothing).to_document()
    document = Application.from_document({**plain, **policy}).to_document()
    assert document["format"] == number
    if number == 2:
        with pytest.raises(RecordDamaged):
            # Its rules were lost.
            Application.from_document({**plain, "format": 2})
