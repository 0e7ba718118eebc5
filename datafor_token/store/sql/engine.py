"""Connections to a database that end in time, and what a database's refusals mean.

The pool is SQLAlchemy's ``QueuePool``, not ``psycopg_pool``: that one works with threads of its own, which a
fork loses (gunicorn loads the application and then forks), and whose waiting knows nothing of a deadline.
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import psycopg
import sqlalchemy as sa

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql.url import is_postgresql, postgresql_parameters, sqlite_url

_SHARE = 0.9  # of the time that an answer has, for the database: it then says by itself that it was too late
_QUICK = 0.1  # of the time that is left: what took no longer did not wait
_READS = "datafor_token_reads"
_local = threading.local()


def begin_request() -> None:
    """What this thread asks of databases from now on is one request's, and has one time together."""
    _local.waited = 0.0


def end_request() -> None:
    """It has ended: each question of this thread has its own time again."""
    _local.waited = None


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """All that this thread asks of databases within ends in ``seconds``; one that is there already stays.

    Within a request, what its earlier questions waited is taken off, and ``StoreUnavailable`` raised where nothing is
    left. Neither what it does beside them is (a hash, a slow body), nor quick ones, however many a long list takes.
    """
    if getattr(_local, "ends", None) is not None:
        yield
        return
    waited, begun = getattr(_local, "waited", None), time.monotonic()
    left = seconds - (waited or 0.0)
    if left <= 0:
        raise StoreUnavailable(reason="the database took all the time that this request has for it")
    _local.ends = begun + left
    try:
        yield
    finally:
        _local.ends = None
        took = time.monotonic() - begun
        if waited is not None and took > left * _QUICK:
            _local.waited = waited + took


def time_left() -> float:
    """Seconds until the deadline, 0 when it has passed."""
    return float(max(0.0, _local.ends - time.monotonic())) if getattr(_local, "ends", None) is not None else 5.0


class _Connection(psycopg.Connection[Any]):
    """A connection that waits for an answer until the deadline: a server that hangs says nothing for ever."""

    warned = False

    @classmethod
    def opened(cls, parameters: dict[str, Any]) -> "_Connection":
        """A connection that notes when the server warns of something."""
        made = cls.connect(**parameters)
        made.add_notice_handler(made.note)
        return made

    def note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """What the server says beside its answers."""
        self.warned = self.warned or diagnostic.severity_nonlocalized == "WARNING"

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        left = time_left()
        try:
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))
        except psycopg.OperationalError:
            if time_left() == 0:
                # Its answer may still come, and would be taken for that of another question.
                self.pgconn.finish()
            raise


class Database:
    """The connections of one database; none crosses a fork.

    ``timeout`` and ``lock_timeout`` are in seconds. Raises ``RuleError`` (see ``sql_url``) for what is no URL of
    a database.
    """

    def __init__(self, url: str, timeout: float, lock_timeout: float) -> None:
        self.timeout = timeout
        self.lock_timeout = min(lock_timeout, timeout * _SHARE)
        self._is_postgresql = is_postgresql(url)
        self.engine = self._postgresql(url) if self._is_postgresql else self._sqlite(url)
        reads = {"isolation_level": "AUTOCOMMIT"} if self._is_postgresql else {_READS: True}
        self._reader = self.engine.execution_options(**reads)
        _databases.add(self)
        # With the store goes what it opened.
        weakref.finalize(self, self.engine.dispose)

    def __repr__(self) -> str:
        return f"Database({self.engine.dialect.name})"

    def reading(self) -> sa.Connection:
        """A connection on which each statement is a transaction of its own."""
        return self._reader.connect()

    @contextlib.contextmanager
    def writing(self, wait: float | None) -> Iterator[sa.Connection]:
        """A connection for one transaction; ``wait`` is for how many seconds it waits for another one's lock."""
        with self.engine.connect() as connection:
            self._set_wait(connection, self._longest_wait(wait))
            yield connection

    def close(self) -> None:
        """Close what is open and not in use; whoever asks next gets a new connection."""
        self.engine.dispose()

    def _longest_wait(self, wait: float | None) -> float:
        # Before the deadline, so that the server says what was waited for.
        left = time_left() * _SHARE
        if left > self.lock_timeout * _SHARE:
            left = self.lock_timeout
        return left if wait is None else min(wait, left)

    def _set_wait(self, connection: sa.Connection, wait: float) -> None:
        milliseconds = max(1, int(wait * 1000))
        if not self._is_postgresql:
            # Before the transaction begins, which is what waits.
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={milliseconds}")
        elif wait < self.lock_timeout:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{milliseconds}ms'")

    def _postgresql(self, url: str) -> sa.Engine:
        given = postgresql_parameters(url)
        hosts = str(given.get("host", "")).count(",") + 1
        limits = {
            "statement_timeout": self.timeout * _SHARE,
            "lock_timeout": self.lock_timeout,
            # A node that is lost in the middle of a write holds up the others for no longer.
            "idle_in_transaction_session_timeout": self.timeout * 2,
        }
        options = " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in limits.items())
        defaults = {
            "application_name": "datafor_token",
            "keepalives_idle": max(1, int(self.timeout)),
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": int(self.timeout * 1000),
        }
        pinned = {
            "options": f"{given.get('options', '')} {options}".strip(),
            # Over the URL, PGCLIENTENCODING and the server's own: in another one not every name can be said.
            "client_encoding": "UTF8",
        }
        parameters = {**defaults, **given, **pinned}
        longest = self.timeout

        def connected() -> _Connection:
            wait = min(longest, time_left()) * _SHARE / hosts
            return _Connection.opened({"connect_timeout": max(2, int(wait)), **parameters})

        return sa.create_engine(
            "postgresql+psycopg://",
            creator=connected,
            isolation_level="READ COMMITTED",
            # As many as there are threads that ask at once.
            pool_size=0,
            hide_parameters=True,
        )

    def _sqlite(self, url: str) -> sa.Engine:
        engine = sa.create_engine(sqlite_url(url), pool_size=0, hide_parameters=True)

        @sa.event.listens_for(engine, "connect")
        def _connected(connection: Any, _: object) -> None:
            # Transactions are begun below: the driver's own ones begin with the first write, and then break.
            connection.isolation_level = None
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        @sa.event.listens_for(engine, "begin")
        def _begun(connection: sa.Connection) -> None:
            if not connection.get_execution_options().get(_READS):
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine


def doubted(connection: sa.Connection) -> bool:
    """Whether the server warned on this connection, since the last time that this was asked.

    After a commit: PostgreSQL calls one good that waited too long for its synchronous standby, and only warns.
    """
    inner: Any = connection.connection.dbapi_connection
    warned = isinstance(inner, _Connection) and inner.warned
    if warned:
        inner.warned = False
    return warned


def encoding_of(connection: sa.Connection) -> str:
    """The encoding in which the database keeps text; UTF8 where it has none to choose."""
    inner: Any = connection.connection.dbapi_connection
    said = inner.info.parameter_status("server_encoding") if isinstance(inner, _Connection) else None
    return said or "UTF8"


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()


def close_all() -> None:
    """Close what no thread of this process uses at the moment."""
    for database in list(_databases):
        database.close()


def _forget_all() -> None:
    # What another thread of the parent used: two processes on one connection get each other's answers.
    for database in list(_databases):
        database.engine.dispose(close=False)


os.register_at_fork(before=close_all, after_in_child=_forget_all)
