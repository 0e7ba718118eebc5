"""``user/delete`` and ``user/updatePassword``."""

import json
from typing import Any

import pytest
from flask import Flask

from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.stores import Record
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application, basic

API = "/plugin/datafor-modeler/api"
DELETE, PASSWORD, DETAIL = f"{API}/user/delete", f"{API}/user/updatePassword", f"{API}/user/detail"
LENA = basic("lena", "long enough")


@pytest.fixture
def lena(app: Flask) -> None:
    with app.app_context():
        services().accounts.add("lena", "long enough")


@pytest.mark.parametrize("body", ["username=LENA", {"username": "LENA"}, '{"username": "LENA"}'])
def test_delete(caller: Caller, app: Flask, lena: None, body: Any) -> None:
    """A deleted user is gone with all sessions; the response has the stored name. Unknown users are 404."""
    browser = app.test_client()
    browser.post("/plugin/datafor/api/extension/auth/login", json={"username": "lena", "password": "long enough"})
    assert caller.post(DELETE, body).json == {"success": True, "username": "lena"}
    assert browser.get(DETAIL).status_code == 401
    assert caller.get(DETAIL, LENA).status_code == 401
    response = caller.post(DELETE, body)
    assert (response.status_code, response.json["msg"]) == (404, "name does not exist")
    # A user of that name who is created later has none of the former sessions.
    with app.app_context():
        services().accounts.add("lena", "long enough")
    assert browser.get(DETAIL).status_code == 401


def test_who_may_not(caller: Caller, lena: None) -> None:
    """Only Administrators delete users, and not themselves."""
    assert caller.post(DELETE, {"username": "lena"}, LENA).status_code == 403
    assert caller.post(DELETE, {"username": "lena"}, {}).status_code == 401
    assert caller.post(DELETE, {}).json["msg"] == "username is missing"
    for message in (
        "admin is the last enabled Administrator",
        "you cannot delete or disable yourself, or change your own type",
    ):
        response = caller.post(DELETE, {"username": "Admin"})
        assert (response.status_code, response.json["msg"]) == (409, message)
        caller.post(f"{API}/user/insertOrUpdate", {"username": "lena", "usertype": "Administrator"})
    assert caller.get(DETAIL).status_code == 200


def test_a_deletion_that_fails_can_be_repeated(
    caller: Caller, app: Flask, settings: Settings, lena: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the tokens cannot be revoked, the user is disabled and remains, and can be deleted later."""
    calls: list[str] = []

    def outage(name: str) -> None:
        calls.append(name)
        if len(calls) == 1:
            raise StoreUnavailable

    with app.app_context():
        monkeypatch.setattr(services().accounts, "_cut_off", outage)
    assert caller.post(DELETE, {"username": "Lena"}).status_code == 503
    assert json.loads(Record(settings.data_dir, "users", "lena").read_text())["enabled"] is False
    assert caller.post(DELETE, {"username": "Lena"}).status_code == 200
    assert calls == ["lena", "lena"]
    assert not Record(settings.data_dir, "users", "lena").exists()


def test_update_password(caller: Caller, app: Flask, lena: None) -> None:
    """Users change their own password with the old one, by password or session; their sessions end."""
    browser = app.test_client()
    browser.post("/plugin/datafor/api/extension/auth/login", json={"username": "lena", "password": "long enough"})
    response = browser.post(PASSWORD, data={"oldPwd": "long enough", "newPwd": "the next one", "username": "LENA"})
    assert response.get_json() == {"success": True, "msg": "success"}
    assert browser.get(DETAIL).status_code == 401
    body = json.dumps({"oldPwd": "the next one", "newPwd": "the last one"})
    assert caller.post(PASSWORD, body, basic("lena", "the next one")).status_code == 200
    assert caller.get(DETAIL, basic("lena", "the last one")).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"oldPwd": "wrong"}, 401, "wrong password"),
        ({"newPwd": "short"}, 400, "newPwd must be at least 8 characters long"),
        ({"newPwd": ""}, 400, "newPwd can not be empty"),
        ({"oldPwd": None}, 400, "oldPwd is missing"),
        ({"username": "lena"}, 403, "username can only be your own; an Administrator uses user/insertOrUpdate"),
        ({"username": "nobody"}, 403, "username can only be your own; an Administrator uses user/insertOrUpdate"),
    ],
)
def test_update_password_refused(caller: Caller, lena: None, change: dict[str, Any], status: int, message: str) -> None:
    """A wrong old password, a bad new one or another user's name changes nothing."""
    response = caller.post(PASSWORD, {"oldPwd": ADMIN_PASSWORD, "newPwd": "the next one", **change})
    assert (response.status_code, response.json["msg"]) == (status, message)
    assert [caller.get(DETAIL, headers).status_code for headers in (None, LENA)] == [200, 200]


def test_no_password_by_token(caller: Caller, lena: None) -> None:
    """A token changes no password."""
    caller.post("update", application(secret=STRONG_SECRET))
    bearer = {"Authorization": f"Bearer {token(claims(loginname='lena'), STRONG_SECRET)}"}
    assert caller.post(PASSWORD, {"oldPwd": "long enough", "newPwd": "the next one"}, bearer).status_code == 403
