"""Dry runs of changes, and the rehearsal of settings: what the calls return, and that nothing is changed."""

import dataclasses
import json
from typing import Any

import jwt
import pytest
from flask import Flask

from datafor_token.audit.filters import Filter
from datafor_token.errors import RuleError
from datafor_token.requests.rehearsal_schemas import MOST_DAYS, SETTINGS
from datafor_token.settings import Settings, table
from tests.conftest import Caller, services_in
from tests.handmade_tokens import NOW, claims, token
from tests.stores import Record
from tests.support import STRONG_SECRET, Clock, application, key_for, public_pem

DETAIL = "/plugin/datafor-modeler/api/user/detail"
BASE = application(secret=STRONG_SECRET, audience="*")
# Changes that refuse the tokens of the fixture, as call and fields, with the reason of the refusals.
CHANGES: dict[str, tuple[str, Any, str]] = {
    "update": ("update", {**BASE, "audience": "crm"}, "audience"),
    "disable": ("update", {**BASE, "enable": "0"}, "disabled_application"),
    "a new secret": ("update", {**BASE, "secret": STRONG_SECRET[::-1]}, "signature"),
    "rotate": ("rotate", {"name": "ERP", "grace": 0}, "signature"),
    "delete": ("delete", {"name": "erp"}, "algorithm"),
    "deleteBatch": ("deleteBatch", {"name": ["ERP", "nobody"]}, "algorithm"),
}


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    return dataclasses.replace(settings, rehearsal_days=getattr(request, "param", settings.rehearsal_days))


def sign_in(caller: Caller, user: str, **changes: Any) -> int:
    text = token(claims(loginname=user, exp=NOW + 3600, aud="erp", **changes), STRONG_SECRET)
    return int(caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code)


@pytest.fixture
def _sign_ins(caller: Caller) -> None:
    caller.post("update", BASE)
    for user in ("lena", "otto", "lena"):
        assert sign_in(caller, user) == 200


def everything(app: Flask) -> Any:
    found = services_in(app)
    documents = {one: list(found.store.documents(one)) for one in found.store.collections if one != "sign_ins"}
    return documents, found.audit.page(Filter(), 1000).events


@pytest.mark.usefixtures("_sign_ins")
@pytest.mark.parametrize("change", CHANGES)
def test_a_dry_run_changes_nothing(app: Flask, caller: Caller, change: str) -> None:
    """A dry run returns whom the change would refuse, and neither stores nor records anything."""
    call, fields, reason = CHANGES[change]
    before = everything(app)
    found = caller.post(call, {**fields, "dry_run": "1"}).json
    assert everything(app) == before
    assert (found["success"], found["dry_run"]) == (True, True)
    assert not {"msg", "secret", "previous"} & found.keys()
    rehearsal = found["rehearsal"]
    assert (rehearsal["sign_ins"], rehearsal["refused"], rehearsal["unknown"]) == (2, 2, 0)
    assert (sorted(rehearsal["users"]), rehearsal["user_count"]) == (["lena", "otto"], 2)
    assert (rehearsal["sources"], rehearsal["source_count"]) == (["127.0.0.1"], 1)
    assert [(rule["reason"], rule["application"], rule["sign_ins"]) for rule in rehearsal["rules"]] == [
        (reason, "ERP", 2)
    ]
    assert sign_in(caller, "lena") == 200
    assert caller.post(call, fields).status_code == 200
    assert sign_in(caller, "lena") == 401


@pytest.mark.usefixtures("_sign_ins")
def test_all_forms_of_a_body(caller: Caller) -> None:
    """A dry run is the same as JSON and as a form."""
    for body in (
        {"name": "ERP", "dry_run": True, "days": 1},
        {"name": "ERP", "dry_run": 1, "days": 1},
        "name=ERP&dry_run=1&days=1",
        json.dumps({"name": "ERP", "dry_run": "1", "days": 1}),
    ):
        assert caller.post("delete", body).json["rehearsal"]["refused"] == 2
    assert caller.get("content?name=ERP").status_code == 200


@pytest.mark.usefixtures("_sign_ins")
def test_unknown_names(caller: Caller) -> None:
    """The dry run of a deletion warns of each name that does not exist, and only of these."""
    assert "warnings" not in caller.post("delete", {"name": "erp", "dry_run": "1"}).json
    for call, names in (("delete", "ERQ"), ("deleteBatch", ["ERQ", "ERP"])):
        found = caller.post(call, {"name": names, "dry_run": "1"}).json
        assert found["warnings"] == ["application 'ERQ' does not exist"]


