"""Snapshots of all records, and atomic restores."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from datafor_token.errors import MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document
from datafor_token.store.files.disk import outage, sync_folder
from datafor_token.store.files.restoring import READY, STAGED, clear, finish, restoring
from datafor_token.store.files.store import FileStore

Records = Sequence[tuple[str, Document]]


def take(store: FileStore, *, without_damaged: bool = False) -> Records:
    """Return all records, read while all writers are locked out.

    Raise ``RecordDamaged`` for a damaged record, or leave it out.
    """
    with _all_locked(store):
        return _records(store, without_damaged=without_damaged)


def restore(
    store: FileStore,
    replacement: Callable[[Records], Records],
    progress: Callable[[Records], contextlib.AbstractContextManager[Iterable[tuple[str, Document]]]],
) -> None:
    """Replace all records, all or nothing, by those that ``replacement`` returns for the current ones.

    ``replacement`` does not get damaged records, which are replaced like all others. ``progress`` returns a context
    manager that iterates over the new records, to show the progress.

    Raise ``MaybeStored`` if the restore is complete but could not be finished; the next writer finishes it.
    """
    root = store.folder
    with outage("restore"), _all_locked(store), restoring(root):
        records = replacement(_records(store, without_damaged=True))
        clear(root)
        if (root / STAGED).exists():
            # The records of an earlier restore must not be mixed in.
            raise StoreUnavailable(reason=f"cannot remove {STAGED}, the remains of an earlier restore")
        staged = FileStore(root / STAGED, store.collections, lock_timeout=5)
        with progress(records) as each:
            for collection, document in each:
                staged.put(collection, document)
        for collection in store.collections:
            lock = root / STAGED / collection / ".lock"
            lock.unlink(missing_ok=True)
            # The same lock file: a writer that waits for the old folder's lock waits for the new one's.
            lock.hardlink_to(root / collection / ".lock")
            sync_folder(lock.parent)
        (root / STAGED).rename(root / READY)
        try:
            sync_folder(root)
            finish(root, store.collections)
        except (OSError, StoreUnavailable) as error:
            # After the rename, the next writer or start finishes it.
            reason = error.reason if isinstance(error, StoreUnavailable) else os.strerror(error.errno or 0)
            raise MaybeStored(reason=f"the restore is not finished: {reason}") from error


def _records(store: FileStore, *, without_damaged: bool) -> Records:
    records = []
    for collection in store.collections:
        for _, found in store.documents(collection):
            if not isinstance(found, RecordDamaged):
                records.append((collection, found))
            elif not without_damaged:
                raise found
    return records


@contextlib.contextmanager
def _all_locked(store: FileStore) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        # Always in this order, which excludes deadlocks.
        for collection in store.collections:
            stack.enter_context(store.locked(collection))
        yield
