"""A restore that was broken off is finished before anything else is written.

``restore`` (in ``snapshots``) writes the whole new content aside, and one rename says that it is complete.
From there on it is finished by whoever comes first: that process, the next writer, or the next start. Until
there, nothing has changed. Lock files are kept, so that whoever waits for one waits for the right one.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from datafor_token.errors import LockTimeout
from datafor_token.store.files.disk import create_folder, outage, sync_folder
from datafor_token.store.files.locking import exclusive

STAGED, READY, _OLD, _LOCK = ".restore-staged", ".restore-ready", ".restore-old", ".restore-lock"
_LONGEST_RESTORE = 600.0  # seconds
_LONGEST_FINISH = 30.0  # seconds; some renames, and the removal of the old records


@contextlib.contextmanager
def restoring(root: Path, wait: float = _LONGEST_RESTORE) -> Iterator[None]:
    """Only one process restores, or finishes what another one began."""
    with exclusive(root / _LOCK, wait):
        yield


def finish(root: Path, collections: Sequence[str]) -> None:
    """Put the complete new content in its place; to be called within ``restoring``.

    All old collections are moved away before the first new one comes: whenever this is broken off, a reader finds
    only old ones or only new ones. Those that are away are an outage.
    """
    if not (root / READY).is_dir():
        return
    create_folder(root / _OLD)
    coming = [collection for collection in collections if (root / READY / collection).is_dir()]
    for collection in coming:
        with contextlib.suppress(FileNotFoundError):
            # Under a name of its own: after a break there may be one there already.
            (root / collection).rename(root / _OLD / f"{collection}-{secrets.token_hex(8)}")
    for collection in coming:
        (root / READY / collection).rename(root / collection)
    sync_folder(root)
    shutil.rmtree(root / READY, ignore_errors=True)
    clear(root)


def clear(root: Path) -> None:
    """Remove what is of no use any more; to be called within ``restoring``."""
    for leftover in (STAGED, _OLD):
        shutil.rmtree(root / leftover, ignore_errors=True)


def finish_at_start(root: Path, collections: Sequence[str]) -> None:
    """Finish and clear what a killed restore left, if there is anything, and no restore is running."""
    with outage("look for a restore that was broken off"):
        is_ready = (root / READY).exists()
        is_left = is_ready or any((root / left).exists() for left in (STAGED, _OLD))
    if is_ready:
        # Also where another process is about it: collections that are away at this moment are not missing.
        with outage("finish a restore"), restoring(root, wait=_LONGEST_FINISH):
            finish(root, collections)
            clear(root)
    elif is_left:
        with contextlib.suppress(LockTimeout), outage("finish a restore"), restoring(root, wait=0):
            finish(root, collections)
            clear(root)


def finish_if_left(root: Path, collections: Sequence[str], wait: float) -> bool:
    """Finish a restore that was broken off; return whether there was one.

    A writer calls this when it has its lock (a running restore has all locks, so this one was broken off), and a
    reader when a collection is away. ``wait``: how many seconds another process that is about it may take.
    """
    with outage("look for a restore that was broken off"):
        try:
            # At each write: a path object costs more than the look. And exists() says no where it cannot look.
            os.stat(f"{root}/{READY}")  # noqa: PTH116
        except FileNotFoundError:
            return False
    with outage("finish a restore"), restoring(root, wait):
        finish(root, collections)
    return True
