"""Removing records whose time is over: revocations, sessions, tickets."""

from collections.abc import Callable

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store

_SECONDS_BETWEEN = 3600


class Sweeper:
    """Sweeps one collection; ``clock`` answers seconds, ``is_over`` says which documents go."""

    def __init__(
        self, store: Store, collection: str, clock: Callable[[], float], is_over: Callable[[Document], bool]
    ) -> None:
        self._store = store
        self._collection = collection
        self._clock = clock
        self._is_over = is_over
        self._swept = 0.0

    def sweep_if_due(self) -> None:
        """Sweep if an hour has passed since the last time; to be called with each new record."""
        if self._clock() - self._swept >= _SECONDS_BETWEEN:
            self.sweep()

    def sweep(self) -> None:
        """Remove what is over; a record that cannot be read, or not be removed now, stays."""
        self._swept = self._clock()
        for name, found in self._store.documents(self._collection):
            try:
                if not isinstance(found, RecordDamaged) and self._is_over(found):
                    self._store.delete(self._collection, name)
            except StoreUnavailable:
                continue
