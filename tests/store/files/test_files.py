"""File store: the guarantees of every store, and its own: files, modes, damage, locks."""

import contextlib
import errno
import functools
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.errors import LockTimeout, MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.base import AlreadyExists
from datafor_token.store.files.restoring import READY
from datafor_token.store.files.store import FileStore
from tests.store.contract import COLLECTIONS, Factory, StoreContract, check_no_update_is_lost, is_writable


def make_factory(folder: Path, lock_timeout: float = 30) -> Factory:
    return functools.partial(FileStore, folder, COLLECTIONS, lock_timeout)


class TestContract(StoreContract):
    """The file store has the guarantees of every store."""

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return make_factory(tmp_path / "data")


class UnlockedStore(FileStore):
    """A file store whose lock excludes nobody."""

    @contextlib.contextmanager
    def locked(self, *_: object) -> Iterator[None]:
        yield


def test_the_contract_catches_a_store_without_the_lock(tmp_path: Path) -> None:
    """A store whose writers do not exclude each other fails the test of the guarantees."""
    with pytest.raises(AssertionError):
        check_no_update_is_lost(functools.partial(UnlockedStore, tmp_path, COLLECTIONS, 30))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "data", COLLECTIONS, lock_timeout=0.2)


def record(store: FileStore, name: str = "lena") -> Path:
    return Path(store._file("users", name))


def test_records_are_readable_and_private(store: FileStore, tmp_path: Path) -> None:
    """A record is indented JSON in a file of mode 0600, in folders of mode 0700, whatever the umask."""
    before = os.umask(0)
    try:
        store = FileStore(tmp_path / "open", COLLECTIONS, lock_timeout=1)
        store.put("users", {"name": "Lena", "city": "Köln"})
    finally:
        os.umask(before)
    assert record(store).read_text() == '{\n  "name": "Lena",\n  "city": "Köln"\n}\n'
    for path in (tmp_path / "open").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


@given(name=st.text(max_size=200))
def test_no_name_leaves_the_folder(store: FileStore, name: str) -> None:
    """The path of any name is a plain file name in the collection's folder, and short enough."""
    path = record(store, name)
    assert path.parent == record(store).parent
    assert path.name.endswith(".json")
    assert len(path.name.encode()) <= 255
    assert not {"/", "\0", "\n"} & set(path.name)


@pytest.mark.parametrize("name", ["..", ".", "", "../../etc/passwd", "a/b", ".lock", "con\0", "\ud800", "x" * 5000])
def test_odd_names_work(store: FileStore, name: str) -> None:
    """Names that are special elsewhere are ordinary names here."""
    assert record(store, name).resolve().parent == record(store).parent.resolve()
    assert record(store, name).name not in (".lock", "..", ".")
    assert store.get("users", name) is None


def test_a_long_name_begins_readably(store: FileStore) -> None:
    """A name over 200 bytes keeps a readable beginning before its hash, and is listed by its own name."""
    name = "名" * 128
    store.put("users", {"name": name})
    assert record(store, name).name.startswith("名名名")
    assert store.names("users") == [name]


def test_an_edit_by_hand_is_read_at_once(store: FileStore) -> None:
    """The next call reads an edit by hand."""
    store.put("users", {"name": "lena", "enabled": True})
    record(store).write_text('{"name": "lena", "enabled": false, "mine": 1}')
    assert store.get("users", "lena") == {"name": "lena", "enabled": False, "mine": 1}


