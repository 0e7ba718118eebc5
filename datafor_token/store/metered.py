"""A store whose operations are counted: what is asked of it, and what it could not do."""

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Concatenate, ParamSpec, TypeVar

from datafor_token.errors import LockTimeout, MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.base import Change, Changed, Document, Store

P = ParamSpec("P")
R = TypeVar("R")

# The kinds of failures, the particular ones first.
KINDS = {
    LockTimeout: "lock_timeout",
    RecordDamaged: "damaged",
    MaybeStored: "maybe_stored",
    StoreUnavailable: "unavailable",
}


def _counted(method: Callable[Concatenate["Metered", str, P], R]) -> Callable[Concatenate["Metered", str, P], R]:
    operation = method.__name__

    @functools.wraps(method)
    def counting(self: "Metered", collection: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self.counted(operation, collection)
        try:
            return method(self, collection, *args, **kwargs)
        except StoreUnavailable as error:
            # Whoever says how long to wait does without when it takes longer.
            if not (isinstance(error, LockTimeout) and kwargs.get("wait") is not None):
                self.note(collection, error)
            raise

    return counting


class Metered:
    """A ``Store`` (see ``store.base``) that hands everything on.

    ``counted`` is told the operation and the collection, ``failed`` the collection and one of ``KINDS``.
    """

    def __init__(self, store: Store, counted: Callable[[str, str], None], failed: Callable[[str, str], None]) -> None:
        self.collections = store.collections
        self._store = store
        self.counted = counted
        self._failed = failed

    def note(self, collection: str, error: StoreUnavailable) -> None:
        """Count a failure by its kind."""
        self._failed(collection, next(word for kind, word in KINDS.items() if isinstance(error, kind)))

    @_counted
    def get(self, collection: str, name: str) -> Document | None:
        return self._store.get(collection, name)

    @_counted
    def names(self, collection: str) -> list[str]:
        return self._store.names(collection)

    def documents(self, collection: str) -> Iterator[tuple[str, Document | RecordDamaged]]:
        self.counted("documents", collection)
        try:
            for name, found in self._store.documents(collection):
                if isinstance(found, RecordDamaged):
                    self.note(collection, found)
                yield name, found
        except StoreUnavailable as error:
            self.note(collection, error)
            raise

    @_counted
    def put(self, collection: str, document: Document) -> None:
        self._store.put(collection, document)

    @_counted
    def create(self, collection: str, document: Document) -> None:
        self._store.create(collection, document)

    @_counted
    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        return self._store.update(collection, name, change, wait=wait)

    @_counted
    def delete(self, collection: str, name: str) -> bool:
        return self._store.delete(collection, name)

    @_counted
    def changes(self, collection: str, known: Mapping[str, Hashable]) -> tuple[dict[str, Hashable], Iterator[Changed]]:
        versions, changed = self._store.changes(collection, known)
        return versions, self._watched(collection, changed)

    def _watched(self, collection: str, changed: Iterator[Changed]) -> Iterator[Changed]:
        try:
            yield from changed
        except StoreUnavailable as error:
            self.note(collection, error)
            raise

    def version(self, collection: str, name: str) -> Hashable | None:
        # Only what goes wrong: it is asked several times in each request, and costs little more than to count it.
        try:
            return self._store.version(collection, name)
        except StoreUnavailable as error:
            self.note(collection, error)
            raise

    def stamp(self, collection: str) -> Hashable:
        # The same.
        try:
            return self._store.stamp(collection)
        except StoreUnavailable as error:
            self.note(collection, error)
            raise

    def writable(self) -> bool:
        return self._store.writable()
