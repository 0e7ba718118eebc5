"""Errors never repeat a value, and name an unknown field only if it resembles a field of the call."""

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.requests import unknown_fields
from tests.cli.shell import Shell
from tests.conftest import Caller, Reply
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application, key_for, private_pem

FORM = "application/x-www-form-urlencoded"
# The rest of a secret after an "&" that was not escaped.
TAIL = "tAiL-0f_a.Secret"
LOGIN = "/plugin/datafor/api/extension/auth/login"
PASSWORD = "/plugin/datafor-modeler/api/user/password"


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    assert caller.post("update", application(secret=STRONG_SECRET)).status_code == 200


PARAMETERS = [
    ("generate", "name=ERP&privateKey=ab", "privateKey"),
    ("rotate", "name=ERP&secret=ab", "secret"),
    ("update", "name=ERP&secret=ab", "secret"),
    ("update", "name=ERP&initpwd=ab", "initpwd"),
    ("explain", "token=ab", "token"),
    ("introspect", "token=ab", "token"),
    ("revoke", "token=ab", "token"),
    (LOGIN, "username=admin&password=ab", "password"),
    (PASSWORD, "old=ab&new=cd", "new"),
    ("link", "name=ERP&username=lena", "username"),
    ("delete", "name=ERP", "name"),
    ("personal", "name=ERP", "name"),
]
TAILS = [TAIL, f"{TAIL}=", f"{TAIL}=x", f"{TAIL}[x]=y", f"{TAIL}.x.y=z", f"%26{TAIL}", "%EF%BF%BD"]


def test_the_rest_of_a_secret_is_not_repeated(caller: Caller, log: io.StringIO, subtests: pytest.Subtests) -> None:
    """A field that is the rest of a secret is described by its position, in response and log."""
    for (call, before, field), tail in itertools.product(PARAMETERS, TAILS):
        with subtests.test(call=call, before=before, tail=tail):
            response = caller.post(call, f"{before}&{tail}")
            assert response.status_code == 400
            assert response.json["errors"][field][-1] == f"an unknown field after {field}; send & as %26"
            assert TAIL not in json.dumps(response.json)
            assert TAIL not in log.getvalue()


@pytest.mark.parametrize("body", [{TAIL: 1}, {"name": "ERP", TAIL: {"x": TAIL}}, {"name": "ERP", "x" * 5000: TAIL}])
def test_in_json_too(caller: Caller, body: dict[str, Any]) -> None:
    """An unknown JSON member is described by its position."""
    response = caller.post("generate", json.dumps(body), content_type="application/json")
    assert response.status_code == 400
    place = "after name" if "name" in body else "at the beginning of the request"
    assert response.json["msg"] == f"an unknown field {place}"
    assert TAIL not in json.dumps(response.json)


def test_in_a_nested_object(caller: Caller) -> None:
    """An unknown member of fieldmap is described by its position in it."""
    fieldmap = {"username": "u", TAIL: "x", "name": "n", "email": "e"}
    response = caller.post("update", application(fieldmap=fieldmap))
    assert response.status_code == 400
    assert response.json["msg"].startswith("an unknown field ")
    assert "fieldmap" in response.json["msg"]
    assert TAIL not in json.dumps(response.json)
    response = caller.post("update", application(fieldmap={"usernam": "u", "name": "n", "email": "e"}))
    said = "fieldmap.usernam is not a field of this call; did you mean 'fieldmap.username'?"
    assert response.json["errors"]["fieldmap.usernam"] == [said]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("secrt", "secret"), ("private_key", "privateKey"), ("privatekey", "privateKey"), ("user_name", "username"),
     ("algoritm", "algorithm"), ("initrole", "initroles"), ("fieldMap", "fieldmap"), ("self-service", "self_service")],
)  # fmt: skip
def test_a_misspelled_field_is_named(caller: Caller, sent: str, meant: str) -> None:
    """A misspelled field is named together with the correct one."""
    call = "generate" if meant in ("privateKey", "username") else "update"
    for reply in (
        caller.post(call, {sent: "x"}),
        caller.post(call, f"{quote(sent)}=x"),
        caller.post(call, {sent: "x"}, content_type="multipart/form-data"),
    ):
        assert reply.json["errors"][sent] == [f"{sent} is not a field of this call; did you mean '{meant}'?"]


@pytest.mark.parametrize(
    ("call", "sent", "meant"),
    [("revoke", "username", "user"), ("revoke", "name", "application"), ("personal/revoke", "user", "username"),
     ("explain", "application", "name")],
)  # fmt: skip
def test_the_name_that_another_call_has(caller: Caller, call: str, sent: str, meant: str) -> None:
    """A field that is called otherwise in another call is named together with the one of this call."""
    reply = caller.post(call, f"{sent}=x")
    assert reply.json["errors"][sent] == [f"{sent} is not a field of this call; did you mean '{meant}'?"]


@pytest.mark.parametrize("name", [TAIL, "a b", "\u202ename", "name\n", "nam\x00e", "x" * 500, "hunter2", "pa55", "Zq"])
def test_what_resembles_no_field(name: str) -> None:
    """A name that resembles no field, or is not plain text, is not repeated."""
    found = unknown_fields.messages(["secret", name], ["secret", "name", "password"])
    assert found == {"secret": ["an unknown field after secret"]}


@given(name=st.text(max_size=20))
def test_a_name_that_is_repeated_is_nearly_public(name: str) -> None:
    """A name that is repeated resembles a known field."""
    known = ("secret", "privateKey", "password", "name")
    if name not in known:
        said = json.dumps(unknown_fields.messages([name], known))
        assert "request" in said or unknown_fields.resembled(name, known)


