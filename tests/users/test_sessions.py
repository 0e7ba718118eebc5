"""Sessions: how they are opened, found and ended."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from datafor_token.errors import StoreUnavailable
from datafor_token.store.files.store import FileStore
from datafor_token.users.sessions import Sessions, name_of_cookie
from datafor_token.users.users import User
from tests.support import Clock
from tests.users.test_users import cheap

LENA = User(name="lena", password="$argon2id$first")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "data", ("users", "sessions"), lock_timeout=5)
    store.put("users", LENA.to_document())
    return store


@pytest.fixture
def sessions(store: FileStore, clock: Clock) -> Sessions:
    return Sessions(
        "api",
        store,
        cheap(store, clock),
        clock,
        (43200, 3600),
    )


def user_of(sessions: Sessions, cookie: str) -> User | None:
    session = sessions.find(cookie)
    return session.user if session else None


def test_a_session_returns_its_user(sessions: Sessions) -> None:
    """The cookie finds the session of the user; any other text finds none."""
    cookie = sessions.open(LENA)
    assert user_of(sessions, cookie) == LENA
    for other in ("", "x", cookie[:-1], cookie + "x", "../" + cookie, "\0", cookie[:-1] + "é", "x" * 43):
        assert user_of(sessions, other) is None
        sessions.close(other)
    assert user_of(sessions, cookie) == LENA


def test_a_cookie_of_another_kind_opens_nothing(sessions: Sessions, store: FileStore, clock: Clock) -> None:
    """A cookie of the gate is not a session of the API."""
    other = Sessions(
        "gate",
        store,
        cheap(store, clock),
        clock,
        (43200, 3600),
    )
    cookie = other.open(LENA, secret_sealed="marked", application="ERP")
    assert user_of(sessions, cookie) is None
    session = other.find(cookie)
    assert session is not None
    assert session.grant["application"] == "ERP"
    assert session.grant["secret_sealed"] != "marked"


def test_the_store_does_not_open_a_session(sessions: Sessions, store: FileStore, tmp_path: Path) -> None:
    """The record contains neither the cookie nor the hash of the password."""
    cookie = sessions.open(LENA)
    (path,) = (tmp_path / "data" / "sessions").glob("*.json")
    text = path.read_text() + path.name
    assert cookie not in text
    assert "argon2" not in text


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.delete("users", "lena"),
        lambda store: store.put("users", User(name="lena", password="$argon2id$second").to_document()),
        lambda store: store.put("users", User(name="lena", password=LENA.password, enabled=False).to_document()),
    ],
    ids=["deleted", "new password", "disabled"],
)
def test_a_session_ends_with_its_user(
    sessions: Sessions, store: FileStore, change: Callable[[FileStore], None]
) -> None:
    """Deletion, disabling and a new password end the user's sessions at once."""
    cookie = sessions.open(LENA)
    change(store)
    assert user_of(sessions, cookie) is None
    # Permanently: a stolen cookie must not become valid again with the user.
    store.put("users", LENA.to_document())
    assert user_of(sessions, cookie) is None


def test_a_session_ends_with_its_time(sessions: Sessions, clock: Clock) -> None:
    """A session ends after an hour without a request, and after twelve hours in any case."""
    cookie = sessions.open(LENA)
    clock.advance(3600)
    assert user_of(sessions, cookie) is None
    cookie = sessions.open(LENA)
    for _ in range(12):
        assert user_of(sessions, cookie) == LENA
        clock.advance(3599)
    assert user_of(sessions, cookie) == LENA
    clock.advance(12)
    assert user_of(sessions, cookie) is None


