"""Connections through a pooler, such as PgBouncer.

In transaction mode, a pooler gives each transaction of a connection to any session of its own on the server; in no mode
does it pass on the ``options`` of a connection. Through a pooler, therefore, nothing is left in a session: each
transaction asks for its time limits and for the lock of servers, which end with it, and no statement is prepared. What
is read together is read in one transaction: two could be on two servers. This works without a pooler too, but costs
more round trips.
"""

from collections.abc import Mapping
from typing import Any

import psycopg
import sqlalchemy as sa

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql import server_lock


def takes_no_options(error: psycopg.OperationalError) -> bool:
    """Return whether a connection failed because PgBouncer does not accept its ``options``."""
    return "unsupported startup parameter" in str(error)


def is_between(connection: psycopg.Connection[Any], statement_timeout: int) -> bool:
    """Return whether a new connection is not to the server itself.

    A pooler has process identifiers of its own, or ignored the time limit in milliseconds that ``options`` asked for.
    """
    question = f"""
        SELECT pg_backend_pid() <> {connection.info.backend_pid}
        OR current_setting('statement_timeout')::interval <> interval '{statement_timeout} ms'
    """
    # Without a transaction around it, which would need two more round trips.
    connection.autocommit = True
    found = connection.execute(question).fetchone()
    connection.autocommit = False
    return found != (False,)


def prepare(connection: psycopg.Connection[Any], options: str) -> None:
    """Prepare a connection through a pooler; raise ``StoreUnavailable`` if the URL has ``options`` of its own."""
    if options:
        raise StoreUnavailable(
            reason="the URL has options, which the pooler (PgBouncer) does not pass on: remove them from it, and set"
            " them with `ALTER ROLE ... SET ...`"
        )
    connection.prepare_threshold = None


def begin(connection: sa.Connection, limits: Mapping[str, int], *, serves: bool) -> None:
    """Begin a transaction with time limits in milliseconds; a server that ``serves`` also holds its lock in it.

    Raise ``StoreUnavailable`` during a migration.
    """
    asked = [f"set_config('{name}', '{milliseconds}', true)" for name, milliseconds in limits.items()]
    lock = server_lock.IN_TRANSACTION if serves else "true"
    if connection.exec_driver_sql(f"SELECT {lock}, {', '.join(asked)}").scalar() is False:
        raise server_lock.refused()
