"""Cache of versions in a SQL store, keyed by generation.

A request reads the generations of all collections with its first operation, in one small select, and uses them until it
ends. Versions that any thread of the process read under the same generation are then cached. Outside of requests, in
commands and at the start, nothing is cached. ``store.sql.store`` explains why no request misses a change that was
acknowledged before it began: a cached version was read after its generation, so it can be newer than it, never older.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping

UNKNOWN = object()
_NEVER_WRITTEN = (0, "")
_MOST = 10_000  # names of one collection; the cache of versions is emptied when it is full


@dataclasses.dataclass
class Memory:
    """The versions of one collection that were read under one generation."""

    generation: Hashable
    versions: dict[str, Hashable | None] = dataclasses.field(default_factory=dict)
    listing: dict[str, Hashable] | None = None  # versions of all records, as ``changes`` returned them

    def add(self, name: str, version: Hashable | None) -> None:
        """Cache a record's version; None means that it does not exist."""
        if len(self.versions) >= _MOST:
            self.versions.clear()
        self.versions[name] = version


class Generations:
    """The generations that each thread's request uses. ``read`` returns the generation of every collection."""

    def __init__(self, read: Callable[[], Mapping[str, Hashable]]) -> None:
        self._read = read
        self._memories: dict[str, Memory] = {}
        self._request = threading.local()

    def begin(self) -> None:
        """Begin a request in this thread. The generations are read at its first operation."""
        self._request.is_active, self._request.generations = True, None

    def end(self) -> None:
        """End the request: further operations of this thread are not cached."""
        self._request.is_active = False

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Surround a write: within it nothing is cached, and after it the request reads the generations again."""
        was_active = getattr(self._request, "is_active", False)
        self.end()
        try:
            yield
        finally:
            if was_active:
                self.begin()

    def cached(self, collection: str) -> Hashable | None:
        """Return the collection's generation for this request, or None outside of a request."""
        if not getattr(self._request, "is_active", False):
            return None
        if self._request.generations is None:
            self._request.generations = self._read()
        found: Hashable = self._request.generations.get(collection, _NEVER_WRITTEN)
        return found

    def current(self, collection: str) -> Hashable:
        """Return the collection's generation for this request; outside of a request, read it."""
        found = self.cached(collection)
        return self._read().get(collection, _NEVER_WRITTEN) if found is None else found

    def memory(self, collection: str) -> Memory | None:
        """Return the cached versions of the request's generation, or None outside of a request.

        Call it before reading what is added to it. A request with an older generation gets a new ``Memory``, which the
        next request replaces.
        """
        generation = self.cached(collection)
        if generation is None:
            return None
        found = self._memories.get(collection)
        if found is None or found.generation != generation:
            found = self._memories[collection] = Memory(generation)
        return found
