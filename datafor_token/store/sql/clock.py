"""Difference between the clock of the database and that of this host."""


class DatabaseClock:
    """Estimate of the difference, from the times that statements of the database returned."""

    def __init__(self) -> None:
        self.offset = 0.0  # seconds by which the database is ahead

    def observe(self, database: float, before: float, after: float) -> None:
        """Take a time of the database that was read between two times of this host, all in seconds since 1970."""
        # It may have been read at any moment between them. Within that uncertainty the estimate stays as it is, so that
        # time does not jump with each statement.
        offset, uncertainty = database - (before + after) / 2, (after - before) / 2
        if abs(offset - self.offset) > uncertainty:
            self.offset = offset
