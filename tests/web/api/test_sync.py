"""Users that follow their tokens, through the API, the gate, the audit log and the command."""

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.audit.filters import Filter
from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.users.users import User, Users
from datafor_token.web.services import services
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, Reply
from tests.handmade_tokens import NOW, claims, token
from tests.stores import Record
from tests.support import STRONG_SECRET, Clock, application

DETAIL = "/plugin/datafor-modeler/api/user/detail"
MAP = {"sales": "Sales", "north": "North", "author": "SYS_Creator", "root": "Administrator"}
ERP = application(secret=STRONG_SECRET, sync=["name", "email", "roles"], roles_claim="groups", roles_map=MAP)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, tokens_may_administer=True)


@pytest.fixture(autouse=True)
def _applications(caller: Caller) -> None:
    assert caller.post("update", ERP).status_code == 200


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def token_of(iat: float | None, secret: str = STRONG_SECRET, **more: Any) -> str:
    return token(claims(iat=None if iat is None else NOW + iat, **more), secret)


def user_by(caller: Caller, text: str) -> Any:
    """Return the user that a token signs in, as the same request sees it."""
    response = caller.get(DETAIL, bearer(text))
    assert response.status_code == 200, response.json
    return response.json["data"]["user"]


def roles_by(caller: Caller, iat: float | None, *groups: str, **more: Any) -> Any:
    return user_by(caller, token_of(iat, groups=list(groups), **more))["roles"]


def record_of(settings: Settings, name: str = "lena") -> Record:
    return Record(settings.data_dir, "users", name)


def stored(settings: Settings, name: str = "lena") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(record_of(settings, name).read_text())
    return document


def synced_events(app: Flask) -> list[dict[str, Any]]:
    with app.app_context():
        return list(reversed(services().audit.page(Filter(event="user_synced")).events))


def put_user(app: Flask, **members: Any) -> None:
    with app.app_context():
        services().store.put("users", User(**{"name": "lena", "application": "ERP", **members}).to_document())


def test_the_same_request_sees_the_changed_user(caller: Caller) -> None:
    """Name, email address, roles and type follow a later token, in the response to the request that brings it."""
    assert roles_by(caller, -50, "sales") == ["Sales"]
    user = user_by(caller, token_of(-40, groups="north,author", name="Lena Li", email="l@example.com"))
    assert [user[name] for name in ("roles", "type", "name", "email")] == [
        ["North"],
        "SYS_Creator",
        "Lena Li",
        "l@example.com",
    ]
    check = caller.get("/auth/check", bearer(token_of(-30, groups=["sales"])))
    assert check.headers["Remote-Groups"] == "SYS_Creator,Sales"


def test_an_old_token_restores_nothing(caller: Caller) -> None:
    """A token issued before the one that the user followed last changes nothing, whether it was used before or not."""
    roles_by(caller, -50, "sales", "north")
    assert roles_by(caller, -40) == []
    assert roles_by(caller, -50, "sales", "north") == []
    assert roles_by(caller, -45, "sales") == []
    assert roles_by(caller, -40, "north") == []
    assert roles_by(caller, None, "north") == []


def test_two_portals_cannot_flip_roles(caller: Caller) -> None:
    """Only tokens of the application whose token created the user change the user."""
    caller.post("update", {**ERP, "name": "CRM", "secret": STRONG_SECRET[::-1]})
    assert roles_by(caller, -50, "sales") == ["Sales"]
    for number in range(3):
        assert roles_by(caller, number - 40, "north", secret=STRONG_SECRET[::-1]) == ["Sales"]
    assert roles_by(caller, -20, "north") == ["North"]


def test_nothing_is_written_that_does_not_differ(caller: Caller, settings: Settings, app: Flask) -> None:
    """A later token that changes nothing, or the same token again, writes nothing."""
    roles_by(caller, -50, "sales")
    record = record_of(settings)
    before = record.read_text()
    roles_by(caller, -40, "sales", "unknown")
    assert record.read_text() == before
    assert synced_events(app) == []
    roles_by(caller, -30, "north")
    after = record.read_text()
    assert stored(settings)["synced"] == NOW - 30
    roles_by(caller, -30, "north")
    roles_by(caller, -20, "north")
    assert record.read_text() == after
    assert len(synced_events(app)) == 1


def test_a_change_has_one_event_with_its_values(caller: Caller, app: Flask) -> None:
    """The audit log has one event for each change, with the values before and after, and the token's identifier."""
    put_user(app, roles=("Own", "Sales"), full_name="x" * 1000)
    user_by(caller, token_of(-50, groups=["north"], name="Lena"))
    (event,) = synced_events(app)
    assert event["fields"] == ["name", "roles"]
    assert event["before"] == {"name": "x" * 256 + "...", "roles": ["Own", "Sales"]}
    assert event["after"] == {"name": "Lena", "roles": ["Own", "North"]}
    assert (event["actor"], event["way"]) == ("lena", "bearer")
    assert event["target"].keys() == {"application", "user", "token"}
    shown = invoke(app, ["audit", "show", "--event", "user_synced"]).output
    assert "North" in shown
    assert caller.get("audit?event=user_synced").json["data"] == [event]


