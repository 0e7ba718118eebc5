"""Fencing of a primary that was replaced: what it returns is old, and what it accepts is lost.

Each promotion of a standby of PostgreSQL begins a new timeline with a higher number. The highest number that was seen
is shared by the processes that are forked from the one that opened the database: the workers of a node.
"""

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql.shared_number import SharedNumber


class Fenced(StoreUnavailable):
    """The connection is to a primary that was replaced: nothing was read from it, and nothing was stored."""


class Timelines:
    """The highest timeline that a process of this node has seen."""

    def __init__(self) -> None:
        # Two processes that set it at once set the same number, or nearly so: each later connection corrects it.
        self._highest = SharedNumber()

    def check(self, timeline: int) -> None:
        """Note the timeline of a server; raise ``Fenced`` if a higher one was seen."""
        highest = int(self._highest.value)
        if timeline < highest:
            raise Fenced(
                reason=f"fencing: a host of the database is on timeline {timeline}, although timeline {highest} exists:"
                " it is a former primary; stop it, and join it to the present one as a standby"
            )
        if timeline > highest:
            self._highest.value = timeline
