"""Transactions of the SQL store: retried if that is safe, looked up if the response to a commit was lost."""

import dataclasses
import random
import time
import uuid
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from datafor_token.errors import LockTimeout, MaybeStored, StoreUnavailable
from datafor_token.store.sql.breaker import Breaker
from datafor_token.store.sql.engine import Database, commit, deadline, time_left
from datafor_token.store.sql.errors import explained, is_lock, is_read_only, state
from datafor_token.store.sql.fencing import Fenced
from datafor_token.store.sql.rows import GENERATION
from datafor_token.store.sql.schema import records
from datafor_token.store.sql.server import Server
from datafor_token.store.sql.sessions import MOST_SERVERS, Sessions

_Result = TypeVar("_Result")
_MOST_TRIES = 10
_AGAIN = frozenset({"40001", "40P01"})  # serialization failure, deadlock: nothing was stored
_CANCELLED = "57014"  # by the time limit of a statement
_PAUSE = 0.1  # seconds between two looks at a database that does not respond


class Companion(Protocol):
    """A writer of rows that belong to the changes of a store."""

    def write_along(self, connection: sa.Connection) -> None:
        """Write what belongs to the change of this thread: last before the commit, in each attempt."""

    def written(self) -> None:
        """Note that the transaction of this thread was committed."""


class Transactions:
    """The transactions of one store. ``waited`` is called with the seconds that each lock was waited for."""

    def __init__(
        self,
        database: Database,
        server: Server,
        sessions: Sessions,
        breaker: Breaker,
        waited: Callable[[float], None] | None = None,
    ) -> None:
        self._database = database
        self._server = server
        self._sessions = sessions
        self._breaker = breaker
        self._waited = waited
        self.companion: Companion | None = None

    def write(
        self, collection: str, work: Callable[[sa.Connection, str], _Result], wait: float | None = None
    ) -> _Result:
        """Do ``work`` in a transaction that holds the collection's lock. A retry does ``work`` again."""
        with deadline(self._database.timeout):
            for tries in range(_MOST_TRIES):
                self._breaker.check()
                attempt, begun = _Attempt(uuid.uuid4().hex), time.monotonic()
                try:
                    return self._try(attempt, collection, work, wait)
                except DBAPIError as error:
                    if attempt.committing and state(error) not in _AGAIN:
                        if self._is_stored(attempt, collection):
                            self._committed()
                            return cast("_Result", attempt.result)
                    elif self._breaker.note(error, begun) or not is_worth_retrying(error):
                        raise _refused(error, attempt, collection) from None
                    if is_read_only(error):
                        self._database.close()
                except Fenced:
                    if tries == MOST_SERVERS - 1:
                        raise
                if time_left() == 0:
                    break
                time.sleep(random.uniform(0.001, 0.01) * (tries + 1))  # noqa: S311 - not a secret
        raise StoreUnavailable(
            reason=f"gave up writing {collection} after {_MOST_TRIES} tries: other writers were always faster"
        )

    def _try(
        self, attempt: "_Attempt", collection: str, work: Callable[[sa.Connection, str], _Result], wait: float | None
    ) -> _Result:
        with self._database.writing(wait) as connection:
            begun = time.monotonic()
            try:
                attempt.n = self._server.next_generation(connection, collection, attempt.write_id)
            finally:
                if self._waited is not None:
                    self._waited(time.monotonic() - begun)
            with self._sessions.within(connection):
                attempt.result = result = work(connection, attempt.write_id)
            if self.companion is not None:
                self.companion.write_along(connection)
            attempt.committing = True
            is_on_standby = commit(connection)
            self._committed()
            if not is_on_standby:
                raise MaybeStored(reason=f"a change of {collection} is stored, but not on a standby")
        return result

    def _committed(self) -> None:
        if self.companion is not None:
            self.companion.written()

    def _is_stored(self, attempt: "_Attempt", collection: str) -> bool:
        """Return whether a transaction whose commit got no response was committed; raise ``MaybeStored`` if unknown."""
        unknown = MaybeStored(reason=f"the connection broke while a change of {collection} was committed")
        while time_left() > 0:
            try:
                with self._database.writing(None) as connection:
                    # A former primary does not know whether it was stored.
                    self._server.generations(connection)
                    # Wait until that transaction has ended, either way.
                    row = connection.execute(GENERATION.with_for_update(), {"c": collection}).one_or_none()
                    n, last = (0, "") if row is None else (row.n, row.write_id)
                    if attempt.write_id != last:
                        if n <= attempt.n:
                            return False
                        mine = sa.select(records.c.name).where(
                            records.c.collection == collection, records.c.write_id == attempt.write_id
                        )
                        if connection.execute(mine).first() is None:
                            # Replaced or deleted since then, if it was stored at all.
                            raise unknown
                    # The lock of the row makes this commit wait for the standby, too.
                    if commit(connection):
                        return True
                    raise unknown
            except (DBAPIError, Fenced):
                time.sleep(_PAUSE)
            except StoreUnavailable:
                # A migration has begun, which lets no server in.
                break
        raise unknown


@dataclasses.dataclass
class _Attempt:
    """One attempt at a write: its identifier, the generation of its collection, and its progress."""

    write_id: str
    n: int = 0
    committing: bool = False
    result: object = None


def is_worth_retrying(error: DBAPIError) -> bool:
    """Return whether an immediate retry of a write that was not committed may succeed."""
    # Integrity: two writers created the row of a collection at the same time.
    return (
        state(error) in _AGAIN
        or is_read_only(error)
        or error.connection_invalidated
        or isinstance(error, IntegrityError)
    )


def _refused(error: DBAPIError, attempt: _Attempt, collection: str) -> StoreUnavailable:
    if attempt.n == 0 and (is_lock(error) or state(error) == _CANCELLED):
        return LockTimeout(reason=f"waited too long for another writer of {collection}")
    return StoreUnavailable(reason=f"cannot write in the database: {explained(error)}")
