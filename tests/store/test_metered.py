"""Metered store: it is a store like any other, and counts each operation and failure once."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from datafor_token.errors import LockTimeout, MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.base import Store
from datafor_token.store.files.store import FileStore
from datafor_token.store.metered import Metered
from tests.store.contract import COLLECTIONS, Factory, StoreContract


def ignore(*_: str) -> None:
    """A factory that can be sent to another process."""


def make(folder: Path) -> Store:
    return Metered(FileStore(folder, COLLECTIONS, lock_timeout=60), ignore, ignore)


class TestMetered(StoreContract):
    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return partial(make, tmp_path / "data")


class Broken:
    """A store in which everything fails in one way."""

    def __init__(self, error: StoreUnavailable) -> None:
        self._error = error

    def __getattr__(self, _: str) -> Any:
        def fail(*_: object, **__: object) -> None:
            raise self._error

        return fail


@pytest.fixture
def counted() -> list[tuple[str, str]]:
    return []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LockTimeout(), "lock_timeout"),
        (RecordDamaged(), "damaged"),
        (MaybeStored(), "maybe_stored"),
        (StoreUnavailable(), "unavailable"),
    ],
)
def test_operations_and_failures(counted: list[tuple[str, str]], error: StoreUnavailable, kind: str) -> None:
    """Each operation except a look counts once, a failure counts by its kind, and the caller gets the error."""
    failed: list[tuple[str, str]] = []
    store = Metered(cast("Store", Broken(error)), lambda *one: counted.append(one), lambda *one: failed.append(one))
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("users", "lena"),
        "names": lambda: store.names("users"),
        "documents": lambda: list(store.documents("users")),
        "put": lambda: store.put("users", {"name": "lena"}),
        "create": lambda: store.create("users", {"name": "lena"}),
        "update": lambda: store.update("users", "lena", lambda _: {"name": "lena"}),
        "delete": lambda: store.delete("users", "lena"),
        "changes": lambda: store.changes("users", {}),
        "version": lambda: store.version("users", "lena"),
        "stamp": lambda: store.stamp("users"),
    }
    for call in calls.values():
        with pytest.raises(type(error)):
            call()
    looks = ("version", "stamp")
    assert counted == [(name, "users") for name in calls if name not in looks]
    assert failed == [("users", kind)] * len(calls)
    failed.clear()
    with pytest.raises(StoreUnavailable):
        store.update("users", "lena", lambda _: {"name": "lena"}, wait=0.05)
    assert failed == ([] if kind == "lock_timeout" else [("users", kind)])


def test_a_damaged_record_is_a_failure(tmp_path: Path, counted: list[tuple[str, str]]) -> None:
    """A damaged record counts as a failure when all are read, and does not hide the others."""
    files = FileStore(tmp_path, COLLECTIONS, lock_timeout=1)
    files.put("users", {"name": "lena"})
    (tmp_path / "users" / "broken.json").write_text("{")
    store = Metered(files, ignore, lambda *one: counted.append(one))
    assert len(list(store.documents("users"))) == 2
    assert counted == [("users", "damaged")]


def test_waits_for_a_lock(tmp_path: Path) -> None:
    """Each wait for a lock is reported, also one that timed out."""
    waits: list[float] = []
    store = FileStore(tmp_path, COLLECTIONS, lock_timeout=0.2, waited=waits.append)
    store.put("users", {"name": "lena"})
    assert len(waits) == 1
    with store.locked("users"), pytest.raises(LockTimeout):
        store.put("users", {"name": "lena"})
    assert len(waits) == 3
    assert waits[2] >= 0.2
