"""What a store is: named JSON documents in collections. Nothing in it knows what a token is.

Every document carries its own ``name``; two names that ``names.fold`` makes equal are one record.
``tests/store/contract.py`` states what every store keeps.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from datafor_token.errors import RecordDamaged

Document = dict[str, Any]
Change = Callable[[Document | None], Document]
# A record's key, its name, and its document or the error that reading it gives.
Changed = tuple[str, str, Document | RecordDamaged]


class AlreadyExists(Exception):
    """``create`` found a record of that name and left it as it is."""


@runtime_checkable
class RequestScoped(Protocol):
    """A store that answers the questions of one request from as few reads as it can."""

    def begin_request(self) -> None:
        """A request begins in this thread."""

    def end_request(self) -> None:
        """It has ended."""


class Store(Protocol):
    """Named JSON documents in collections.

    Every method raises ``StoreUnavailable`` when the store cannot be read or written (nothing was
    stored then), its child ``LockTimeout`` when a writer waited too long, ``RecordDamaged`` when the
    record is there but is no document of that name, and ``MaybeStored`` when a write failed after
    the point where it may count. A write that returns is durable and seen by every process.
    """

    collections: tuple[str, ...]

    def get(self, collection: str, name: str) -> Document | None:
        """The document, or ``None`` where there is none."""

    def names(self, collection: str) -> list[str]:
        """The names of all records, damaged ones too, in no promised order and spelling (folded or not)."""

    def documents(self, collection: str) -> Iterator[tuple[str, Document | RecordDamaged]]:
        """Every record with its name, as its document or as the error that reading it gives."""

    def put(self, collection: str, document: Document) -> None:
        """Write the document, in place of the one of that name if there is one."""

    def create(self, collection: str, document: Document) -> None:
        """Write the document; raise ``AlreadyExists`` where there is one of that name, even a damaged one."""

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        """Read, change and write under one lock; answer what was written.

        ``wait`` is for how many seconds another writer is waited for, when it is not worth the usual time.

        ``change`` gets the present document or ``None`` and returns the whole new one. What it
        raises goes to the caller, and nothing is written.
        """

    def delete(self, collection: str, name: str) -> bool:
        """Remove the record; answer whether there was one."""

    def version(self, collection: str, name: str) -> Hashable | None:
        """A cheap value that differs whenever the document may have changed; ``None`` where there is none."""

    def stamp(self, collection: str) -> Hashable:
        """A cheap value that differs whenever a store may have written or removed a document of the collection."""

    def changes(self, collection: str, known: Mapping[str, Hashable]) -> tuple[dict[str, Hashable], Iterator[Changed]]:
        """The version of every record, by a key of the store's own, and the records that differ from ``known``.

        ``known`` is what an earlier call answered first; a version is one as ``version`` has it. The
        records come as they are read, each with its key; one that is gone by then does not come.
        """

    def writable(self) -> bool:
        """Whether a write would go through now; raises ``StoreUnavailable`` when not even reading does."""
