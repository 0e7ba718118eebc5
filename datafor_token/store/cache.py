"""Caches of parsed records, keyed by store version: parsing and checking a record takes longer than a look at it.

A cached value is never newer than its version, which is read before the document, and the version differs whenever the
document may have changed. So a cached value whose version is still the same is current.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, NamedTuple, TypeVar

from datafor_token.errors import RecordDamaged
from datafor_token.store.base import Document, Store

T = TypeVar("T")
# The name of a record, and the parsed record or the error that parsing it raised.
Named = tuple[str, T | RecordDamaged]

_MAX_CACHED = 4096  # records, some kilobytes each
# Seconds per record between two thorough looks at all records. A look takes a twentieth of this time.
_LOOK_INTERVAL = 50e-6
# From this number of records on, a look takes longer than a tick of the file system's clock.
_MANY = 5000
_SETTLE_TRIES, _SETTLE_PAUSE = 12, 0.005  # seconds


class RecordCache(Generic[T]):
    """Cache of the parsed records of a collection, for at most ``most`` names.

    ``parse`` raises ``RecordDamaged`` for a document that is not valid.
    """

    def __init__(self, store: Store, collection: str, parse: Callable[[Document], T], most: int = _MAX_CACHED) -> None:
        self._store = store
        self._collection = collection
        self._parse = parse
        self._most = most
        self._cached: dict[str, tuple[Hashable, T]] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> T | None:
        """Return the parsed record, or None if it does not exist; raise the errors of ``parse`` and of the store."""
        version = self._store.version(self._collection, name)
        if version is None:
            self._cached.pop(name, None)
            return None
        cached = self._cached.get(name)
        if cached is not None and cached[0] == version:
            return cached[1]
        document = self._store.get(self._collection, name)
        if document is None:
            return None
        parsed = self._parse(document)
        with self._lock:
            while len(self._cached) >= self._most:
                del self._cached[next(iter(self._cached))]
            self._cached[name] = version, parsed
        return parsed


class IndexContent(NamedTuple, Generic[T]):
    """The content of an index. Every change increases ``version``.

    ``records`` has the parsed records, by a key of the store's own.
    """

    version: int
    records: Mapping[str, Named[T]]


class RecordIndex(Generic[T]):
    """Cache of all parsed records of a collection, of any number, so a parsed record should be small.

    ``parse`` raises ``RecordDamaged`` for a document that is not valid.
    """

    def __init__(self, store: Store, collection: str, parse: Callable[[Document], T]) -> None:
        self._store = store
        self._collection = collection
        self._parse = parse
        self._lock = threading.Lock()
        self._content: IndexContent[T] = IndexContent(0, {})
        self._versions: Mapping[str, Hashable] = {}
        self._stamp: Hashable = None
        self._looked = 0.0

    def all(self, *, thorough: bool = True) -> IndexContent[T]:
        """Return every record; raise ``StoreUnavailable`` in an outage.

        Writes and deletions by a store are always seen. With ``thorough``, edits inside a file are seen too: at once
        in a small collection, and in a large one after ``_LOOK_INTERVAL`` for each record.
        """
        # Most calls need no lock, for which threads would wait: the content is replaced before its stamp.
        if not thorough and self._store.stamp(self._collection) == self._stamp:
            return self._content
        with self._lock:
            # Before the documents are read.
            stamp = self._store.stamp(self._collection)
            if stamp != self._stamp and len(self._content.records) >= _MANY:
                stamp = self._settled(stamp)
            now = time.monotonic()
            interval = len(self._content.records) * _LOOK_INTERVAL
            if stamp != self._stamp or (thorough and now - self._looked >= interval):
                self._look()
                self._stamp, self._looked = stamp, now
            return self._content

    def _settled(self, stamp: Hashable) -> Hashable:
        """Return the stamp as soon as two in a row are equal, or after a while.

        A stamp that is too new equals no other. Without this wait, each request would look at all records again.
        """
        for _ in range(_SETTLE_TRIES):
            before, stamp = stamp, self._store.stamp(self._collection)
            if stamp == before:
                break
            time.sleep(_SETTLE_PAUSE)
        return stamp

    def _look(self) -> None:
        """Read the records whose version has changed."""
        versions, changed = self._store.changes(self._collection, self._versions)
        parsed = {key: (name, self._parsed(document)) for key, name, document in changed}
        if versions == self._versions:
            return
        # Most writes change nothing of what is parsed, and after each write there is a second look when the clock has
        # ticked. Then the content stays the same, since what others derive from it takes as long as the look.
        version, records = self._content
        if versions.keys() != records.keys() or any(records[key] != one for key, one in parsed.items()):
            same = (key for key, version in versions.items() if self._versions.get(key) == version)
            # A new mapping: other threads may still read the old one.
            records = {key: records[key] for key in same if key in records} | parsed
            self._content = IndexContent(version + 1, records)
        self._versions = versions

    def _parsed(self, document: Document | RecordDamaged) -> T | RecordDamaged:
        if isinstance(document, RecordDamaged):
            return document
        try:
            return self._parse(document)
        except RecordDamaged as error:
            return error
