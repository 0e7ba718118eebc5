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
    """A cheap hasher that counts how often it is asked to verify."""

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


def test_the_right_password_is_the_users(users: Users) -> None:
    """Name (in whatever case) and password give the user."""
    for name in ("Lena", "LENA", "lena"):
        user = users.with_password(name, "right", "10.0.0.1")
        assert user is not None
        assert user.name == "Lena"


@pytest.mark.parametrize(
    ("name", "password"),
    [("Lena", "wrong"), ("Lena", ""), ("nobody", "right"), ("off", "right"), ("none", ""), ("a:b", "x"), ("", "")],
)
def test_every_refusal_costs_one_hash(users: Users, hasher: CountingHasher, name: str, password: str) -> None:
    """Unknown, wrong, disabled, without a password, no name at all: each is one hash and None, every time."""
    for times in (1, 2):
        assert users.with_password(name, password, "10.0.0.1") is None
        assert hasher.verified == times


def test_a_right_password_is_remembered_for_a_minute(users: Users, hasher: CountingHasher, clock: Clock) -> None:
    """Within 60 seconds the same password costs no hash; after that it does; a wrong one always does."""
    users.with_password("lena", "right", "10.0.0.1")
    clock.advance(59)
    assert users.with_password("lena", "right", "10.0.0.1") is not None
    assert hasher.verified == 1
    clock.advance(1)
    assert users.with_password("lena", "right", "10.0.0.1") is not None
    assert hasher.verified == 2
    assert users.with_password("lena", "right ", "10.0.0.1") is None
    assert hasher.verified == 3


def test_a_changed_user_is_not_remembered(users: Users, store: FileStore, hasher: CountingHasher) -> None:
    """A new password makes the old one wrong at once, and a disabled user is refused at once."""
    users.with_password("lena", "right", "10.0.0.1")
    store.put("users", User(name="Lena", password=hasher.hash("new")).to_document())
    assert users.with_password("lena", "right", "10.0.0.1") is None
    assert users.with_password("lena", "new", "10.0.0.1") is not None
    store.put("users", User(name="Lena", password=hasher.hash("new"), enabled=False).to_document())
    assert users.with_password("lena", "new", "10.0.0.1") is None