@pytest.mark.parametrize(
    "query", [f"name=ERP&{TAIL}=x", f"limit=1&{TAIL}", f"event=sign_in&{TAIL}.x=1", f"page={TAIL}", f"since={TAIL}"]
)
def test_parameters_of_a_query(caller: Caller, query: str) -> None:
    """Query parameters are not repeated."""
    for path in (f"audit?{query}", f"content?{query}", f"personal/config?{query}"):
        assert TAIL not in json.dumps(caller.get(path).json)


def upload(caller: Caller, name: str) -> Reply:
    files = {name: (io.BytesIO(b"x"), "key.pem")}
    return caller.post("update", files, content_type="multipart/form-data")


def test_a_file_is_named_where_its_field_is_known(caller: Caller) -> None:
    """A file in a field of the call is named; the name of another part is not repeated."""
    assert upload(caller, "secret").json["msg"] == "secret cannot be a file"
    response = upload(caller, TAIL)
    assert (response.status_code, response.json["msg"]) == (400, "a field cannot be a file")


BROKEN_BODIES = [
    f"a.b.c.d.e.f.g.h.i.j.{TAIL}=1",
    f"{TAIL}={TAIL}&{TAIL}={TAIL}",
    f"={TAIL}",
    "x" * 600 + f"{TAIL}=1",
    f'{{"{TAIL}": 1, "{TAIL}": 2}}',
    f'{{"{TAIL}": ',
    f"'{{{TAIL}: 1}}'",
    f"\ufeff{{{TAIL}}}",
    f"\ufeff{TAIL}=1",
    f'"{TAIL}"',
    f'["{TAIL}"]',
]


def test_broken_bodies(caller: Caller, log: io.StringIO, subtests: pytest.Subtests) -> None:
    """No error of a body repeats any of it."""
    calls, types = ("update", "generate", "deleteBatch", LOGIN), (FORM, "application/json")
    for call, body, content_type in itertools.product(calls, BROKEN_BODIES, types):
        with subtests.test(call=call, body=body[:100], content_type=content_type):
            response = caller.post(call, body.encode(), content_type=content_type)
            assert response.status_code == 400
            assert TAIL not in json.dumps(response.json)
            assert TAIL not in log.getvalue()


SECRET_VALUES: list[Callable[[str], Any]] = [str, lambda value: [value], lambda value: {value: value}]


@pytest.mark.parametrize("shaped", SECRET_VALUES)
def test_no_value_of_any_field_is_repeated(caller: Caller, shaped: Callable[[str], Any]) -> None:
    """No response repeats a secret that was sent in any field of any call."""
    value = shaped(f"{TAIL},\u0001 ")
    for call, fields in {
        "update": ("name", "token_name", "secret", "expire", "algorithm", "enable", "initroles", "initpwd", "fieldmap"),
        "generate": ("name", "privateKey", "username", "payload"),
        "rotate": ("name", "secret", "grace"),
        "link": ("name", "username", "next", "ttl", "payload"),
        "explain": ("name",),
        LOGIN: ("username",),
        PASSWORD: ("old", "new"),
    }.items():
        for field in fields:
            right = application() if call == "update" else {}
            response = caller.post(call, {**right, field: value})
            if response.status_code >= 400:
                assert TAIL not in json.dumps(response.json), (call, field)


def test_keys_of_a_payload(caller: Caller) -> None:
    """Errors of a payload name only claims of the field map and registered claims."""
    for payload in ({"exp": 1}, {"email": "a", "loginname": TAIL}, {TAIL: "x" * 5000}, {"username": [TAIL]}):
        response = caller.post("generate", {"name": "ERP", "payload": payload})
        assert response.status_code == 400
        assert TAIL not in json.dumps(response.json)


def test_a_private_key_in_a_form(caller: Caller) -> None:
    """The error about a PEM key with unescaped characters repeats none of it."""
    key = private_pem(key_for("RS256"))
    response = caller.post("generate", f"name=ERP&privateKey={key[:200]}&{key[200:]}")
    assert response.status_code == 400
    assert not any(line in json.dumps(response.json) for line in key.splitlines() if len(line) > 20)


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_declared_files(app: Flask, tmp_path: Path, suffix: str) -> None:
    """Errors of a declared file repeat neither its unknown members nor its values."""
    file = tmp_path / f"apps.{suffix}"
    bad: list[dict[str, Any]] = [{"name": "ERP", TAIL: TAIL}, {"name": f"{TAIL}/"}, {"secret": TAIL, "name": "X"}]
    for one in bad:
        lines = "\n".join(f'"{name}" = "{value}"' for name, value in one.items())
        file.write_text(json.dumps({"application": [one]}) if suffix == "json" else f"[[application]]\n{lines}\n")
        assert TAIL not in Shell(app).refused("application", "apply", str(file))
    file.write_text(
        json.dumps({"application": [], TAIL: TAIL})
        if suffix == "json"
        else f'application = []\n{TAIL[:4]} = "{TAIL}"\n'
    )
    assert TAIL[:4] not in Shell(app).refused("application", "apply", str(file))


def test_a_password_in_the_wrong_field(caller: Caller, log: io.StringIO) -> None:
    """The error of a login does not repeat a password that became the name of a field."""
    response = caller.post(LOGIN, f"username=admin&{quote(ADMIN_PASSWORD)}", headers={})
    assert response.status_code == 400
    assert ADMIN_PASSWORD not in json.dumps(response.json) + log.getvalue()
