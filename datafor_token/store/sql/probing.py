"""Probes of a database: whether its tables can be read and written now.

A lock that another transaction holds is no outage, not even ACCESS EXCLUSIVE: a server that reports the lock works, and
if each node were not ready at the first open transaction, no node would be left.
"""

import secrets
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql.engine import Database, cancelling, deadline, has_warned, time_left
from datafor_token.store.sql.errors import is_lock, is_read_only, outage
from datafor_token.store.sql.fencing import Fenced
from datafor_token.store.sql.schema import generations, records, tables
from datafor_token.store.sql.server import Server
from datafor_token.store.sql.sessions import MOST_SERVERS

_LONGEST = 0.45  # seconds of a probe
_LOCK_WAIT = 0.03  # seconds for each table
_CANCEL = 0.15  # seconds before the end of the probe: time for the response to a cancelled commit
_PROBED = "(probe)"  # no collection has this name
_Step = Callable[[sa.Connection], object]


def check_readable(database: Database, server: Server) -> None:
    """Raise ``StoreUnavailable`` if a table cannot be read, or the server is a former primary."""

    def work() -> None:
        with database.writing(_LOCK_WAIT) if database.is_postgresql else database.reading() as connection:
            _do(connection, [*map(_reading, tables()), server.generations])

    _try(database, "read", work)


def check_writable(database: Database, server: Server) -> None:
    """Raise ``StoreUnavailable`` if no transaction can be committed on the server, or it is a former primary.

    It cannot if its synchronous standby is away.

    The rows are new and have random names, since others can hold the locks of existing ones; they exist within the
    transaction only.
    """

    def work() -> None:
        with database.writing(_LOCK_WAIT) as connection:
            _do(connection, [server.generations, _write_record, _write_generation])
            with cancelling(connection, time_left() - _CANCEL):
                connection.commit()
            if has_warned(connection):
                raise StoreUnavailable(reason="no synchronous standby of the database confirms what is written")

    _try(database, "write in", work)


def check_insertable(database: Database, insert: sa.Insert) -> None:
    """Raise ``StoreUnavailable`` if a row cannot be inserted. It is rolled back."""

    def work() -> None:
        with database.writing(_LOCK_WAIT) as connection:
            connection.execute(insert)
            connection.rollback()

    _try(database, "write in", work)


def _try(database: Database, action: str, work: Callable[[], None]) -> None:
    """Do ``work``. Do it again on a new connection if the one of the pool was lost, or was to a former primary."""
    fenced: Fenced | None = None
    with outage(action), deadline(_LONGEST):
        for tries in range(MOST_SERVERS):
            is_last = tries == MOST_SERVERS - 1 or time_left() == 0
            try:
                return work()
            except Fenced as error:
                if is_last:
                    raise
                fenced = error
            except DBAPIError as error:
                if is_lock(error):
                    return None
                if fenced is not None and time_left() == 0:
                    # More helpful than that no time was left for another server.
                    raise fenced from None
                if is_last or not (error.connection_invalidated or is_read_only(error)):
                    raise
                if is_read_only(error):
                    database.close()
    return None


def _do(connection: sa.Connection, steps: Sequence[_Step]) -> None:
    """Do each step, except those that wait for a lock."""
    if not connection.in_transaction():
        # SQLite has one lock, and takes it here: without it, there is nothing to do.
        connection.begin()
    for step in steps:
        try:
            with connection.begin_nested():
                step(connection)
        except DBAPIError as error:
            if not is_lock(error):
                raise


def _reading(table: sa.Table) -> _Step:
    return lambda connection: connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).all()


def _write_record(connection: sa.Connection) -> None:
    key = {"collection": _PROBED, "name": secrets.token_hex(8)}
    is_mine = records.c.collection == _PROBED, records.c.name == key["name"]
    connection.execute(records.insert().values(**key, document="{}", write_id=""))
    connection.execute(records.update().where(*is_mine).values(document="{ }"))
    connection.execute(records.delete().where(*is_mine))


def _write_generation(connection: sa.Connection) -> None:
    name = f"{_PROBED} {secrets.token_hex(8)}"
    connection.execute(generations.insert().values(collection=name, n=1, write_id=""))
    connection.execute(generations.update().where(generations.c.collection == name).values(n=2))
    connection.execute(generations.delete().where(generations.c.collection == name))
