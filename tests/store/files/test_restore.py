"""Restores are all or nothing for readers, writers and a fresh start, at whichever system call they are interrupted."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from datafor_token.errors import MaybeStored, StoreUnavailable
from datafor_token.store.files import restoring, snapshots
from datafor_token.store.files.disk import create_folder, outage, sync_folder
from datafor_token.store.files.restoring import READY, STAGED, finish_at_start
from datafor_token.store.files.store import FileStore

pytestmark = pytest.mark.file_store
COLLECTIONS = ("applications", "users", "instance")
OLD, NEW = {"kept": "old", "gone": "old"}, {"kept": "new", "made": "new"}
CALLS = ("rename", "link", "mkdir", "unlink", "rmdir", "open", "write", "fsync", "close", "stat", "lstat", "scandir")


class Killed(BaseException):
    """The process is dead: nothing catches this exception, and no later call has an effect."""


class Calls:
    """The system calls of one run: count them, observe the state at each, and let one of them fail.

    ``once``: one call fails. ``ever``: so do all later ones of its kind. ``killed``: nothing is called any more.
    """

    def __init__(self, fails: int = 0, how: str = "", watch: Callable[[], None] | None = None) -> None:
        self.fails, self.how, self.watch = fails, how, watch
        self.number, self.kinds = 0, [""]
        self._busy = False

    def __enter__(self) -> "Calls":
        self._whole = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            setattr(os, name, self._replaced(name))
        return self

    def __exit__(self, *_: object) -> None:
        for name, whole in self._whole.items():
            setattr(os, name, whole)

    def _replaced(self, name: str) -> Callable[..., Any]:
        whole = self._whole[name]

        def call(*arguments: Any, **options: Any) -> Any:
            if self._busy:
                return whole(*arguments, **options)
            self.number += 1
            self.kinds.append(name)
            if self.watch is not None:
                self._busy = True
                self.watch()
                self._busy = False
            if self.fails and self.number >= self.fails:
                if name == "close":
                    # Like the kernel: the file is closed even if close() fails or the process dies.
                    whole(*arguments, **options)
                if self.how == "killed":
                    raise Killed
                if self.number == self.fails or (self.how == "ever" and name == self.kinds[self.fails]):
                    raise OSError(errno.EIO, "injected")
                if name == "close":
                    return None
            return whole(*arguments, **options)

        return call


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace fsync by a counter: power cuts are not tested here, and syncing takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory if possible, since some thousand stores are created in it."""
    memory = Path("/dev/shm")  # noqa: S108 - a name of its own in there
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


def filled(root: Path) -> Path:
    store = FileStore(root, COLLECTIONS, 1)
    for collection in COLLECTIONS:
        for name, of in OLD.items():
            store.put(collection, {"name": name, "of": of})
    # The remains of a restore that was killed before it was complete.
    leftover = FileStore(root / STAGED, COLLECTIONS, 1)
    leftover.put("users", {"name": "stray", "of": "stray"})
    return root


def restore(root: Path) -> None:
    """Restore as the command does."""
    records = [(collection, {"name": name, "of": of}) for collection in COLLECTIONS for name, of in NEW.items()]
    snapshots.restore(FileStore(root, COLLECTIONS, 1), lambda _: records, contextlib.nullcontext)


def seen(store: FileStore) -> set[str]:
    """Return what a reader finds in each collection: old or new records, an outage (``away``), or anything else."""
    found = set()
    for collection in COLLECTIONS:
        try:
            records = {name: document["of"] for name, document in store.documents(collection)}  # type: ignore[index]
            singly = {name: (store.get(collection, name) or {}).get("of") for name in {*OLD, *NEW}}
        except StoreUnavailable:
            found.add("away")
            continue
        same = {name: of for name, of in singly.items() if of is not None} == records
        found.add("old" if same and records == OLD else "new" if same and records == NEW else f"else: {records}")
    return found


def whole(found: set[str]) -> bool:
    return found - {"away"} in (set(), {"old"}, {"new"})


