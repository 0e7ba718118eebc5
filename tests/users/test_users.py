"""Users: their records, their passwords, the administrator of the first start."""

import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import argon2
import pytest

from datafor_token import blocking
from datafor_token.errors import Overloaded, RecordDamaged, StartError, WrongPassword
from datafor_token.settings import Settings
from datafor_token.store.files.store import FileStore
from datafor_token.users import hashing_queue
from datafor_token.users.accounts import Accounts
from datafor_token.users.passwords import Passwords
from datafor_token.users.throttle import Throttle
from datafor_token.users.users import COLLECTION, User, Users
from tests.conftest import CHEAP_FOR_TESTS_ONLY
from tests.support import Clock, audit_in


class CountingHasher(argon2.PasswordHasher):
    """A cheap hasher that counts its verifications."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0
        self.read: list[int] = []

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002
        self.verified += 1
        self.read.append(len(password))
        return super().verify(hash, password)


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher()


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "data", (COLLECTION,), lock_timeout=5)


def cheap(store: FileStore, clock: Clock) -> Users:
    return Users(
        store,
        Passwords(CHEAP_FOR_TESTS_ONLY, clock),
        Throttle(store.folder, clock, b"key"),
        audit_in(store.folder, clock),
    )


@pytest.fixture
def users(store: FileStore, hasher: CountingHasher, clock: Clock) -> Users:
    passwords = Passwords(hasher, clock)
    store.put("users", User(name="Lena", password=passwords.hash("right")).to_document())
    store.put("users", User(name="off", password=passwords.hash("right"), enabled=False).to_document())
    store.put("users", User(name="none").to_document())
    return Users(store, passwords, Throttle(store.folder, clock, b"key"), audit_in(store.folder, clock))


def test_the_right_password_returns_the_user(users: Users) -> None:
    """The right password returns the user, with the name in any case."""
    for name in ("Lena", "LENA", "lena"):
        assert users.with_password(name, "right", "10.0.0.1").name == "Lena"


@pytest.mark.parametrize(
    ("name", "password"),
    [("Lena", "wrong"), ("Lena", ""), ("nobody", "right"), ("off", "right"), ("none", ""), ("a:b", "x"), ("", "")],
)
def test_every_refusal_costs_one_hash(users: Users, hasher: CountingHasher, name: str, password: str) -> None:
    """An unknown name, a wrong password, a disabled user, a user without a password: each costs one hash."""
    for times in (1, 2):
        with pytest.raises(WrongPassword):
            users.with_password(name, password, "10.0.0.1")
        assert hasher.verified == times


def test_a_right_password_is_cached_for_a_minute(users: Users, hasher: CountingHasher, clock: Clock) -> None:
    """Within 60 seconds, the same password costs no hash; a wrong one always costs one."""
    users.with_password("lena", "right", "10.0.0.1")
    clock.advance(59)
    assert users.with_password("lena", "right", "10.0.0.1")
    assert hasher.verified == 1
    clock.advance(1)
    assert users.with_password("lena", "right", "10.0.0.1")
    assert hasher.verified == 2
    with pytest.raises(WrongPassword):
        users.with_password("lena", "right ", "10.0.0.1")
    assert hasher.verified == 3


def test_a_changed_user_is_not_cached(users: Users, store: FileStore, hasher: CountingHasher) -> None:
    """After a new password the old one is wrong at once, and a disabled user is refused at once."""
    users.with_password("lena", "right", "10.0.0.1")
    store.put("users", User(name="Lena", password=hasher.hash("new")).to_document())
    with pytest.raises(WrongPassword):
        users.with_password("lena", "right", "10.0.0.1")
    assert users.with_password("lena", "new", "10.0.0.1")
    store.put("users", User(name="Lena", password=hasher.hash("new"), enabled=False).to_document())
    with pytest.raises(WrongPassword):
        users.with_password("lena", "new", "10.0.0.1")


def test_memory_is_bounded(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of cached passwords is limited."""
    passwords = users._passwords
    monkeypatch.setattr(passwords._cached, "most", 3)
    for number in range(10):
        assert passwords.verify(passwords.hash(str(number)), str(number))
        assert len(passwords._cached) <= 3


def test_the_hash_for_unknown_users() -> None:
    """The hash that passwords of unknown users are compared with has the costs of a real hash."""
    hasher = CountingHasher()
    made = Passwords(hasher, time.time)._unknown
    assert argon2.extract_parameters(made) == argon2.extract_parameters(hasher.hash("x"))
    assert made != Passwords(hasher, time.time)._unknown


def test_a_long_password_costs_no_more(users: Users, hasher: CountingHasher) -> None:
    """At most 1024 characters of a password are hashed; a longer one with a right beginning is wrong."""
    read = hasher.read
    stored = hasher.hash("x" * 1024)
    passwords = users._passwords
    assert passwords.verify(stored, "x" * 1024)
    assert not passwords.verify(stored, "x" * 1025)
    assert not passwords.verify(stored, "x" * 1_000_000)
    with pytest.raises(WrongPassword):
        users.with_password("nobody", "x" * 1_000_000, "10.0.0.1")
    assert read == [1024] * 4


