"""Limit of failed passwords, counted by user name and client address over all workers.

An attempt is reserved before its password is verified, so that of many at once only the permitted number is verified.
A reservation without a result lapses: its worker was killed. If the disk cannot be written, each worker counts in
memory.

With the setting ``RATELIMIT_STORAGE_URI``, several hosts count together in a Redis. While the Redis does not respond,
each host counts on its own, as without the setting: the limit holds, and nobody is locked out.
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
_WINDOW = 300  # seconds for which a failed password is counted
_LAPSE = 10  # seconds after which a reservation without a result lapses
_MOST_FAILED = 10  # passwords of one name from one address within the window
_MOST_NAMES = 50  # names with a failed password from one address within the window
_RETRY_SECONDS = 5.0  # after which a storage that failed is used again
_DIGEST = 16  # bytes


class Throttle:
    """Limits failed passwords. ``clock`` returns seconds since 1970.

    ``key`` is a secret of this installation, so that nobody can compute in which file a name is counted. ``shared`` is
    the URI of a Redis in which several hosts count; raises ``StartError`` for another URI. ``bound_names`` also limits
    how many names fail from one address, which must then be the client's, not that of a proxy for all clients.
    """

    def __init__(
        self, data_dir: Path, clock: Callable[[], float], key: bytes, shared: str = "", *, bound_names: bool = False
    ) -> None:
        self._key = key
        self._bound_names = bound_names
        self._files, self._memory = FileSets(data_dir / FOLDER, clock, _WINDOW), MemorySets(clock, _WINDOW)
        # The first one that works is used.
        self._storages: list[ExpiringSets] = [self._files, self._memory]
        self._failures: tuple[type[Exception], ...] = (OSError, StoreUnavailable)
        if shared:
            redis = RedisSets(shared, _WINDOW)
            self._storages.insert(0, redis)
            self._failures += redis.failures
        self._retry_at: dict[int, float] = {}

    def check(self, name: str, address: str) -> None:
        """Raise ``TooManyAttempts`` if the limit is reached."""
        self._use(lambda sets: self._attempt(sets, name, address).add(0))

    def reserve(self, name: str, address: str) -> "Attempt":
        """Reserve an attempt, to be passed to ``settle`` with its result; raise ``TooManyAttempts``."""

        def reserve(sets: ExpiringSets) -> Attempt:
            attempt = self._attempt(sets, name, address)
            attempt.add(_LAPSE)
            return attempt

        return self._use(reserve)

    def settle(self, attempt: "Attempt", *, right: bool) -> None:
        """Count an attempt as failed, or remove it: a right password does not forgive earlier wrong ones."""
        try:
            attempt.settle(right=right, seconds=_WINDOW)
        except self._failures as error:
            self._failed(attempt.sets, error)
            attempt.sets = self._memory
            attempt.settle(right=right, seconds=_WINDOW)

    def _attempt(self, sets: ExpiringSets, name: str, address: str) -> "Attempt":
        """Return an attempt of a name, in any spelling, from an address or, for IPv6, its network."""
        client = addresses.client_of(address)
        names = self._hashed(f"\0{client}") if self._bound_names else None
        return Attempt(sets, self._hashed(f"{fold(name[:2048])}\0{client}"), names)

    def _hashed(self, text: str) -> str:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)[:_DIGEST].hex()

    def _use(self, function: Callable[[ExpiringSets], T]) -> T:
        """Call a function with the first storage that works, except those that failed recently: they may hang again."""
        for sets in self._storages:
            if time.monotonic() >= self._retry_at.get(id(sets), 0.0):
                try:
                    return function(sets)
                except self._failures as error:
                    self._failed(sets, error)
        return function(self._memory)

    def _failed(self, sets: ExpiringSets, error: Exception) -> None:
        self._retry_at[id(sets)] = time.monotonic() + _RETRY_SECONDS
        reason = getattr(error, "reason", None) or type(error).__name__
        alone = "worker" if sets is self._files else "host"
        log.warning(logs.event("failed passwords are counted alone", by=alone, reason=reason))


class Attempt:
    """One attempt: a member of the set of its name and address. The name is a member of the set of its address."""

    def __init__(self, sets: ExpiringSets, key: str, names: str | None) -> None:
        self.sets = sets
        self._key, self._names = key, names
        self._id = secrets.token_hex(8)

    def add(self, seconds: float) -> None:
        """Count the attempt for ``seconds`` (0: only check the limit); raise ``TooManyAttempts``."""
        wait = self.sets.add(self._key, self._id, seconds, _MOST_FAILED)
        if wait is None and self._names is not None:
            # The key stands for the name; with another address it would be another key.
            wait = self.sets.add(self._names, self._key, seconds, _MOST_NAMES)
            if wait is not None and seconds:
                self.sets.remove(self._key, self._id)
        if wait is not None:
            raise TooManyAttempts(max(1, math.ceil(wait)))

    def settle(self, *, right: bool, seconds: float) -> None:
        """Count a failed attempt for ``seconds``; remove a right one, and its name after the last attempt."""
        if not right:
            # The reservation may have lapsed and another attempt taken its place: the limit is reached without it.
            with contextlib.suppress(TooManyAttempts):
                self.add(seconds)
        elif not self.sets.remove(self._key, self._id) and self._names is not None:
            self.sets.remove(self._names, self._key)
