"""Calls around ``update`` and ``generate``: list, content, delete, personal, user/detail, login and logout."""

import json
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token.settings import Settings
from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.handmade_tokens import claims, token
from tests.stores import Record
from tests.support import (
    ADMIN_PASSWORD,
    SAMPLE_APPLICATION,
    STRONG_SECRET,
    application,
    basic,
    record_of,
)

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LOGIN, LOGOUT = "/plugin/datafor/api/extension/auth/login", "/plugin/datafor/api/extension/auth/logout"


@pytest.fixture(autouse=True)
def _lena(app: Flask) -> None:
    with app.app_context():
        password = CHEAP_FOR_TESTS_ONLY.hash("lena's")
        services().store.put("users", User(name="lena", password=password).to_document())


LENA = basic("lena", "lena's")


def test_list(caller: Caller, settings: Settings) -> None:
    """The list has all applications by name with all fields, masked secrets, and the names of unreadable records."""
    caller.post("update", application(name="zeta", initpwd="start"))
    caller.post("update", application(name="Alpha"))
    response = caller.get("list")
    assert list(response.json) == ["success", "data"]
    assert [one["name"] for one in response.json["data"]] == ["Alpha", "zeta"]
    assert response.json["data"][1] == {
        **SAMPLE_APPLICATION,
        "name": "zeta",
        "secret": "************",
        "initpwd": "************",
        "self_service": "0",
        "createdDate": 1722929516000,
        "lastModifiedDate": 1722929516000,
        "creatorId": "admin",
    }
    assert response.json["data"][0]["initpwd"] == ""
    Record(settings.data_dir, "applications", "bad").write_text("{")
    Record(settings.data_dir, "applications", "half").write_text('{"name": "half"}')
    response = caller.get("list")
    assert response.json["damaged"] == ["bad", "half"]
    assert len(response.json["data"]) == 2


def test_content(caller: Caller) -> None:
    """The content has the masked fields of one application; an unknown name is 404, a missing one 400."""
    caller.post("update", SAMPLE_APPLICATION)
    response = caller.get("content?name=erp")
    assert list(response.json)[:3] == ["success", "name", "token_name"]
    assert response.json["secret"] == "************"
    assert caller.get("content?name=CRM").json["msg"] == "name does not exist"
    for query, message in (("", "name is missing"), ("?name=", "name can not be empty"), ("?name=%ff", "the request")):
        refused = caller.get(f"content{query}")
        assert refused.status_code == 400
        assert refused.json["msg"].startswith(message)
    assert caller.get("content?name=ERP&name=ERP").status_code == 400


def test_a_listed_application_can_be_sent_back_whole(caller: Caller, settings: Settings) -> None:
    """An application from list or content can be sent to update; secret and initial password are kept."""
    caller.post("update", application(initpwd="start"))
    caller.post("rotate", {"name": "ERP", "secret": "new-secret"})
    for sent in (caller.get("content?name=ERP").json, caller.get("list").json["data"][0]):
        assert caller.post("update", {**sent, "expire": 60}).status_code == 200
        record = record_of(settings.config_dir, settings.data_dir, "erp")
        assert (record["secret"], record["initpwd"], record["expire"]) == ("new-secret", "start", 60)
        assert record["previous"]["secret"] == "abcd"


@pytest.mark.parametrize("body", [{"name": "erp"}, "name=ERP", '{"name":"ERP"}'])
def test_delete(caller: Caller, settings: Settings, body: Any) -> None:
    """A deleted application does not exist; deleting it again is not an error."""
    caller.post("update", SAMPLE_APPLICATION)
    for _ in range(2):
        assert caller.post("delete", body).json == {"success": True, "msg": "success"}
        assert caller.get("list").json["data"] == []


@pytest.mark.parametrize(
    "body",
    [
        ["ERP", "crm", "nobody"],
        '["ERP","CRM"]',
        "name=ERP&name=CRM",
        "name[]=erp&name[]=crm",
        {"name": ["ERP", "CRM"]},
    ],
)
def test_delete_batch(caller: Caller, body: Any) -> None:
    """Names can be a JSON array or a repeated field; unknown ones are skipped, other applications are kept."""
    for name in ("ERP", "CRM", "Portal"):
        caller.post("update", application(name=name))
    assert caller.post("deleteBatch", body).json == {"success": True, "msg": "success"}
    assert [one["name"] for one in caller.get("list").json["data"]] == ["Portal"]


