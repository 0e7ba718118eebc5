"""The rehearsals of a week of sign-ins have the numbers of the changes themselves, made on a copy of the data."""

import collections
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from datafor_token.settings import Settings
from tests.conftest import Caller, services_in
from tests.rehearsal.traffic import (
    BY_NAME,
    DAY,
    INSIDE,
    NEW_SECRET,
    Copy,
    Refusal,
    Week,
)
from tests.stores import KIND
from tests.support import ADMIN_PASSWORD, Clock, key_for, public_pem

# In the long form 500, which takes a quarter of an hour: ``REHEARSAL_USERS=500``.
PEOPLE = int(os.environ.get("REHEARSAL_USERS", "8"))
OTHER_SECRET = "k7-Qm2xW_pL9vT4sZ0aYcB8nE1gRfHjU3oKiD6tNuXw"


def updated(name: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    present = {"CRM": {"secret": NEW_SECRET}}.get(name, {})
    fields = {**BY_NAME[name], **present, **changes}
    return "update", {field: value for field, value in fields.items() if value is not None}


def fieldmap(claim: str) -> dict[str, str]:
    return {"username": claim, "name": "name", "email": "email"}


# A call that changes rules, and its fields.
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "audience": updated("ERP", audience=["erp"]),
    "no audience": updated("ERP", audience=[]),
    "audience of CRM": updated("CRM", audience=["crm"]),
    "audience of Portal": updated("Portal", audience=["portal"]),
    "issuer": updated("ERP", issuer="portal"),
    "issuer of CRM": updated("CRM", issuer="login.example.com"),
    "issuer of Portal": updated("Portal", issuer="https://other.example.com"),
    "require": updated("ERP", require={"dept": "sales", "/realm/site": ["north", "south"]}),
    "require by pointer": updated("ERP", require={"/realm/site": "south"}),
    "require of CRM": updated("CRM", require={"dept": ["sales"]}),
    "require aud": updated("CRM", require={"aud": "crm", "iss": "portal"}),
    "require inside": updated("CRM", require={"/aud/1": "shop.example.com"}),
    "token_types": updated("ERP", token_types=["at+jwt"]),
    "token_types of Portal": updated("Portal", token_types=["JWT"]),
    "max_lifetime": updated("ERP", max_lifetime=4000, expire=4000),
    "max_lifetime of CRM": updated("CRM", max_lifetime=4000, expire=4000),
    "max_lifetime of Portal": updated("Portal", max_lifetime=7200, expire=7200),
    "networks": updated("ERP", networks=["10.0.0.0/8"]),
    "networks of CRM": updated("CRM", networks=["192.0.2.0/24"]),
    "networks of Portal": updated("Portal", networks=[INSIDE]),
    "users": updated("ERP", users="own"),
    "users of CRM": updated("CRM", users="own"),
    "several": updated("CRM", users="own", networks=[INSIDE], max_lifetime=DAY, expire=DAY, audience=["crm"]),
    "enable": updated("ERP", enable="0"),
    "enable of Portal": updated("Portal", enable="0"),
    "secret": updated("ERP", secret=OTHER_SECRET),
    "secret of CRM": updated("CRM", secret=OTHER_SECRET),
    "key": updated("Portal", secret=public_pem(key_for("RS256", "-other"))),
    "algorithm": updated("ERP", algorithm="HS512", secret=OTHER_SECRET * 2),
    "algorithm of Portal": updated("Portal", algorithm="PS256"),
    "token_name": updated("ERP", token_name="other"),
    "token_name of another": updated("ERP", token_name="crm_token"),
    "token_name of Portal": updated("Portal", token_name="token"),
    "fieldmap": updated("ERP", fieldmap=fieldmap("dept")),
    "fieldmap that is missing": updated("ERP", fieldmap=fieldmap("nothing")),
    "fieldmap of Portal": updated("Portal", fieldmap=fieldmap("uid")),
    "inituser": updated("ERP", inituser="0"),
    "inituser of Portal": updated("Portal", inituser="0"),
    "jwks_uri": updated("Portal", jwks_uri="https://id.example.com/jwks", secret=None),
    "delete": ("delete", {"name": "ERP"}),
    "delete CRM": ("delete", {"name": "CRM"}),
    "delete two": ("deleteBatch", {"name": ["ERP", "Portal"]}),
    "rotate": ("rotate", {"name": "ERP", "secret": OTHER_SECRET, "grace": 0}),
    "rotate CRM": ("rotate", {"name": "CRM", "secret": OTHER_SECRET, "grace": 0}),
    "rotate with grace": ("rotate", {"name": "ERP", "secret": OTHER_SECRET, "grace": 3600}),
    "rotate CRM with grace": ("rotate", {"name": "CRM", "secret": OTHER_SECRET, "grace": 3600}),
    "rotate Portal with grace": (
        "rotate", {"name": "Portal", "secret": public_pem(key_for("RS256", "-other")), "grace": 3600}
    ),
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "TOKENS_MAY_ADMINISTER": {"tokens_may_administer": False},
    "LEEWAY": {"leeway": 15},
    "LEEWAY 0": {"leeway": 0},
    "REQUIRE_STRONG_SECRETS": {"require_strong_secrets": True},
}
# Changes that ask for claims of which only the names are kept, or for keys that are not known yet; ...
NOT_KNOWN: tuple[str, ...] = (
    "jwks_uri",
    "fieldmap",
    "fieldmap of Portal",
    "audience",
    "audience of CRM",
    "issuer",
    "issuer of CRM",
)
NOT_KNOWN += ("require of CRM", "require aud", "require inside")
# ... and those after which ERP, which comes later by name and has the key of CRM, is asked about tokens of CRM.
NOT_KNOWN += ("max_lifetime of CRM", "networks of CRM", "users of CRM", "several", "secret of CRM", "delete CRM")
NOT_KNOWN += ("rotate CRM", "rotate CRM with grace", "rotate CRM with grace, after")


