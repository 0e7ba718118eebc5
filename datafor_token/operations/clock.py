"""Clock of the service: that of the database that all nodes share, or that of this host for a store in files.

Revocations, grace periods, one-time links and sessions are written by one node and read by another. With the clock of
the database, they mean the same on each of them.
"""

import time

from datafor_token.errors import StartError
from datafor_token.store.base import CLOCK_TOLERANCE, Store


class ServiceClock:
    """Seconds since 1970."""

    def __init__(self) -> None:
        self._store: Store | None = None

    def follow(self, store: Store) -> None:
        """Use the clock of a store from now on; before that, the clock is that of this host."""
        self._store = store

    def __call__(self) -> float:
        """Return the time."""
        return time.time() if self._store is None else time.time() + self._store.clock_offset


def check_clock(offset: float, leeway: float) -> None:
    """Raise ``StartError`` if the clock of this host is too wrong to serve. Arguments are in seconds.

    ``offset`` is how much the clock of the database is ahead of it.
    """
    allowed = max(leeway, CLOCK_TOLERANCE)
    if abs(offset) > allowed:
        raise StartError(f"{difference(offset)}, and LEEWAY allows {allowed:g} s: synchronise both clocks by NTP")


def difference(offset: float) -> str:
    """Return the clause about a difference of the clocks (see ``check_clock``)."""
    way = "behind" if offset > 0 else "ahead of"
    return f"the clock of this host is {abs(offset):.1f} s {way} that of the database"
