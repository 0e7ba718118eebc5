"""Store wrapper that counts operations and failures."""

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Concatenate, ParamSpec, TypeVar

from datafor_token.errors import LockTimeout, MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.base import Change, Changed, Document, Store

P = ParamSpec("P")
R = TypeVar("R")

# The kinds of failures, subclasses first.
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
        self._count_operation(operation, collection)
        try:
            return method(self, collection, *args, **kwargs)
        except StoreUnavailable as error:
            # A caller that limits the wait expects a timeout.
            if not (isinstance(error, LockTimeout) and kwargs.get("wait") is not None):
                self.count_failure(collection, error)
            raise

    return counting


class Metered:
    """A ``Store`` (see ``store.base``) that delegates to another store.

    ``count_operation`` is called with the operation and the collection, ``count_failure`` with the collection and one
    of the values of ``KINDS``.
    """

    def __init__(
        self, store: Store, count_operation: Callable[[str, str], None], count_failure: Callable[[str, str], None]
    ) -> None:
        self.collections = store.collections
        self._store = store
        self._count_operation = count_operation
        self._count_kind = count_failure

    @property
    def clock_offset(self) -> float:
        return self._store.clock_offset

    def count_failure(self, collection: str, error: StoreUnavailable) -> None:
        """Count a failure by its kind."""
        self._count_kind(collection, next(word for kind, word in KINDS.items() if isinstance(error, kind)))

    @_counted
    def get(self, collection: str, name: str) -> Document | None:
        return self._store.get(collection, name)

    @_counted
    def names(self, collection: str) -> list[str]:
        return self._store.names(collection)

    def documents(self, collection: str) -> Iterator[tuple[str, Document | RecordDamaged]]:
        self._count_operation("documents", collection)
        try:
            for name, found in self._store.documents(collection):
                if isinstance(found, RecordDamaged):
                    self.count_failure(collection, found)
                yield name, found
        except StoreUnavailable as error:
            self.count_failure(collection, error)
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
    def delete(self, collection: str, name: str, check: Callable[[Document], object] | None = None) -> bool:
        return self._store.delete(collection, name, check)

    @_counted
    def changes(self, collection: str, known: Mapping[str, Hashable]) -> tuple[dict[str, Hashable], Iterator[Changed]]:
        versions, changed = self._store.changes(collection, known)
        return versions, self._watched(collection, changed)

    def _watched(self, collection: str, changed: Iterator[Changed]) -> Iterator[Changed]:
        try:
            yield from changed
        except StoreUnavailable as error:
            self.count_failure(collection, error)
            raise

    def version(self, collection: str, name: str) -> Hashable | None:
        # Only failures are counted: it is called several times in each request, and costs little more than counting.
        try:
            return self._store.version(collection, name)
        except StoreUnavailable as error:
            self.count_failure(collection, error)
            raise

    def stamp(self, collection: str) -> Hashable:
        # As in ``version``.
        try:
            return self._store.stamp(collection)
        except StoreUnavailable as error:
            self.count_failure(collection, error)
            raise

    def check_readable(self) -> None:
        self._store.check_readable()

    def check_writable(self) -> None:
        self._store.check_writable()

    def exclude_servers(self) -> AbstractContextManager[Callable[[], None]]:
        return self._store.exclude_servers()
