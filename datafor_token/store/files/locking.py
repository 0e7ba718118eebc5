"""One writer at a time, over threads and processes: ``flock`` on a file that is never removed.

Own code, though short, because the field's libraries promise less or more than is needed:
``filelock`` falls back to a lock without the kernel where ``flock`` is missing (a killed holder then
blocks for ever), keeps re-entrant state per object and costs thirty times as much; ``portalocker``
polls at a fixed interval, which starves writers.
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

_LONG = 0.03  # seconds; some writes of others


@contextlib.contextmanager
def exclusive(path: Path | str, timeout: float, waited: Callable[[float], None] | None = None) -> Iterator[int]:
    """Hold the lock ``path``; raise ``LockTimeout`` after ``timeout`` seconds, ``OSError`` as it comes.

    Gives the open file's descriptor, for a file that is its own lock. ``waited`` is told for how many
    seconds the lock was waited for, also in vain.

    The file is opened anew each time: a ``flock`` belongs to the open file, so that threads exclude
    each other as processes do, and the kernel drops it when its holder dies.
    """
    descriptor = _opened(path)
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
    """Take the lock of an open file; the path is for the words of ``LockTimeout``, the times are in seconds.

    Who opened the file in a process that forked has one lock with all of its forks.
    """
    if _taken(descriptor):
        return
    # Monotonic: a corrected wall clock must neither shorten nor prolong the wait.
    begun = time.monotonic()
    while not _taken(descriptor):
        waited = time.monotonic() - begun
        if waited >= timeout:
            folder, name = Path(path).absolute().parts[-2:]
            raise LockTimeout(reason=f"waited {timeout} s for {name} of {folder}")
        # Short and uneven: with a growing pause one of eight writers starved for 1.7 s (security.md). Who has waited
        # for long looks more often than those who came later, or now and then they are all luckier.
        shortest = pause if waited < _LONG else pause / 10
        time.sleep(random.uniform(shortest, 4 * shortest))  # noqa: S311 - no secret is made of it


def unlock(descriptor: int) -> None:
    """Release it. What was done under the lock is done, whatever the release says; a close releases as well."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def hold(path: Path) -> int | None:
    """Hold the lock ``path`` until the descriptor that this gives is closed, as the process's end does.

    ``None`` where another one has it; raises ``OSError`` as it comes.
    """
    descriptor = _opened(path)
    if _taken(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _opened(path: Path | str) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
