"""File locks that exclude threads and processes: ``flock`` on a file that is never removed.

Own code, since the common libraries do not fit. Where ``flock`` is missing, ``filelock`` falls back to a lock that a
killed holder keeps forever; it also has re-entrant state per object and is thirty times slower. ``portalocker`` polls
at a fixed interval, which starves writers.
"""

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from datafor_token.errors import LockTimeout
from datafor_token.store.files.disk import match_owner

_LONG = 0.03  # seconds; the time of several writes


@contextlib.contextmanager
def exclusive(path: Path | str, timeout: float, waited: Callable[[float], None] | None = None) -> Iterator[int]:
    """Hold the lock ``path``; raise ``LockTimeout`` after ``timeout`` seconds, or ``OSError``.

    Yield the descriptor of the lock file. ``waited`` is called with the seconds waited, also after a time-out.

    The file is opened each time: a ``flock`` belongs to the open file, so that it excludes threads as it does
    processes, and the kernel releases it when its holder dies.
    """
    descriptor = _open(path)
    try:
        match_owner(path)
        begun = time.monotonic()
        try:
            lock(descriptor, path, timeout)
        finally:
            if waited is not None:
                waited(time.monotonic() - begun)
        yield descriptor
    finally:
        unlock(descriptor)
        with contextlib.suppress(OSError):
            os.close(descriptor)


def lock(descriptor: int, path: Path | str, timeout: float, pause: float = 0.001) -> None:
    """Lock an open file; raise ``LockTimeout``, which names the path, after ``timeout`` seconds.

    ``pause`` is the shortest pause between two tries, in seconds. After a fork, parent and child share the lock.
    """
    if _try_lock(descriptor):
        return
    begun = time.monotonic()
    while not _try_lock(descriptor):
        waited = time.monotonic() - begun
        if waited >= timeout:
            folder, name = Path(path).absolute().parts[-2:]
            raise LockTimeout(reason=f"waited {timeout} s for {name} of {folder}")
        # Short and random: with a growing pause, one of eight writers starved for 1.7 s. A writer that has waited for
        # long tries more often, or later writers could overtake it again and again.
        shortest = pause if waited < _LONG else pause / 10
        time.sleep(random.uniform(shortest, 4 * shortest))  # noqa: S311 - not a secret


def unlock(descriptor: int) -> None:
    """Unlock an open file, and ignore errors: the work under the lock is done, and closing the file unlocks it too."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def hold(path: Path, *, is_shared: bool = False, flags: int = os.O_RDWR | os.O_CREAT) -> int | None:
    """Lock ``path`` and return its descriptor, or return None if it is locked; raise ``OSError``.

    The lock is held until the descriptor is closed, at the latest when the process ends. With ``is_shared``, others can
    share it. ``flags`` are those of ``open``.
    """
    descriptor = _open(path, flags)
    try:
        is_locked = _try_lock(descriptor, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX)
    except OSError:
        os.close(descriptor)
        raise
    if is_locked:
        return descriptor
    os.close(descriptor)
    return None


def _open(path: Path | str, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
