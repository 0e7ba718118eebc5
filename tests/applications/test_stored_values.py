"""Stricter rules apply to new and changed values only: a stored record that breaks one works, with a warning."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.users.users import User
from datafor_token.validation import names
from datafor_token.web.services import services
from tests.cli.shell import Shell
from tests.conftest import Caller, put_user
from tests.handmade_tokens import NOW, claims, token
from tests.stores import Record
from tests.support import (
    SAMPLE_APPLICATION,
    STRONG_SECRET,
    application,
    key_for,
    private_pem,
    public_base64,
    public_pem,
    record_of,
)

FIELDMAP: dict[str, Any] = SAMPLE_APPLICATION["fieldmap"]
WEAK_KEY = rsa.generate_private_key(65537, 1024)
PUBLIC = base64.b64decode(public_base64(key_for("RS256"))).hex()
STORED: dict[str, tuple[dict[str, Any], str]] = {
    "a claim about the token": ({"fieldmap": {**FIELDMAP, "email": "jti"}}, "fieldmap.email"),
    "a reserved name": ({"token_name": "next"}, "token_name"),
    "a role with a blank": ({"initroles": ["Sales "]}, "initroles"),
    "a role with a comma": ({"initroles": ["Sales,North"]}, "initroles"),
    "a role like a user type": ({"initroles": ["SYS_Reader", "Administrator "]}, "initroles"),
    "a public key in hex as secret": ({"secret": PUBLIC}, "secret"),
    "a JWK as secret": ({"secret": '{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}'}, "secret"),
    "a small RSA key": ({"algorithm": "RS256", "secret": public_pem(WEAK_KEY)}, "secret"),
}
PRIVATE_KEYS = {"a small RSA key": private_pem(WEAK_KEY)}


def write(settings: Settings, **changes: Any) -> dict[str, Any]:
    """Write an application's record as a version before the rules stored it."""
    record = {"format": 1, **application(secret=STRONG_SECRET), "audience": ["*"], **changes}
    Record(settings.data_dir, "applications", "erp").write_text(json.dumps(record))
    return record


