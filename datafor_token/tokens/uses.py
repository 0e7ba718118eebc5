"""Last uses of personal tokens: noted in memory and stored in the background, so that no request waits for a write."""

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.validation.names import fold

SECONDS = 30.0  # between a use and the write that stores it
JTI_LENGTH = 22  # characters of the ``jti`` of a personal token; the UUIDs of identity providers are longer
_MOST = 4096  # tokens; further ones are not noted until the next write
_LONGEST_EXIT = 2.0  # seconds that the writes at the exit of the process may take


class Use(NamedTuple):
    """The last use of a token, in seconds since 1970."""

    token: VerifiedToken
    time: float


class Uses:
    """The uses since the last write, in the memory of this process.

    ``clock`` returns seconds since 1970. ``write`` stores the uses of one user's tokens; it may raise
    ``StoreUnavailable``. It is called in a thread of its own ``SECONDS`` after a use, and when the process exits.
    """

    def __init__(self, clock: Callable[[], float], write: Callable[[str, Sequence[Use]], None]) -> None:
        self._clock = clock
        self._write = write
        self._noted: dict[str, tuple[VerifiedToken, float]] = {}
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        _all.add(self)

    def note(self, token: VerifiedToken) -> None:
        """Note that a token is used now, if it can be a personal one."""
        jti, identifier = token.claims.get("jti"), token.identifier
        if not isinstance(jti, str) or len(jti) != JTI_LENGTH or identifier is None:
            return
        if identifier in self._noted or len(self._noted) < _MOST:
            # Not yet a ``Use``: creating one takes longer than all else here.
            self._noted[identifier] = token, self._clock()
            if self._timer is None:
                self._start_timer()

    def flush(self, seconds: float | None = None) -> None:
        """Store the noted uses, best effort; what cannot be stored now is tried again, unless ``seconds`` are given.

        They limit the time of all writes.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            # Before the uses are taken: a later use starts the next timer.
            self._timer = None
            taken = [Use(*self._noted.popitem()[1]) for _ in range(len(self._noted))]
        of_users: dict[str, list[Use]] = {}
        for use in taken:
            of_users.setdefault(fold(use.token.username), []).append(use)
        try:
            while of_users and (ends is None or time.monotonic() < ends):
                user, uses = next(iter(of_users.items()))
                with contextlib.suppress(RecordDamaged):
                    self._write(user, uses)
                del of_users[user]
        except StoreUnavailable:
            # An outage or a stuck writer. The writes for other users would have to wait as long.
            if ends is None:
                for use in [use for uses in of_users.values() for use in uses]:
                    # A use that was noted meanwhile is later.
                    self._noted.setdefault(use.token.identifier or "", use)
                self._start_timer()

    def stop(self) -> None:
        """Forget the noted uses, and store nothing until the next one."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            self._noted.clear()

    def forget_parent(self) -> None:
        """Forget everything in a forked process: its parent stores its own uses, and its threads do not exist here."""
        self._noted, self._timer, self._lock = {}, None, threading.Lock()

    def _start_timer(self) -> None:
        with self._lock:
            if self._timer is None:
                # Without a reference to this object, which would keep the store alive.
                self._timer = threading.Timer(SECONDS, _flush, [weakref.ref(self)])
                self._timer.daemon = True
                self._timer.start()


_all: "weakref.WeakSet[Uses]" = weakref.WeakSet()


def _flush(uses: "weakref.ref[Uses]") -> None:
    found = uses()
    if found is not None:
        found.flush()


def _forget_parent() -> None:
    for one in list(_all):
        one.forget_parent()


@atexit.register
def _finish() -> None:
    for one in list(_all):
        one.flush(_LONGEST_EXIT)


os.register_at_fork(after_in_child=_forget_parent)
