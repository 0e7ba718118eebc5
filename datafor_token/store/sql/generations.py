"""What a request knows of a store with generations, and what is remembered from one request to the next.

Within a request the generations of all collections are read at its first question, in one small select, and hold for
the whole of it. What was asked under the same generation before, by any thread of the process, is then answered from
memory. Outside of requests, in commands and at the start, every question is read. Why no change that was acknowledged
before a request began is missed stands at the top of ``store.sql``: what is remembered was read after its generation,
so that it can be newer than that, never older.
"""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping

UNKNOWN = object()
_NEVER_WRITTEN = (0, "")
_MOST = 10_000  # names of one collection; beyond it, memory begins anew


@dataclasses.dataclass
class Memory:
    """What was found out of one collection under one generation."""

    generation: Hashable
    versions: dict[str, Hashable | None] = dataclasses.field(default_factory=dict)
    listing: dict[str, Hashable] | None = None  # of all records, as ``changes`` answered it

    def keep(self, name: str, version: Hashable | None) -> None:
        """Remember a record's version, ``None`` for that there is none."""
        if len(self.versions) >= _MOST:
            self.versions.clear()
        self.versions[name] = version


class Generations:
    """The generations that the request of each thread goes by; ``look`` reads all of them."""

    def __init__(self, look: Callable[[], Mapping[str, Hashable]]) -> None:
        self._look = look
        self._memories: dict[str, Memory] = {}
        self._request = threading.local()

    def begin(self) -> None:
        """A request begins in this thread; what it goes by is read when it asks for something."""
        self._request.is_there, self._request.generations = True, None

    def end(self) -> None:
        """It has ended: this thread's next questions are read."""
        self._request.is_there = False

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Around a write: within it, all is read under its lock; after it, the request goes by new generations."""
        was_there = getattr(self._request, "is_there", False)
        self.end()
        try:
            yield
        finally:
            if was_there:
                self.begin()

    def of(self, collection: str) -> Hashable | None:
        """The collection's generation for this request, ``None`` where everything is to be read."""
        if not getattr(self._request, "is_there", False):
            return None
        if self._request.generations is None:
            self._request.generations = self._look()
        found: Hashable = self._request.generations.get(collection, _NEVER_WRITTEN)
        return found

    def now(self, collection: str) -> Hashable:
        """The same, read where it must be."""
        found = self.of(collection)
        return self._look().get(collection, _NEVER_WRITTEN) if found is None else found

    def memory(self, collection: str) -> Memory | None:
        """What is remembered under that generation, to be added to; ``None`` where everything is to be read.

        Whoever adds to it asked for it before reading. A request that went by an older generation gets a memory of
        its own, which the next one puts away.
        """
        generation = self.of(collection)
        if generation is None:
            return None
        found = self._memories.get(collection)
        if found is None or found.generation != generation:
            found = self._memories[collection] = Memory(generation)
        return found
