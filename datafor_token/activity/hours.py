"""Counts of each hour: tokens issued, sign-ins accepted and refused."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.activity import records
from datafor_token.errors import MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache

RECORD = "hours"
KEPT = 48  # hours
_HOUR = 3_600_000  # milliseconds

# The numbers of one hour: tokens issued, sign-ins accepted, sign-ins refused.
_Counts = list[int]
ISSUED, ACCEPTED, REFUSED = range(3)
_NONE = [0, 0, 0]


class Hour(NamedTuple):
    """Counts of one hour, which begins at ``begins`` (milliseconds since 1970)."""

    begins: int
    issued: int
    accepted: int
    refused: int


class Hours:
    """The counts of all workers and nodes, of the last ``KEPT`` hours. ``clock`` returns seconds since 1970."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._cache = RecordCache(store, records.COLLECTION, hours_of)
        self._lock = threading.Lock()
        self._noted: dict[int, _Counts] = {}

    def last(self, number: int) -> Sequence[Hour]:
        """Return the counts of the last hours, the present one last; raise ``StoreUnavailable``.

        What happened less than a minute ago may be missing.
        """
        found = records.read(self._cache, RECORD, {})
        present = self._present()
        begins = [present - back * _HOUR for back in reversed(range(number))]
        return [Hour(hour, *found.get(str(hour), _NONE)) for hour in begins]

    def count(self, what: int) -> None:
        """Count one more of ``ISSUED``, ``ACCEPTED`` or ``REFUSED`` in the present hour, in memory."""
        hour = self._present()
        with self._lock:
            self._noted.setdefault(hour, list(_NONE))[what] += 1

    def store_noted(self) -> bool:
        """Add the counts in memory to the stored ones; return False if an outage leaves them for the next attempt."""
        with self._lock:
            taken, self._noted = self._noted, {}
        if not taken:
            return True
        oldest = self._present() - (KEPT - 1) * _HOUR

        def change(document: Document | None) -> Document:
            counts = {int(hour): found for hour, found in hours_of(document).items()} if document else {}
            for hour, added in taken.items():
                counts[hour] = [one + more for one, more in zip(counts.get(hour, _NONE), added, strict=True)]
            # Hours to come, of a clock that was wrong, are left out too.
            kept = {str(hour): counts[hour] for hour in sorted(counts) if oldest <= hour < oldest + KEPT * _HOUR}
            return {**(document or {"format": records.FORMAT, "name": RECORD}), "hours": kept}

        try:
            self._store.update(records.COLLECTION, RECORD, change, wait=records.WAIT)
        except (MaybeStored, RecordDamaged):
            # To count nothing twice, what may be stored is not tried again.
            return True
        except StoreUnavailable:
            with self._lock:
                for hour, counts in taken.items():
                    later = self._noted.get(hour, _NONE)
                    self._noted[hour] = [one + more for one, more in zip(counts, later, strict=True)]
            return False
        return True

    def forget_noted(self) -> None:
        """Forget the counts in memory, also in a forked process, where another thread may have held the lock."""
        self._noted, self._lock = {}, threading.Lock()

    def _present(self) -> int:
        return int(self._clock() // 3600) * _HOUR


def hours_of(document: Document) -> Mapping[str, _Counts]:
    """Return the counts of a record by the begin of their hour; raise ``RecordDamaged``."""
    found: Mapping[str, Any] = records.member(document, "hours", _are_counts)
    if not all(hour.isascii() and hour.isdecimal() and len(hour) < 16 for hour in found):
        raise RecordDamaged(reason=f"{records.COLLECTION}/{RECORD}: hours has an invalid value")
    return found


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and len(value) == len(_NONE) and all(type(one) is int for one in value)
