"""Last uses of personal tokens: noted in memory and stored in the background, so that no request waits for a write."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.background import BackgroundWriter
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.validation.names import fold

SECONDS = 30.0  # between a use and the write that stores it
JTI_LENGTH = 22  # characters of the ``jti`` of a personal token; the UUIDs of identity providers are longer
_MOST = 4096  # tokens; further ones are not noted until the next write


class Use(NamedTuple):
    """The last use of a token, in seconds since 1970."""

    token: VerifiedToken
    time: float


class Uses(BackgroundWriter):
    """The uses since the last write, in the memory of this process.

    ``clock`` returns seconds since 1970. ``write`` stores the uses of one user's tokens; it may raise
    ``StoreUnavailable``.
    """

    seconds = SECONDS

    def __init__(self, clock: Callable[[], float], write: Callable[[str, Sequence[Use]], None]) -> None:
        super().__init__()
        self._clock = clock
        self._write = write
        self._noted: dict[str, tuple[VerifiedToken, float]] = {}

    def note(self, token: VerifiedToken) -> None:
        """Note that a token is used now, if it can be a personal one."""
        jti, identifier = token.claims.get("jti"), token.identifier
        if not isinstance(jti, str) or len(jti) != JTI_LENGTH or identifier is None:
            return
        if identifier in self._noted or len(self._noted) < _MOST:
            # Not yet a ``Use``: creating one takes longer than all else here.
            self._noted[identifier] = token, self._clock()
            self.wake()

    def store_noted(self, ends: float | None) -> bool:
        """Store the noted uses, with one write for each user."""
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
            return False
        return True

    def forget_noted(self) -> None:
        """Forget the noted uses."""
        self._noted = {}
