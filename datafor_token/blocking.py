"""Long waits of requests: while one waits, another thread serves in its place.

A server with few threads says in each of them how to get a replacement. Where it does not (a command, another
server), nothing happens here.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

_MOST_PAUSES = 64  # at once; each holds a thread and its connection
_FREE, _FREE_PER_SECOND = 100, 20  # requests that do not pause: so many, and so many more each second
_Replacement = Callable[[], AbstractContextManager[None]]


class _OfThread(threading.local):
    replacement: _Replacement = nullcontext


class _Allowance:
    """Requests that need not pause: a bucket that fills again with time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left, self._since = float(_FREE), time.monotonic()

    def take(self) -> bool:
        """Return whether one is left, and take it."""
        with self._lock:
            now = time.monotonic()
            self._left = min(_FREE, self._left + (now - self._since) * _FREE_PER_SECOND)
            self._since = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


_own = _OfThread()
_allowance = _Allowance()
_pauses = threading.BoundedSemaphore(_MOST_PAUSES)


def replace_with(replacement: _Replacement) -> None:
    """Have ``waiting`` in this thread enter what ``replacement`` returns."""
    _own.replacement = replacement


def waiting() -> AbstractContextManager[None]:
    """Return the context in which a request waits for something other than the interpreter."""
    return _own.replacement()


def slow_down(seconds: float) -> None:
    """Let the request wait where many come, and another thread can serve meanwhile.

    Clients that are refused at once come again at once. ``seconds`` is an average: those that are refused together
    must not come back together.
    """
    if _own.replacement is nullcontext or _allowance.take() or not _pauses.acquire(blocking=False):
        return
    try:
        with waiting():
            time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret is made of it
    finally:
        _pauses.release()
