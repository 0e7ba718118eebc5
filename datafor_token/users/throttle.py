"""Failed passwords, counted for each user name and address over all workers, with no server to run.

An attempt is reserved before its password is verified, so that many at once are not all verified. A reservation
without a result (its worker was killed) lapses. Where the disk cannot be written, each worker counts in memory.

Several hosts count together in a Redis, when the setting ``RATELIMIT_STORAGE_URI`` names one. While that does not
answer each host counts for itself, as without the setting: passwords stay bounded, and nobody is kept out.
"""

import contextlib
import hashlib
import hmac
import logging
import math
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from datafor_token.errors import StoreUnavailable, TooManyAttempts
from datafor_token.users.expiring_sets import ExpiringSets, FileSets, MemorySets, RedisSets
from datafor_token.validation import addresses, logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

T = TypeVar("T")
FOLDER = "throttle"
_WINDOW = 300  # seconds for which a failed password counts
_LAPSE = 10  # seconds for which a reservation without a result counts
_MOST_FAILED = 10  # passwords of one name from one address within the window
_MOST_NAMES = 50  # names with a failed password from one address within the window
_AWAY = 5.0  # seconds for which a storage that failed is not asked again
_DIGEST = 16  # bytes


class Throttle:
    """Bounds on failed passwords. ``clock`` returns seconds since 1970.

    ``key`` is this installation's own: nobody can compute ahead in which file a name is counted. ``shared`` is the
    URI of a Redis in which several hosts count; raises ``StartError`` where it is none. ``bound_names``: also bound
    how many names fail from one address, which must then be the client's and not that of a proxy for all of them.
    """

    def __init__(
        self, data_dir: Path, clock: Callable[[], float], key: bytes, shared: str = "", *, bound_names: bool = False
    ) -> None:
        self._key = key
        self._bound_names = bound_names
        self._files, self._memory = FileSets(data_dir / FOLDER, clock, _WINDOW), MemorySets(clock, _WINDOW)
        # The first one that works counts.
        self._storages: list[ExpiringSets] = [self._files, self._memory]
        self._failures: tuple[type[Exception], ...] = (OSError, StoreUnavailable)
        if shared:
            redis = RedisSets(shared, _WINDOW)
            self._storages.insert(0, redis)
            self._failures += redis.failures
        self._away_until: dict[int, float] = {}

    def check(self, name: str, address: str) -> None:
        """Raise ``TooManyAttempts`` when the next attempt would be one too many."""
        self._ask(lambda sets: self._attempt(sets, name, address).add(0))

    def reserve(self, name: str, address: str) -> "Attempt":
        """Reserve an attempt, whose result is to be told to it; raises ``TooManyAttempts``."""

        def reserve(sets: ExpiringSets) -> Attempt:
            attempt = self._attempt(sets, name, address)
            attempt.add(_LAPSE)
            return attempt

        return self._ask(reserve)

    def settle(self, attempt: "Attempt", *, right: bool) -> None:
        """Count an attempt as failed, or no longer: a right password does not forgive earlier wrong ones."""
        try:
            attempt.settle(right=right, seconds=_WINDOW)
        except self._failures as error:
            self._failed(attempt.sets, error)
            attempt.sets = self._memory
            attempt.settle(right=right, seconds=_WINDOW)

    def _attempt(self, sets: ExpiringSets, name: str, address: str) -> "Attempt":
        """Return an attempt, counted under the name in any spelling and the address or, for IPv6, its network."""
        client = addresses.client_of(address)
        names = self._hashed(f"\0{client}") if self._bound_names else None
        return Attempt(sets, self._hashed(f"{fold(name[:2048])}\0{client}"), names)

    def _hashed(self, text: str) -> str:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)[:_DIGEST].hex()

    def _ask(self, question: Callable[[ExpiringSets], T]) -> T:
        """Ask the first storage that answers; not one that failed a moment ago, which may hang again."""
        for sets in self._storages:
            if time.monotonic() >= self._away_until.get(id(sets), 0.0):
                try:
                    return question(sets)
                except self._failures as error:
                    self._failed(sets, error)
        return question(self._memory)

    def _failed(self, sets: ExpiringSets, error: Exception) -> None:
        self._away_until[id(sets)] = time.monotonic() + _AWAY
        reason = getattr(error, "reason", None) or type(error).__name__
        whose = "this worker" if sets is self._files else "this host"
        log.warning(logs.event(event=f"failed passwords are counted by {whose} alone", reason=reason))


class Attempt:
    """One attempt of a name from an address: a member of the set of its attempts, and the name one of the address's."""

    def __init__(self, sets: ExpiringSets, key: str, names: str | None) -> None:
        self.sets = sets
        self._key, self._names = key, names
        self._id = secrets.token_hex(8)

    def add(self, seconds: float) -> None:
        """Count it for so many seconds (0: only ask whether it could be); raises ``TooManyAttempts``."""
        wait = self.sets.add(self._key, self._id, seconds, _MOST_FAILED)
        if wait is None and self._names is not None:
            # The key stands for the name; of another address it would be another one.
            wait = self.sets.add(self._names, self._key, seconds, _MOST_NAMES)
            if wait is not None and seconds:
                self.sets.remove(self._key, self._id)
        if wait is not None:
            raise TooManyAttempts(max(1, math.ceil(wait)))

    def settle(self, *, right: bool, seconds: float) -> None:
        """Count it as failed for so many seconds; a right one no longer, nor its name unless others of it count."""
        if not right:
            # One that took so long that it lapsed may find its place taken: there are enough without it.
            with contextlib.suppress(TooManyAttempts):
                self.add(seconds)
        elif not self.sets.remove(self._key, self._id) and self._names is not None:
            self.sets.remove(self._names, self._key)
