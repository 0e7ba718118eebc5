"""Advisory lock of PostgreSQL that the connections of servers share, and that a migration takes to exclude them.

Each connection of a server's pool holds the lock, which needs no connection of its own, and after a failover the next
connection takes it from the new primary. A server without any connection cannot be seen: until its workers have read
the applications, a second after its start, and from a restart of the database until its next call. Neither can one
behind a pooler, which holds the lock during its transactions only: a migration begins, and refuses its calls.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from datafor_token.errors import Forbidden, StoreUnavailable
from datafor_token.store.sql.errors import outage

_CLASS = 0x64746B6E  # of the advisory locks of this service: "dtkn"
# The table's identifier tells apart installations in one database. Without the table the lock is NULL, and not taken.
_KEY = f"({_CLASS}::bigint << 32) | to_regclass('datafor_records')::oid::bigint"
_SHARE = f"SELECT pg_try_advisory_lock_shared({_KEY})"
# Until the end of the transaction: a pooler would keep the session, and its lock, for others.
IN_TRANSACTION = f"pg_try_advisory_xact_lock_shared({_KEY})"
_EXCLUDE = f"""
    SELECT pg_try_advisory_xact_lock({_KEY}), set_config('idle_in_transaction_session_timeout', '0', true)
"""
_HOLDERS = f"""
    SELECT DISTINCT mode, host(client_addr) FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND classid = {_CLASS} AND objid = to_regclass('datafor_records') AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 2
"""  # noqa: S608 - a constant


def share(connection: psycopg.Connection[Any]) -> None:
    """Hold the lock until the connection is closed; during a migration, close it and raise ``StoreUnavailable``."""
    # Without a transaction around it, which would need two more round trips.
    connection.autocommit = True
    found = connection.execute(_SHARE).fetchone()
    connection.autocommit = False
    if found == (False,):
        connection.close()
        raise refused()


def refused() -> StoreUnavailable:
    """Return the error of a server that did not get the lock."""
    return StoreUnavailable(
        reason="`store migrate` is copying the records in the database: start the service when it has ended"
    )


@contextlib.contextmanager
def exclude(connect: Callable[[], psycopg.Connection[Any]]) -> Iterator[Callable[[], None]]:
    """Hold the lock alone on a connection of its own, as ``Store.exclude_servers`` does."""
    with outage("lock"):
        connection = connect()
    with contextlib.closing(connection):
        with outage("lock"):
            if connection.execute(_EXCLUDE).fetchone() == (False, "0"):
                raise _in_use(connection.execute(_HOLDERS).fetchall())

        def check() -> None:
            # The server releases the lock when the connection breaks.
            with outage("lock"):
                connection.execute("SELECT 1")

        try:
            yield check
        finally:
            # Releases the lock now. The server, and a pooler above all, would notice later that the connection ended.
            with contextlib.suppress(psycopg.Error):
                connection.rollback()


def _in_use(holders: list[Any]) -> Forbidden:
    if any(mode == "ExclusiveLock" for mode, _ in holders):
        return Forbidden("another `store migrate` is copying the records in the database: wait until it has ended")
    # Addresses are shown only to the role of these connections; a local one has none.
    hosts = ", ".join(host for _, host in holders if host)
    return Forbidden(
        "a server is using the records in the database%(hosts)s: stop the service on every node, then run this command"
        " again",
        hosts=f" (connected from {hosts})" if hosts else "",
    )
