"""Removal of what has expired: revocations, sessions, tickets, entries of personal tokens."""

from collections.abc import Callable

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store

_SECONDS_BETWEEN = 3600
# Seconds for which a record that refuses something is kept after nothing is left to refuse: a clock that was wrong
# meanwhile, or was set back, accepts nothing again.
LATER = 86400.0


class Sweeper:
    """Removes expired records from one collection.

    ``clock`` returns seconds since 1970. ``is_expired`` returns whether a document has expired, or a part of it.
    ``remove`` removes that by the name of the record; by default it deletes the record.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        clock: Callable[[], float],
        is_expired: Callable[[Document], bool],
        remove: Callable[[str], object] | None = None,
    ) -> None:
        self._store = store
        self._collection = collection
        self._clock = clock
        self._is_expired = is_expired
        self._remove = remove or (lambda name: store.delete(collection, name))
        self._swept = 0.0

    def sweep_if_due(self) -> None:
        """Sweep if the last sweep was an hour ago or earlier. Call it with each new record."""
        # A last sweep far ahead is from before the clock was set back.
        if abs(self._clock() - self._swept) >= _SECONDS_BETWEEN:
            self.sweep()

    def sweep(self) -> None:
        """Remove the expired records. A record that cannot be read or removed now stays."""
        self._swept = self._clock()
        for name, found in self._store.documents(self._collection):
            try:
                if not isinstance(found, RecordDamaged) and self._is_expired(found):
                    self._remove(name)
            except StoreUnavailable:
                continue