def test_memory_is_bounded(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many passwords were right, only so many are remembered."""
    passwords = users._passwords
    monkeypatch.setattr(passwords._cached, "most", 3)
    for number in range(10):
        assert passwords.verify(passwords.hash(str(number)), str(number))
        assert len(passwords._cached) <= 3


def test_nobodys_hash_is_like_any_other() -> None:
    """What a password of nobody is compared with has the costs of a real hash, and takes none to make."""
    hasher = CountingHasher()
    made = Passwords(hasher, time.time)._unknown
    assert argon2.extract_parameters(made) == argon2.extract_parameters(hasher.hash("x"))
    assert made != Passwords(hasher, time.time)._unknown


def test_a_long_password_costs_no_more(users: Users, hasher: CountingHasher) -> None:
    """However long a password is, its hash reads 1024 characters of it; one that only begins rightly is wrong."""
    read = hasher.read
    stored = hasher.hash("x" * 1024)
    passwords = users._passwords
    assert passwords.verify(stored, "x" * 1024)
    assert not passwords.verify(stored, "x" * 1025)
    assert not passwords.verify(stored, "x" * 1_000_000)
    assert users.with_password("nobody", "x" * 1_000_000, "10.0.0.1") is None
    assert read == [1024] * 4


def test_too_many_do_not_wait(
    users: Users, hasher: CountingHasher, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where as many wait as may, the next is told at once that there are too many sign-ins, without a hash."""
    monkeypatch.setattr(hashing_queue, "_MOST_WAITING", 1)
    passwords = Passwords(hasher, time.time)
    full = Users(store, passwords, users._throttle, users._audit)
    with passwords.queue.turn(), pytest.raises(Overloaded) as caught:
        full.with_password("lena", "right", "10.0.0.1")
    assert (caught.value.retry_after, hasher.verified) == (1, 0)
    assert full.with_password("lena", "right", "10.0.0.1") is not None


def test_waiting_for_a_hash_is_bounded(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all places for hashing are taken for too long, the answer is 'too many sign-ins at once'."""
    monkeypatch.setattr(hashing_queue, "_LONGEST_WAIT", 0.01)
    for _ in range(hashing_queue._HASHES_AT_ONCE):
        users._passwords.queue._hashing.acquire()
    with pytest.raises(Overloaded):
        users.with_password("lena", "right", "10.0.0.1")
    users._passwords.queue._hashing.release()
    assert users.with_password("lena", "right", "10.0.0.1") is not None


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a:b"}, {"full_name": 1}, {"email": None}, {"type": "Boss"}, {"roles": "x"}, {"roles": [1]},
        {"enabled": "yes"}, {"enabled": 1}, {"password": None}, {"format": "1"}, {"roles": None},
    ],
)  # fmt: skip
def test_damaged_users_are_said_to_be(change: dict[str, object]) -> None:
    """A record edited by hand into something that is no user is damaged, and the log learns which member."""
    with pytest.raises(RecordDamaged) as caught:
        User.from_document({**User(name="lena").to_document(), **change})
    assert next(iter(change)) in str(caught.value.reason)


def test_an_unreadable_hash_is_damage(users: Users, store: FileStore) -> None:
    """A password member that is no argon2 hash is a damaged record, not a wrong password."""
    store.put("users", {**User(name="lena").to_document(), "password": "plain text"})
    with pytest.raises(RecordDamaged):
        users.with_password("lena", "plain text", "10.0.0.1")


def test_unknown_members_are_kept() -> None:
    """Members of another version come back as they were."""
    document = {**User(name="lena").to_document(), "colour": "red", "extra": 1}
    assert User.from_document(document).to_document() == document


def test_a_user_does_not_show_the_hash() -> None:
    """Not even the hash of a password stands in a repr."""
    assert "argon2" not in repr(User(name="lena", password="$argon2id$..."))


def test_the_first_start_makes_the_administrator(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """With no users, admin is made with a random password, which is kept in a file of mode 0600."""
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


def test_the_first_password_can_be_given(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """A given password is neither printed nor kept in a file; an empty one stops the start."""
    users = cheap(store, clock)
    with pytest.raises(StartError, match="DATAFOR_TOKEN_ADMIN_PASSWORD"):
        users.create_first(tmp_path, "", 8)
    assert users.create_first(tmp_path, "given-one", 8) is None
    assert not (tmp_path / "initial_admin_password").exists()
    assert users.with_password("admin", "given-one", "10.0.0.1") is not None


def test_a_first_start_that_cannot_keep_the_password_makes_nobody(store: FileStore, tmp_path: Path) -> None:
    """When the password's file cannot be written, there is no user whose password nobody knows."""
    users = cheap(store, Clock())
    with pytest.raises(StartError, match="initial_admin_password"):
        users.create_first(tmp_path / "data" / "users" / ".lock", None, 8)
    assert store.names("users") == []


def test_the_config_folder_is_made_for_the_password(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """A configuration folder that is not there yet is made, for its owner alone."""
    users = cheap(store, clock)
    assert users.create_first(tmp_path / "new" / "config", None, 8)
    assert stat.S_IMODE((tmp_path / "new" / "config").stat().st_mode) == 0o700


def test_other_users_are_no_first_start(store: FileStore, tmp_path: Path, clock: Clock) -> None:
    """Where there is any user, damaged or not, no administrator is made."""
    store.put("users", {"name": "lena", "broken": True})
    assert cheap(store, clock).create_first(tmp_path, None, 8) is None
    assert store.names("users") == ["lena"]


def test_two_who_change_a_password_at_once(
    users: Users, store: FileStore, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two changes with the same old password, the second finds that it is no longer the present one."""
    keeper = Accounts(store, users, audit_in(tmp_path, clock), clock, Settings(config_dir=tmp_path))
    olga = keeper.add("olga", "the one before")
    hashed = users.hash_password

    def slowly(password: str) -> str:
        monkeypatch.setattr(users, "hash_password", hashed)
        keeper.change_own_password(olga, "the one before", "the first to come", "10.0.0.1")
        return hashed(password)

    monkeypatch.setattr(users, "hash_password", slowly)
    with pytest.raises(WrongPassword):
        keeper.change_own_password(olga, "the one before", "the second one", "10.0.0.1")
    assert users.with_password("olga", "the first to come", "10.0.0.1") is not None


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux is a thread's niceness its own")
def test_hashes_give_way() -> None:
    """Passwords are hashed in threads that leave the processor to whatever else wants to run; the caller's does not."""
    seen = []

    class Telling(argon2.PasswordHasher):
        def verify(self, *arguments: Any) -> Any:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().verify(*arguments)

        def hash(self, *arguments: Any, **named: Any) -> Any:
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().hash(*arguments, **named)

    passwords = Passwords(Telling(time_cost=1, memory_cost=8, parallelism=1), time.time)
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    seen.clear()
    stored = passwords.hash("right")
    assert passwords.verify(stored, "right")
    assert not passwords.verify(stored, "wrong")
    assert seen == [max(usual, blocking._NICENESS)] * 3
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == usual
