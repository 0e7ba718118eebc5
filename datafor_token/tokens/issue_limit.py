"""Limit of the tokens that are issued for an application: its ``rate``, counted over all workers.

With the setting ``RATELIMIT_STORAGE_URI``, several hosts count together in a Redis. ``limits.storages`` says what
happens without Redis or disk: tokens are still issued.
"""

import math
from collections.abc import Callable

from datafor_token.applications.record import Application
from datafor_token.errors import Message, TooManyTokens
from datafor_token.limits.keyed_counts import KeyedCounts
from datafor_token.validation.names import fold


class IssueLimit:
    """Counts issued tokens. ``refused`` is called with the name of an application whose rate is reached."""

    def __init__(self, counts: KeyedCounts, refused: Callable[[str], None]) -> None:
        self._counts = counts
        self._refused = refused

    def count(self, application: Application) -> None:
        """Count a token that is about to be issued; raise ``TooManyTokens`` if the rate of the application is reached.

        Without a rate, do nothing.
        """
        rate = application.rate
        if rate is None:
            return
        wait = self._counts.add(fold(application.name), rate.most, rate.seconds)
        if wait is not None:
            self._refused(application.name)
            seconds = max(1, math.ceil(wait))
            sentence = Message(
                "too many tokens: application %(name)s issues at most %(rate)s; try again in %(seconds)s seconds",
                name=application.name,
                rate=rate,
                seconds=seconds,
            )
            raise TooManyTokens(sentence, seconds)