@pytest.mark.parametrize(
    ("call", "body", "message"),
    [
        ("delete?dry_run=1", "name=ERP", "dry_run must be in the body of the request, not in its URL"),
        ("update?dry_run=1", BASE, "dry_run must be in the body of the request, not in its URL"),
        ("deleteBatch?dry_run=0", ["ERP"], "dry_run must be in the body of the request, not in its URL"),
        ("delete", "name=ERP&dry_run=yes", 'dry_run must be "1" or "0"'),
        ("delete", "name=ERP&dry-run=1", "dry-run is not a field of this call; did you mean 'dry_run'?"),
        ("delete", "name=ERP&days=3", "days can only be given with dry_run"),
        ("delete", "name=ERP&days=3&dry_run=0", "days can only be given with dry_run"),
        ("delete", "name=ERP&dry_run=1&days=15", "days can be at most 14 (setting REHEARSAL_DAYS)"),
        ("delete", "name=ERP&dry_run=1&days=0", "days must be a whole number of days from 1 to 90"),
        ("rehearse", "leeway=5&days=15", "days can be at most 14 (setting REHEARSAL_DAYS)"),
        ("rehearse", "days=3", "tokens_may_administer is missing: send"),
        ("rehearse", "leeway=301", "leeway must be from 0 to 300"),
        ("rehearse", "leeway=-1", "leeway must be a number"),
        ("rehearse", {"leeway": "5"}, "leeway must be a number"),
        ("rehearse", {"leeway": True}, "leeway must be a number"),
        ("rehearse", "leeway=5&audit_days=3", "an unknown field after leeway"),
    ],
)
def test_a_misunderstood_dry_run_changes_nothing(caller: Caller, call: str, body: Any, message: str) -> None:
    """A dry run that is asked for in another way is 400, and the change is not made."""
    caller.post("update", BASE)
    response = caller.post(call, body)
    assert response.status_code == 400
    assert response.json["msg"].startswith(message)
    assert caller.get("content?name=ERP").json["lastModifiedDate"] == NOW * 1000


def test_the_errors_are_those_of_the_change(caller: Caller, settings: Settings) -> None:
    """A dry run of a change that is refused has the same response as the change."""
    caller.post("update", BASE)
    Record(settings.data_dir, "applications", "bad").write_text('{"name": "bad"}')
    refused = [
        ("update", {**BASE, "name": "erp"}, 409),
        ("update", {**BASE, "sync": ["roles"]}, 400),
        ("update", {**BASE, "secret": "************", "algorithm": "ES256"}, 400),
        ("rotate", {"name": "CRM"}, 404),
        ("rotate", {"name": "ERP", "secret": STRONG_SECRET}, 400),
        ("delete", {"name": "bad"}, 503),
        ("deleteBatch", {"name": ["ERP", "bad"]}, 503),
    ]
    for call, fields, status in refused:
        dry = caller.post(call, {**fields, "dry_run": "1"})
        assert (dry.status_code, dry.json) == (status, caller.post(call, fields).json), call


@pytest.mark.usefixtures("_sign_ins")
def test_changes_of_an_update(caller: Caller) -> None:
    """The dry run of an update has the changed fields before and after, with secrets masked, and the warnings."""
    found = caller.post("update", {**BASE, "secret": "weak", "audience": "erp", "dry_run": "1"}).json
    assert found["changes"] == {"secret": ["************"] * 2, "audience": [["*"], ["erp"]]}
    assert found["warnings"][0].startswith("secret is weak")
    same = caller.post("update", {**BASE, "dry_run": "1"}).json
    assert (same["changes"], same["rehearsal"]["refused"]) == ({}, 0)
    assert "warnings" not in same


@pytest.mark.usefixtures("_sign_ins")
def test_rotation_with_a_grace_period(caller: Caller, clock: Clock) -> None:
    """A rotation refuses nobody at once during its grace period, and everybody after it; no secret is returned."""
    found = caller.post("rotate", {"name": "ERP", "grace": 60, "dry_run": "1"}).json
    assert (found["rehearsal"]["refused"], found["after_grace"]["refused"]) == (0, 2)
    assert "secret" not in found
    assert "after_grace" not in caller.post("rotate", {"name": "ERP", "grace": 0, "dry_run": "1"}).json
    caller.post("rotate", {"name": "ERP", "grace": 60})
    # A second rotation ends the grace period of the first.
    assert caller.post("rotate", {"name": "ERP", "grace": 60, "dry_run": "1"}).json["rehearsal"]["refused"] == 2


@pytest.mark.parametrize("call", ["update", "rotate"])
def test_keys_that_were_not_fetched(caller: Caller, call: str) -> None:
    """Nothing is known of the keys behind a new URL, which a dry run does not fetch."""
    key = key_for("ES256")
    fields = application(algorithm="ES256", secret=public_pem(key), audience="*", issuer="portal")
    caller.post("update", fields)
    text = jwt.encode(claims(loginname="lena", exp=NOW + 3600, iss="portal"), key, "ES256")
    assert caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code == 200
    del fields["secret"]
    change: dict[str, Any] = fields if call == "update" else {"name": "ERP"}
    response = caller.post(call, {**change, "jwks_uri": "https://localhost:1/keys", "dry_run": "1"}).json
    # During the grace period of a rotation, the present key is accepted.
    found = response["rehearsal" if call == "update" else "after_grace"]
    assert (found["refused"], found["unknown"]) == (0, 1)
    assert found["unknown_because"] == ["the keys of the provider of ERP are not known here"]
    # A disabled application refuses its tokens, whatever its keys.
    disabled = {**fields, "jwks_uri": "https://localhost:1/keys", "enable": "0", "dry_run": "1"}
    assert caller.post("update", disabled).json["rehearsal"]["refused"] == 1