def violations(folder: Path, attempt: Callable[[Path], None] = restore) -> Iterator[str]:
    """Interrupt ``attempt`` at each of its calls, in each way; yield the states that nobody may see."""
    template = filled(folder / "template")

    def copy(name: str, source: Path = template) -> Path:
        return Path(shutil.copytree(source, folder / name))

    root = copy("clean")
    reader = FileStore(root, COLLECTIONS, 0.001)
    moments: set[frozenset[str]] = set()
    with Calls(watch=lambda: moments.add(frozenset(seen(reader)))) as calls:
        attempt(root)
    yield from (f"while it runs a reader sees {sorted(found)}" for found in moments if not whole(set(found)))
    if seen(reader) != {"new"}:
        yield f"at its end a reader sees {seen(reader)}"
    for number in range(1, calls.number + 1):
        for how in ("once", "ever", "killed"):
            what = f"{how} at call {number}, {calls.kinds[number]}"
            root = copy(f"{number}-{how}")
            reader = FileStore(root, COLLECTIONS, 1)
            outcome = _outcome(root, number, how, attempt)
            started = copy(f"{number}-{how}-started", root)
            if not whole(seen(reader)):
                yield f"{what}: a reader sees {seen(reader)}"
            yield from (f"{what}: {one}" for one in _afterwards(started, outcome))
            yield from (f"{what}: {one}" for one in _after_a_write(reader))
            for path in (root, started):
                shutil.rmtree(path)


def _outcome(root: Path, number: int, how: str, attempt: Callable[[Path], None]) -> Sequence[str]:
    """Interrupt it, and return the states that its result allows afterwards."""
    try:
        with Calls(number, how):
            attempt(root)
    except Killed:
        return ("old", "new")
    except MaybeStored:
        return ("old", "new")
    except StoreUnavailable:
        return ("old",)
    return ("new",)


def _afterwards(root: Path, expected: Sequence[str]) -> Iterator[str]:
    finish_at_start(root, COLLECTIONS)
    found = seen(FileStore(root, COLLECTIONS, 1))
    if found not in [{one} for one in expected]:
        yield f"a fresh start sees {found} instead of {expected}"
    left = [path.name for path in root.iterdir() if path.name.startswith(".restore") and path.name != ".restore-lock"]
    if left:
        yield f"a fresh start leaves {left}"


def _after_a_write(store: FileStore) -> Iterator[str]:
    """A running process writes a record: it is stored beside all old records or all new ones."""
    store.put("users", {"name": "later", "of": "later"})
    if store.get("users", "later") is None or store.delete("users", "later") is False:
        yield "a write is lost"
    found = seen(store)
    if found not in ({"old"}, {"new"}):
        yield f"after a write a reader sees {found}"


def test_a_restore_is_all_or_nothing(folder: Path) -> None:
    """Whichever call fails or is the last one, everybody sees all old or all new records, as was acknowledged."""
    assert list(violations(folder)) == []


def test_a_finish_that_is_interrupted(folder: Path) -> None:
    """A start that finishes a restore may be interrupted at any call too: the next start finishes it."""
    template = filled(folder / "template")
    clean = Path(shutil.copytree(template, folder / "clean"))
    with Calls() as calls:
        restore(clean)
    ready = next(
        number
        for number in range(calls.number, 0, -1)
        if not _is_ready_after(Path(shutil.copytree(template, folder / f"ready{number}")), number)
    )
    for number in (ready + 1, ready + 6):
        root = Path(shutil.copytree(template, folder / f"{number}"))
        with contextlib.suppress(Killed), Calls(number, "killed"):
            restore(root)
        clean = Path(shutil.copytree(root, folder / f"{number}-clean"))
        with Calls() as calls:
            finish_at_start(clean, COLLECTIONS)
        for last in range(1, calls.number + 1):
            for how in ("once", "ever", "killed"):
                again = Path(shutil.copytree(root, folder / f"{number}-{last}-{how}"))
                with contextlib.suppress(Killed, StoreUnavailable), Calls(last, how):
                    finish_at_start(again, COLLECTIONS)
                assert list(_afterwards(again, ("new",))) == []


def _is_ready_after(root: Path, number: int) -> bool:
    """Return whether a restore that is killed at this call will be finished."""
    with contextlib.suppress(Killed), Calls(number, "killed"):
        restore(root)
    finish_at_start(root, COLLECTIONS)
    return seen(FileStore(root, COLLECTIONS, 1)) == {"new"}


