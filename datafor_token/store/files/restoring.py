"""Recovery of interrupted restores.

``snapshots.restore`` writes the whole new content to a staging folder, and marks it as complete by one rename. Before
the rename nothing has changed. After it, the restoring process, the next writer or the next start finishes the restore
before anything else is written. Lock files stay the same, so that a waiting writer waits for the right one.
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
_LONGEST_FINISH = 30.0  # seconds; for some renames, and the removal of the old records


@contextlib.contextmanager
def restoring(root: Path, wait: float = _LONGEST_RESTORE) -> Iterator[None]:
    """Hold the lock of restores: only one process restores or finishes a restore."""
    with exclusive(root / _LOCK, wait):
        yield


def finish(root: Path, collections: Sequence[str]) -> None:
    """Move the complete new content into place, if there is any. Call it within ``restoring``.

    All old collections are moved away before the first new one is moved in. So a reader never finds old and new
    collections side by side, even after an interruption; a collection that is away is an outage.
    """
    if not (root / READY).is_dir():
        return
    create_folder(root / _OLD)
    new = [collection for collection in collections if (root / READY / collection).is_dir()]
    for collection in new:
        with contextlib.suppress(FileNotFoundError):
            # Under a random name: an interrupted call may have left one.
            (root / collection).rename(root / _OLD / f"{collection}-{secrets.token_hex(8)}")
    for collection in new:
        (root / READY / collection).rename(root / collection)
    sync_folder(root)
    shutil.rmtree(root / READY, ignore_errors=True)
    clear(root)


def clear(root: Path) -> None:
    """Remove the staged and the old content. Call it within ``restoring``."""
    for leftover in (STAGED, _OLD):
        shutil.rmtree(root / leftover, ignore_errors=True)


def finish_at_start(root: Path, collections: Sequence[str]) -> None:
    """Finish a killed restore that is complete. Remove the remains of any other, unless a restore is running."""
    with outage("look for an interrupted restore"):
        is_ready = (root / READY).exists()
        is_left = is_ready or any((root / left).exists() for left in (STAGED, _OLD))
    if is_ready:
        # Wait for another process that finishes it: until then, collections are away.
        with outage("finish a restore"), restoring(root, wait=_LONGEST_FINISH):
            finish(root, collections)
            clear(root)
    elif is_left:
        with contextlib.suppress(LockTimeout), outage("finish a restore"), restoring(root, wait=0):
            finish(root, collections)
            clear(root)


def finish_if_left(root: Path, collections: Sequence[str], wait: float) -> bool:
    """Finish an interrupted restore, and return whether there was one.

    A writer calls this when it holds its lock, since a running restore would hold all locks, and a reader when a
    collection is away. ``wait`` is the longest time in seconds to wait for another process that finishes it.
    """
    with outage("look for an interrupted restore"):
        try:
            # Not exists(), which returns False on errors too. Called at each write: a path object takes longer.
            os.stat(f"{root}/{READY}")  # noqa: PTH116
        except FileNotFoundError:
            return False
    with outage("finish a restore"), restoring(root, wait):
        finish(root, collections)
    return True