def test_too_many_do_not_wait(
    users: Users, hasher: CountingHasher, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the queue is full, the next sign-in is refused at once with 'too many sign-ins', without a hash."""
    monkeypatch.setattr(hashing_queue, "_MOST_WAITING", 1)
    passwords = Passwords(hasher, time.time)
    full = Users(store, passwords, users._throttle, users._audit)
    with passwords.queue.turn(), pytest.raises(Overloaded) as caught:
        full.with_password("lena", "right", "10.0.0.1")
    assert (caught.value.retry_after, hasher.verified) == (1, 0)
    assert full.with_password("lena", "right", "10.0.0.1")


def test_waiting_for_a_hash_is_bounded(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign-in that waits too long for its turn is refused with 'too many sign-ins'."""
    monkeypatch.setattr(hashing_queue, "_LONGEST_WAIT", 0.01)
    for _ in range(hashing_queue._HASHES_AT_ONCE):
        users._passwords.queue._hashing.acquire()
    with pytest.raises(Overloaded):
        users.with_password("lena", "right", "10.0.0.1")
    users._passwords.queue._hashing.release()
    assert users.with_password("lena", "right", "10.0.0.1")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a:b"}, {"full_name": 1}, {"email": None}, {"type": "Boss"}, {"roles": "x"}, {"roles": [1]},
        {"enabled": "yes"}, {"enabled": 1}, {"password": None}, {"format": "1"}, {"roles": None},
    ],
)  # fmt: skip
def test_damaged_users_are_reported(change: dict[str, object]) -> None:
    """A record edited by hand with an invalid member is damaged, and the error names the member."""
    with pytest.raises(RecordDamaged) as caught:
        User.from_document({**User(name="lena").to_document(), **change})
    assert next(iter(change)) in str(caught.value.reason)


def test_an_unreadable_hash_is_damage(users: Users, store: FileStore) -> None:
    """A password member that is not an argon2 hash is a damaged record, not a wrong password."""
    store.put("users", {**User(name="lena").to_document(), "password": "plain text"})
    with pytest.raises(RecordDamaged):
        users.with_password("lena", "plain text", "10.0.0.1")


def test_unknown_members_are_preserved() -> None:
    """Members of another version are written back unchanged."""
    document = {**User(name="lena").to_document(), "colour": "red", "extra": 1}
    assert User.from_document(document).to_document() == document


def test_a_user_does_not_show_the_hash() -> None:
    """The repr of a user does not contain the hash of the password."""
    assert "argon2" not in repr(User(name="lena", password="$argon2id$..."))


def test_the_first_start_creates_the_administrator(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """Without users, admin is created with a random password, which is stored in a file of mode 0600."""
    users = cheap(store, clock)
    password = users.create_first(tmp_path, None, 8)
    file = tmp_path / "initial_admin_password"
    assert password
    assert len(password) >= 20
    assert file.read_text() == f"{password}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    user = users.with_password("admin", password, "10.0.0.1")
    assert user is not None
    assert user.type == "Administrator"
    assert users.create_first(tmp_path, None, 8) is None
    assert file.read_text() == f"{password}\n"


def test_the_first_password_can_be_configured(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """A configured password is neither printed nor stored in a file; an empty one stops the start."""
    users = cheap(store, clock)
    with pytest.raises(StartError, match="DATAFOR_TOKEN_ADMIN_PASSWORD"):
        users.create_first(tmp_path, "", 8)
    assert users.create_first(tmp_path, "given-one", 8) is None
    assert not (tmp_path / "initial_admin_password").exists()
    assert users.with_password("admin", "given-one", "10.0.0.1")


def test_a_first_start_that_cannot_store_the_password_creates_nobody(store: FileStore, tmp_path: Path) -> None:
    """If the file of the password cannot be written, no user is created whose password nobody knows."""
    users = cheap(store, Clock())
    with pytest.raises(StartError, match="initial_admin_password"):
        users.create_first(tmp_path / "data" / "users" / ".lock", None, 8)
    assert store.names("users") == []


def test_the_config_folder_is_created_for_the_password(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """A missing configuration folder is created, for its owner only."""
    users = cheap(store, clock)
    assert users.create_first(tmp_path / "new" / "config", None, 8)
    assert stat.S_IMODE((tmp_path / "new" / "config").stat().st_mode) == 0o700


def test_a_store_with_users_is_not_a_first_start(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """If any user exists, even a damaged one, no administrator is created."""
    store.put("users", {"name": "lena", "broken": True})
    assert cheap(store, clock).create_first(tmp_path, None, 8) is None
    assert store.names("users") == ["lena"]


def test_two_changes_of_a_password_at_once(
    users: Users, store: FileStore, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two changes with the same old password, the second one is refused."""
    keeper = Accounts(store, users, audit_in(tmp_path, clock), clock, Settings(config_dir=tmp_path), cut_off=print)
    olga = keeper.add("olga", "the one before")
    hashed = users.hash_password

    def slowly(password: str) -> str:
        monkeypatch.setattr(users, "hash_password", hashed)
        keeper.change_own_password(olga, "the one before", "the first to come", "10.0.0.1")
        return hashed(password)

    monkeypatch.setattr(users, "hash_password", slowly)
    with pytest.raises(WrongPassword):
        keeper.change_own_password(olga, "the one before", "the second one", "10.0.0.1")
    assert users.with_password("olga", "the first to come", "10.0.0.1")


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux is a thread's niceness its own")
def test_hashes_give_way() -> None:
    """Passwords are hashed in threads of low priority; the caller's thread keeps its priority."""
    seen = []

    class Recording(argon2.PasswordHasher):
        def verify(self, *arguments: Any) -> Any:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().verify(*arguments)

        def hash(self, *arguments: Any, **named: Any) -> Any:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().hash(*arguments, **named)

    passwords = Passwords(Recording(time_cost=1, memory_cost=8, parallelism=1), time.time)
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen.clear()
    stored = passwords.hash("right")
    assert passwords.verify(stored, "right")
    assert not passwords.verify(stored, "wrong")
    assert seen == [max(usual, blocking._NICENESS)] * 3
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == usual
