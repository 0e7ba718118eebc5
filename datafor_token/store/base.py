"""Store protocol: named JSON documents in collections.

A store knows nothing of tokens and users. Every document has a member ``name``; names that are equal after
``validation.names.fold`` belong to the same record. ``tests/store/contract.py`` tests what every store guarantees.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from datafor_token.errors import RecordDamaged

Document = dict[str, Any]
CLOCK_TOLERANCE = 2.0  # seconds between the clocks of a host and of its database that need no warning
Change = Callable[[Document | None], Document]
# The key of a record, its name, and its document or the error that reading it raises.
Changed = tuple[str, str, Document | RecordDamaged]


class AlreadyExists(Exception):
    """``create`` found a record of that name, and left it unchanged."""


@runtime_checkable
class RequestScoped(Protocol):
    """A store that reads less when it knows where a request begins and ends."""

    def begin_request(self) -> None:
        """Begin a request in the current thread."""

    def end_request(self) -> None:
        """End the request of the current thread."""


class Store(Protocol):
    """Named JSON documents in collections.

    A write that returns is durable, and every process sees it. Every method may raise:

    - ``StoreUnavailable``: the store cannot be read or written; nothing was stored.
    - ``LockTimeout``, a subclass: another writer held the lock for too long; nothing was stored.
    - ``RecordDamaged``, a subclass: the record exists, but is not a document of that name.
    - ``MaybeStored``, a subclass: a write failed at a point where the change may already be stored.

    An unknown collection is a ``ValueError``.
    """

    collections: tuple[str, ...]

    @property
    def clock_offset(self) -> float:
        """Seconds by which the clock of a database is ahead of this host's, as last seen; 0 for any other store."""

    def get(self, collection: str, name: str) -> Document | None:
        """Return the document, or None if there is no record of that name."""

    def names(self, collection: str) -> list[str]:
        """Return the names of all records, damaged ones included, in any order.

        A name may be returned in its folded spelling.
        """

    def documents(self, collection: str) -> Iterator[tuple[str, Document | RecordDamaged]]:
        """Yield the name of every record, and its document or the error that reading it raises."""

    def put(self, collection: str, document: Document) -> None:
        """Write the document, and replace the record of that name if it exists."""

    def create(self, collection: str, document: Document) -> None:
        """Write a new document; raise ``AlreadyExists`` if a record of that name exists, even a damaged one."""

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        """Read, change and write a record under one lock, and return the written document.

        ``change`` gets the stored document, or None, and returns the whole new document, whose name must fold to the
        same. If ``change`` raises an error, nothing is written, and the caller gets the error.

        ``wait`` is the longest time in seconds to wait for other writers, by default the store's lock timeout.
        """

    def delete(self, collection: str, name: str, check: Callable[[Document], object] | None = None) -> bool:
        """Delete the record, and return whether it existed.

        ``check`` gets the stored document under the lock. If it raises an error, nothing is deleted, and the caller
        gets the error.
        """

    def version(self, collection: str, name: str) -> Hashable | None:
        """Return a value that differs whenever the document may have changed, or None if there is no record.

        Reading the version is much faster than reading the document.
        """

    def stamp(self, collection: str) -> Hashable:
        """Return a value that differs whenever a store may have written or deleted a record of the collection.

        An edit inside a file, which is not a store's write, need not change it.
        """

    def changes(self, collection: str, known: Mapping[str, Hashable]) -> tuple[dict[str, Hashable], Iterator[Changed]]:
        """Return the versions of all records by key, and an iterator over the records that differ from ``known``.

        ``known`` is the first value that an earlier call returned, or empty. Keys have a form of the store's own;
        versions are those of ``version``. The iterator reads while it advances, and skips records deleted meanwhile.
        """

    def check_readable(self) -> None:
        """Raise ``StoreUnavailable`` if not every collection can be read now. Waits for no lock."""

    def check_writable(self) -> None:
        """Raise ``StoreUnavailable`` if a write would fail now, except for a lock that another writer holds."""

    def exclude_servers(self) -> AbstractContextManager[Callable[[], None]]:
        """Return a context in which no server opens the store; entering it raises ``Forbidden`` if one has it open.

        The context gives a function that raises ``StoreUnavailable`` if servers are no longer excluded.
        """
