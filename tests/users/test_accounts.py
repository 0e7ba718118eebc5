"""Administration of users by several Administrators at once, and a deletion beside sign-ins by token."""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datafor_token.errors import ChangedMeanwhile, Conflict, InvalidInput, LastAdministrator, NotFound
from datafor_token.settings import Settings
from datafor_token.store.base import Document
from datafor_token.store.files.store import FileStore
from datafor_token.users import joined_roles
from datafor_token.users.accounts import Accounts
from datafor_token.users.passwords import Passwords
from datafor_token.users.throttle import Throttle
from datafor_token.users.users import COLLECTION, User, Users
from tests.conftest import CHEAP_FOR_TESTS_ONLY
from tests.support import Clock, audit_in

COLLECTIONS = (COLLECTION,)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "data", COLLECTIONS, lock_timeout=5)


@pytest.fixture
def users(store: FileStore, clock: Clock) -> Users:
    passwords = Passwords(CHEAP_FOR_TESTS_ONLY, clock)
    return Users(store, passwords, Throttle(store.folder, clock, b"key"), audit_in(store.folder, clock))


@pytest.fixture
def accounts(store: FileStore, users: Users, clock: Clock, tmp_path: Path) -> Accounts:
    audit, settings = audit_in(tmp_path, clock), Settings(config_dir=tmp_path)
    accounts = Accounts(store, users, audit, clock, settings, cut_off=lambda _: None)
    for name in ("admin", "boss"):
        store.put(COLLECTION, User(name=name, type="Administrator").to_document())
    return accounts


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run the calls in threads that start together, and return the results and errors in their order."""
    barrier = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def run(number: int, call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[number] = call()
        except Exception as error:  # noqa: BLE001 - a result
            results[number] = error

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def removal(accounts: Accounts, name: str, by: User) -> Callable[[], object]:
    return lambda: accounts.remove(name, by=by)


def disabling(accounts: Accounts, name: str, by: User) -> Callable[[], object]:
    return lambda: accounts.save(name, "", by=by, enabled=False)


def demotion(accounts: Accounts, name: str, by: User) -> Callable[[], object]:
    return lambda: accounts.save(name, "", by=by, type="SYS_Reader")


@pytest.mark.parametrize("first", [removal, disabling, demotion])
@pytest.mark.parametrize("second", [removal, disabling, demotion])
def test_one_of_two_administrators_remains(accounts: Accounts, first: Any, second: Any) -> None:
    """Of two Administrators who delete, disable or demote each other at once, exactly one remains."""
    admin, boss = accounts.get("admin"), accounts.get("boss")
    results = at_once(first(accounts, "boss", admin), second(accounts, "admin", boss))
    assert [type(result) for result in results if isinstance(result, Exception)] == [LastAdministrator]
    assert [user.administers for user in accounts.all()[0]].count(True) == 1


def test_changes_of_different_fields_at_once(accounts: Accounts) -> None:
    """Of changes of different fields of one user at once, none is lost."""
    admin, boss = accounts.get("admin"), accounts.get("boss")
    accounts.save("lena", "", by=admin)
    changes: list[tuple[User, dict[str, Any]]] = [
        (admin, {"full_name": "Lena"}),
        (boss, {"email": "l@x"}),
        (admin, {"roles": "A&B"}),
        (boss, {"mobile": "1"}),
        (admin, {"type": "SYS_Creator"}),
    ]
    at_once(*((lambda by=by, members=members: accounts.save("lena", "", by=by, **members)) for by, members in changes))
    lena = accounts.get("lena")
    assert (lena.full_name, lena.email, lena.roles, lena.mobile, lena.type) == (
        "Lena", "l@x", ("A", "B"), "1", "SYS_Creator",
    )  # fmt: skip


def test_a_user_created_twice_at_once(accounts: Accounts) -> None:
    """Of two calls that create the same user at once, the second one changes the user."""
    admin = accounts.get("admin")
    at_once(
        lambda: accounts.save("lena", "", by=admin, full_name="Lena"),
        lambda: accounts.save("LENA", "", by=admin, email="l@x"),
    )
    lena = accounts.get("lena")
    assert (lena.full_name, lena.email) == ("Lena", "l@x")


def test_users_who_are_enabled_again_are_not_deleted(accounts: Accounts) -> None:
    """A user whom somebody enables again during the deletion stays: it might be the last Administrator by now."""

    def enable(name: str) -> None:
        accounts.change(name, enabled=True)
        accounts.change("admin", enabled=False)

    accounts._cut_off = enable
    with pytest.raises(Conflict, match="boss was enabled again meanwhile"):
        accounts.remove("boss")
    assert accounts.get("boss").administers


def test_the_cut_off_is_between_disabling_and_deleting(accounts: Accounts) -> None:
    """When the tokens of a user are revoked, the user is disabled and still stored, under the stored name."""
    seen: list[tuple[str, bool]] = []
    accounts._cut_off = lambda name: seen.append((name, accounts.get(name).enabled))
    assert accounts.remove("BOSS").name == "boss"
    assert seen == [("boss", False)]
    with pytest.raises(NotFound):
        accounts.remove("boss")
    assert len(seen) == 1


def test_a_demoted_user_restores_nothing(accounts: Accounts, monkeypatch: pytest.MonkeyPatch, store: FileStore) -> None:
    """Roles that a user sends back, but that were taken away meanwhile, are refused under the lock."""
    admin = accounts.get("admin")
    lena = accounts.save("lena", "", by=admin, roles="Boss")
    update = store.update

    def later(collection: str, name: str, change: Callable[[Document | None], Document], **options: Any) -> Document:
        monkeypatch.setattr(store, "update", update)
        accounts.save("lena", "", by=admin, roles="")
        return update(collection, name, change, **options)

    monkeypatch.setattr(store, "update", later)
    with pytest.raises(Exception, match="without being Administrator"):
        accounts.save("lena", "", by=lena, roles="Boss", full_name="Lena")
    assert accounts.get("lena").roles == ()


def test_further_texts_of_earlier_records(store: FileStore, accounts: Accounts) -> None:
    """Members that were unknown before are read if they are text, and preserved if they are anything else."""
    document = {**User(name="lena").to_document(), "mobile": "1", "dept": 5, "title": None, "colour": "red"}
    user = User.from_document(document)
    assert (user.profile, user.to_document()) == ({"mobile": "1", "dept": "", "title": ""}, document)
    changed = dataclasses.replace(user, dept="IT").to_document()
    assert changed == {**document, "dept": "IT"}
    assert {"mobile", "dept", "title"}.isdisjoint(User(name="otto").to_document())


@pytest.mark.parametrize(
    ("text", "stored", "expected"),
    [
        ("", (), ()),
        ("", ("",), ("",)),
        ("a&b", (), ("a", "b")),
        ("a&a", (), ("a",)),
        ("a&a", ("a", "a"), ("a", "a")),
        ("a&b&c", ("a&b", "a&b&c"), ("a&b&c",)),
        ("a&b&a&b", ("a&b",), ("a&b", "a", "b")),
        ("a&&b", (), ("a", "", "b")),
        ("&", ("&",), ("&",)),
    ],
)
def test_joined_roles(text: str, stored: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Parts that make up a stored role are that role; a listed text gives the stored roles again."""
    assert joined_roles.split(text, stored) == expected
    assert joined_roles.split(joined_roles.join(stored), stored) == stored


def test_a_user_without_a_password(accounts: Accounts) -> None:
    """Without a password, a new user has none; an empty one is refused."""
    assert not accounts.add("lena", None).password
    with pytest.raises(InvalidInput) as caught:
        accounts.add("paul", "")
    assert list(caught.value.errors) == ["password"]


def test_all_errors_of_a_new_user(accounts: Accounts) -> None:
    """A new user is refused with the errors of all fields at once."""
    with pytest.raises(InvalidInput) as caught:
        accounts.add("a:b", "short", roles=("a&b",), email="a\tb")
    assert list(caught.value.errors) == ["username", "roles", "email", "password"]


def test_a_member_that_changed_meanwhile(accounts: Accounts) -> None:
    """A change that was based on another value is refused; changes of other members do not matter."""
    read = accounts.add("lena", None, roles=("Sales",))
    accounts.change("lena", dept="IT")
    assert accounts.change("lena", expected=read, email="l@example.com").dept == "IT"
    accounts.change("lena", roles=("Finance",))
    with pytest.raises(ChangedMeanwhile):
        accounts.change("lena", expected=read, roles=("Sales", "IT"), title="Boss")
    assert (accounts.get("lena").roles, accounts.get("lena").title) == (("Finance",), "")