DAMAGED = {
    "empty": b"",
    "cut": b'{"name": "lena", "ro',
    "binary": b"\xff\xfe\x00",
    "a list": b'["lena"]',
    "no name": b'{"user": "lena"}',
    "another's": b'{"name": "paul"}',
    "twice": b'{"name": "lena", "name": "lena"}',
    "deep": b'{"name": "lena", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge": b'{"name": "lena", "x": "' + b"x" * 17_000_000 + b'"}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_record_is_reported_and_unchanged(store: FileStore, content: bytes) -> None:
    """A record that is not a document of its name is damaged, never 'not found', and no call overwrites it."""
    record(store).write_bytes(content)
    store.put("users", {"name": "other"})
    with pytest.raises(RecordDamaged):
        store.get("users", "lena")
    with pytest.raises(RecordDamaged):
        store.update("users", "lena", lambda _: {"name": "lena"})
    with pytest.raises(RecordDamaged):
        store.put("users", {"name": "lena"})
    with pytest.raises(RecordDamaged):
        store.delete("users", "lena")
    with pytest.raises(AlreadyExists):
        store.create("users", {"name": "lena"})
    assert record(store).read_bytes() == content
    assert sorted(store.names("users")) == ["lena", "other"]
    assert store.get("users", "other") == {"name": "other"}


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    (path.parent / "target").write_text('{"name": "lena"}')
    path.symlink_to(path.parent / "target")


def make_hard_link(path: Path) -> None:
    (path.parent / "target").write_text('{"name": "paul"}')
    path.hardlink_to(path.parent / "target")


@pytest.mark.parametrize("make", [make_pipe, make_link, make_hard_link, Path.mkdir])
def test_other_files_in_place_of_records_are_damage(store: FileStore, make: Callable[[Path], None]) -> None:
    """A pipe, a link or a folder in place of a record is a damaged record; the others are served."""
    make(record(store))
    store.put("users", {"name": "other"})
    with pytest.raises(RecordDamaged):
        store.get("users", "lena")
    assert store.get("users", "other") == {"name": "other"}


HOLD_LOCK = """
import fcntl, sys
lock = open(sys.argv[1])
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_held_lock_is_an_outage_for_writers_only(store: FileStore) -> None:
    """While another process holds the lock, writes end in LockTimeout and reads work; later writes work again."""
    store.put("users", {"name": "lena", "value": 1})
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(record(store).parent / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder, contextlib.ExitStack() as stack:
        # Also after a failure: a stopped process would wait forever.
        stack.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(LockTimeout):
            store.put("users", {"name": "lena", "value": 2})
        assert store.get("users", "lena") == {"name": "lena", "value": 1}
        patient = make_factory(record(store).parent.parent, lock_timeout=600)()
        with pytest.raises(LockTimeout):
            patient.update("users", "lena", lambda _: {"name": "lena"}, wait=0.01)
        holder.kill()
    store.put("users", {"name": "lena", "value": 3})
    assert store.get("users", "lena") == {"name": "lena", "value": 3}


def test_the_lock_is_never_a_link_and_never_removed(store: FileStore, tmp_path: Path) -> None:
    """The lock file stays after a write, and a link in its place is refused."""
    store.put("users", {"name": "lena"})
    lock = record(store).parent / ".lock"
    assert lock.exists()
    lock.unlink()
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        store.put("users", {"name": "lena"})
    assert not (tmp_path / "elsewhere").exists()


def files(store: FileStore) -> list[str]:
    return sorted(path.name for path in record(store).parent.iterdir())


def broken(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["write", "fsync", "close", "rename"])
def test_a_write_that_fails_stores_nothing(store: FileStore, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """After any failure before the rename, the old record and no temporary file is left, and the next write works."""
    store.put("users", {"name": "lena", "value": 1})
    with monkeypatch.context() as patch:
        if call == "rename":
            patch.setattr(os, "rename", broken)
        else:
            whole = getattr(os, call)

            def fails_for_temp(descriptor: int, *rest: object) -> object:
                if ".temp-" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
                    if call == "close":
                        whole(descriptor)
                    broken()
                return whole(descriptor, *rest)

            patch.setattr(os, call, fails_for_temp)
        with pytest.raises(StoreUnavailable) as caught:
            store.put("users", {"name": "lena", "value": 2})
    assert not isinstance(caught.value, MaybeStored)
    assert store.get("users", "lena") == {"name": "lena", "value": 1}
    assert files(store) == [".lock", "lena.json"]
    store.put("users", {"name": "lena", "value": 3})


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOMEM, errno.ELOOP], ids=errno.errorcode.get)
def test_no_write_without_a_look_for_a_restore(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A write fails if it cannot look for an interrupted restore, which would undo the write later."""
    store.put("users", {"name": "lena", "value": 1})
    with monkeypatch.context() as patch:
        whole = os.stat

        def fails_there(path: Any, *rest: Any, **options: Any) -> os.stat_result:
            if str(path).endswith(READY):
                raise OSError(number, "fails")
            return whole(path, *rest, **options)

        patch.setattr(os, "stat", fails_there)
        with pytest.raises(StoreUnavailable):
            store.put("users", {"name": "lena", "value": 2})
    assert store.get("users", "lena") == {"name": "lena", "value": 1}
    store.put("users", {"name": "lena", "value": 3})


def test_a_failure_after_the_rename_is_maybe_stored(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the folder cannot be synced, the error is 'may or may not have been stored'."""
    monkeypatch.setattr("datafor_token.store.files.disk.sync", broken)
    with pytest.raises(MaybeStored):
        store.put("users", {"name": "lena"})
    with pytest.raises(MaybeStored):
        store.delete("users", "lena")


def test_a_short_write_is_continued(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that writes a few bytes at a time still stores the whole record."""
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, bytes(data)[:7]))
    store.put("users", {"name": "lena", "text": "x" * 100})
    assert store.get("users", "lena") == {"name": "lena", "text": "x" * 100}


