"""Long waits and long computations of requests, which must not hold up other requests.

A server with few threads either registers in each thread a context in which another thread serves meanwhile
(``replace_with``), or limits how many of its threads may wait at once (``limit_waits``). Elsewhere, as in a command,
nothing is limited.
"""

import os
import random
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import ParamSpec, TypeVar

from datafor_token.errors import Overloaded

P = ParamSpec("P")
R = TypeVar("R")
Replacement = Callable[[], AbstractContextManager[None]]

_MOST_PAUSES = 64  # at once; each holds a thread and its connection
_FREE, _FREE_PER_SECOND = 100, 20  # requests that are not slowed down: at once, and further ones per second
# A 28th of the weight of other threads, for each of a hash's four threads. Beside guessed passwords, a client that
# sends one request after the other got half of its usual throughput with 10, two thirds to three quarters with 15.
_NICENESS = 15


class _Thread(threading.local):
    replacement: Replacement | None = None


class _Process:
    """Registrations of the server for this process."""

    waits: threading.BoundedSemaphore | None = None
    cores: Collection[int] = ()


class _Allowance:
    """Token bucket of requests that are not slowed down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left, self._since = float(_FREE), time.monotonic()

    def take(self) -> bool:
        """Take one, and return whether one was left."""
        with self._lock:
            now = time.monotonic()
            self._left = min(_FREE, self._left + (now - self._since) * _FREE_PER_SECOND)
            self._since = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


_thread = _Thread()
_allowance = _Allowance()
_pauses = threading.BoundedSemaphore(_MOST_PAUSES)


def replace_with(replacement: Replacement) -> None:
    """Register the context that ``waiting`` enters in this thread: another thread serves in its place."""
    _thread.replacement = replacement


def limit_waits(threads: int) -> None:
    """Limit how many threads without a replacement may wait at once in this process; at least one may."""
    _Process.waits = threading.BoundedSemaphore(max(threads, 1))


def compute_on(cores: Collection[int]) -> None:
    """Register the cores that ``in_background`` uses, in a process whose other threads are bound to a core."""
    _Process.cores = cores


def waiting() -> AbstractContextManager[None]:
    """Return the context in which a request waits for something other than the interpreter.

    Entering it raises ``Overloaded`` if as many threads wait already as ``limit_waits`` allows.
    """
    return _thread.replacement() if _thread.replacement is not None else _limited()


@contextmanager
def _limited() -> Iterator[None]:
    waits = _Process.waits
    if waits is None:
        yield
        return
    if not waits.acquire(blocking=False):
        raise Overloaded
    try:
        yield
    finally:
        waits.release()


def slow_down(seconds: float) -> None:
    """Delay a refused request, if many are refused and another thread can serve meanwhile.

    Clients that are refused at once send the next request at once. ``seconds`` is an average: those that are refused
    together must not come back together.
    """
    if _thread.replacement is None or _allowance.take() or not _pauses.acquire(blocking=False):
        return
    try:
        with waiting():
            time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - not a secret
    finally:
        _pauses.release()


def in_background(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Call a function that computes without the interpreter, at a low priority, and return its result.

    At the usual priority, the four threads of one password hash got more of a core than the threads that serve.
    Each call starts a thread, which takes a thousandth of a hash: a pool would lose its threads in a fork.
    """
    with ThreadPoolExecutor(1, initializer=_lower_priority) as thread:
        return thread.submit(function, *arguments, **named).result()


def _lower_priority() -> None:
    # On other systems, niceness applies to the whole process. On Linux, threads inherit it, also those of argon2.
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    # Some sandboxes forbid both.
    with suppress(OSError):
        if _Process.cores:
            os.sched_setaffinity(0, _Process.cores)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
