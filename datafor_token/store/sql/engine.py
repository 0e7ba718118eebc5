"""Connections to a database, with deadlines.

The pool is SQLAlchemy's ``QueuePool``. ``psycopg_pool`` does not fit: it runs threads, which a fork loses (gunicorn
loads the application and then forks), and its waits have no deadline.
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from datafor_token.errors import StoreUnavailable
from datafor_token.store.files import server_lock as file_lock
from datafor_token.store.sql import pooler, server_lock
from datafor_token.store.sql.hosts import Hosts
from datafor_token.store.sql.url import is_postgresql, postgresql_parameters, sqlite_url

_SHARE = 0.9  # of the time limit, for the database itself, so that it reports the time-out
_QUICK = 0.1  # of the remaining time: a faster operation did not wait
_ASKED_FOR = 1.0  # seconds
_CANCEL_TIME = 0.1  # seconds for the request to cancel, which has a connection of its own
_READS = "datafor_token_reads"
_local = threading.local()


def begin_request() -> None:
    """Begin a request in the current thread: its database operations share one time limit."""
    _local.waited = 0.0


def end_request() -> None:
    """End the request: each operation of the current thread has its own time limit again."""
    _local.waited = None


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the time of this thread's database operations to ``seconds``. An outer deadline stays in force.

    Within a request, the time that earlier operations waited is subtracted; raise ``StoreUnavailable`` if none is left.
    Other work (a hash, a slow body) is not subtracted, nor are quick operations, of which a long list needs many.
    """
    if getattr(_local, "ends", None) is not None:
        yield
        return
    waited, begun = getattr(_local, "waited", None), time.monotonic()
    left = seconds - (waited or 0.0)
    if left <= 0:
        raise StoreUnavailable(
            reason="earlier operations of this request took all the time that it has for the database"
        )
    _local.ends = begun + left
    try:
        yield
    finally:
        _local.ends = None
        took = time.monotonic() - begun
        if waited is not None and took > left * _QUICK:
            _local.waited = waited + took


def time_left() -> float:
    """Return the seconds until the deadline, 0 if it has passed, and 5 without a deadline."""
    return float(max(0.0, _local.ends - time.monotonic())) if getattr(_local, "ends", None) is not None else 5.0


class _Connection(psycopg.Connection[Any]):
    """A connection that waits for the server until the deadline, and not forever."""

    warned = False
    is_pooled = False  # through a pooler, see ``pooler``

    @classmethod
    def open(cls, parameters: dict[str, Any]) -> "_Connection":
        """Open a connection that records the server's warnings."""
        connection = cls.connect(**parameters)
        connection.add_notice_handler(connection.record_notice)
        return connection

    def record_notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """Record whether a notice of the server is a warning."""
        self.warned = self.warned or diagnostic.severity_nonlocalized == "WARNING"

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        left = time_left()
        try:
            return super().wait(gen, interval, left if timeout is None else min(left, timeout))
        except psycopg.OperationalError:
            if time_left() == 0:
                # A late response would be taken for that of the next statement.
                self.pgconn.finish()
            raise


