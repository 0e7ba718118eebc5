"""Queue for password hashing: one hash at a time in each worker."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from datafor_token import blocking
from datafor_token.errors import Overloaded

# Each hash takes 64 MiB, and four threads of its own: several at once in a worker are no faster together.
_HASHES_AT_ONCE = 1
_MOST_WAITING = 64  # requests; each of them holds a thread and its connection
_LONGEST_WAIT = 30.0  # seconds; half of what proxies wait, and twenty at once on a busy machine take half of it


class HashingQueue:
    """Lets a bounded number of requests wait for their turn to hash a password."""

    def __init__(self) -> None:
        self._waiting = threading.BoundedSemaphore(_MOST_WAITING)
        self._hashing = threading.BoundedSemaphore(_HASHES_AT_ONCE)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn to hash; raise ``Overloaded`` when too many requests wait, or this one for too long.

        Meanwhile other requests are served: password guesses must not hold the threads of signed-in users.
        """
        if not self._waiting.acquire(blocking=False):
            raise Overloaded
        try:
            with blocking.waiting():
                if not self._hashing.acquire(timeout=_LONGEST_WAIT):
                    raise Overloaded
                try:
                    yield
                finally:
                    self._hashing.release()
        finally:
            self._waiting.release()