@pytest.mark.parametrize("body", [[5], [None], ["a/b"], {"name": "ERP"}, {}, "name=", [["ERP"]], {"names": ["ERP"]}])
def test_a_wrong_batch_deletes_nothing(caller: Caller, body: Any) -> None:
    """One invalid name in a batch is 400, and nothing is deleted."""
    caller.post("update", SAMPLE_APPLICATION)
    response = caller.post("deleteBatch", [*body, "ERP"] if isinstance(body, list) else body)
    assert response.status_code == 400
    assert response.json["msg"].startswith("name")
    assert len(caller.get("list").json["data"]) == 1


def test_a_damaged_application_is_not_deleted(caller: Caller, settings: Settings) -> None:
    """Deleting an unreadable record is 503, and the file is kept."""
    path = Record(settings.data_dir, "applications", "bad")
    path.write_text('{"name": "bad"}')
    for call, body in (("delete", {"name": "bad"}), ("deleteBatch", ["bad"])):
        assert caller.post(call, body).status_code == 503
    assert path.read_text() == '{"name": "bad"}'


def test_personal_config(caller: Caller) -> None:
    """The config names the first application that is enabled and allows personal tokens."""
    assert caller.get("personal/config", LENA).json == {"success": True, "enabled": False}
    caller.post("update", application(name="B", self_service="1", expire=60))
    caller.post("update", application(name="A", self_service="1", enable="0"))
    caller.post("update", application(name="AB"))
    response = {"success": True, "enabled": True, "name": "B", "expire": 60}
    assert caller.get("personal/config", LENA).json == response
    assert caller.get("personal/config?name=b", LENA).json == response
    assert caller.get("personal/config?name=AB", LENA).json == {"success": True, "enabled": False}
    assert caller.get("personal/config?name=nobody", LENA).status_code == 404
    assert caller.get("personal/config", {}).status_code == 401


def test_personal(caller: Caller) -> None:
    """A personal token is of the named application or the only one, and signs in its user."""
    caller.post("update", application(self_service="1", secret=STRONG_SECRET))
    for body in ({}, {"name": "erp"}, None):
        response = caller.post("personal", body, LENA)
        assert (response.json["expire"], response.json["username"], response.json["name"]) == (86400, "lena", "ERP")
    signed = caller.get(DETAIL, {"Authorization": f"Bearer {response.json['token']}"})
    assert signed.json["data"]["user"]["username"] == "lena"
    assert caller.post("personal", {"name": "ERP", "payload": {}}, LENA).status_code == 400


def test_personal_is_refused(caller: Caller) -> None:
    """A personal token is refused to callers with a token, without self-service, and without credentials."""
    caller.post("update", application(secret=STRONG_SECRET))
    response = caller.post("personal", {}, LENA)
    assert (response.status_code, response.json["msg"]) == (403, "self-service token is not enabled")
    caller.post("update", application(self_service="1", secret=STRONG_SECRET))
    text = token(claims(), STRONG_SECRET)
    for path, headers in (("personal", {"Authorization": f"Bearer {text}"}), (f"personal?token={text}", {})):
        response = caller.post(path, {}, headers)
        assert (response.status_code, response.json["msg"]) == (
            403,
            "a session opened with a token cannot issue tokens",
        )
    assert caller.post("personal", {}, {}).status_code == 401
    caller.post("update", application(self_service="1", secret=STRONG_SECRET, enable="0"))
    assert caller.post("personal", {}, LENA).json["msg"] == "self-service token is not enabled"


def test_user_detail(caller: Caller) -> None:
    """Users see themselves, Administrators see all users; a password is never shown."""
    own = caller.get(DETAIL, LENA).json["data"]["user"]
    assert own["username"] == "lena"
    assert "argon2" not in json.dumps(own)
    assert caller.get(f"{DETAIL}?username=LENA", LENA).json["data"]["user"] == own
    assert caller.get(f"{DETAIL}?username=lena").json["data"]["user"] == own
    assert caller.get(f"{DETAIL}?username=admin", LENA).json["msg"] == "no permission"
    assert caller.get(f"{DETAIL}?username=nobody", LENA).json["msg"] == "no permission"
    assert caller.get(f"{DETAIL}?username=nobody").json["msg"] == "name does not exist"
    assert caller.get(f"{DETAIL}?username=a:b").status_code == 400
    assert caller.get(DETAIL, {}).json["msg"] == "not logged in"


