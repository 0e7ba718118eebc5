"""Passwords: hashed with argon2id, a right one cached for a minute, one hash at a time in each worker."""

import base64
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import argon2

from datafor_token import blocking
from datafor_token.applications.rules import LONGEST_PASSWORD
from datafor_token.crypto.keys import SharedKey
from datafor_token.errors import Overloaded, RecordDamaged

_REMEMBERED_SECONDS = 60
_MOST_REMEMBERED = 1024
# Each hash takes 64 MiB, and four threads of its own: several at once in a worker are no faster together.
_HASHES_AT_ONCE = 1
_MOST_WAITING = 64  # requests; each of them holds a thread and its connection
_LONGEST_WAIT = 30.0  # seconds; half of what proxies wait, and twenty at once on a busy machine take half of it


class Passwords:
    """Hashes passwords with argon2id (RFC 9106) and checks them.

    A right password is remembered for a minute as an HMAC under a key of this process alone, bound
    to the stored hash: any change of the password forgets it. ``clock`` answers seconds; ``looked_up`` is
    told whether a password was remembered.
    """

    def __init__(
        self,
        hasher: argon2.PasswordHasher,
        clock: Callable[[], float],
        looked_up: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._hasher = hasher
        self._clock = clock
        self._looked_up = looked_up
        # Begun once: the standard library's takes three times as long with OpenSSL 3.
        self._key = SharedKey("HS256", os.urandom(32))
        self._remembered: dict[bytes, float] = {}
        self._queue = threading.BoundedSemaphore(_MOST_WAITING)
        self._slots = threading.BoundedSemaphore(_HASHES_AT_ONCE)
        # What a password of nobody is compared with, so that nobody costs as much as somebody.
        self._nobody = _hash_of_nobody(hasher)

    def hash(self, password: str) -> str:
        """The argon2id hash of a new password, in its standard text form."""
        with self.slot():
            return blocking.in_background(self._hasher.hash, password)

    def remembers(self, stored: str, password: str) -> bool:
        """Whether ``password`` was right for the hash ``stored`` within the last minute."""
        since = self._remembered.get(self._mark(stored, password))
        remembered = since is not None and 0 <= self._clock() - since < _REMEMBERED_SECONDS
        self._looked_up(remembered)
        return remembered

    def match(self, stored: str, password: str) -> bool:
        """Return whether ``password`` is the one of the hash ``stored``; an empty ``stored`` takes as long and is not.

        Call it within a ``slot``.
        """
        # No password that can be set is longer: what is cut off makes it a wrong one, whatever the rest is.
        known = stored and len(password) <= LONGEST_PASSWORD
        try:
            blocking.in_background(
                self._hasher.verify,
                stored if known else self._nobody,
                password[:LONGEST_PASSWORD].encode(errors="replace"),
            )
        except argon2.exceptions.VerifyMismatchError:
            return False
        except argon2.exceptions.InvalidHashError:
            raise RecordDamaged(reason="a user's password hash is not readable") from None
        except argon2.exceptions.VerificationError:
            # No memory for the hash, as far as argon2 says anything.
            raise Overloaded from None
        if not known:
            return False
        self._remember(self._mark(stored, password))
        return True

    def _mark(self, stored: str, password: str) -> bytes:
        # The length in front: no two pairs of hash and password run together to the same bytes.
        return self._key.sign(f"{len(stored)}:{stored}{password}".encode(errors="replace"))

    def _remember(self, mark: bytes) -> None:
        if len(self._remembered) >= _MOST_REMEMBERED:
            # All at once: rare, and each comes back with its next call.
            self._remembered.clear()
        self._remembered[mark] = self._clock()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for one's turn to hash; raises ``Overloaded`` where too many wait, or this one for too long.

        Meanwhile other requests are served: guesses must not hold the threads of people who have a password.
        """
        if not self._queue.acquire(blocking=False):
            raise Overloaded
        try:
            with blocking.waiting():
                if not self._slots.acquire(timeout=_LONGEST_WAIT):
                    raise Overloaded
                try:
                    yield
                finally:
                    self._slots.release()
        finally:
            self._queue.release()


def _hash_of_nobody(hasher: argon2.PasswordHasher) -> str:
    """Return a hash that no password has, without the tenth of a second that it takes to compute one."""
    salt, digest = (
        base64.b64encode(os.urandom(length)).rstrip(b"=").decode() for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${digest}"