def test_temporary_files_of_killed_writers_are_removed(store: FileStore) -> None:
    """A start removes the temporary files of killed writers, and nothing else."""
    store.put("users", {"name": "lena"})
    (record(store).parent / ".temp-dead").write_text('{"name": "le')
    assert store.names("users") == ["lena"]
    store.sweep()
    assert files(store) == [".lock", "lena.json"]


def test_readers_see_the_old_record_or_the_new_one(store: FileStore) -> None:
    """A reader beside a writer never reads a half-written record."""
    store.put("users", {"name": "lena", "text": "0" * 50_000})
    done = threading.Event()

    def write() -> None:
        for digit in range(1, 10):
            store.put("users", {"name": "lena", "text": str(digit) * 50_000})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set() or reads == 0:
        document = store.get("users", "lena")
        assert document is not None
        assert len(document["text"]) == 50_000
        assert len(set(document["text"])) == 1
        reads += 1
    writer.join()


def test_a_read_only_store_is_not_writable(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only store is not writable; a store whose folder is missing is an outage."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        assert is_writable(store) is False
    assert files(store) == []
    record(store).parent.rmdir()
    with pytest.raises(StoreUnavailable):
        store.check_readable()
    with pytest.raises(StoreUnavailable):
        store.names("users")


def test_a_probe_leaves_nothing(store: FileStore) -> None:
    """A probe writes in a folder of its own, mode 0700, and a start removes the remains of a killed one."""
    folder = store.folder / ".probe"
    store.check_writable()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == []
    (folder / "left").write_bytes(b" " * 4096)
    store.sweep()
    assert list(folder.iterdir()) == []
    folder.rmdir()
    store.check_writable()


def test_a_read_only_collection_is_not_writable(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is not writable if one collection's folder takes no new files, or has no space on its own disk."""
    users = store.folder / "users"
    with monkeypatch.context() as patch:
        # Tests run as root, which ignores modes.
        patch.setattr(os, "access", lambda path, _: Path(path) != users)
        assert is_writable(store) is False
    look = Path.stat
    elsewhere = os.stat_result((0o40700, 1, 987654321, 1, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda path, **named: elsewhere if path == users else look(path, **named))
    room = types.SimpleNamespace(f_bavail=1, f_favail=0, f_files=0)
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    store.check_writable()
    room.f_files = 10
    assert is_writable(store) is False
    room.f_files, room.f_bavail = 0, 0
    assert is_writable(store) is False


def test_a_missing_folder_is_an_outage(store: FileStore) -> None:
    """A record in a folder that was moved or not mounted is an outage, not 'not found'."""
    store.put("users", {"name": "lena"})
    record(store).parent.rename(record(store).parent.parent / "elsewhere")
    for call in (store.get, store.version, store.delete):
        with pytest.raises(StoreUnavailable):
            call("users", "lena")
    with pytest.raises(StoreUnavailable):
        list(store.documents("users"))


def test_a_damaged_record_of_a_long_name_is_listed(store: FileStore) -> None:
    """A damaged record whose name is hashed is listed too."""
    store.put("users", {"name": "\ufdfa" * 64})
    (path,) = record(store).parent.glob("*.json")
    path.write_text("x")
    ((name, found),) = store.documents("users")
    assert isinstance(found, RecordDamaged)
    assert store.names("users") == [name]


def test_a_new_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that the store creates is synced before a record in it is acknowledged."""
    synced: list[Path] = []
    monkeypatch.setattr("datafor_token.store.files.disk.sync", synced.append)
    FileStore(tmp_path / "a" / "b", COLLECTIONS, lock_timeout=1)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: not run")
def test_files_of_root_get_the_owner_of_the_folder(tmp_path: Path) -> None:
    """A command run as root leaves records that the service's own user can read."""
    (tmp_path / "data").mkdir()
    os.chown(tmp_path / "data", 65534, 65534)
    store = FileStore(tmp_path / "data", COLLECTIONS, lock_timeout=1)
    store.put("users", {"name": "lena"})
    for path in (tmp_path / "data").rglob("*"):
        assert path.stat().st_uid == 65534, path


def test_only_known_collections(store: FileStore) -> None:
    """An unknown collection is a ValueError."""
    with pytest.raises(ValueError, match="no collection"):
        store.get("../users", "lena")


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), st.lists, max_leaves=9))
def test_documents_make_the_round_trip(store: FileStore, value: object) -> None:
    """Any document comes back equal, and its file is standard JSON."""
    store.put("users", {"name": "lena", "value": value})
    assert store.get("users", "lena") == {"name": "lena", "value": value}
    assert json.loads(record(store).read_bytes()) == {"name": "lena", "value": value}
