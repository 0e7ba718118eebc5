"""All records at one moment, and all of them put back at once."""

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
    """Every record of every collection, while no writer is at work; raises ``RecordDamaged`` for the first bad one."""
    with _all_locked(store):
        return _records(store, without_damaged=without_damaged)


def restore(
    store: FileStore,
    replacement: Callable[[Records], Records],
    progress: Callable[[Records], contextlib.AbstractContextManager[Iterable[tuple[str, Document]]]],
) -> None:
    """Replace everything, all or nothing, by what ``replacement`` makes of the records of this moment.

    ``progress`` is given the records and hands them out one by one. Damaged records
    are not among those, and are replaced like all others.
    """
    root = store.folder
    with outage("restore"), _all_locked(store), restoring(root):
        records = replacement(_records(store, without_damaged=True))
        clear(root)
        if (root / STAGED).exists():
            # Records that an earlier restore left there must not come along.
            raise StoreUnavailable(reason=f"cannot remove {STAGED}, which an earlier restore left")
        staged = FileStore(root / STAGED, store.collections, lock_timeout=5)
        with progress(records) as each:
            for collection, document in each:
                staged.put(collection, document)
        for collection in store.collections:
            lock = root / STAGED / collection / ".lock"
            lock.unlink(missing_ok=True)
            # The same file: who waits for the old folder's lock waits for the new one's.
            lock.hardlink_to(root / collection / ".lock")
            sync_folder(lock.parent)
        (root / STAGED).rename(root / READY)
        try:
            sync_folder(root)
            finish(root, store.collections)
        except (OSError, StoreUnavailable) as error:
            # From the rename on it will be finished, by the next writer or start.
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
        # Always in this order: two that lock all cannot wait for each other.
        for collection in store.collections:
            stack.enter_context(store.locked(collection))
        yield
