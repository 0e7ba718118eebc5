"""Rules for new passwords, wherever one is set; stored passwords remain valid."""

import json
from pathlib import Path

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.errors import StartError
from datafor_token.settings import Settings
from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.console.client import Client
from tests.handmade_tokens import claims, token
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application, basic

PASSWORD = "/plugin/datafor-modeler/api/user/password"
DETAIL = "/plugin/datafor-modeler/api/user/detail"
SHORT, NAME = "must be at least 8 characters long", "cannot be the user name"


@pytest.fixture(autouse=True)
def _user(app: Flask) -> None:
    """A user whose stored password breaks the rules."""
    with app.app_context():
        hashed = CHEAP_FOR_TESTS_ONLY.hash("x")
        services().store.put("users", User(name="Lena-Müller", password=hashed, type="Administrator").to_document())


BROKEN = [("x", SHORT), ("sevench", SHORT), ("ééééééé", SHORT), ("lena-müller", NAME), ("LENA-MU\u0308LLER", NAME)]


@pytest.mark.parametrize(("new", "says"), BROKEN)
def test_the_own_password(caller: Caller, new: str, says: str) -> None:
    """``user/password`` refuses it and names the field; the stored password remains valid."""
    response = caller.post(PASSWORD, {"old": "x", "new": new}, basic("Lena-Müller", "x"))
    assert (response.status_code, response.json["errors"]) == (400, {"new": [f"new {says}"]})
    assert caller.get(DETAIL, basic("lena-müller", "x")).status_code == 200
    assert caller.post(PASSWORD, {"old": "x", "new": "ééééééééé"[:8]}, basic("Lena-Müller", "x")).status_code == 200
    assert caller.get(DETAIL, basic("lena-müller", "éééééééé")).status_code == 200


@pytest.mark.parametrize(("new", "says"), BROKEN)
def test_on_the_pages(app: Flask, new: str, says: str) -> None:
    """The pages for the own password and for another user's show the error beside the field."""
    lena, admin = Client(app), Client(app)
    assert lena.sign_in("Lena-Müller", "x").status_code == 303
    assert admin.sign_in().status_code == 303
    shown = says[0].upper() + says[1:]
    for client, path, fields in (
        (lena, "me/password", {"old": "x", "new": new}),
        (admin, "user/password?name=lena-müller", {"password": new}),
    ):
        response = client.post(path, fields)
        assert (response.status_code, shown in response.text) == (400, True), path
    assert admin.post("user/password?name=Lena-Müller", {"password": ""}).status_code == 303


@pytest.mark.parametrize(("new", "says"), BROKEN)
def test_by_commands(app: Flask, new: str, says: str) -> None:
    """``user add`` and ``user passwd`` refuse it with a sentence."""
    for arguments in (["passwd", "lena-müller"], ["add", "lena-müller" if says == NAME else "paul"]):
        result = invoke(app, ["user", *arguments], put=new)
        assert (result.exit_code, f"password {says}" in result.output) == (1, True), result.output


@pytest.mark.parametrize(("password", "says"), [("", "empty"), ("x", SHORT), ("Admin", SHORT), ("a\tb" * 9, "control")])
def test_at_the_first_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, says: str) -> None:
    """A first start with such a DATAFOR_TOKEN_ADMIN_PASSWORD fails and creates no user; a later start does not."""
    settings = Settings(config_dir=tmp_path / "c", data_dir=tmp_path / "d")
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", password)
    with pytest.raises(StartError, match=f"DATAFOR_TOKEN_ADMIN_PASSWORD .*{says}"):
        create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)
    assert not list((tmp_path / "d" / "users").glob("admin*"))
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", password)
    create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)


def test_the_administrators_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user name is refused even if such a short password is allowed."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", "ADMIN")
    settings = Settings(config_dir=tmp_path / "c", data_dir=tmp_path / "d", min_password_length=4)
    with pytest.raises(StartError, match=NAME):
        create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY)


def test_an_initial_password_is_stored_with_a_warning(app: Flask, caller: Caller, tmp_path: Path) -> None:
    """``update``, ``application apply`` and the page accept it with a warning, and new users can sign in with it."""
    warning = f"initpwd {SHORT}"
    sent = application(secret=STRONG_SECRET, initpwd="start")
    assert caller.post("update", sent).json["warnings"] == [warning]
    # The same when it is stored already and sent back as stars.
    assert caller.post("update", {**sent, "initpwd": "************"}).json["warnings"] == [warning]
    assert "warnings" not in caller.post("update", {**sent, "name": "Good", "initpwd": "long enough"}).json
    assert "warnings" not in caller.post("update", {**sent, "name": "None", "initpwd": ""}).json
    bearer = {"Authorization": f"Bearer {token(claims(loginname='newcomer'), secret=STRONG_SECRET)}"}
    assert caller.get(DETAIL, bearer).status_code == 200
    assert caller.get(DETAIL, basic("newcomer", "start")).status_code == 200
    client = Client(app)
    client.sign_in("Lena-Müller", "x")
    assert warning in client.get("applications/ERP").text
    assert "initpwd must" not in client.get("applications/Good").text
    declared = tmp_path / "declared.json"
    declared.write_text(json.dumps({"application": [{**sent, "name": "Declared", "initpwd": "seven77"}]}))
    result = invoke(app, ["application", "apply", str(declared)])
    assert result.exit_code == 0
    assert f"warning: Declared: {warning}" in result.output


def test_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MIN_PASSWORD_LENGTH is the minimum length of a new password in characters."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    settings = Settings(config_dir=tmp_path / "c", data_dir=tmp_path / "d", min_password_length=12)
    caller = Caller(create_app(settings, hasher=CHEAP_FOR_TESTS_ONLY).test_client())
    for new, status in (("x" * 11, 400), ("x" * 12, 200)):
        assert caller.post(PASSWORD, {"old": ADMIN_PASSWORD, "new": new}).status_code == status
