"""Milestones of an installation, such as its last backup: the time of each, in one record of the store.

All nodes of a store share them. A backup has none of them, and a restore leaves the present ones.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from datafor_token.crypto.at_rest import COLLECTION
from datafor_token.errors import StoreUnavailable
from datafor_token.printable import printable
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache

RECORD = "milestones"
BACKUP = "backup"  # the last one
GATE_SIGN_IN = "gate_sign_in"  # the first one
FIRST_STEPS_OVER = "first_steps_over"  # all are done, or an Administrator has hidden them
_WAIT = 1.0  # seconds; what reaches a milestone must not wait for its record
_LONGEST = 1000  # characters of a detail


class Milestone(NamedTuple):
    """When it was reached, in milliseconds since 1970, and how, if that is of interest."""

    time: int
    detail: str = ""


class Milestones:
    """The milestones that were reached. ``clock`` returns seconds since 1970."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._cache = RecordCache(store, COLLECTION, _read)
        self._known: set[str] = set()

    def all(self) -> Mapping[str, Milestone]:
        """Return the milestones by name; raise ``StoreUnavailable``, and ``RecordDamaged`` for a damaged record."""
        return self._cache.get(RECORD) or {}

    def reach(self, name: str, detail: str = "") -> bool:
        """Store that a milestone is reached now, best effort; return whether it was stored."""
        reached = {"time": int(self._clock() * 1000), "detail": printable(detail)[:_LONGEST]}
        return self._change(lambda milestones: {**milestones, name: reached})

    def reach_once(self, name: str) -> None:
        """Store, best effort, that a milestone is reached, unless it was reached before. Usually this reads nothing."""
        if name in self._known:
            return
        # Also after a failure: nothing is tried again at each request.
        self._known.add(name)
        try:
            if name in self.all():
                return
        except StoreUnavailable:
            return
        self.reach(name)

    def withdraw(self, name: str) -> bool:
        """Remove a milestone, best effort; return whether that was stored."""
        return self._change(lambda milestones: {other: one for other, one in milestones.items() if other != name})

    def _change(self, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bool:
        def changed(document: Document | None) -> Document:
            begin = document or {"format": 1, "name": RECORD}
            return {**begin, RECORD: dict(change(_members(begin)))}

        try:
            self._store.update(COLLECTION, RECORD, changed, wait=_WAIT)
        except StoreUnavailable:
            return False
        return True


def _read(document: Document) -> Mapping[str, Milestone]:
    """Return the milestones of a record. What was edited by hand, and has another type, is left out."""
    return {
        name: Milestone(one["time"], str(one.get("detail", "")))
        for name, one in _members(document).items()
        if isinstance(one, dict) and type(one.get("time")) is int
    }


def _members(document: Document) -> Mapping[str, Any]:
    found = document.get(RECORD)
    return found if isinstance(found, dict) else {}