def test_a_gate_sign_in(caller: Caller, settings: Settings) -> None:
    """A token in the address changes its user too, at the check and at /auth/enter."""
    roles_by(caller, -50, "sales")
    text = token_of(-40, groups=["north"])
    check = caller.get("/auth/check", {"X-Original-URI": f"/report?token={text}"})
    assert check.headers["Remote-Groups"] == "SYS_Reader,North"
    entered = caller.get(f"/auth/enter?token={token_of(-30, groups=['sales'])}&next=/", {})
    assert entered.status_code == 303
    assert stored(settings)["roles"] == ["Sales"]


def explained(caller: Caller, text: str) -> list[str]:
    steps = caller.post("explain", {"token": text}).json["steps"]
    return [step["detail"] for step in steps if step["step"] == "sync"]


def test_explain_changes_nothing(caller: Caller, settings: Settings) -> None:
    """Explain and introspect change no user; explain states what the sign-in would change, or why nothing."""
    roles_by(caller, -50, "sales")
    before = record_of(settings).read_text()
    text = token_of(-40, groups=["north"], name="Lena")
    assert explained(caller, text) == [
        'the sign-in changes the user lena; name from "" to "Lena"; roles from ["Sales"] to ["North"]'
    ]
    assert caller.post("introspect", {"token": text}).json["active"]
    assert record_of(settings).read_text() == before
    assert explained(caller, token_of(-40, groups="sales")) == ["nothing is synced: the user lena is as the token says"]
    assert "no iat" in explained(caller, token_of(None, groups="sales"))[0]
    assert "not later" in explained(caller, token_of(-50, groups="sales"))[0]
    assert "groups is 7, neither a list" in explained(caller, token_of(-40, groups=7))[1]
    assert "has no groups" in explained(caller, token_of(-40))[1]
    assert explained(caller, token_of(-40, groups=["north"], loginname="new")) == []
    caller.post("update", {**ERP, "sync": [], "roles_claim": "", "roles_map": {}})
    assert explained(caller, text) == []


def test_creation_is_the_first_sync(caller: Caller, settings: Settings) -> None:
    """A user whom a token creates has initroles and the mapped ones, and follows only tokens issued later."""
    caller.post("update", {**ERP, "initroles": ["SYS_Reader", "Own"]})
    user = user_by(caller, token_of(-50, groups=["north", "author"]))
    assert (user["type"], user["roles"]) == ("SYS_Creator", ["Own", "North"])
    assert stored(settings)["synced"] == NOW - 50
    assert roles_by(caller, -51, "sales") == ["Own", "North"]
    assert roles_by(caller, -49, "sales") == ["Own", "Sales"]


def test_creation_by_a_token_without_iat(caller: Caller, settings: Settings, clock: Clock) -> None:
    """A user created by a token without iat follows only tokens issued after the creation."""
    clock.now = NOW + 0.5
    assert roles_by(caller, None, "north") == ["North"]
    assert stored(settings)["synced"] == NOW + 1
    assert roles_by(caller, 1, "sales") == ["North"]
    assert roles_by(caller, 2, "sales") == ["Sales"]


def test_sync_that_is_set_later(caller: Caller) -> None:
    """A token from before the creation of a user changes nothing, even if sync is set only later."""
    caller.post("update", {**ERP, "sync": []})
    assert roles_by(caller, -50, "sales") == []
    caller.post("update", ERP)
    assert roles_by(caller, -60, "sales") == []
    assert roles_by(caller, -40, "sales") == ["Sales"]


def test_an_administrator_by_the_map(caller: Caller, settings: Settings, clock: Clock, app: Flask) -> None:
    """The map makes an Administrator only where tokens may administer and the secret is strong, and never undoes it."""
    strict = dataclasses.replace(settings, tokens_may_administer=False)
    other = Caller(create_app(strict, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY).test_client())
    assert user_by(other, token_of(-60, groups=["root"]))["type"] == "SYS_Reader"
    refused = user_by(other, token_of(-50, groups=["root", "author"]))
    assert refused["type"] == "SYS_Creator"
    assert "TOKENS_MAY_ADMINISTER is false" in explained(other, token_of(-40, groups=["root"]))[1]
    caller.post("update", {**ERP, "name": "WEAK", "secret": "abcd"})
    put_user(app, name="paul", application="WEAK")
    assert user_by(caller, token_of(-50, "abcd", groups=["root"], loginname="paul"))["type"] == "SYS_Reader"
    assert user_by(caller, token_of(-40, groups=["root"]))["type"] == "Administrator"
    assert user_by(caller, token_of(-30, groups=["author"]))["type"] == "Administrator"
    assert user_by(caller, token_of(-30, groups=["root"], loginname="new"))["type"] == "Administrator"
    assert other.get(DETAIL, bearer(token_of(-20, groups=["author"]))).status_code == 401


