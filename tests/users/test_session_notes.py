"""Notes for a session wait for its next page, and nobody else reads them."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from datafor_token.crypto import sealed_texts
from datafor_token.store.base import Store
from datafor_token.store.files.store import FileStore
from datafor_token.users.session_notes import COLLECTION, SECONDS, SessionNotes


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1_796_000_000.0

    def __call__(self) -> float:
        """Return the time in seconds since 1970."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FileStore(tmp_path, (COLLECTION,), lock_timeout=5)


@pytest.fixture
def notes(store: Store, clock: Clock) -> SessionNotes:
    return SessionNotes(store, clock)


def every(_: Any) -> bool:
    """Want every note."""
    return True


def texts(found: list[Any]) -> list[str]:
    """Return the texts of notes."""
    return [note["text"] for note in found]


def test_once(notes: SessionNotes, store: Store, clock: Clock) -> None:
    """A note is taken once, by whichever process asks first, in the order of writing."""
    cookie = secrets.token_urlsafe(32)
    for text in ("one", "two", "other"):
        notes.add(cookie, {"text": text})
    other_process = SessionNotes(store, clock)
    assert texts(other_process.take(cookie, lambda note: note["text"] != "other")) == ["one", "two"]
    assert texts(notes.take(cookie, every)) == ["other"]
    assert notes.take(cookie, every) == []


def test_nobody_else_reads_a_note(notes: SessionNotes, store: Store, tmp_path: Path) -> None:
    """Neither another session nor a copy of the store reveals a note."""
    cookie = secrets.token_urlsafe(32)
    notes.add(cookie, {"text": "a new secret"})
    assert notes.take(secrets.token_urlsafe(32), every) == []
    (name,) = store.names(COLLECTION)
    document = store.get(COLLECTION, name)
    assert document is not None
    assert "a new secret" not in json.dumps(document) + repr(document)
    assert cookie not in json.dumps(document)
    assert sealed_texts.unseal(secrets.token_urlsafe(32), "notes", document["sealed"]) is None
    assert sealed_texts.unseal(cookie, "another purpose", document["sealed"]) is None
    assert all("a new secret" not in file.read_text("latin-1") for file in tmp_path.rglob("*") if file.is_file())


def test_a_note_waits_ten_minutes(notes: SessionNotes, store: Store, clock: Clock) -> None:
    """A note that no page takes within ten minutes is gone, and its record is swept."""
    cookie = secrets.token_urlsafe(32)
    notes.add(cookie, {"text": "one"})
    clock.now += SECONDS - 1
    notes.sweep()
    assert store.names(COLLECTION)
    clock.now += 1
    assert notes.take(cookie, every) == []
    notes.sweep()
    assert store.names(COLLECTION) == []


@pytest.mark.parametrize("sealed", [None, 7, "", "gAAAAA", "é", ["x"]])
def test_a_damaged_note(notes: SessionNotes, store: Store, clock: Clock, sealed: object) -> None:
    """Notes that cannot be decrypted count as none, and the next one replaces them."""
    cookie = secrets.token_urlsafe(32)
    notes.add(cookie, {"text": "one"})
    (name,) = store.names(COLLECTION)
    store.put(COLLECTION, {"format": 1, "name": name, "written": clock.now, "sealed": sealed})
    assert notes.take(cookie, every) == []
    notes.add(cookie, {"text": "two"})
    assert texts(notes.take(cookie, every)) == ["two"]


def test_no_session(notes: SessionNotes, store: Store) -> None:
    """A text that cannot be a session's cookie has no notes and stores none."""
    for cookie in ("", "x", "../" + "x" * 40, "é" * 43):
        notes.add(cookie, {"text": "one"})
        assert notes.take(cookie, every) == []
    assert store.names(COLLECTION) == []


def test_the_newest_stay(notes: SessionNotes) -> None:
    """A session has at most twenty notes: the newest."""
    cookie = secrets.token_urlsafe(32)
    for number in range(23):
        notes.add(cookie, {"text": str(number)})
    assert texts(notes.take(cookie, every)) == [str(number) for number in range(3, 23)]
