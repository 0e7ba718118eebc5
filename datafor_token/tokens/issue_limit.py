"""Limit of the tokens that are issued for an application: its ``rate``, counted over all workers.

With the setting ``RATELIMIT_STORAGE_URI``, several hosts count together in a Redis. ``limits.storages`` says what
happens without Redis or disk: tokens are still issued.
"""

import hashlib
import hmac
import math
from collections.abc import Callable
from pathlib import Path

from datafor_token.applications.record import Application
from datafor_token.errors import Message, TooManyTokens
from datafor_token.limits.sliding_counts import LocalCounts, RedisCounts, SlidingCounts
from datafor_token.limits.storages import Storages
from datafor_token.validation.names import fold

FOLDER = "rates"
_DIGEST = 16  # bytes


class IssueLimit:
    """Counts issued tokens. ``clock`` returns seconds since 1970.

    ``key`` is a secret of this installation, so that several can share a Redis. ``shared`` is its URI, or empty; raises
    ``StartError`` for another URI. ``refused`` is called with the name of an application whose rate is reached, and
    ``failed`` with the storage that failed (see ``Storages``).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        data_dir: Path,
        clock: Callable[[], float],
        key: bytes,
        shared: str,
        refused: Callable[[str], None],
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._key = key
        self._refused = refused
        self._storages: Storages[SlidingCounts] = Storages(
            "issued tokens are counted alone",
            data_dir / FOLDER,
            shared,
            lambda tables: LocalCounts(tables, clock),
            RedisCounts,
            failed,
        )

    def count(self, application: Application) -> None:
        """Count a token that is about to be issued; raise ``TooManyTokens`` if the rate of the application is reached.

        Without a rate, do nothing.
        """
        rate = application.rate
        if rate is None:
            return
        key = hmac.digest(self._key, fold(application.name).encode(), hashlib.sha256)[:_DIGEST].hex()
        wait = self._storages.use(lambda counts: counts.add(key, rate.most, rate.seconds))
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
