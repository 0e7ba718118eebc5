"""``user/list`` and ``roles/types``."""

import json
from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.stores import Record
from tests.support import STRONG_SECRET, application, basic

API = "/plugin/datafor-modeler/api"
LIST, TYPES = f"{API}/user/list", f"{API}/roles/types"


def names(reply: Any) -> list[str]:
    return [user["username"] for user in reply.json["data"]["list"]]


@pytest.fixture
def three(app: Flask) -> None:
    """Add lena, Bert and Zoe to admin."""
    with app.app_context():
        accounts = services().accounts
        accounts.add(
            "lena", "long enough", full_name="b", type="SYS_Creator", roles=("Sales", "R"), mobile="1", dept="IT"
        )
        accounts.add("Bert", "long enough", full_name="a", roles=("Sales",), title="Boss", enabled=False)
        accounts.add("Zoe", "long enough", email="z@example.com")


def test_the_members(caller: Caller, three: None) -> None:
    """A listed user has exactly the documented members."""
    response = caller.get(f"{LIST}?start=2&count=1")
    assert response.json == {
        "success": True,
        "data": {
            "total": 4,
            "list": [
                {
                    "username": "lena",
                    "name": "b",
                    "email": "",
                    "usertype": "SYS_Creator",
                    "roles": "Sales&R",
                    "rolesList": [
                        {"rolename": "SYS_Creator", "type": "2"},
                        {"rolename": "Sales", "type": "0"},
                        {"rolename": "R", "type": "0"},
                    ],
                    "enabled": "1",
                    "canEdit": True,
                    "mobile": "1",
                    "dept": "IT",
                    "title": "",
                }
            ],
        },
    }
    assert [user["canEdit"] for user in caller.get(LIST).json["data"]["list"]] == [True, False, True, False]


@pytest.mark.parametrize(
    ("query", "expected", "total"),
    [
        ("", ["admin", "Bert", "lena", "Zoe"], 4),
        ("orderBy=-username", ["Zoe", "lena", "Bert", "admin"], 4),
        ("orderBy=name", ["admin", "Zoe", "Bert", "lena"], 4),
        ("orderBy=name+desc", ["lena", "Bert", "Zoe", "admin"], 4),
        ("orderBy=usertype", ["admin", "lena", "Bert", "Zoe"], 4),
        ("orderBy=create_time+asc", ["admin", "Bert", "lena", "Zoe"], 4),
        ("withRole=Sales", ["Bert", "lena"], 2),
        ("withRole=SYS_Reader", ["Bert", "Zoe"], 2),
        ("withRole=sales", [], 0),
        ("withRole=true", ["admin", "Bert", "lena", "Zoe"], 4),
        ("withRole=Sales&start=1&count=1", ["lena"], 2),
        ("start=3&count=20", ["Zoe"], 4),
        ("start=4", [], 4),
        ("enabled=0", ["Bert"], 1),
        ("filter=EXAMPLE+zo", ["Zoe"], 1),
        ("filter=it+boss", [], 0),
    ],
)
def test_order_filter_and_page(caller: Caller, three: None, query: str, expected: list[str], total: int) -> None:
    """Users are filtered, sorted and cut; `total` counts all that match."""
    response = caller.get(f"{LIST}?{query}")
    assert (names(response), response.json["data"]["total"]) == (expected, total)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("count=1001", "count must be a whole number from 1 to 1000"),
        ("count=0", "count must be a whole number from 1 to 1000"),
        ("start=-1", "start must be a whole number from 0"),
        ("orderBy=email", "must be one of username, name, usertype, create_time, with '-' in front for descending"),
        ("orderBy=-name+desc", "orderBy must be one of"),
        ("orderby=name", "orderby is not a field of this call; did you mean 'orderBy'?"),
    ],
)  # fmt: skip
def test_refused_queries(caller: Caller, query: str, message: str) -> None:
    """A wrong parameter is 400, and the response names it."""
    response = caller.get(f"{LIST}?{query}")
    assert response.status_code == 400
    assert message in response.json["msg"]


def test_who_may_list(caller: Caller, three: None) -> None:
    """Only Administrators list users; every signed-in user gets the user types."""
    lena = basic("lena", "long enough")
    assert [caller.get(path, lena).status_code for path in (LIST, TYPES)] == [403, 200]
    assert [caller.get(path, {}).status_code for path in (LIST, TYPES)] == [401, 401]
    caller.post("update", application(secret=STRONG_SECRET))
    bearer = {"Authorization": f"Bearer {token(claims(loginname='lena'), STRONG_SECRET)}"}
    assert [caller.get(path, bearer).status_code for path in (LIST, TYPES)] == [403, 200]


def test_the_types(caller: Caller) -> None:
    """The user types are the values of `usertype`, the lowest first."""
    kinds = ["SYS_Reader", "SYS_Creator", "Administrator"]
    assert caller.get(TYPES).json == {
        "success": True,
        "data": {"total": 3, "list": [{"authority": kind} for kind in kinds]},
    }


def test_changes_are_seen_at_once(caller: Caller, app: Flask, three: None) -> None:
    """A list has every change from before it, by whatever process."""
    assert len(names(caller.get(LIST))) == 4
    shell = Shell(app)
    shell.done("user", "set", "lena", "--full-name", "Lena Li", "--dept", "Sales")
    shell.done("user", "delete", "zoe", "--yes")
    listed = caller.get(LIST).json["data"]["list"]
    assert [(user["username"], user["name"], user["dept"]) for user in listed] == [
        ("admin", "", ""), ("Bert", "a", ""), ("lena", "Lena Li", "Sales"),
    ]  # fmt: skip


def test_damaged_users_are_named(caller: Caller, settings: Settings, three: None) -> None:
    """A record that cannot be read is named in `damaged`, and the others are listed."""
    record = Record(settings.data_dir, "users", "lena")
    record.write_text(json.dumps({**json.loads(record.read_text()), "type": "Boss"}))
    response = caller.get(LIST)
    assert names(response) == ["admin", "Bert", "Zoe"]
    assert response.json["damaged"] == ["lena"]
    assert response.json["data"]["total"] == 3
