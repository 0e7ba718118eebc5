"""Cache of versions in a SQL store, keyed by generation.

A request first reads the generations of all collections, in one small select, and uses them until it ends. Versions
that any thread of the process read under the same generation are then cached. Outside of requests, in commands and at
the start, nothing is cached. ``store.sql.store`` explains why no request misses a change that was acknowledged before
it began: a cached version was read after its generation, on the same connection, so it can be newer, never older.
"""

import dataclasses
from collections.abc import Hashable

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


class Memories:
    """The memory of each collection, which all threads share."""

    def __init__(self) -> None:
        self._by_collection: dict[str, Memory] = {}

    def of(self, collection: str, generation: Hashable) -> Memory:
        """Return the memory of a generation.

        A request with an older generation gets a new ``Memory``, which the next request replaces.
        """
        found = self._by_collection.get(collection)
        if found is None or found.generation != generation:
            found = self._by_collection[collection] = Memory(generation)
        return found
