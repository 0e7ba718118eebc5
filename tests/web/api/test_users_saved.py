"""``user/insertOrUpdate``."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.stores import Record
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application, basic

API = "/plugin/datafor-modeler/api"
SAVE, LIST, DETAIL = f"{API}/user/insertOrUpdate", f"{API}/user/list", f"{API}/user/detail"
ONLY = "without being Administrator, you can change only"
LENA = basic("lena", "long enough")
# The request of the documentation of the product.
DOCUMENTED = {
    "username": "dev",
    "password": "developer-1",
    "roles": "dev&test",
    "name": "developer",
    "mobile": "12345678910",
    "email": "a@a.com",
    "dept": "IT",
    "title": "Manager",
    "usertype": "SYS_Creator",
    "enabled": "1",
}


@pytest.fixture
def lena(app: Flask) -> None:
    with app.app_context():
        services().accounts.add("lena", "long enough", full_name="Lena", roles=("Sales",), mobile="1")


def listed(caller: Caller, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(u for u in caller.get(LIST).json["data"]["list"] if u["username"] == name)
    return found


def test_the_type_of_a_detail(caller: Caller, lena: None) -> None:
    """A type that was changed in user/detail and sent back is the new user type, unless usertype has another."""
    shown = caller.get(f"{DETAIL}?username=lena").json["data"]["user"]
    assert caller.post(SAVE, {**shown, "type": "SYS_Creator"}).status_code == 200
    assert listed(caller, "lena")["usertype"] == "SYS_Creator"
    assert caller.post(SAVE, {**shown, "type": "SYS_Creator", "usertype": "SYS_Reader"}).status_code == 200
    assert listed(caller, "lena")["usertype"] == "SYS_Reader"
    assert caller.post(SAVE, {**shown, "type": "x"}).json["msg"].startswith("usertype must be one of")


@pytest.mark.parametrize("way", ["form", "json", "json in form", "multipart"])
def test_the_documented_request(caller: Caller, way: str) -> None:
    """The documented request creates the user, in every form of a body, and repeated it changes nothing."""
    for _ in range(2):
        match way:
            case "form":
                response = caller.post(SAVE, urlencode(DOCUMENTED))
            case "json":
                response = caller.post(SAVE, DOCUMENTED)
            case "json in form":
                response = caller.post(SAVE, json.dumps(DOCUMENTED))
            case _:
                response = caller.post(SAVE, DOCUMENTED, content_type="multipart/form-data", data=DOCUMENTED)
        assert (response.status_code, response.json) == (200, {"success": True, "username": "dev"})
    user = caller.get(DETAIL, basic("dev", "developer-1")).json["data"]["user"]
    assert user == {
        "userid": "dev",
        "username": "dev",
        "name": "developer",
        "email": "a@a.com",
        "type": "SYS_Creator",
        "roles": ["dev", "test"],
        "enabled": True,
        "mobile": "12345678910",
        "dept": "IT",
        "title": "Manager",
    }


def test_a_new_user_of_a_name_only(caller: Caller, settings: Settings) -> None:
    """A new user is an enabled SYS_Reader without a password, roles and further texts."""
    caller.post(SAVE, {"username": "otto"})
    record = json.loads(Record(settings.data_dir, "users", "otto").read_text())
    assert {"mobile", "dept", "title", "application"}.isdisjoint(record)
    assert (record["type"], record["password"], record["roles"], record["enabled"]) == ("SYS_Reader", "", [], True)
    assert caller.get(DETAIL, basic("otto", "")).status_code == 401


def test_what_is_left_out_stays(caller: Caller, lena: None) -> None:
    """On an existing user a field that is left out stays, and so does what an empty password, type or enabled means."""
    before = listed(caller, "lena")
    assert caller.post(SAVE, "username=LENA&dept=IT&password=&usertype=&enabled=").json["username"] == "lena"
    assert listed(caller, "lena") == {**before, "dept": "IT"}
    assert caller.get(DETAIL, LENA).status_code == 200
    caller.post(SAVE, "username=lena&name=&roles=&mobile=")
    assert listed(caller, "lena") == {**before, "dept": "IT", "name": "", "mobile": "", "roles": "",
                                      "rolesList": before["rolesList"][:1]}  # fmt: skip


@pytest.mark.parametrize("way", ["form", "json", "json in form"])
@pytest.mark.parametrize("source", ["list", "detail"])
def test_a_user_is_sent_back_whole(caller: Caller, settings: Settings, lena: None, way: str, source: str) -> None:
    """A user as the list or the detail shows it can be changed and sent back whole, with the envelope."""
    record = Record(settings.data_dir, "users", "lena")
    before = json.loads(record.read_text())
    shown = {"list": listed(caller, "lena"), "detail": caller.get(f"{DETAIL}?username=lena").json["data"]["user"]}
    user = shown[source]
    body = {**user, "success": True, "code": "200", "msg": "", "warnings": [], "title": "Dr."}
    if way == "form":
        # Other values than text are sent as JSON text: ``enabled=true`` of the detail too.
        body = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
    response = caller.post(SAVE, urlencode(body) if way == "form" else body if way == "json" else json.dumps(body))
    assert response.status_code == 200, response.json
    assert json.loads(record.read_text()) == {**before, "title": "Dr."}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("a&b&a&c", ("a&b", "a", "c")),
        ("a&b&a&c&new", ("a&b", "a", "c", "new")),
        ("c&a&b", ("c", "a&b")),
        ("a&c", ("a", "c")),
        (["a", "b"], ("a", "b")),
        (["a&b", "c", "c"], ("a&b", "c")),
        ("", ()),
    ],
)
def test_a_stored_role_with_the_separator(
    caller: Caller, app: Flask, settings: Settings, sent: Any, expected: tuple[str, ...]
) -> None:
    """A stored role with `&` is listed joined with the others, and is the same role when it is sent back."""
    with app.app_context():
        services().accounts.add("lena", "long enough")
        roles = ("a&b", "a", "c")
        services().store.put("users", {**services().accounts.get("lena").to_document(), "roles": list(roles)})
    assert listed(caller, "lena")["roles"] == "a&b&a&c"
    assert caller.post(SAVE, {"username": "lena", "roles": sent}).status_code == 200
    assert tuple(json.loads(Record(settings.data_dir, "users", "lena").read_text())["roles"]) == expected


def test_stored_values_that_break_a_rule_can_be_sent_back(caller: Caller, app: Flask, lena: None) -> None:
    """Stored texts and roles that break a rule for new ones do not prevent other changes."""
    with app.app_context():
        old = services().accounts.get("lena").to_document()
        services().store.put("users", {**old, "full_name": "a\nb", "title": "x" * 300, "roles": ["SYS_Reader", " x"]})
    user = listed(caller, "lena")
    assert caller.post(SAVE, {**user, "dept": "IT"}).status_code == 200
    assert listed(caller, "lena") == {**user, "dept": "IT"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"username": "a:b"}, "username cannot contain ':'"),
        ({"username": ""}, "username can not be empty"),
        ({"username": None}, "username is missing"),
        ({"name": "a\nb"}, "name has control characters"),
        ({"title": "x" * 257}, "title must be at most 256 characters long"),
        ({"mobile": 1}, "mobile must be one text value"),
        ({"usertype": "Boss"}, "usertype must be one of Administrator, SYS_Creator, SYS_Reader"),
        ({"enabled": "yes"}, 'enabled must be "1" or "0"'),
        ({"password": "short"}, "password must be at least 8 characters long"),
        ({"password": "lena" * 2, "username": "lenalena"}, "password cannot be the user name"),
        ({"roles": "A&SYS_Creator"}, "roles cannot contain SYS_Creator, which is a user type"),
        ({"roles": "A&&B"}, "roles cannot contain an empty name"),
        ({"roles": ["a&b"]}, "roles cannot contain '&' within a name"),
        ({"roles": [1]}, "roles must be names joined with '&', or a list of names"),
        ({"roles": [str(number) for number in range(257)]}, "roles can be at most 256"),
        ({"application": "CRM"}, "application must be the name of an existing application"),
        ({"dep": "IT"}, "dep is not a field of this call; did you mean 'dept'?"),
    ],
)
def test_refused(caller: Caller, lena: None, change: dict[str, Any], message: str) -> None:
    """A field that breaks a rule is 400, the response names it, and nothing is changed or created."""
    before = caller.get(LIST).json
    response = caller.post(SAVE, {"username": "lena", "dept": "changed", **change})
    assert (response.status_code, response.json["msg"]) == (400, message)
    assert caller.get(LIST).json == before


def test_an_unescaped_separator(caller: Caller) -> None:
    """A form with `roles=a&b` that was not encoded says what to do."""
    response = caller.post(SAVE, "username=dev&roles=dev&test")
    assert (response.status_code, response.json["msg"]) == (400, "an unknown field after roles; send & as %26")


def test_an_application(caller: Caller, settings: Settings, lena: None) -> None:
    """A user is given to an application by its name in any case, and taken from it by an empty one."""
    caller.post("update", application())
    record = Record(settings.data_dir, "users", "lena")
    caller.post(SAVE, "username=lena&application=erp")
    assert json.loads(record.read_text())["application"] == "ERP"
    caller.post(SAVE, "username=lena&dept=IT")
    assert json.loads(record.read_text())["application"] == "ERP"
    caller.post(SAVE, "username=lena&application=")
    assert "application" not in json.loads(record.read_text())


def test_a_new_password_ends_sessions(caller: Caller, app: Flask, settings: Settings, lena: None) -> None:
    """A password that an Administrator sets ends the user's sessions; that of admin removes the file of the first."""
    browser = app.test_client()
    browser.post("/plugin/datafor/api/extension/auth/login", json={"username": "lena", "password": "long enough"})
    assert browser.get(DETAIL).status_code == 200
    caller.post(SAVE, {"username": "lena", "password": "the next one"})
    assert browser.get(DETAIL).status_code == 401
    assert caller.get(DETAIL, basic("lena", "the next one")).status_code == 200
    first = settings.config_dir / "initial_admin_password"
    first.write_text(f"{ADMIN_PASSWORD}\n")
    caller.post(SAVE, {"username": "admin", "dept": "IT"})
    assert first.exists()
    caller.post(SAVE, {"username": "admin", "password": "the next one"})
    assert not first.exists()