def test_a_map_without_effect_is_a_warning(caller: Caller, settings: Settings, clock: Clock) -> None:
    """Update warns of a map that gives Administrator while no token may administer."""
    strict = dataclasses.replace(settings, tokens_may_administer=False)
    other = Caller(create_app(strict, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY).test_client())
    assert other.post("update", ERP).json["warnings"] == [
        "Administrator in roles_map has no effect: TOKENS_MAY_ADMINISTER is false"
    ]
    assert "warnings" not in caller.post("update", ERP).json


def test_disabled_users_are_refused_unchanged(caller: Caller, settings: Settings, app: Flask) -> None:
    """A disabled user is refused as before, and follows no token."""
    put_user(app, roles=("Sales",), enabled=False)
    before = record_of(settings).read_text()
    assert caller.get(DETAIL, bearer(token_of(-50, groups=["north"]))).status_code == 401
    assert record_of(settings).read_text() == before


def test_a_user_who_is_disabled_meanwhile(caller: Caller, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who is disabled, or deleted, between the first look and the lock is refused, and stays unchanged."""
    sync = Users.sync

    def disabled_before(users: Users, *arguments: Any) -> User | None:
        put_user(app, roles=("Sales",), enabled=False)
        return sync(users, *arguments)

    def deleted_before(users: Users, *arguments: Any) -> User | None:
        with app.app_context():
            services().store.delete("users", "lena")
        return sync(users, *arguments)

    caller.post("update", {**ERP, "inituser": "0"})
    for meanwhile in (disabled_before, deleted_before):
        put_user(app, roles=("Sales",))
        monkeypatch.setattr(Users, "sync", meanwhile)
        assert caller.get(DETAIL, bearer(token_of(-50, groups=["north"]))).status_code == 401
    assert synced_events(app) == []


def test_a_change_that_cannot_be_stored(caller: Caller, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in whose change cannot be stored is 503, and changes the user when it is repeated; others continue."""
    roles_by(caller, -50, "sales")
    text = token_of(-40, groups=["north"])
    with app.app_context():
        store = services().store

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable(reason="read-only")

    with monkeypatch.context() as broken:
        broken.setattr(store, "update", fail)
        assert caller.get(DETAIL, bearer(text)).status_code == 503
        assert roles_by(caller, -30, "sales") == ["Sales"]
    assert synced_events(app) == []
    assert user_by(caller, text)["roles"] == ["North"]


@pytest.mark.parametrize("create", [False, True])
def test_sixteen_at_once_on_two_nodes(
    settings: Settings, clock: Clock, app: Flask, monkeypatch: pytest.MonkeyPatch, *, create: bool
) -> None:
    """Of sixteen sign-ins at once with changed roles, on two nodes, one writes, and all see the changed user."""
    nodes = [app, create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)]
    if not create:
        put_user(app, roles=("Sales",))
    text = token_of(-50, groups=["north"])
    # All of them have seen the difference before the first one writes.
    barrier, sync = threading.Barrier(16), Users.sync

    def together(users: Users, *arguments: Any) -> User | None:
        barrier.wait(60)
        return sync(users, *arguments)

    if not create:
        monkeypatch.setattr(Users, "sync", together)

    def sign_in(number: int) -> Any:
        return roles_of(Caller(nodes[number % 2].test_client()).get(DETAIL, bearer(text)))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(sign_in, range(16))) == [["North"]] * 16
    assert len(synced_events(app)) == (not create)
    assert stored(settings)["synced"] == NOW - 50


def roles_of(response: Reply) -> Any:
    return response.json["data"]["user"]["roles"]


def test_an_existing_user_is_given_to_an_application(caller: Caller, app: Flask, settings: Settings) -> None:
    """The command gives a user to an application and takes it away; both are recorded, and no call shows it."""

    def command(*words: str, put: str = "") -> Any:
        result = invoke(app, [*words, "--json"], put=put)
        return json.loads(result.stdout) if result.exit_code == 0 else result.output

    added = command("user", "add", "lena", "--application", "erp", put="long enough")
    assert added["user"]["application"] == "ERP"
    assert "synced" not in stored(settings)
    assert roles_by(caller, -50, "north") == ["North"]
    assert "application" not in user_by(caller, token_of(-50, groups=["north"]))
    assert "application" not in command("user", "set", "lena", "--no-application")["user"]
    assert "application" not in command("user", "list")[1]
    assert roles_by(caller, -40, "sales") == ["North"]
    assert command("user", "set", "lena", "--application", "ERP")["user"]["application"] == "ERP"
    assert command("user", "show", "lena")["application"] == "ERP"
    assert "'CRM' does not exist" in command("user", "set", "lena", "--application", "CRM")
    both = command("user", "set", "lena", "--application", "ERP", "--no-application")
    assert "either --application or --no-application" in both
    with app.app_context():
        changes = services().audit.page(Filter(event="user_changed")).events
    assert [event["fields"] for event in changes] == [["application"]] * 2


@pytest.mark.parametrize("value", ["1", True, [1]])
def test_a_damaged_record(caller: Caller, app: Flask, settings: Settings, value: object) -> None:
    """A record whose synced was edited into something else is damaged, and signs nobody in."""
    put_user(app, synced=5)
    record_of(settings).write_text(json.dumps({**stored(settings), "synced": value}))
    assert caller.get(DETAIL, bearer(token_of(-50))).status_code == 503
