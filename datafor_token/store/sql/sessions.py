"""Connections of requests: one for all that a request reads.

Its first statement reads the generations. If the connection breaks, the next one begins with the same statement: what
was read on one server is never combined with the generation of another, or cached under it.

Behind a pooler, a request gives the connection back after each read, and the next one begins with that statement, too:
other clients can use the pooler's session while the request hashes a password or waits for a provider.
"""

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from datafor_token.store.sql.breaker import Breaker
from datafor_token.store.sql.engine import Database, deadline, is_pooled, time_left
from datafor_token.store.sql.errors import outage
from datafor_token.store.sql.fencing import Fenced
from datafor_token.store.sql.generations import Memories, Memory
from datafor_token.store.sql.server import Server

_Result = TypeVar("_Result")
_NEVER_WRITTEN = (0, "")
MOST_SERVERS = 6  # connections that are tried until one is to a primary that was not replaced


_Generations = Callable[[], Mapping[str, Hashable]]
_Begin = Callable[[], tuple[sa.Connection, _Generations]]


class Session:
    """A connection, and the generations that were read on it first. ``begin`` returns both."""

    def __init__(self, begin: _Begin, memories: Memories | None) -> None:
        self._begin = begin
        self._memories = memories
        self._connection: sa.Connection | None
        self._connection, self._generations = begin()

    @property
    def connection(self) -> sa.Connection:
        """The connection. If it was given back, there are other generations from now on."""
        if self._connection is None:
            self._connection, self._generations = self._begin()
        return self._connection

    def generation(self, collection: str) -> Hashable:
        """Return the generation of a collection."""
        return self._generations().get(collection, _NEVER_WRITTEN)

    def memory(self, collection: str) -> Memory | None:
        """Return what is cached under the generation of the collection, or None outside of a request.

        Add only what was read on this connection. Ask for the memory to add to after reading.
        """
        return None if self._memories is None else self._memories.of(collection, self.generation(collection))

    def give_back(self, *, only_pooled: bool = False) -> None:
        """Give back the connection; the generations stay. With ``only_pooled``, only a connection through a pooler."""
        if self._connection is not None and (not only_pooled or is_pooled(self._connection)):
            connection, self._connection = self._connection, None
            with contextlib.suppress(DBAPIError):
                # Here, and not when the pool resets it, which would log a traceback.
                connection.rollback()
            connection.close()


class _Thread(threading.local):
    in_request = False
    session: Session | None = None
    transaction: sa.Connection | None = None


class Sessions:
    """The session of each thread of this process."""

    def __init__(self, database: Database, server: Server, breaker: Breaker) -> None:
        self._database = database
        self._server = server
        self._breaker = breaker
        self._memories = Memories()
        self._thread = _Thread()

    def begin_request(self) -> None:
        """Begin a request in this thread. Its session begins with its first read."""
        self.end_request()
        self._thread.in_request = True

    def end_request(self) -> None:
        """End the request of this thread and its session: a further read has a session of its own."""
        self._thread.in_request = False
        self._close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Surround a write: within it nothing is cached, and after it the request has a new session."""
        was_in_request = self._thread.in_request
        self.end_request()
        try:
            yield
        finally:
            self._thread.in_request = was_in_request

    @contextlib.contextmanager
    def within(self, connection: sa.Connection) -> Iterator[None]:
        """Read in a transaction, which sees its own changes and needs no second connection."""
        self._thread.transaction = connection
        try:
            yield
        finally:
            self._thread.transaction = None

    @property
    def transaction(self) -> sa.Connection | None:
        """The connection of this thread's transaction, if there is one."""
        return self._thread.transaction

    def read(self, work: Callable[[Session], _Result]) -> _Result:
        """Do ``work`` in this thread's session, or in its transaction. A retry does it again, in a new session."""
        connection = self._thread.transaction
        if connection is not None:
            return work(Session(lambda: (connection, lambda: self._server.generations(connection)), None))
        with outage("read"), deadline(self._database.timeout), self._breaker.read():
            for tries in range(MOST_SERVERS):
                is_last = tries == MOST_SERVERS - 1 or time_left() == 0
                try:
                    return work(self._thread.session or self._open())
                except Fenced:
                    if is_last:
                        raise
                except DBAPIError as error:
                    self._close()
                    # The connection was lost while it was in the pool. All others of its age were dropped with it.
                    if not error.connection_invalidated or is_last or time_left() == 0:
                        raise
                finally:
                    if not self._thread.in_request:
                        self._close()
                    elif self._thread.session is not None:
                        self._thread.session.give_back(only_pooled=True)
        raise AssertionError("the last attempt returns or raises")

    def _open(self) -> Session:
        memories = self._memories if self._thread.in_request else None
        self._thread.session = session = Session(self._begin, memories)
        return session

    def _begin(self) -> tuple[sa.Connection, _Generations]:
        connection = self._database.reading()
        try:
            found = self._server.generations(connection)
        except BaseException:
            connection.close()
            raise
        self._breaker.responded()
        return connection, lambda: found

    def _close(self) -> None:
        session, self._thread.session = self._thread.session, None
        if session is not None:
            session.give_back()
