"""What is made of records, made once for each version of a record: parsing and checking cost more than looking.

Right because the store's ``version`` differs whenever a document may have changed, by whomever, and is
asked before the document is read: what is kept is never newer than what it is kept for.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from datafor_token.errors import RecordDamaged
from datafor_token.store.base import Document, Store

T = TypeVar("T")
# A record's name, and what it is or what is wrong with it.
Named = tuple[str, T | RecordDamaged]

_MOST = 4096  # things, each of some kilobytes
# Seconds for each record between two looks at all of them: a look costs a twentieth of it.
_LOOK = 50e-6
# From so many records on a look takes longer than the file system's clock needs to go on.
_MANY = 5000
_TURNS, _TURN = 12, 0.005  # seconds


class RecordCache(Generic[T]):
    """What ``make`` makes of a document, of those asked for last; it raises ``RecordDamaged`` for what is none.

    Raises ``StoreUnavailable`` in an outage, as the store does.
    """

    def __init__(self, store: Store, collection: str, make: Callable[[Document], T], most: int = _MOST) -> None:
        self._store = store
        self._collection = collection
        self._make = make
        self._most = most
        self._one: dict[str, tuple[Hashable, T]] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> T | None:
        """What the record of that name is; ``None`` where there is none."""
        version = self._store.version(self._collection, name)
        if version is None:
            self._one.pop(name, None)
            return None
        kept = self._one.get(name)
        if kept is not None and kept[0] == version:
            return kept[1]
        document = self._store.get(self._collection, name)
        if document is None:
            return None
        made = self._make(document)
        with self._lock:
            while len(self._one) >= self._most:
                del self._one[next(iter(self._one))]
            self._one[name] = version, made
        return made


class RecordIndex(Generic[T]):
    """What ``make`` makes of each document of a collection, of however many: let it be small.

    ``make`` and errors are as in ``RecordCache``.
    """

    def __init__(self, store: Store, collection: str, make: Callable[[Document], T]) -> None:
        self._store = store
        self._collection = collection
        self._make = make
        self._lock = threading.Lock()
        self._all: Mapping[str, Named[T]] = {}
        self._versions: Mapping[str, Hashable] = {}
        self._stamp: Hashable = None
        self._looked = 0.0

    def all(self, *, thorough: bool = True) -> Mapping[str, Named[T]]:
        """Every record, by a key of the store's own: the same object for as long as nothing changed.

        Records that were written or removed by a store are always seen. ``thorough``: those too that
        somebody wrote into by hand without replacing the file; of many records only now and then.
        """
        with self._lock:
            # Before the documents are read.
            stamp = self._store.stamp(self._collection)
            if stamp != self._stamp and len(self._all) >= _MANY:
                stamp = self._settled(stamp)
            now = time.monotonic()
            if stamp != self._stamp or (thorough and now - self._looked >= len(self._all) * _LOOK):
                self._look_again()
                self._stamp, self._looked = stamp, now
            return self._all

    def _settled(self, stamp: Hashable) -> Hashable:
        """Return the stamp as soon as it is equal twice, or after a while.

        A stamp that is too new equals none, and each request would look at all records again until it is older.
        """
        for _ in range(_TURNS):
            before, stamp = stamp, self._store.stamp(self._collection)
            if stamp == before:
                break
            time.sleep(_TURN)
        return stamp

    def _look_again(self) -> None:
        versions, changed = self._store.changes(self._collection, self._versions)
        made = {key: (name, self._made(document)) for key, name, document in changed}
        if versions == self._versions:
            return
        # After a write there is a second look, once the clock has gone on, and most writes change nothing of what is
        # kept here: then whatever was made of all records stays right, which takes as long to make as to look.
        if versions.keys() != self._all.keys() or any(self._all[key] != one for key, one in made.items()):
            # A new one: other threads may still read the old one.
            same = (key for key, version in versions.items() if self._versions.get(key) == version)
            self._all = {key: self._all[key] for key in same if key in self._all} | made
        self._versions = versions

    def _made(self, document: Document | RecordDamaged) -> T | RecordDamaged:
        if isinstance(document, RecordDamaged):
            return document
        try:
            return self._make(document)
        except RecordDamaged as error:
            return error