class Database:
    """The connections of one database; no connection is used on both sides of a fork.

    ``timeout`` and ``lock_timeout`` are in seconds. Raise ``RuleError`` if ``url`` is not the URL of a database.
    """

    def __init__(self, url: str, timeout: float, lock_timeout: float) -> None:
        self.timeout = timeout
        self.lock_timeout = min(lock_timeout, timeout * _SHARE)
        self.is_postgresql = is_postgresql(url)
        self._serves = threading.Event()
        self.engine = self._postgresql(url) if self.is_postgresql else self._sqlite(url)
        reads = {"isolation_level": "AUTOCOMMIT"} if self.is_postgresql else {_READS: True}
        self._reader = self.engine.execution_options(**reads)
        _databases.add(self)
        # Close the connections when the store is collected.
        weakref.finalize(self, self.engine.dispose)

    def __repr__(self) -> str:
        return f"Database({self.engine.dialect.name})"

    def reading(self) -> sa.Connection:
        """Return a connection to read on: each statement is a transaction of its own, or all of them behind a pooler.

        What is written on it nevertheless must be committed.
        """
        connection = self._reader.connect()
        if is_pooled(connection):
            try:
                connection = connection.execution_options(isolation_level="READ COMMITTED")
                self._begin_pooled(connection, self.lock_timeout)
            except BaseException:
                connection.close()
                raise
        return connection

    @contextlib.contextmanager
    def writing(self, wait: float | None) -> Iterator[sa.Connection]:
        """Yield a connection for one transaction, which waits at most ``wait`` seconds for a lock."""
        with self.engine.connect() as connection:
            self._set_wait(connection, self._lock_wait(wait))
            yield connection

    def serve(self) -> None:
        """Hold the lock of servers, on each connection from now on; during a migration, this or they are refused.

        Raise ``StoreNotReady`` for a migration from SQLite.
        """
        if self.is_postgresql:
            self._serves.set()
            self.close()
        else:
            file_lock.share(*self._lock_file(), self)

    @contextlib.contextmanager
    def exclude_servers(self) -> Iterator[Callable[[], None]]:
        """Exclude servers, as ``Store.exclude_servers`` does."""
        if self.is_postgresql:
            with server_lock.exclude(self._connect) as check:
                yield check
        else:
            with file_lock.exclude(*self._lock_file()):
                yield lambda: None

    def _lock_file(self) -> tuple[Path, str]:
        """Return the path of SQLite's lock file and the name of its database."""
        database = self.engine.url.database or ""
        return Path(f"{database}-server.lock"), database

    def ask(self) -> None:
        """Return if a server responds on a new connection within a second; raise an error if not."""
        if self.is_postgresql:
            with deadline(_ASKED_FOR), contextlib.closing(self._connect()) as connection:
                connection.execute("SELECT 1")
            # Those of the pool may be to a server that is gone. Not by ``close``, which would leave those in use to the
            # garbage collector.
            for _ in range(self.engine.pool.checkedin()):  # type: ignore[attr-defined]  # a QueuePool
                with self.engine.connect() as idle:
                    idle.detach()

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.engine.dispose()

    def try_other_hosts(self, connection: sa.Connection) -> None:
        """Close a connection and those that are not in use, and from now on try its host after all others.

        It is a former primary, which accepts writes as well.
        """
        inner: Any = connection.connection.dbapi_connection
        self._hosts.replaced(inner.info.host, inner.info.port)
        connection.invalidate()
        self.close()

    def _lock_wait(self, wait: float | None) -> float:
        # Shorter than the deadline, so that the server reports the lock.
        left = time_left() * _SHARE
        if left > self.lock_timeout * _SHARE:
            left = self.lock_timeout
        return left if wait is None else min(wait, left)

    def _set_wait(self, connection: sa.Connection, wait: float) -> None:
        milliseconds = max(1, int(wait * 1000))
        if not self.is_postgresql:
            # Before the transaction begins: BEGIN IMMEDIATE is what waits.
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={milliseconds}")
        elif is_pooled(connection):
            self._begin_pooled(connection, wait)
        elif wait < self.lock_timeout:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{milliseconds}ms'")

    def _begin_pooled(self, connection: sa.Connection, wait: float) -> None:
        pooler.begin(connection, self._limits(wait), serves=self._serves.is_set())

    def _limits(self, wait: float) -> dict[str, int]:
        """Return the server's time limits in milliseconds, with ``wait`` seconds for a lock."""
        limits = {
            "statement_timeout": self.timeout * _SHARE,
            "lock_timeout": wait,
            # Longest time that a node that is lost during a write blocks the others.
            "idle_in_transaction_session_timeout": self.timeout * 2,
        }
        return {name: max(1, int(seconds * 1000)) for name, seconds in limits.items()}

    def _postgresql(self, url: str) -> sa.Engine:
        given = postgresql_parameters(url)
        limits = self._limits(self.lock_timeout)
        options = " ".join(f"-c {name}={milliseconds}" for name, milliseconds in limits.items())
        defaults = {
            "application_name": "datafor_token",
            "keepalives_idle": max(1, int(self.timeout)),
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "tcp_user_timeout": int(self.timeout * 1000),
        }
        pinned = {
            "options": f"{given.get('options', '')} {options}".strip(),
            # Overrides the URL, PGCLIENTENCODING and the server: other encodings lack some characters.
            "client_encoding": "UTF8",
        }
        parameters = {**defaults, **given, **pinned}
        # Without a reference to this object, which the engine would keep alive.
        timeout, serves, hosts = self.timeout, self._serves, Hosts(given)
        takes_no_options = threading.Event()

        def open_connection() -> _Connection:
            wait = min(timeout, time_left()) * _SHARE / hosts.number
            fewer = {"options": ""} if takes_no_options.is_set() else {}
            limit = {"connect_timeout": max(2, int(wait))}
            connection = _Connection.open({**limit, **parameters, **hosts.parameters(), **fewer})
            # Even if no time is left for the operation, the next one begins with this host.
            hosts.reached(connection.info.host, connection.info.port)
            return connection

        def connect() -> _Connection:
            try:
                connection = open_connection()
            except psycopg.OperationalError as error:
                if takes_no_options.is_set() or not pooler.takes_no_options(error):
                    raise
                takes_no_options.set()
                connection = open_connection()
            try:
                connection.is_pooled = pooler.is_between(connection, limits["statement_timeout"])
                if connection.is_pooled:
                    pooler.prepare(connection, str(given.get("options", "")))
            except BaseException:
                connection.close()
                raise
            return connection

        def connect_of_pool() -> _Connection:
            connection = connect()
            if serves.is_set() and not connection.is_pooled:
                server_lock.share(connection)
            return connection

        self._connect, self._hosts = connect, hosts
        return sa.create_engine(
            "postgresql+psycopg://",
            creator=connect_of_pool,
            isolation_level="READ COMMITTED",
            # No limit: one connection for each thread that needs one.
            pool_size=0,
            hide_parameters=True,
        )

    def _sqlite(self, url: str) -> sa.Engine:
        engine = sa.create_engine(sqlite_url(url), pool_size=0, hide_parameters=True)

        @sa.event.listens_for(engine, "connect")
        def _connected(connection: Any, _: object) -> None:
            # Transactions begin below. The driver would begin one at the first write, which then fails under load.
            connection.isolation_level = None
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

        @sa.event.listens_for(engine, "begin")
        def _begun(connection: sa.Connection) -> None:
            if not connection.get_execution_options().get(_READS):
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine


