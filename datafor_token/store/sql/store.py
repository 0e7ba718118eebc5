"""SQL store: records in a database that several nodes share.

**Every node sees a change before it is acknowledged.** Each write is one transaction. Its first statement increases the
generation of the collection in ``datafor_generations`` and so locks that row until the end of the transaction: the
writers of a collection take turns, on all nodes, as they do with the lock of the file store. The new document and the
new generation are committed together, on the primary, before the call returns.

**A request costs one small read.** Its first operation takes a connection and reads the generations of all collections
on it. The request uses both until it ends (see ``sessions`` and ``generations``). ``stamp`` is the generation of the
collection; ``version`` and ``changes`` are cached by generation. No acknowledged change is missed: it was committed
before the request began, and a primary returns all that is committed, so the request reads the generation of that
change or a later one, which differs from the generation of any older cached version. A version read after its
generation can be newer than it, never older: then the next request reads a higher generation, and reads the version
again. Replicas would break this, so they are never read: a server without a position in a log of its own is refused,
and so is a primary that was replaced (see ``fencing``). A generation includes the identifier of the last write: after a
failover that lost writes, or a restored backup, a number may come again, but an identifier does not.

Collections that change often, such as sessions and revocations, seldom have a cached generation. A request with a
cookie then costs one more indexed read, of the version of one record, and a request with a token after a revocation
another. Documents are read only if their version has changed.

**A lost response is looked up.** If the connection breaks during a commit, the row of the collection is locked again,
which waits for the end of that transaction. Its identifier then shows whether the write was committed. The lookup is
committed as well, and so waits for a synchronous standby: a transaction whose wait for it has ended early is visible.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from datafor_token.errors import RecordDamaged
from datafor_token.store.base import AlreadyExists, Change, Changed, Document
from datafor_token.store.lines import Entry
from datafor_token.store.sql import probing
from datafor_token.store.sql.audit_lines import AuditLines
from datafor_token.store.sql.breaker import Breaker
from datafor_token.store.sql.engine import Database, begin_request, deadline, end_request
from datafor_token.store.sql.rows import (
    CHUNK,
    HASH_MARK,
    Row,
    document_of,
    is_record,
    key_of,
    page_of,
    row_of,
    rows_of,
    write,
    write_id_of,
    write_ids_of,
)
from datafor_token.store.sql.schema import records
from datafor_token.store.sql.server import Server
from datafor_token.store.sql.sessions import Session, Sessions
from datafor_token.store.sql.transactions import Transactions
from datafor_token.validation.names import fold
from datafor_token.validation.strict_json import readable

_Result = TypeVar("_Result")


class SqlStore:
    """A ``Store`` (see ``store.base``) in a ``Database`` whose tables exist (see ``schema``).

    ``waited`` is called with the seconds that each lock was waited for.
    """

    def __init__(
        self, database: Database, collections: tuple[str, ...], waited: Callable[[float], None] | None = None
    ) -> None:
        self.collections = collections
        self._database = database
        self._server = Server(database)
        self._breaker = Breaker(database.ask)
        self._sessions = Sessions(database, self._server, self._breaker)
        self._transactions = Transactions(database, self._server, self._sessions, self._breaker, waited)
        self.line_log = self._transactions.companion = AuditLines(
            database, self._server, self._sessions, self._transactions
        )

    @property
    def clock_offset(self) -> float:
        """Seconds by which the database's clock is ahead of this host's, as last seen; 0 before the first query."""
        return self._server.clock.offset

    def begin_request(self) -> None:
        """Begin a request in this thread: its operations use the cache, and share one time limit."""
        begin_request()
        self._sessions.begin_request()

    def end_request(self) -> None:
        """End the request of this thread."""
        self._sessions.end_request()
        end_request()

    def get(self, collection: str, name: str) -> Document | None:
        self._checked(collection)
        found = self._read(lambda connection: row_of(connection, collection, key_of(name)))
        return None if found is None else document_of(found, fold(name))

    def names(self, collection: str) -> list[str]:
        keys = self._read(partial(write_ids_of, collection=self._checked(collection)))
        # Only the document has a name that was hashed.
        hashed = [key for key in keys if key.startswith(HASH_MARK)]
        return [key for key in keys if key not in hashed] + [_named(row)[0] for row in self._rows(collection, hashed)]

    def documents(self, collection: str) -> Iterator[tuple[str, Document | RecordDamaged]]:
        return (_named(row) for row in self._pages(collection))

    def put(self, collection: str, document: Document) -> None:
        self.update(collection, document["name"], lambda _: document)

    def put_many(self, collection: str, documents: Iterable[Document]) -> None:
        """Write many documents in one transaction, damaged ones too: for a copy of a whole store."""
        rows = {key_of(document["name"]): readable(document) for document in documents}

        def work(connection: sa.Connection, write_id: str) -> None:
            mine = records.c.collection == collection
            connection.execute(records.delete().where(mine, records.c.name.in_(rows)))
            common = {"collection": collection, "write_id": write_id}
            connection.execute(
                records.insert(), [{**common, "name": name, "document": text} for name, text in rows.items()]
            )

        if rows:
            self._write(collection, work)

    def create(self, collection: str, document: Document) -> None:
        key = key_of(document["name"])

        def work(connection: sa.Connection, write_id: str) -> None:
            if row_of(connection, collection, key) is not None:
                raise AlreadyExists
            write(connection, collection, document, write_id, new=True)

        self._write(collection, work)

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        changed: dict[str | None, tuple[Document, Sequence[Entry]]] = {}
        recorded = self.line_log.recorded()

        def work(connection: sa.Connection, write_id: str) -> Document:
            row = row_of(connection, collection, key_of(name))
            present = None if row is None else row.write_id
            # If the transaction is retried on the same record, ``change`` is not called again.
            if present not in changed:
                # What it records replaces what an earlier call has recorded, of another record.
                self.line_log.keep(recorded)
                document = change(None if row is None else document_of(row, fold(name)))
                if fold(document["name"]) != fold(name):
                    raise ValueError("an update cannot rename a record")
                changed[present] = document, self.line_log.recorded()
            document, entries = changed[present]
            self.line_log.keep(entries)
            write(connection, collection, document, write_id, new=row is None)
            return document

        return self._write(collection, work, wait)

    def delete(self, collection: str, name: str, check: Callable[[Document], object] | None = None) -> bool:
        def work(connection: sa.Connection, _: str) -> bool:
            row = row_of(connection, collection, key_of(name))
            if row is None:
                raise _Missing
            document = document_of(row, fold(name))
            if check is not None:
                check(document)
            connection.execute(records.delete().where(*is_record(collection, key_of(name))))
            return True

        try:
            # If the record does not exist, no lock is needed.
            return self.get(collection, name) is not None and self._write(collection, work)
        except _Missing:
            return False

    def version(self, collection: str, name: str) -> Hashable | None:
        self._checked(collection)
        key = key_of(name)

        def look(session: Session) -> Hashable | None:
            memory = session.memory(collection)
            if memory is not None and key in memory.versions:
                return memory.versions[key]
            version = write_id_of(session.connection, collection, key)
            if (memory := session.memory(collection)) is not None:
                memory.add(key, version)
            return version

        return self._sessions.read(look)

    def stamp(self, collection: str) -> Hashable:
        self._checked(collection)
        return self._sessions.read(lambda session: session.generation(collection))

    def changes(self, collection: str, known: Mapping[str, Hashable]) -> tuple[dict[str, Hashable], Iterator[Changed]]:
        self._checked(collection)

        def look(session: Session) -> dict[str, Hashable]:
            memory = session.memory(collection)
            if memory is not None and memory.listing == known:
                return memory.listing
            versions = write_ids_of(session.connection, collection)
            if (memory := session.memory(collection)) is not None:
                memory.listing = versions
            return versions

        versions = self._sessions.read(look)
        rows = self._rows(collection, [key for key, version in versions.items() if known.get(key) != version])
        return versions, ((row.name, *_named(row)) for row in rows)

    def check_readable(self) -> None:
        # Not stopped by the breaker: it asks the database itself.
        probing.check_readable(self._database, self._server)
        self._breaker.responded()

    def check_writable(self) -> None:
        probing.check_writable(self._database, self._server)

    def exclude_servers(self) -> AbstractContextManager[Callable[[], None]]:
        return self._database.exclude_servers()

    def _pages(self, collection: str) -> Iterator[Row]:
        """Yield every row of the collection, in the order of the keys."""
        self._checked(collection)
        last: str | None = None
        while page := self._read(partial(page_of, collection=collection, after=last)):
            yield from page
            last = page[-1].name

    def _rows(self, collection: str, keys: Sequence[str]) -> Iterator[Row]:
        for first in range(0, len(keys), CHUNK):
            chunk = keys[first : first + CHUNK]
            yield from self._read(partial(rows_of, collection=collection, keys=chunk))

    def _read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        return self._sessions.read(lambda session: work(session.connection))

    def _write(
        self, collection: str, work: Callable[[sa.Connection, str], _Result], wait: float | None = None
    ) -> _Result:
        with deadline(self._database.timeout), self._sessions.writing():
            return self._transactions.write(self._checked(collection), work, wait)

    def _checked(self, collection: str) -> str:
        if collection not in self.collections:
            raise ValueError(f"no collection {collection!r}")
        return collection


def _named(row: Row) -> tuple[str, Document | RecordDamaged]:
    try:
        document = document_of(row, None)
    except RecordDamaged as error:
        return row.name, error
    return document["name"], document


class _Missing(Exception):
    """The record to delete does not exist. The transaction is rolled back with its generation."""
