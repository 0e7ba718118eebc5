"""Difference between the clock of the database and that of this host."""

import logging

from datafor_token.store.base import CLOCK_TOLERANCE
from datafor_token.store.sql.shared_number import SharedNumber
from datafor_token.validation import logs

log = logging.getLogger(__name__)


class DatabaseClock:
    """Estimate of the difference, from the times that statements of the database returned.

    The processes that are forked from the one that opened the database share it: one that has had no request for a
    while has the present estimate too.
    """

    def __init__(self) -> None:
        self._offset = SharedNumber()

    @property
    def offset(self) -> float:
        """Seconds by which the database is ahead; 0 before the first statement."""
        return self._offset.value

    def observe(self, database: float, before: float, after: float) -> None:
        """Take a time of the database that was read between two times of this host, all in seconds since 1970."""
        # It may have been read at any moment between them. Within that uncertainty the estimate stays as it is, so that
        # time does not jump with each statement.
        found, uncertainty, known = database - (before + after) / 2, (after - before) / 2, self.offset
        if abs(found - known) <= uncertainty:
            return
        self._offset.value = found
        if abs(found) > CLOCK_TOLERANCE >= abs(known):
            log.warning(logs.event("clocks differ", seconds=f"{found:.3f}"))
