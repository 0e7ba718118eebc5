"""All records at one moment, and all of them put back at once.

Restoring writes the whole new content aside, then one rename says that it is complete; from there on it
is finished, by the next start if need be. Until there, nothing has changed. Lock files are kept, so that
whoever waits for one goes on waiting for the right one.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from datafor_token.errors import RecordDamaged
from datafor_token.store.base import Document
from datafor_token.store.disk import make_folder, outage, sync_folder
from datafor_token.store.files import FileStore

Records = Sequence[tuple[str, Document]]
_STAGED, _READY, _OLD = ".restore-staged", ".restore-ready", ".restore-old"


def take(store: FileStore) -> Records:
    """Every record of every collection, while no writer is at work; raises ``RecordDamaged`` for the first bad one."""
    records = []
    with _all_locked(store):
        for collection in store.collections:
            for _, found in store.documents(collection):
                if isinstance(found, RecordDamaged):
                    raise found
                records.append((collection, found))
    return records


def put_back(store: FileStore, records: Records) -> None:
    """Replace everything by these records, all or nothing."""
    root = store.folder
    with outage("restore"), _all_locked(store):
        for leftover in (_STAGED, _OLD):
            shutil.rmtree(root / leftover, ignore_errors=True)
        staged = FileStore(root / _STAGED, store.collections, lock_timeout=5)
        for collection, document in records:
            staged.put(collection, document)
        for collection in store.collections:
            lock = root / _STAGED / collection / ".lock"
            lock.unlink(missing_ok=True)
            # The same file: who waits for the old folder's lock waits for the new one's.
            lock.hardlink_to(root / collection / ".lock")
            sync_folder(lock.parent)
        (root / _STAGED).rename(root / _READY)
        sync_folder(root)
        _finish(root, store.collections)


def finish_restore(root: Path, collections: Sequence[str]) -> None:
    """Finish what a restore left ready, and clear what it left unready; to be called at start."""
    with outage("finish a restore"):
        if (root / _READY).is_dir():
            _finish(root, collections)
        for leftover in (_STAGED, _OLD):
            shutil.rmtree(root / leftover, ignore_errors=True)


def _finish(root: Path, collections: Sequence[str]) -> None:
    make_folder(root / _OLD)
    for collection in collections:
        new = root / _READY / collection
        if not new.is_dir():
            continue
        with contextlib.suppress(FileNotFoundError):
            # Under a name of its own: after a break there may be one there already.
            (root / collection).rename(root / _OLD / f"{collection}-{secrets.token_hex(8)}")
        new.rename(root / collection)
    sync_folder(root)
    shutil.rmtree(root / _READY, ignore_errors=True)
    shutil.rmtree(root / _OLD, ignore_errors=True)
    os.sync()


@contextlib.contextmanager
def _all_locked(store: FileStore) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        # Always in this order: two that lock all cannot wait for each other.
        for collection in store.collections:
            stack.enter_context(store.locked(collection))
        yield