def test_a_start_waits_for_a_restore(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start during a restore does not create the collections that are away."""
    root = filled(folder / "root")
    monkeypatch.setattr(restoring, "_LONGEST_FINISH", 0.05)
    clean = Path(shutil.copytree(root, folder / "clean"))
    with Calls() as calls:
        restore(clean)
    second = [number for number, kind in enumerate(calls.kinds) if kind == "rename"][-2]
    with contextlib.suppress(Killed), Calls(second, "killed"):
        restore(root)
    assert (root / READY).is_dir()
    with restoring.restoring(root), pytest.raises(StoreUnavailable):
        finish_at_start(root, COLLECTIONS)
    assert not (root / "users").exists()
    finish_at_start(root, COLLECTIONS)
    assert seen(FileStore(root, COLLECTIONS, 1)) == {"new"}


# Deliberately wrong restores, which the check must reject.


def _collection_by_collection(root: Path, collections: Sequence[str]) -> None:
    """Restore each new collection right after its old one was moved away."""
    create_folder(root / ".restore-old")
    for collection in collections:
        new = root / READY / collection
        if new.is_dir():
            with contextlib.suppress(FileNotFoundError):
                (root / collection).rename(root / ".restore-old" / f"{collection}-{os.urandom(4).hex()}")
            new.rename(root / collection)
    sync_folder(root)
    shutil.rmtree(root / READY, ignore_errors=True)
    restoring.clear(root)


def _record_by_record(root: Path, collections: Sequence[str]) -> None:
    """Restore by renaming each record into place."""
    for collection in collections:
        for path in (root / collection).glob("*.json"):
            if not (root / READY / collection / path.name).exists():
                path.unlink()
        for path in (root / READY / collection).glob("*.json"):
            path.rename(root / collection / path.name)
    shutil.rmtree(root / READY, ignore_errors=True)
    restoring.clear(root)


def _forgetful(root: Path, collections: Sequence[str]) -> None:
    """Restore without a way to finish: the folder is no longer found."""
    (root / READY).rename(root / ".restore-mine")
    for collection in collections:
        (root / collection).rename(root / ".restore-mine" / f"old-{collection}")
    for collection in collections:
        (root / ".restore-mine" / collection).rename(root / collection)
    shutil.rmtree(root / ".restore-mine")


def _mixing(root: Path) -> None:
    """Restore without removing the remains of an earlier restore."""
    records = [(collection, {"name": name, "of": of}) for collection in COLLECTIONS for name, of in NEW.items()]
    store = FileStore(root, COLLECTIONS, 1)
    staged = FileStore(root / STAGED, COLLECTIONS, 1)
    with outage("restore"), snapshots._all_locked(store), restoring.restoring(root):
        for collection, document in records:
            staged.put(collection, document)
        for collection in COLLECTIONS:
            (root / STAGED / collection / ".lock").unlink(missing_ok=True)
            (root / STAGED / collection / ".lock").hardlink_to(root / collection / ".lock")
        (root / STAGED).rename(root / READY)
        restoring.finish(root, COLLECTIONS)


@pytest.mark.parametrize("finish", [_collection_by_collection, _record_by_record, _forgetful])
def test_the_check_catches_a_broken_finish(folder: Path, monkeypatch: pytest.MonkeyPatch, finish: Any) -> None:
    """A restore that renames piece by piece, or that cannot be finished, fails the check."""
    monkeypatch.setattr(snapshots, "finish", finish)
    monkeypatch.setattr(restoring, "finish", finish)
    if finish is _forgetful:
        # It cannot be finished: the check fails when it finds no collection.
        with contextlib.suppress(StoreUnavailable):
            assert list(violations(folder)) != []
    else:
        assert any("reader sees" in one for one in violations(folder))


def test_the_check_catches_leftovers(folder: Path) -> None:
    """A restore that lets in the remains of an earlier one fails the check."""
    assert any("stray" in one for one in violations(folder, _mixing))


def test_everything_is_synced_before_it_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New records and their folders are synced before the rename that completes them, and that rename before others."""
    root = filled(folder / "root")
    calls: list[str] = []
    rename, link = os.rename, os.link

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        calls.append(f"fsync {path.relative_to(root)}" if path != root else "fsync root")

    def renamed(source: Any, target: Any, **options: Any) -> None:
        calls.append(f"rename {Path(source).relative_to(root)}")
        rename(source, target, **options)

    def linked(source: Any, target: Any, **options: Any) -> None:
        calls.append(f"link {Path(target).parent.relative_to(root)}")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", linked)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", renamed)
    restore(root)
    completed = calls.index(f"rename {STAGED}")
    before, after = calls[:completed], calls[completed + 1 :]
    for collection in COLLECTIONS:
        files = [number for number, call in enumerate(before) if call.startswith(f"fsync {STAGED}/{collection}/")]
        assert len(files) == len(NEW)
        # Each file is synced before its rename, and the folder after the link of its lock, which comes last.
        renames = [number for number, call in enumerate(before) if call.startswith(f"rename {STAGED}/{collection}/")]
        assert [first < second for first, second in zip(files, renames, strict=True)] == [True, True]
        assert before.index(f"fsync {STAGED}/{collection}", before.index(f"link {STAGED}/{collection}")) > renames[-1]
    moved = [f"rename {collection}" for collection in COLLECTIONS]
    placed = [f"rename {READY}/{collection}" for collection in COLLECTIONS]
    # The second sync is of the new folder for the old collections.
    assert [call for call in after if call == "fsync root" or call in (*moved, *placed)] == [
        "fsync root", "fsync root", *moved, *placed, "fsync root",
    ]  # fmt: skip