@pytest.mark.parametrize(
    "call", ["list", "content?name=ERP", "delete", "deleteBatch", "explain", "rotate", "introspect"]
)
def test_administrators_only(caller: Caller, call: str) -> None:
    """Calls for Administrators are 403 for other users, whatever the body is."""
    method = "GET" if call in ("list", "content?name=ERP") else "POST"
    assert caller.open(method, call, LENA).json["msg"] == "no permission"
    assert caller.open(method, call, {}).json["msg"] == "not logged in"


def sign_in(app: Flask, name: str = "lena", password: str = "lena's") -> TestResponse:
    return app.test_client().post(LOGIN, data={"username": name, "password": password})


def test_login(app: Flask) -> None:
    """A login returns a new session cookie each time; data is 2 if the user was signed in already."""
    client = app.test_client()
    first = client.post(LOGIN, data={"username": "LENA", "password": "lena's"})
    assert list(first.get_json()) == ["success", "msg", "data", "jsessionid"]
    assert (first.get_json()["msg"], first.get_json()["data"]) == ("login success", "1")
    cookie = first.headers["Set-Cookie"]
    assert cookie == f"JSESSIONID={first.get_json()['jsessionid']}; HttpOnly; Path=/; SameSite=Lax"
    second = client.post(LOGIN, json={"username": "lena", "password": "lena's"})
    assert second.get_json()["data"] == "2"
    assert second.get_json()["jsessionid"] != first.get_json()["jsessionid"]
    other = client.post(LOGIN, json={"username": "admin", "password": ADMIN_PASSWORD})
    assert other.get_json()["data"] == "1"
    assert client.get(DETAIL).get_json()["data"]["user"]["username"] == "admin"
    for old in (first, second):
        response = app.test_client(use_cookies=False).get(
            DETAIL, headers={"Cookie": f"JSESSIONID={old.get_json()['jsessionid']}"}
        )
        assert response.status_code == 401


@pytest.mark.parametrize(
    ("name", "password"), [("lena", "wrong"), ("nobody", "lena's"), ("lena", ""), ("", ""), ("a:b", "x")]
)
def test_login_refused(app: Flask, name: str, password: str) -> None:
    """A wrong password is 401 with data 0 and sets no cookie; a missing one is 400."""
    response = sign_in(app, name, password)
    assert response.status_code == 401
    assert response.get_json() == {"success": False, "code": "401", "msg": "wrong password", "data": "0"}
    assert "Set-Cookie" not in response.headers
    assert app.test_client().post(LOGIN, data={"username": "lena"}).get_json()["msg"] == "password is missing"


def test_login_over_https_is_secure(app: Flask) -> None:
    """A cookie set over https is Secure."""
    response = app.test_client().post(
        LOGIN, data={"username": "lena", "password": "lena's"}, base_url="https://localhost"
    )
    assert "; Secure;" in response.headers["Set-Cookie"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_logout(app: Flask, method: str) -> None:
    """Logout ends the session, and its cookie is 401 afterwards. A second logout is not an error."""
    client = app.test_client()
    cookie = client.post(LOGIN, data={"username": "lena", "password": "lena's"}).get_json()["jsessionid"]
    replayed = {"Cookie": f"JSESSIONID={cookie}"}
    assert app.test_client(use_cookies=False).get(DETAIL, headers=replayed).status_code == 200
    response = client.open(LOGOUT, method=method)
    assert response.get_json() == {"success": True, "code": "200"}
    assert response.headers["Set-Cookie"].startswith("JSESSIONID=; Expires=Thu, 01 Jan 1970")
    assert app.test_client(use_cookies=False).get(DETAIL, headers=replayed).status_code == 401
    assert client.open(LOGOUT, method=method).status_code == 200


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
def test_another_site_signs_nobody_in_or_out(app: Flask, headers: dict[str, str]) -> None:
    """Login and logout from another site are refused, also by GET; the session is kept."""
    client = app.test_client()
    client.post(LOGIN, data={"username": "lena", "password": "lena's"})
    for method, path in (("GET", LOGOUT), ("POST", LOGOUT), ("POST", LOGIN)):
        response = client.open(path, method=method, headers=headers, data={"username": "lena", "password": "lena's"})
        assert response.status_code == 403
    assert client.get(DETAIL).status_code == 200
    response = client.post("/plugin/datafor-modeler/api/token/revoke", headers=headers, data={"token": "x"})
    assert response.status_code == 403
    assert client.get(DETAIL, headers=headers).status_code == 200
