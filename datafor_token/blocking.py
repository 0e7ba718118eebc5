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
_Replacement = Callable[[], AbstractContextManager[None]]


class _OfThread(threading.local):
    replacement: _Replacement = nullcontext


_own = _OfThread()
_pauses = threading.BoundedSemaphore(_MOST_PAUSES)


def replace_with(replacement: _Replacement) -> None:
    """Have ``waiting`` in this thread enter what ``replacement`` returns."""
    _own.replacement = replacement


def waiting() -> AbstractContextManager[None]:
    """Return the context in which a request waits for something other than the interpreter."""
    return _own.replacement()


def pause(seconds: float) -> None:
    """Let the request wait, where another thread serves meanwhile and not too many requests pause already.

    ``seconds`` is an average: clients that are refused together must not come back together.
    A client that is refused at once asks again at once.
    """
    if _own.replacement is not nullcontext and _pauses.acquire(blocking=False):
        try:
            with waiting():
                time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret is made of it
        finally:
            _pauses.release()
