"""Reads and writes of the SQL store: retried where that is safe, looked up where an answer was lost."""

import dataclasses
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from datafor_token.errors import LockTimeout, MaybeStored, StoreUnavailable
from datafor_token.store.sql.engine import Database, deadline, doubted, time_left
from datafor_token.store.sql.errors import explained, outage, state
from datafor_token.store.sql.rows import GENERATIONS, begin_generation, of
from datafor_token.store.sql.schema import records

_Result = TypeVar("_Result")
_MOST_TRIES = 10
_AGAIN = frozenset({"40001", "40P01"})  # serialisation failure, deadlock: nothing was stored
_LOCKED = frozenset({"55P03", "57014"})  # lock not had, statement cancelled for its time
_READ_ONLY = "25006"  # the primary has become a standby
_PAUSE = 0.1  # seconds between two looks at a database that does not answer


class Transactions:
    """The transactions of one store; ``waited`` is told for how many seconds each lock was waited for."""

    def __init__(self, database: Database, waited: Callable[[float], None] | None = None) -> None:
        self._database = database
        self._waited = waited
        self._mine = threading.local()

    def read(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Do ``work`` in a transaction of its own, or in that of the update that this thread is in."""
        writing = getattr(self._mine, "connection", None)
        if writing is not None:
            # It sees what the update sees, and needs no second connection.
            return work(writing)
        with outage("read"), deadline(self._database.timeout):
            while True:
                try:
                    with self._database.reading() as connection:
                        return work(connection)
                except DBAPIError as error:
                    # A connection that was lost while it lay in the pool; with it, all of its age were dropped.
                    if not error.connection_invalidated or time_left() == 0:
                        raise

    def write(
        self, collection: str, work: Callable[[sa.Connection, str], _Result], wait: float | None = None
    ) -> _Result:
        """Do ``work`` in a transaction that has the collection's lock; ``work`` may be done again, from the start."""
        with deadline(self._database.timeout):
            for attempt in range(_MOST_TRIES):
                once = _Once(uuid.uuid4().hex)
                try:
                    return self._try(once, collection, work, wait)
                except DBAPIError as error:
                    if once.committing and state(error) not in _AGAIN:
                        if self._is_stored(once, collection):
                            return cast("_Result", once.result)
                    elif not _is_worth_trying(error):
                        raise _refused(error, once, collection) from None
                    if state(error) == _READ_ONLY:
                        self._database.close()
                if time_left() == 0:
                    break
                time.sleep(random.uniform(0.001, 0.01) * (attempt + 1))  # noqa: S311 - no secret is made of it
        raise StoreUnavailable(reason=f"gave up writing {collection}: other writers were always faster")

    def _try(
        self, once: "_Once", collection: str, work: Callable[[sa.Connection, str], _Result], wait: float | None
    ) -> _Result:
        with self._database.writing(wait) as connection:
            begun = time.monotonic()
            try:
                once.n = begin_generation(connection, collection, once.write_id)
            finally:
                if self._waited is not None:
                    self._waited(time.monotonic() - begun)
            self._mine.connection = connection
            try:
                once.result = result = work(connection, once.write_id)
            finally:
                self._mine.connection = None
            once.committing = True
            connection.commit()
            if doubted(connection):
                raise MaybeStored(reason=f"a change of {collection} is stored, but on no standby")
        return result

    def _is_stored(self, once: "_Once", collection: str) -> bool:
        """Whether a transaction whose commit got no answer counts; raises ``MaybeStored`` where nobody can tell."""
        unknown = MaybeStored(reason=f"the connection broke while a change of {collection} was committed")
        while time_left() > 0:
            try:
                with self._database.writing(None) as connection:
                    # Waits until that transaction has ended, one way or the other.
                    row = connection.execute(GENERATIONS.where(of(collection)).with_for_update()).one_or_none()
                    n, last = (0, "") if row is None else (row.n, row.write_id)
                    if once.write_id == last or n <= once.n:
                        return once.write_id == last
                    mine = sa.select(records.c.name).where(
                        records.c.collection == collection, records.c.write_id == once.write_id
                    )
                    if connection.execute(mine).first() is not None:
                        return True
                    # Written over since then, or deleted: nobody can know.
                    raise unknown
            except DBAPIError:
                time.sleep(_PAUSE)
        raise unknown


@dataclasses.dataclass
class _Once:
    """One try of a write: its identifier, its collection's generation, how far it came."""

    write_id: str
    n: int = 0
    committing: bool = False
    result: object = None


def _is_worth_trying(error: DBAPIError) -> bool:
    """Whether a write that was not committed may go through when it is tried again at once."""
    # Integrity: two writers began a collection, of which one is first.
    return (
        state(error) in _AGAIN
        or state(error) == _READ_ONLY
        or error.connection_invalidated
        or isinstance(error, IntegrityError)
    )


def _refused(error: DBAPIError, once: _Once, collection: str) -> StoreUnavailable:
    if once.n == 0 and (state(error) in _LOCKED or "database is locked" in str(error.orig)):
        return LockTimeout(reason=f"waited too long for another writer of {collection}")
    return StoreUnavailable(reason=f"cannot write in the database: {explained(error)}")