def test_users_change_their_own_profile(caller: Caller, lena: None) -> None:
    """Without being Administrator, users change their own name, email, mobile, dept and title, also as a whole user."""
    own = {"name": "L", "email": "l@x", "mobile": "2", "dept": "D", "title": "T"}
    assert caller.post(SAVE, {"username": "Lena", **own}, LENA).json == {"success": True, "username": "lena"}
    user = listed(caller, "lena")
    assert {**user, **own} == user
    assert caller.post(SAVE, {**user, "name": "N"}, LENA).status_code == 200
    assert listed(caller, "lena") == {**user, "name": "N"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"usertype": "Administrator"}, f"{ONLY} name, email, mobile, dept, title"),
        ({"roles": "Sales&Boss"}, ONLY),
        ({"roles": ""}, ONLY),
        ({"enabled": "0"}, ONLY),
        ({"application": "ERP"}, ONLY),
        ({"application": "nothing"}, ONLY),
        ({"password": "the next one"}, "only an Administrator sets a password without the old one"),
        ({"username": "admin"}, "no permission"),
        ({"username": "nobody"}, "no permission"),
    ],
)  # fmt: skip
def test_users_change_nothing_else(caller: Caller, lena: None, change: dict[str, str], message: str) -> None:
    """Anything else that differs from the stored value is 403, and nothing is changed."""
    caller.post("update", application())
    before = caller.get(LIST).json
    response = caller.post(SAVE, {"username": "lena", "name": "changed", **change}, LENA)
    assert response.status_code == 403
    assert response.json["msg"].startswith(message)
    assert caller.get(LIST).json == before


