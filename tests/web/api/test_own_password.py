"""``user/password``."""

import pytest
from flask import Flask

from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.support import ADMIN_PASSWORD, application, basic

PASSWORD = "/plugin/datafor-modeler/api/user/password"
DETAIL = "/plugin/datafor-modeler/api/user/detail"


def test_change(app: Flask, caller: Caller) -> None:
    """Users change their own password by password or session, with the old one; their sessions end."""
    Shell(app).done("user", "add", "lena", put="password one")
    client = caller.client
    client.post("/plugin/datafor/api/extension/auth/login", json={"username": "lena", "password": "password one"})
    response = client.post(PASSWORD, json={"old": "password one", "new": "password two"})
    assert response.get_json() == {"success": True, "msg": "success"}
    assert client.get(DETAIL).status_code == 401
    assert (
        caller.post(PASSWORD, "old=password+two&new=password+three", basic("lena", "password two")).status_code == 200
    )
    assert caller.get(DETAIL, basic("lena", "password three")).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"old": "wrong", "new": "long enough"}, 401, "wrong password"),
        ({"old": ADMIN_PASSWORD, "new": ""}, 400, "new can not be empty"),
        ({"old": ADMIN_PASSWORD, "new": "a\nb"}, 400, "new cannot contain control characters"),
        ({"old": ADMIN_PASSWORD}, 400, "new is missing"),
        ({"new": "x"}, 400, "old is missing"),
        ({"old": ADMIN_PASSWORD, "new": "x", "username": "lena"}, 400, "an unknown field after old"),
    ],
)
def test_refused(caller: Caller, body: dict[str, str], status: int, message: str) -> None:
    """A wrong old password or a bad new one changes nothing."""
    response = caller.post(PASSWORD, body)
    assert (response.status_code, response.json["msg"]) == (status, message)
    assert caller.get(DETAIL).status_code == 200


def test_not_with_a_token(caller: Caller) -> None:
    """A token cannot change a password."""
    caller.post("update", application())
    response = caller.post(PASSWORD, {"old": "x", "new": "y"}, {"Authorization": f"Bearer {token(claims())}"})
    assert response.status_code == 403
    assert caller.post(PASSWORD, {"old": "x", "new": "y"}, {}).status_code == 401
