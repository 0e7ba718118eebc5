"""A restore that was broken off is finished before anything else is written.

``put_back`` (in ``snapshots``) writes the whole new content aside, and one rename says that it is complete.
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
from datafor_token.store.disk import make_folder, outage, sync_folder
from datafor_token.store.locking import exclusive

STAGED, READY, _OLD, _LOCK = ".restore-staged", ".restore-ready", ".restore-old", ".restore-lock"
_LONGEST_RESTORE = 600.0  # seconds


@contextlib.contextmanager
def restoring(root: Path, wait: float = _LONGEST_RESTORE) -> Iterator[None]:
    """Only one process restores, or finishes what another one began."""
    with exclusive(root / _LOCK, wait):
        yield


def finish(root: Path, collections: Sequence[str]) -> None:
    """Put the complete new content in its place; to be called within ``restoring``."""
    if not (root / READY).is_dir():
        return
    make_folder(root / _OLD)
    for collection in collections:
        new = root / READY / collection
        if not new.is_dir():
            continue
        with contextlib.suppress(FileNotFoundError):
            # Under a name of its own: after a break there may be one there already.
            (root / collection).rename(root / _OLD / f"{collection}-{secrets.token_hex(8)}")
        new.rename(root / collection)
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
        is_left = any((root / left).exists() for left in (STAGED, READY, _OLD))
    if is_left:
        with contextlib.suppress(LockTimeout), outage("finish a restore"), restoring(root, wait=0):
            finish(root, collections)
            clear(root)


def finish_before_writing(root: Path, collections: Sequence[str]) -> None:
    """To be called by a writer that has its lock: a running restore has all locks, so this one was broken off."""
    with outage("look for a restore that was broken off"):
        try:
            # At each write: a path object costs more than the look. And exists() says no where it cannot look.
            os.stat(f"{root}/{READY}")  # noqa: PTH116
        except FileNotFoundError:
            return
    with outage("finish a restore"), restoring(root):
        finish(root, collections)