@pytest.mark.tokens_may_administer
def test_no_password_by_token(caller: Caller, app: Flask, lena: None) -> None:
    """A caller with a token changes no password, even as Administrator; other members can be changed."""
    caller.post("update", application(secret=STRONG_SECRET))
    for name in ("admin", "lena"):
        bearer = {"Authorization": f"Bearer {token(claims(loginname=name), STRONG_SECRET)}"}
        response = caller.post(SAVE, {"username": "lena", "password": "the next one"}, bearer)
        assert (response.status_code, response.json["msg"]) == (
            403,
            "a session opened with a token cannot change the password",
        )
        assert caller.post(SAVE, {"username": "lena", "dept": name}, bearer).status_code == 200


@pytest.mark.parametrize("change", [{"enabled": "0"}, {"usertype": "SYS_Reader"}])
def test_oneself_and_the_last_administrator(caller: Caller, lena: None, change: dict[str, str]) -> None:
    """Administrators cannot disable themselves or change their type, nor those of the last one: 409."""
    for message in (
        "admin is the last enabled Administrator",
        "you cannot delete or disable yourself, or change your own type",
    ):
        response = caller.post(SAVE, {"username": "admin", **change})
        assert (response.status_code, response.json["msg"]) == (409, message)
        caller.post(SAVE, {"username": "lena", "usertype": "Administrator"})
    assert caller.post(SAVE, {"username": "admin", **change}, LENA).status_code == 200
    assert caller.get(DETAIL).json.get("data", {}).get("user", {}).get("type") != "Administrator"


def test_the_audit_log_has_the_values(caller: Caller, app: Flask) -> None:
    """The audit log has the changed fields with their values; a password is only named."""
    caller.post(SAVE, DOCUMENTED)
    caller.post(SAVE, {"username": "dev", "mobile": "555-1234", "dept": "IT", "title": "x", "password": "the next one"})
    output = Shell(app).done("audit", "show", "--user", "dev", "--json")
    events = [event for event in json.loads(output) if event["event"].startswith("user_")]
    assert [(event["event"], event["actor"], event.get("fields")) for event in events] == [
        ("user_changed", "admin", ["mobile", "title", "password"]),
        ("user_made", "admin", None),
    ]
    assert events[0]["before"] == {"mobile": "12345678910", "title": "Manager"}
    assert events[0]["after"] == {"mobile": "555-1234", "title": "x"}
    assert "the next one" not in output
