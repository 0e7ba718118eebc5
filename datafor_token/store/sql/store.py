"""The SQL store: the same records in a database that several nodes share.

**A change counts on every node before it is acknowledged.** Each write is one transaction. Its first statement
adds one to the collection's row in ``datafor_generations``, and so holds that row's lock until it has ended:
writers of one collection go one after the other, over all nodes, as they do with the file store's lock. The new
document and the new generation are committed together, on the primary, before the call returns.

**The hot path costs one small read.** A request reads the few generations at once, at its first question, and goes by
them until it ends (``store.generations``). ``stamp`` is the collection's; ``version`` and ``changes`` are answered from
memory where they were asked under the same generation before. Why that is correct: what is written in one transaction
with the generation is seen by whoever reads that generation or a later one. A change that was acknowledged before the
request began was committed before this read, and a primary answers a read with all that was committed before it; so
the generation read is that of the change or a later one, and differs from the one under which an older version was
remembered. What is read after its generation can be newer than it, never older: the next request reads a higher
generation, and asks anew. Replicas would break this, so they are never read (``target_session_attrs=read-write``). The
last writer's identifier is part of the generation: after a failover that lost something, or a database put back from a
backup, the same number may come again, the same identifier does not.

Collections that change often, as sessions do with every sign-in and revocations, are seldom of the generation that is
remembered: whoever comes by a cookie then costs one more indexed read, of the version of that one record, and whoever
comes by a token after a revocation another one. The documents themselves are read only where the version has changed.

**A lost answer is looked up.** When the connection breaks while a commit is under way, the row of the collection is
locked anew, which waits for that transaction's end; its identifier then tells whether it counts.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import sqlalchemy as sa

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import AlreadyExists, Change, Changed, Document
from datafor_token.store.sql import schema
from datafor_token.store.sql.engine import Database, begin_request, deadline, end_request
from datafor_token.store.sql.errors import outage
from datafor_token.store.sql.generations import UNKNOWN, Generations
from datafor_token.store.sql.rows import (
    CHUNK,
    GENERATIONS,
    Row,
    at,
    document_of,
    keep,
    key_of,
    page_of,
    row_of,
    rows_of,
    write_id_of,
    write_ids_of,
)
from datafor_token.store.sql.schema import records
from datafor_token.store.sql.transactions import Transactions
from datafor_token.validation.names import fold
from datafor_token.validation.strict_json import readable

_Result = TypeVar("_Result")


class SqlStore:
    """A ``Store`` (see ``store.base``) in a ``Database`` whose tables are there (``sql_schema``).

    ``waited`` is told for how many seconds each lock was waited for.
    """

    def __init__(
        self, database: Database, collections: tuple[str, ...], waited: Callable[[float], None] | None = None
    ) -> None:
        self.collections = collections
        self._database = database
        self._transactions = Transactions(database, waited)
        self._generations = Generations(self.generations)

    def begin_request(self) -> None:
        """A request begins in this thread: from now on, it may be answered from memory, and has one time in all."""
        begin_request()
        self._generations.begin()

    def end_request(self) -> None:
        """The request of this thread has ended."""
        self._generations.end()
        end_request()

    def get(self, collection: str, name: str) -> Document | None:
        found = self._transactions.read(lambda connection: row_of(connection, self._known(collection), key_of(name)))
        return None if found is None else document_of(found, fold(name))

    def names(self, collection: str) -> list[str]:
        # A name that was hashed stands in the record alone.
        return [name for name, _ in self.documents(collection)]

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
            keep(connection, collection, document, write_id, new=True)

        self._write(collection, work)

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        made: dict[str | None, Document] = {}

        def work(connection: sa.Connection, write_id: str) -> Document:
            row = row_of(connection, collection, key_of(name))
            present = None if row is None else row.write_id
            # Tried again on the same record, what was asked for is the same: ``change`` is called once.
            if present not in made:
                document = change(None if row is None else document_of(row, fold(name)))
                if fold(document["name"]) != fold(name):
                    raise ValueError("an update cannot rename a record")
                made[present] = document
            keep(connection, collection, made[present], write_id, new=row is None)
            return made[present]

        return self._write(collection, work, wait)

    def delete(self, collection: str, name: str) -> bool:
        def work(connection: sa.Connection, _: str) -> bool:
            row = row_of(connection, collection, key_of(name))
            if row is None:
                raise _NotThere
            document_of(row, fold(name))
            connection.execute(records.delete().where(*at(collection, key_of(name))))
            return True

        try:
            # Without the lock where there is nothing to delete.
            return self.get(collection, name) is not None and self._write(collection, work)
        except _NotThere:
            return False

    def version(self, collection: str, name: str) -> Hashable | None:
        key = key_of(name)
        memory = self._generations.memory(self._known(collection))
        found = UNKNOWN if memory is None else memory.versions.get(key, UNKNOWN)
        if found is not UNKNOWN:
            return found
        version = self._transactions.read(lambda connection: write_id_of(connection, collection, key))
        if memory is not None:
            memory.keep(key, version)
        return version

    def stamp(self, collection: str) -> Hashable:
        return self._generations.now(self._known(collection))

    def changes(self, collection: str, known: Mapping[str, Hashable]) -> tuple[dict[str, Hashable], Iterator[Changed]]:
        memory = self._generations.memory(self._known(collection))
        if memory is not None and memory.listing == known:
            return memory.listing, iter(())
        versions = self._transactions.read(lambda connection: write_ids_of(connection, collection))
        if memory is not None:
            memory.listing = versions
        rows = self._rows(collection, [key for key, version in versions.items() if known.get(key) != version])
        return versions, ((row.name, *_named(row)) for row in rows)

    def generations(self) -> Mapping[str, Hashable]:
        """A value for each collection that differs whenever one of its records may have changed.

        Collections that were never written are missing. What may be done with it stands at the top of this module.
        """
        rows = self._transactions.read(lambda connection: connection.execute(GENERATIONS).all())
        return {row.collection: (row.n, row.write_id) for row in rows}

    def writable(self) -> bool:
        self._transactions.read(lambda connection: connection.execute(GENERATIONS).all())
        try:
            with outage("write in"), deadline(self._database.timeout):
                schema.probe(self._database)
        except StoreUnavailable:
            return False
        return True

    def _pages(self, collection: str) -> Iterator[Row]:
        """Every row of the collection, in the order of the names."""
        self._known(collection)
        last: str | None = None
        while page := self._transactions.read(partial(page_of, collection=collection, after=last)):
            yield from page
            last = page[-1].name

    def _rows(self, collection: str, keys: Sequence[str]) -> Iterator[Row]:
        for first in range(0, len(keys), CHUNK):
            chunk = keys[first : first + CHUNK]
            yield from self._transactions.read(partial(rows_of, collection=collection, keys=chunk))

    def _write(
        self, collection: str, work: Callable[[sa.Connection, str], _Result], wait: float | None = None
    ) -> _Result:
        with self._generations.writing():
            return self._transactions.write(self._known(collection), work, wait)

    def _known(self, collection: str) -> str:
        if collection not in self.collections:
            raise ValueError(f"no collection {collection!r}")
        return collection


def _named(row: Row) -> tuple[str, Document | RecordDamaged]:
    try:
        document = document_of(row, None)
    except RecordDamaged as error:
        return row.name, error
    return document["name"], document


class _NotThere(Exception):
    """There is nothing to delete; the transaction is taken back, and no generation passes."""