# With a database, where a sign-in takes several times as long: one change for each way through the store.
WITH_A_DATABASE = ("audience", "networks of Portal", "several", "delete two", "rotate CRM with grace", "inituser")


@pytest.fixture
def week(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Week:
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    wanted = dataclasses.replace(settings, tokens_may_administer=True, leeway=30.0, trusted_proxies=1)
    return Week(wanted, clock, PEOPLE).happen()


def differences(
    name: str, found: dict[str, Any], really: dict[tuple[str, int, str], Refusal], already: set[tuple[str, int, str]]
) -> list[str]:
    """Return in what the rehearsal of a change differs from what is really refused, ``already`` before it."""
    refused = [refusal for key, refusal in really.items() if key not in already]
    numbers = found["refused"], found["refused"] + found["unknown"]
    if not numbers[0] <= len(refused) <= numbers[1]:
        return [f"{name}: {len(refused)} are refused, {found['refused']} in rehearsal, {found['unknown']} unknown"]
    if found["unknown"]:
        return [] if name in NOT_KNOWN else [f"{name}: {found['unknown']} unknown: {found['unknown_because']}"]
    users = collections.Counter(refusal.user for refusal in refused)
    sources = collections.Counter(refusal.address for refusal in refused)
    pairs: dict[str, tuple[Any, Any]] = {
        "users": (sorted(users)[:100], sorted(found["users"])) if len(users) <= 100 else (None, None),
        "user_count": (len(users), found["user_count"]),
        "sources": (sorted(sources), sorted(found["sources"])),
        "rules": rules_of(refused, found),
    }
    return [
        f"{name}: {what}: {real} in reality, {said} in rehearsal"
        for what, (real, said) in pairs.items()
        if real != said
    ]


def rules_of(refused: list[Refusal], found: dict[str, Any]) -> tuple[Any, Any]:
    """Return the numbers by reason in reality and in rehearsal. Of a link, reality names no reason."""
    real = collections.Counter(refusal.reason for refusal in refused)
    said: collections.Counter[str] = collections.Counter()
    for rule in found["rules"]:
        said[rule["reason"]] += rule["sign_ins"]
    links = real.pop("", 0)
    surplus = said - real
    if real <= said and surplus.total() == links:
        return None, None
    return (dict(real), links), dict(said)


@pytest.mark.slow
def test_a_week(week: Week, tmp_path: Path) -> None:
    """Each change refuses the sign-ins that its rehearsal said: number, users, sources and rules."""
    copied = Copy(week, tmp_path / "copy")
    copied.restore()
    already = set(copied.replay())
    found: list[str] = []
    for name in CHANGES if KIND == "file" else WITH_A_DATABASE:
        call, fields = CHANGES[name]
        response = week.post(call, {**fields, "dry_run": "1"})
        copied.restore()
        reply = Caller(copied.app.test_client()).post(call, fields)
        assert reply.status_code == 200, reply.json
        found += differences(name, response["rehearsal"], copied.replay(), already)
        if "after_grace" in response:
            registry = services_in(copied.app).registry
            previous = registry.get(fields["name"]).previous
            assert previous is not None
            registry.end_grace(fields["name"], previous.until)
            found += differences(f"{name}, after", response["after_grace"], copied.replay(), already)
    for name, settings in SETTINGS.items():
        response = week.post("rehearse", {key: int(value) for key, value in settings.items()})
        changed = Copy(week, tmp_path / name, **settings)
        changed.restore()
        found += differences(name, response["rehearsal"], changed.replay(), already)
    assert not found, "\n".join(found)
