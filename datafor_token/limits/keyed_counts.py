"""Counts of events in a sliding period, by keyed hashes of what they are about."""

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

from datafor_token.limits.sliding_counts import LocalCounts, RedisCounts, SlidingCounts
from datafor_token.limits.storages import Storages

_DIGEST = 16  # bytes


class KeyedCounts(Storages[SlidingCounts]):
    """Counts in storages, whose ``event``, ``folder``, ``shared`` and ``failed`` are those of ``Storages``.

    ``key`` is a secret of this installation, so that several can share a Redis, and nobody can compute from a hash what
    was counted. ``clock`` returns seconds since 1970.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        event: str,
        folder: Path,
        shared: str,
        key: bytes,
        clock: Callable[[], float],
        failed: Callable[[str], None],
    ) -> None:
        super().__init__(event, folder, shared, lambda tables: LocalCounts(tables, clock), RedisCounts, failed)
        self._key = key

    def add(self, text: str, most: int, seconds: int) -> float | None:
        """Count an event about a text in the first storage that works; see ``SlidingCounts.add``."""
        hashed = hmac.digest(self._key, text.encode(), hashlib.sha256)[:_DIGEST].hex()
        return self.use(lambda counts: counts.add(hashed, most, seconds))
