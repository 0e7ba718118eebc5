"""Failed passwords, counted for each user name and address over all workers, with no server to run.

The counting in a moving window is the library's (``limits``); it has no storage for files, so that is
here: a fixed number of small files, each with a bound, so that no attacker fills the disk. What is
counted is not worth an fsync. Where the disk cannot be written, each worker counts in memory.

Several hosts count together in a Redis, when the setting ``RATELIMIT_STORAGE_URI`` names one. While that does not
answer each host counts for itself, as without the setting: passwords stay bounded, and nobody is kept out.
"""

import contextlib
import errno
import functools
import hashlib
import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from limits import RateLimitItemPerMinute
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from datafor_token import addresses, logs, strict_json
from datafor_token.errors import StoreUnavailable, TooManyAttempts
from datafor_token.names import fold
from datafor_token.shared_counts import counts_in
from datafor_token.store.disk import make_folder
from datafor_token.store.locking import exclusive

log = logging.getLogger(__name__)

FOLDER = "throttle"
_FAILED_PASSWORDS = RateLimitItemPerMinute(10, 5)  # ten in five minutes
_FILES = 64
_MOST_KEYS = 500  # in one file; beyond it the ones that were quiet for longest are forgotten
_AWAY = 5.0  # seconds for which a Redis that failed is not asked again
_LONGEST_WAIT = 0.5  # seconds for a file that another worker has
_LARGEST_FILE = 1024 * 1024  # bytes; five times what the bounds allow

Table = dict[str, list[float]]


class Throttle:
    """Who tried too often. ``clock`` answers seconds since 1970.

    ``key`` is this installation's own: nobody can compute ahead whose counts lie in one file. ``shared`` is the
    URI of a Redis in which several hosts count; raises ``StartError`` where it is none.
    """

    def __init__(self, data_dir: Path, clock: Callable[[], float], key: bytes, shared: str = "") -> None:
        self._clock = clock
        self._key = key
        counters: list[Any] = [_Files(data_dir / FOLDER, clock), _Windows(clock)]
        if shared:
            counters.insert(0, counts_in(shared))
        # The first one that works counts; each of them may say that it is enough.
        self._limiters = [MovingWindowRateLimiter(counter) for counter in counters]
        self._shared = self._limiters[0] if shared else None
        self._away_until = 0.0
        self._broken = (OSError, StoreUnavailable, *(counters[0].base_exceptions,))

    def check(self, name: str, address: str) -> None:
        """Raise ``TooManyAttempts`` when the next attempt would be one too many."""
        key = self._named(name, address)
        for limiter in self._answering():
            try:
                if not limiter.test(_FAILED_PASSWORDS, key):
                    reset = limiter.get_window_stats(_FAILED_PASSWORDS, key).reset_time
                    raise TooManyAttempts(max(1, round(reset - self._clock())))
            except self._broken as error:
                # Then the next one's count is the one that counts, as ``count`` says in the log.
                if limiter is self._shared:
                    self._failed(limiter, error)

    def count(self, name: str, address: str) -> Callable[[], None]:
        """Count an attempt before it is judged, so that many at once are not all judged.

        Answers what takes it back, for the attempt that is no failure; raises ``TooManyAttempts``.
        """
        key = self._named(name, address)
        for limiter in self._answering():
            try:
                counted = limiter.hit(_FAILED_PASSWORDS, key)
            except self._broken as error:
                self._failed(limiter, error)
                continue
            if not counted:
                self.check(name, address)
                raise TooManyAttempts(1)
            return functools.partial(self._release, limiter, key)
        raise TooManyAttempts(1)

    def _answering(self) -> list[MovingWindowRateLimiter]:
        """Those that count: not a Redis that hung a moment ago, or each attempt would wait for it again."""
        away = time.monotonic() < self._away_until
        return [limiter for limiter in self._limiters if not (away and limiter is self._shared)]

    def _failed(self, limiter: MovingWindowRateLimiter, error: Exception) -> None:
        if limiter is self._shared:
            self._away_until = time.monotonic() + _AWAY
        reason = getattr(error, "reason", None) or type(error).__name__
        whose = "this worker" if limiter is self._limiters[-2] else "this host"
        log.warning(logs.event(event=f"failed passwords are counted by {whose} alone", reason=reason))

    def _release(self, limiter: MovingWindowRateLimiter, key: str) -> None:
        # A count too many is the smaller evil where the disk broke in between.
        with contextlib.suppress(*self._broken):
            limiter.clear(_FAILED_PASSWORDS, key)

    def _named(self, name: str, address: str) -> str:
        """What one attacker has in common: the name in any spelling, and the host or, for IPv6, its network."""
        text = f"{fold(name[:2048])}\0{addresses.client_of(address)}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256).hex()


class _Windows(Storage, MovingWindowSupport):
    """A storage of ``limits`` for moving windows, in the memory of this process."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._memory: Table = {}

    @contextlib.contextmanager
    def _table(self, _: str) -> Iterator[Table]:
        """The counts among which the key's are, to be read and changed by nobody else meanwhile."""
        with self._lock:
            yield self._memory

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` more unless that makes more than ``limit`` within ``expiry`` seconds."""
        with self._table(key) as table:
            # Only now: what others counted while this one waited would lie in its future, and be dropped.
            now = self._clock()
            recent = [moment for moment in table.get(key, []) if now - expiry < moment <= now]
            if len(recent) + amount > limit:
                return False
            # Last in the table: the first ones are those that were quiet for longest.
            table.pop(key, None)
            table[key] = recent + [now] * amount
            while len(table) > _MOST_KEYS:
                del table[next(iter(table))]
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the window's oldest count was, and how many there are in it."""
        with self._table(key) as table:
            now = self._clock()
            recent = [moment for moment in table.get(key, []) if now - expiry < moment <= now][-limit:]
        return (recent[0] if recent else now), len(recent)

    def clear(self, key: str) -> None:
        """Take back the last count: a right password is none, and does not make the wrong ones good."""
        with self._table(key) as table:
            if table.get(key):
                table[key] = table[key][:-1]

    @property
    def base_exceptions(self) -> type[Exception]:
        """What may go wrong with a disk."""
        return OSError

    def check(self) -> bool:
        """Memory always works."""
        return True

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Of fixed windows, which are not used here."""
        raise NotImplementedError

    def get(self, key: str) -> int:
        """The same."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """The same."""
        raise NotImplementedError

    def reset(self) -> int | None:
        """The same."""
        raise NotImplementedError


class _Files(_Windows):
    """The same in files that all workers share."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._folder = folder

    @contextlib.contextmanager
    def _table(self, key: str) -> Iterator[Table]:
        make_folder(self._folder)
        number = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % _FILES
        with exclusive(self._folder / f"{number:02d}", _LONGEST_WAIT) as descriptor:
            before = os.pread(descriptor, _LARGEST_FILE, 0)
            table = _read(before)
            yield table
            after = strict_json.compact(table).encode()
            if after != before:
                # First the room, so that a full disk is an error and not half a table.
                os.posix_fallocate(descriptor, 0, len(after))
                if os.pwrite(descriptor, after, 0) != len(after):
                    raise OSError(errno.ENOSPC, "short write")
                os.ftruncate(descriptor, len(after))


def _read(data: bytes) -> Table:
    """The counts of a file; one that was mutilated by hand, or by a crash, begins anew."""
    with contextlib.suppress(ValueError):
        table = strict_json.loads(data)
        if isinstance(table, dict) and all(isinstance(moments, list) for moments in table.values()):
            return {
                key: [moment for moment in moments if type(moment) in (int, float)] for key, moments in table.items()
            }
    return {}
