"""Passwords: argon2id hashes, and a cache of passwords that were right within the last minute."""

import base64
import os
from collections.abc import Callable

import argon2

from datafor_token import blocking
from datafor_token.applications.rules import LONGEST_PASSWORD
from datafor_token.crypto.keys import SharedKey
from datafor_token.errors import Overloaded, RecordDamaged
from datafor_token.fifo_cache import FifoCache
from datafor_token.users.hashing_queue import HashingQueue

_CACHED_SECONDS = 60
_MOST_CACHED = 1024  # passwords


class Passwords:
    """Hashes passwords with argon2id (RFC 9106) and verifies them.

    A right password is cached for a minute, as an HMAC under a key of this process alone. The HMAC covers the stored
    hash: after a change of the password, it is not found. ``clock`` returns seconds; ``looked_up`` is called with
    whether a password was cached.
    """

    def __init__(
        self,
        hasher: argon2.PasswordHasher,
        clock: Callable[[], float],
        looked_up: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.queue = HashingQueue()
        self._hasher = hasher
        self._clock = clock
        self._looked_up = looked_up
        # With OpenSSL 3, the HMAC of the standard library takes three times as long: it prepares the key each time.
        self._key = SharedKey("HS256", os.urandom(32))
        self._cached: FifoCache[bytes, float] = FifoCache(_MOST_CACHED)
        # The password of an unknown user is compared with it: that takes as long as with a known one.
        self._unknown = _hash_of_no_password(hasher)

    def hash(self, password: str) -> str:
        """Return the argon2id hash of a new password, in its standard text form."""
        with self.queue.turn():
            return blocking.in_background(self._hasher.hash, password)

    def is_cached(self, stored: str, password: str) -> bool:
        """Return whether ``password`` was right for the hash ``stored`` within the last minute."""
        since = self._cached.get(self._keyed_hash(stored, password))
        cached = since is not None and 0 <= self._clock() - since < _CACHED_SECONDS
        self._looked_up(cached)
        return cached

    def verify(self, stored: str, password: str) -> bool:
        """Return whether ``password`` is the one of the hash ``stored``.

        No password matches an empty ``stored``; finding that out takes as long as with a hash.

        Call it in a ``turn`` of the queue. Raises ``RecordDamaged`` for a hash that cannot be read, and ``Overloaded``
        if there is no memory for a hash.
        """
        # Longer passwords cannot be set: a longer one is wrong, whatever its beginning is.
        known = stored and len(password) <= LONGEST_PASSWORD
        try:
            blocking.in_background(
                self._hasher.verify,
                stored if known else self._unknown,
                password[:LONGEST_PASSWORD].encode(errors="replace"),
            )
        except argon2.exceptions.VerifyMismatchError:
            return False
        except argon2.exceptions.InvalidHashError:
            raise RecordDamaged(reason="a user's password hash is not readable") from None
        except argon2.exceptions.VerificationError:
            # It lacks memory, as far as argon2 gives a reason.
            raise Overloaded from None
        if not known:
            return False
        self._cached.put(self._keyed_hash(stored, password), self._clock())
        return True

    def _keyed_hash(self, stored: str, password: str) -> bytes:
        # The length in front: no two pairs of hash and password are joined to the same bytes.
        return self._key.sign(f"{len(stored)}:{stored}{password}".encode(errors="replace"))


def _hash_of_no_password(hasher: argon2.PasswordHasher) -> str:
    """Return a hash that no password has, without the tenth of a second that computing one takes."""
    salt, digest = (
        base64.b64encode(os.urandom(length)).rstrip(b"=").decode() for length in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${digest}"
