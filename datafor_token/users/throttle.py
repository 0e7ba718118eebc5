"""Limit of failed passwords, counted by user name and client address over all workers.

An attempt is reserved before its password is verified, so that of many at once only the permitted number is verified.
A reservation without a result lapses: its worker was killed. With the setting ``RATELIMIT_STORAGE_URI``, several hosts
count together in a Redis. ``limits.storages`` says what happens without Redis or disk.
"""

import contextlib
import hashlib
import hmac
import math
import secrets
from collections.abc import Callable
from pathlib import Path

from datafor_token.errors import TooManyAttempts
from datafor_token.limits.expiring_sets import ExpiringSets, LocalSets, RedisSets
from datafor_token.limits.storages import Storages
from datafor_token.validation import addresses
from datafor_token.validation.names import fold

FOLDER = "throttle"
_WINDOW = 300  # seconds for which a failed password is counted
_LAPSE = 10  # seconds after which a reservation without a result lapses
_MOST_FAILED = 10  # passwords of one name from one address within the window
_MOST_NAMES = 50  # names with a failed password from one address within the window
_DIGEST = 16  # bytes


class Throttle:
    """Limits failed passwords. ``clock`` returns seconds since 1970.

    ``key`` is a secret of this installation, so that nobody can compute in which file a name is counted. ``shared`` is
    the URI of a Redis in which several hosts count; raises ``StartError`` for another URI. ``failed`` is called with
    the storage that failed (see ``Storages``). ``bound_names`` also limits how many names fail from one address, which
    must then be the client's, not that of a proxy for all clients.
    """

    def __init__(  # noqa: PLR0913 - each is a separate collaborator
        self,
        data_dir: Path,
        clock: Callable[[], float],
        key: bytes,
        shared: str = "",
        failed: Callable[[str], None] = lambda _: None,
        *,
        bound_names: bool = False,
    ) -> None:
        self._key = key
        self._bound_names = bound_names
        self._storages: Storages[ExpiringSets] = Storages(
            "failed passwords are counted alone",
            data_dir / FOLDER,
            shared,
            lambda tables: LocalSets(tables, clock, _WINDOW),
            lambda redis: RedisSets(redis, _WINDOW),
            failed,
        )

    def check(self, name: str, address: str) -> None:
        """Raise ``TooManyAttempts`` if the limit is reached."""
        self._storages.use(lambda sets: self._attempt(sets, name, address).add(0))

    def reserve(self, name: str, address: str) -> "Attempt":
        """Reserve an attempt, to be passed to ``settle`` with its result; raise ``TooManyAttempts``."""

        def reserve(sets: ExpiringSets) -> Attempt:
            attempt = self._attempt(sets, name, address)
            attempt.add(_LAPSE)
            return attempt

        return self._storages.use(reserve)

    def settle(self, attempt: "Attempt", *, right: bool) -> None:
        """Count an attempt as failed, or remove it: a right password does not forgive earlier wrong ones."""
        try:
            attempt.settle(right=right, seconds=_WINDOW)
        except self._storages.failures as error:
            self._storages.failed(attempt.sets, error)
            attempt.sets = self._storages.memory
            attempt.settle(right=right, seconds=_WINDOW)

    def _attempt(self, sets: ExpiringSets, name: str, address: str) -> "Attempt":
        """Return an attempt of a name, in any spelling, from an address or, for IPv6, its network."""
        client = addresses.client_of(address)
        names = self._hashed(f"\0{client}") if self._bound_names else None
        return Attempt(sets, self._hashed(f"{fold(name[:2048])}\0{client}"), names)

    def _hashed(self, text: str) -> str:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)[:_DIGEST].hex()


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