def test_the_last_use_is_not_written_each_time(sessions: Sessions, clock: Clock, tmp_path: Path) -> None:
    """Within a minute after the last write, a request writes nothing."""
    cookie = sessions.open(LENA)
    (path,) = (tmp_path / "data" / "sessions").glob("*.json")
    # Each write replaces the file. Its time can be the same: the clock of file systems has ticks of several ms.
    before = path.stat().st_ino
    clock.advance(59)
    assert user_of(sessions, cookie) == LENA
    assert path.stat().st_ino == before
    clock.advance(1)
    assert user_of(sessions, cookie) == LENA
    assert path.stat().st_ino != before


def test_a_closed_session_does_not_come_back(
    sessions: Sessions, store: FileStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request during which the session is closed does not restore it by storing its last use."""
    cookie = sessions.open(LENA)
    clock.advance(120)
    whole = sessions.is_over

    def closed_just_then(document: dict[str, object]) -> bool:
        sessions.close(cookie)
        return whole(document)

    monkeypatch.setattr(sessions, "is_over", closed_just_then)
    user_of(sessions, cookie)
    assert store.names("sessions") == []


def test_sessions_work_on_a_disk_that_cannot_be_written(
    sessions: Sessions, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session remains valid if its last use cannot be stored."""
    cookie = sessions.open(LENA)
    clock.advance(120)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert user_of(sessions, cookie) == LENA
    with pytest.raises(StoreUnavailable):
        sessions.open(LENA)


def test_a_stuck_lock_delays_nobody(sessions: Sessions, store: FileStore, clock: Clock) -> None:
    """While another process holds the lock, a signed-in user does not wait for it."""
    cookie = sessions.open(LENA)
    clock.advance(120)
    store._lock_timeout = 600
    with store.locked("sessions"):
        assert user_of(sessions, cookie) == LENA


def test_a_damaged_session_is_not_valid(sessions: Sessions, tmp_path: Path) -> None:
    """A record that cannot be read is no session, can be closed, and does not prevent a new session."""
    cookie = sessions.open(LENA)
    (path,) = (tmp_path / "data" / "sessions").glob("*.json")
    path.write_text("{")
    assert user_of(sessions, cookie) is None
    sessions.close(cookie)
    assert path.read_text() == "{"
    assert user_of(sessions, sessions.open(LENA)) == LENA


def test_ending_a_former_session(sessions: Sessions, store: FileStore) -> None:
    """Ending a session of a credential does not end the one that was opened in its place meanwhile."""
    cookies = []
    for _ in range(2):
        cookie = sessions.open_derived(b"key", "token", sessions.derived(b"key", "token"), LENA)
        assert cookie is not None
        cookies.append((cookie, store.get("sessions", name_of_cookie(cookie) or "")))
    (former, document), (present, _) = cookies
    assert document is not None
    sessions.end_for_good(document)
    assert [user_of(sessions, cookie) for cookie in (former, present)] == [None, LENA]
    assert sessions.derived(b"key", "token").left is False


def test_old_sessions_are_swept(sessions: Sessions, store: FileStore, clock: Clock, tmp_path: Path) -> None:
    """Sessions whose time is over are removed when others are opened; damaged records stay."""
    for _ in range(3):
        sessions.open(LENA)
    (tmp_path / "data" / "sessions" / "bad.json").write_text("{")
    clock.advance(7200)
    cookie = sessions.open(LENA)
    assert len(store.names("sessions")) == 2
    assert user_of(sessions, cookie) == LENA


def test_a_session_record_with_invalid_members(sessions: Sessions, tmp_path: Path) -> None:
    """A record that was damaged by hand is no valid session."""
    cookie = sessions.open(LENA)
    (path,) = (tmp_path / "data" / "sessions").glob("*.json")
    record = json.loads(path.read_text())
    for member in ("opened", "used", "user", "password_sealed", "kind", "grant"):
        values: tuple[object, ...] = (None, "x", True, [])
        for value in values:
            path.write_text(json.dumps({**record, member: value}))
            assert user_of(sessions, cookie) is None
        path.write_text(json.dumps({name: value for name, value in record.items() if name != member}))
        assert user_of(sessions, cookie) is None