def is_pooled(connection: sa.Connection) -> bool:
    """Return whether it is a connection through a pooler."""
    inner: Any = connection.connection.dbapi_connection
    return isinstance(inner, _Connection) and inner.is_pooled


def has_warned(connection: sa.Connection) -> bool:
    """Return whether the server warned on this connection since the last call.

    Call it after a commit: if a synchronous standby does not confirm in time, PostgreSQL reports success and warns.
    """
    inner: Any = connection.connection.dbapi_connection
    warned = isinstance(inner, _Connection) and inner.warned
    if warned:
        inner.warned = False
    return warned


@contextlib.contextmanager
def cancelling(connection: sa.Connection, seconds: float) -> Iterator[None]:
    """Cancel what the server does for this connection, if it has not ended after ``seconds``.

    A commit that waits for a synchronous standby then succeeds with a warning. Otherwise it would go on for as long as
    the standby is away, also after the connection was closed, and use up the connections of the server.
    """
    inner: Any = connection.connection.dbapi_connection
    if not isinstance(inner, _Connection):
        yield
        return

    is_cancelled = threading.Event()

    def cancel() -> None:
        is_cancelled.set()
        with contextlib.suppress(psycopg.Error):
            inner.cancel_safe(timeout=_CANCEL_TIME)

    timer = threading.Timer(max(0.0, seconds), cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if is_cancelled.is_set() and not connection.invalidated:
            # Closed at the end: a request that came too late for the commit would cancel the next statement.
            connection.detach()


def commit(connection: sa.Connection) -> bool:
    """Commit before the deadline, and return whether no synchronous standby is missing that has to confirm it."""
    # In the rest of the time, the server confirms that it no longer waits.
    with cancelling(connection, time_left() * _SHARE):
        connection.commit()
    return not has_warned(connection)


def encoding_of(connection: sa.Connection) -> str:
    """Return the encoding of the database; UTF8 for SQLite."""
    inner: Any = connection.connection.dbapi_connection
    encoding = inner.info.parameter_status("server_encoding") if isinstance(inner, _Connection) else None
    return encoding or "UTF8"


_databases: "weakref.WeakSet[Database]" = weakref.WeakSet()


def close_all() -> None:
    """Close the connections that no thread of this process uses."""
    for database in list(_databases):
        database.close()


def _forget_all() -> None:
    # Connections that another thread of the parent used: two processes on one would read each other's responses.
    for database in list(_databases):
        database.engine.dispose(close=False)


os.register_at_fork(before=close_all, after_in_child=_forget_all)
