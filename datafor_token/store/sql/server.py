"""Clock, timeline and version of the tables of a server, in the query that each session and each write needs anyway."""

import logging
import time
from collections.abc import Hashable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from datafor_token.store.sql import schema
from datafor_token.store.sql.clock import DatabaseClock
from datafor_token.store.sql.engine import Database
from datafor_token.store.sql.errors import state
from datafor_token.store.sql.fencing import Fenced, Timelines
from datafor_token.store.sql.schema import generations
from datafor_token.validation import logs

log = logging.getLogger(__name__)

_VERSION = sa.select(schema.versions.c.version).scalar_subquery()
# In microseconds since 1970; the time of the statement, not of its transaction.
_CLOCK: sa.ColumnElement[Any] = sa.literal_column("(extract(epoch from clock_timestamp()) * 1000000)::bigint")
_TIMELINE: sa.ColumnElement[Any] = sa.literal_column("left(pg_walfile_name(pg_current_wal_lsn()), 8)")
_NOTHING: sa.ColumnElement[Any] = sa.null()
# What a kind of server can be asked.
_SQLITE, _POSTGRESQL, _WITHOUT_TIMELINE = "sqlite", "postgresql", "without timeline"
_FACTS = {
    kind: (_VERSION.label("version"), clock.label("clock"), timeline.label("timeline"))
    for kind, clock, timeline in (
        (_SQLITE, _NOTHING, _NOTHING),
        (_POSTGRESQL, _CLOCK, _TIMELINE),
        (_WITHOUT_TIMELINE, _CLOCK, _NOTHING),
    )
}
_NO_TIMELINE = frozenset({"0A000", "42501", "42883"})  # not supported, no right, no such function


def _reading(kind: str) -> sa.Select[Any]:
    facts = sa.select(*_FACTS[kind]).subquery()
    # One row at least, also if nothing was ever written.
    return sa.select(facts, generations).select_from(facts.outerjoin(generations, sa.true()))


# Built once: building a statement takes as long as executing it.
_READ = {kind: _reading(kind) for kind in _FACTS}
_COUNT_ON = {
    kind: generations.update()
    .where(generations.c.collection == sa.bindparam("c"))
    .values(n=generations.c.n + 1, write_id=sa.bindparam("w"))
    .returning(generations.c.n, *facts)
    for kind, facts in _FACTS.items()
}
_BEGIN = {
    kind: generations.insert()
    .values(collection=sa.bindparam("c"), n=1, write_id=sa.bindparam("w"))
    .returning(generations.c.n, *facts)
    for kind, facts in _FACTS.items()
}


class Server:
    """The server of a database, as its connections see it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._timelines = Timelines()
        self._kind = _POSTGRESQL if database.is_postgresql else _SQLITE
        self.clock = DatabaseClock()

    def generations(self, connection: sa.Connection) -> Mapping[str, Hashable]:
        """Return the generation of each collection that was ever written.

        Raise ``Fenced`` if the connection is to a former primary, ``StoreUnavailable`` if the tables have changed.
        """
        try:
            rows = self._asked(connection, _READ[self._kind], {})
        except DBAPIError as error:
            if state(error) not in _NO_TIMELINE or self._kind != _POSTGRESQL:
                raise
            # Ends the transaction that it has through a pooler, and in which nothing was read yet.
            connection.rollback()
            rows = self._asked(connection, _READ[_WITHOUT_TIMELINE], {})
            # Only now: with missing rights on a table, the second statement fails as the first one did.
            self._kind = _WITHOUT_TIMELINE
            log.warning(logs.event("the database has no timelines", reason="a former primary cannot be recognised"))
        return {row.collection: (row.n, row.write_id) for row in rows if row.collection is not None}

    def next_generation(self, connection: sa.Connection, collection: str, write_id: str) -> int:
        """Increase the generation of a collection and return it. Other writers wait until this transaction has ended.

        Raise errors as ``generations`` does.
        """
        values = {"c": collection, "w": write_id}
        rows = self._asked(connection, _COUNT_ON[self._kind], values)
        return int((rows or self._asked(connection, _BEGIN[self._kind], values))[0].n)

    def _asked(self, connection: sa.Connection, statement: sa.Executable, values: Mapping[str, str]) -> Any:
        """Return the rows of a statement, after a look at what they say of the server."""
        before = time.time()
        rows = connection.execute(statement, values).all()
        if rows:
            self._check(connection, rows[0], before)
        return rows

    def _check(self, connection: sa.Connection, row: Any, before: float) -> None:
        if row.clock is not None:
            self.clock.observe(row.clock / 1e6, before, time.time())
        if row.timeline is not None:
            try:
                self._timelines.check(int(row.timeline, 16))
            except Fenced:
                # Other connections of the pool may be to the same server, and the next one should be to another.
                self._database.try_other_hosts(connection)
                raise
        schema.check_version(row.version)
