"""Passwords: hashed with argon2id, a right one remembered for a minute, only so many hashes at once."""

import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import argon2

from datafor_token import cores
from datafor_token.errors import Overloaded, RecordDamaged
from datafor_token.keys import SharedKey

_REMEMBERED_SECONDS = 60
_MOST_REMEMBERED = 1024
# Each hash takes 64 MiB and a core: two at once in a worker, and nobody waits longer than this for one.
_HASHES_AT_ONCE = 2
_LONGEST_WAIT = 10.0  # seconds
_NICENESS = 10  # a ninth of the weight of others, where all want to run


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
        self._process: int | None = None
        self._slots = threading.BoundedSemaphore(_HASHES_AT_ONCE)
        # What a password of nobody is compared with, so that nobody costs as much as somebody.
        self._nobody = hasher.hash(secrets.token_urlsafe(32))

    def hash(self, password: str) -> str:
        """The argon2id hash of a new password, in its standard text form."""
        with self.slot():
            return self._hasher.hash(password)

    def remembers(self, stored: str, password: str) -> bool:
        """Whether ``password`` was right for the hash ``stored`` within the last minute."""
        since = self._remembered.get(self._mark(stored, password))
        remembered = since is not None and 0 <= self._clock() - since < _REMEMBERED_SECONDS
        self._looked_up(remembered)
        return remembered

    def match(self, stored: str, password: str) -> bool:
        """Whether ``password`` is the one of the hash ``stored``; an empty ``stored`` takes as long and is no.

        To be called within a ``slot``.
        """
        try:
            self._give_way(stored or self._nobody, password.encode(errors="replace"))
        except argon2.exceptions.VerifyMismatchError:
            return False
        except argon2.exceptions.InvalidHashError:
            raise RecordDamaged(reason="a user's password hash is not readable") from None
        except argon2.exceptions.VerificationError:
            # No memory for the hash, as far as argon2 says anything.
            raise Overloaded from None
        if not stored:
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

    def _give_way(self, stored: str, password: bytes) -> None:
        """Verify in a thread that gives way: whoever guesses passwords must not slow down who has one.

        One hash takes both cores of a small machine; with its four threads it had more of them than all requests.
        """
        if self._process != os.getpid():
            # In a process that was forked, the threads of the one before are not there.
            self._threads = ThreadPoolExecutor(_HASHES_AT_ONCE, initializer=_be_nice)
            self._process = os.getpid()
        self._threads.submit(self._hasher.verify, stored, password).result()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A place to hash in, of which there are few; raises ``Overloaded`` after too long a wait."""
        if not self._slots.acquire(timeout=_LONGEST_WAIT):
            raise Overloaded
        try:
            yield
        finally:
            self._slots.release()


def _be_nice() -> None:
    cores.leave()
    # Only on Linux is a thread's niceness its own; those that argon2 begins inherit it.
    if sys.platform == "linux":
        thread = threading.get_native_id()
        # Some sandboxes forbid it: then hashes are as quick as everything else.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