def test_the_last_days(caller: Caller, clock: Clock) -> None:
    """With days, only the sign-ins of these days are rehearsed."""
    caller.post("update", BASE)
    assert sign_in(caller, "lena") == 200
    clock.advance(5 * 86400)
    text = token(claims(loginname="otto", exp=int(clock.now) + 3600, aud="erp"), STRONG_SECRET)
    assert caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code == 200
    for days, number in ((1, 1), (6, 2)):
        found = caller.post("delete", {"name": "ERP", "dry_run": "1", "days": days}).json
        assert found["rehearsal"]["refused"] == number


@pytest.mark.tokens_may_administer
def test_settings(caller: Caller) -> None:
    """Settings are rehearsed: the response has their values before and after, and whom they would refuse."""
    caller.post("update", BASE)
    assert sign_in(caller, "admin") == 200
    assert sign_in(caller, "lena", iat=NOW + 20) == 200
    found = caller.post("rehearse", {"tokens_may_administer": False}).json
    assert found["changes"] == {"tokens_may_administer": [True, False]}
    assert [(rule["reason"], rule["users"]) for rule in found["rehearsal"]["rules"]] == [("administrator_refused", 1)]
    found = caller.post("rehearse", "leeway=5&days=1").json
    assert found["changes"] == {"leeway": [30.0, 5.0]}
    assert [(rule["reason"], rule["users"]) for rule in found["rehearsal"]["rules"]] == [("not_yet_valid", 1)]
    both = caller.post("rehearse", "leeway=5.5&tokens_may_administer=0").json
    assert both["rehearsal"]["refused"] == 2
    assert "weak_secrets" not in both
    assert sign_in(caller, "admin") == 200


def test_strong_secrets(caller: Caller) -> None:
    """A rehearsal of REQUIRE_STRONG_SECRETS refuses no sign-in, and names each application with a weak secret."""
    caller.post("update", application(audience="*"))
    caller.post("update", application(name="CRM", secret=STRONG_SECRET))
    found = caller.post("rehearse", "require_strong_secrets=1").json
    assert found["rehearsal"]["refused"] == 0
    assert [one["application"] for one in found["weak_secrets"]] == ["ERP"]
    assert "4 bytes" in found["weak_secrets"][0]["detail"]
    assert "weak_secrets" not in caller.post("rehearse", "require_strong_secrets=0").json


@pytest.mark.parametrize("settings", [0], indirect=True)
def test_nothing_is_kept(caller: Caller) -> None:
    """With REHEARSAL_DAYS = 0, a dry run still shows errors and changes, and its rehearsal is null."""
    caller.post("update", BASE)
    found = caller.post("update", {**BASE, "expire": 60, "dry_run": "1"}).json
    assert (found["rehearsal"], found["changes"]) == (None, {"expire": [86400, 60]})
    rotated = caller.post("rotate", {"name": "ERP", "grace": 60, "dry_run": "1"}).json
    assert (rotated["rehearsal"], rotated["after_grace"]) == (None, None)
    assert caller.post("rehearse", "leeway=5").json["rehearsal"] is None
    refused = caller.post("rehearse", "leeway=5&days=1")
    assert refused.json["msg"] == "days cannot be given: no sign-ins are kept (setting REHEARSAL_DAYS)"


def test_only_administrators(caller: Caller) -> None:
    """A rehearsal shows who signed in from where: only Administrators may see it."""
    caller.post("update", BASE)
    text = token(claims(loginname="lena", exp=NOW + 3600, aud="erp"), STRONG_SECRET)
    for call, body in (("rehearse", {"leeway": 5}), ("delete", {"name": "ERP", "dry_run": "1"})):
        assert caller.post(call, body, {"Authorization": f"Bearer {text}"}).status_code == 403
        assert caller.post(call, body, {}).status_code == 401


def test_the_limits_of_the_settings() -> None:
    """The fields of a rehearsal are settings, and its days go as far as the setting."""
    fields = {field.name: field for field in table()}
    assert set(SETTINGS) <= fields.keys()
    fields["rehearsal_days"].metadata["check"](MOST_DAYS)
    with pytest.raises(RuleError):
        fields["rehearsal_days"].metadata["check"](MOST_DAYS + 1)