def masked(record: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a client that sends an application back whole."""
    return {**{name: value for name, value in record.items() if name != "format"}, "secret": "************"}


@pytest.mark.parametrize("stored", STORED)
def test_a_stored_value_continues_to_work(caller: Caller, settings: Settings, stored: str) -> None:
    """List, content, generate and sign-in work, and warnings name the field."""
    changes, field = STORED[stored]
    caller.post("update", application(secret=STRONG_SECRET))
    record = write(settings, **changes)
    found = caller.get("content?name=ERP")
    assert found.status_code == 200
    assert [one.split()[0] for one in found.json["warnings"]] == [field]
    listed = caller.get("list").json
    assert (len(listed["data"]), listed.get("damaged")) == (1, None)
    assert listed["warnings"][0].startswith(f"ERP: {field} ")
    body = {"name": "ERP", "username": "lena", "privateKey": PRIVATE_KEYS.get(stored)}
    issued = caller.post("generate", {name: value for name, value in body.items() if value is not None})
    assert (issued.status_code, "warnings" in issued.json) == (200, False)
    signed_in = caller.get(DETAIL, headers={"Authorization": f"Bearer {issued.json['token']}"})
    assert signed_in.status_code == 200
    assert json.dumps(record)[1:20] in Record(settings.data_dir, "applications", "erp").read_text()


DETAIL = "/plugin/datafor-modeler/api/user/detail"


@pytest.mark.parametrize("stored", STORED)
def test_a_stored_value_can_be_sent_back(caller: Caller, settings: Settings, stored: str) -> None:
    """An update that leaves the value unchanged changes other fields, with a warning."""
    changes, field = STORED[stored]
    caller.post("update", application(secret=STRONG_SECRET))
    record = write(settings, **changes)
    response = caller.post("update", {**masked(record), "expire": 61})
    assert response.status_code == 200, response.json
    assert [one for one in response.json["warnings"] if one.startswith(f"{field} ")]
    whole = caller.post("update", {**masked(record), "secret": record["secret"], "expire": 62})
    assert whole.status_code == 200, whole.json
    kept = record_of(settings.config_dir, settings.data_dir, "erp")
    assert kept["expire"] == 62
    assert all(kept[name] == value for name, value in changes.items())


@pytest.mark.parametrize(
    "change",
    [
        {"fieldmap": {**FIELDMAP, "name": "iss"}},
        {"fieldmap": {**FIELDMAP, "username": "aud"}},
        {"token_name": "ticket"},
        {"initroles": ["Sales ", " North"]},
        {"initroles": ["\u00a0x"]},
        {"initroles": ["x\u3000"]},
        {"initroles": ["a\u2028b"]},
        {"initroles": ["a\u0001b"]},
        {"initroles": ["administrator"]},
        {"initroles": ["\uff21dministrator"]},
        {"initroles": ["sys_creator"]},
        {"secret": public_base64(key_for("ES384"))},
        {"algorithm": "HS512", "secret": PUBLIC},
        {"algorithm": "RS256", "secret": public_pem(WEAK_KEY)},
    ],
)
def test_a_new_value_is_checked(caller: Caller, settings: Settings, change: dict[str, Any]) -> None:
    """A new value that breaks a rule is 400 and named, for a new application and for a stored one."""
    response = caller.post("update", application(**change))
    assert response.status_code == 400
    field = response.json["msg"].split()[0]
    assert field.split(".")[0] in change
    assert list(response.json["errors"]) == [field]
    caller.post("update", application(secret=STRONG_SECRET))
    write(settings, initroles=["Sales "], token_name="next", fieldmap={**FIELDMAP, "email": "jti"}, secret=PUBLIC)
    assert caller.post("update", application(**{"secret": None, **change})).status_code == 400


def test_all_errors_at_once(caller: Caller) -> None:
    """Violations of the rules for new values are returned together with all other errors."""
    change: dict[str, Any] = {"expire": 0, "token_name": "next", "initroles": ["x "], "secret": PUBLIC}
    response = caller.post("update", application(**change, fieldmap={**FIELDMAP, "email": "iss"}))
    assert set(response.json["errors"]) == {"token_name", "secret", "expire", "fieldmap.email", "initroles"}


@pytest.mark.parametrize("key", [PUBLIC, public_pem(key_for("EdDSA")), '{"kty":"oct","k":"AyM1"}'])
def test_key_material_is_refused_everywhere(
    app: Flask, caller: Caller, settings: Settings, tmp_path: Path, key: str
) -> None:
    """Calls, commands and declared files all refuse key material as a shared secret."""
    shell = Shell(app)
    caller.post("update", application(secret=STRONG_SECRET))
    file = tmp_path / "key"
    file.write_text(key)
    declared = tmp_path / "apps.json"
    declared.write_text(json.dumps({"application": [{**application(), "secret": None, "secret_file": "key"}]}))
    for said in (
        caller.post("rotate", {"name": "ERP", "secret": key}).json["msg"],
        shell.refused("application", "rotate", "ERP", "--secret-file", str(file)),
        shell.refused("application", "set", "ERP", "--secret-file", str(file)),
        shell.refused("application", "add", "CRM", put=key),
        shell.refused("application", "apply", str(declared), "--dry-run"),
    ):
        assert "must be a shared key for HS256, not a" in said
        assert key[10:40] not in said
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == STRONG_SECRET


def test_a_violation_is_logged_once(app: Flask, caller: Caller, settings: Settings, log: io.StringIO) -> None:
    """A violation by a stored value is logged once, however often the record is written and read."""
    caller.post("update", application(secret=STRONG_SECRET))
    write(settings, initroles=["Sales "], secret=PUBLIC)
    put_user(app, "lena", roles=("Administrator ",))
    for number in range(3):
        caller.get("list")
        caller.post("update", {**application(initroles=["Sales "]), "secret": None, "expire": 60 + number})
        caller.get(f"{DETAIL}?username=lena")
    lines = [line for line in log.getvalue().splitlines() if "stored value breaks a rule" in line]
    assert len(lines) == 3, lines
    assert "Sales " not in "".join(lines)
    assert PUBLIC[:20] not in log.getvalue()


def test_store_check_notes_violations(app: Flask, caller: Caller, settings: Settings) -> None:
    """`store check` notes the violations and reports no damage."""
    shell = Shell(app)
    caller.post("update", application(secret=STRONG_SECRET))
    write(settings, initroles=["Sales "])
    put_user(app, "lena", roles=("Administrator ",))
    said = shell.done("store", "check")
    assert "All records are valid" in said
    assert "note: application ERP: initroles " in said
    assert "note: user lena: roles " in said


@pytest.mark.parametrize("form", [public_pem, public_base64])
def test_an_algorithm_changed_by_hand_makes_no_public_key_a_secret(
    caller: Caller, settings: Settings, form: Callable[[Any], str]
) -> None:
    """A record edited from RS256 to HS256 is damaged: anybody could sign with its public key."""
    caller.post("update", application(secret=STRONG_SECRET))
    write(settings, secret=form(key_for("RS256")))
    assert caller.get("content?name=ERP").status_code == 503
    assert caller.get("list").json["damaged"] == ["ERP"]


def test_a_newer_record_is_damaged(app: Flask, caller: Caller, settings: Settings) -> None:
    """A record of a later format is damaged: its members may mean something else."""
    caller.post("update", application(secret=STRONG_SECRET))
    write(settings, format=2)
    assert caller.get("list").json["damaged"] == ["ERP"]
    assert caller.get("content?name=ERP").status_code == 503
    with app.app_context():
        services().store.put("users", {**User(name="lena").to_document(), "format": 2})
    assert caller.get(f"{DETAIL}?username=lena").status_code == 503


# --- roles ---


BLANKS = [
    " ",
    "\t",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\u200b",
    "\ufeff",
    "\u0085",
    "\u2028",
    "\u3164",
    "\u2800",
    "\ufe0f",
    "\U000e0101",
]


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("where", ["before", "behind", "both"])
def test_no_role_looks_like_a_user_type(app: Flask, caller: Caller, settings: Settings, blank: str, where: str) -> None:
    """A stored role that looks like a user type makes no Administrator, and is not in Remote-Groups."""
    role = {
        "before": f"{blank}Administrator",
        "behind": f"Administrator{blank}",
        "both": f"{blank}administrator{blank}",
    }
    assert caller.post("update", application(initroles=[role[where]])).status_code == 400
    caller.post("update", application(secret="abcd"))
    write(settings, secret="abcd", initroles=["Sales", role[where]])
    put_user(app, "anna", roles=(role[where], "North"))
    for name, others in (("bert", "Sales"), ("anna", "North")):
        uri = f"/?token={token(claims(loginname=name), 'abcd')}"
        response = app.test_client().get("/auth/check", headers={"X-Original-URI": uri})
        assert response.status_code == 200
        assert response.headers["Remote-Groups"] == f"SYS_Reader,{others}"
        for requirement in ("type=Administrator", "role=Administrator"):
            asked = app.test_client().get(f"/auth/check?{requirement}", headers={"X-Original-URI": uri})
            assert asked.status_code == 403
    with app.app_context():
        assert services().accounts.get("bert").type == "SYS_Reader"
    assert caller.get("list", {"Authorization": f"Bearer {token(claims(loginname='bert'), 'abcd')}"}).status_code == 403


@pytest.mark.parametrize(
    "roles", [["Administrator"], ["A,Administrator"], ["Administrator", "administrator", ",", " "]]
)
def test_the_gate_passes_on_no_role_that_is_a_user_type(app: Flask, caller: Caller, roles: list[str]) -> None:
    """A user's record that was edited by hand adds no type, and no two roles in one, to Remote-Groups."""
    caller.post("update", application(secret=STRONG_SECRET))
    put_user(app, "lena", roles=(*roles, "Sales"))
    response = app.test_client().get(
        "/auth/check", headers={"X-Original-URI": f"/?token={token(claims(), STRONG_SECRET)}"}
    )
    assert response.headers["Remote-Groups"] == "SYS_Reader,Sales"


@pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
def test_a_weak_key_signs_in_no_administrator(caller: Caller, settings: Settings, algorithm: str) -> None:
    """A stored secret that is a public key is weak, and so is a small RSA key: neither signs in an Administrator."""
    caller.post("update", application(secret=STRONG_SECRET))
    secret = PUBLIC if algorithm == "HS256" else public_pem(WEAK_KEY)
    write(settings, algorithm=algorithm, secret=secret)
    body = {"name": "ERP", "username": "admin"}
    issued = caller.post("generate", body if algorithm == "HS256" else {**body, "privateKey": private_pem(WEAK_KEY)})
    assert caller.get(DETAIL, {"Authorization": f"Bearer {issued.json['token']}"}).status_code == 401
    said = caller.post("explain", {"token": issued.json["token"]}).json
    assert said["reason"] == "administrator_refused"


def test_an_empty_list_of_roles_is_a_reader(caller: Caller, app: Flask) -> None:
    """No role at all means SYS_Reader, and so do roles without a user type."""
    for sent in ([], ["Sales"]):
        assert caller.post("update", application(secret=STRONG_SECRET, initroles=sent)).status_code == 200
        assert caller.get("content?name=ERP").json["initroles"] == sent
    caller.post("update", application(secret=STRONG_SECRET, initroles=[]))
    assert caller.get(DETAIL, {"Authorization": f"Bearer {token(claims(exp=NOW + 60), STRONG_SECRET)}"}).json["data"][
        "user"
    ] | {"userid": ""} == {
        "userid": "", "username": "lena", "name": "", "email": "", "type": "SYS_Reader", "roles": [], "enabled": True,
    }  # fmt: skip


def test_roles_of_users_are_checked(app: Flask) -> None:
    """The commands refuse such a new role, and change other members of a user who has a stored one."""
    shell = Shell(app)
    for role in ("Sales ", "\u00a0Sales", "administrator", "Administrator", "a,b", "a\u2029b"):
        assert "roles " in shell.refused("user", "add", "anna", "--role", role, put="a-long-password-1")
    put_user(app, "lena", roles=("Administrator ", "x,y"))
    shell.done("user", "set", "lena", "--full-name", "Lena")
    shell.done("user", "disable", "lena")
    assert "roles " in shell.refused("user", "set", "lena", "--role", "North ")
    shell.done("user", "set", "lena", "--role", "North")
    with app.app_context():
        assert services().accounts.get("lena").roles == ("North",)


@pytest.mark.parametrize("name", ["Administrators", "Admin", "Sales North", "企业", "sys", "Administrator2", "É"])
def test_a_role_may_contain_a_user_type(name: str) -> None:
    """A role that only contains the name of a user type is valid."""
    assert names.role_name(name) == name
