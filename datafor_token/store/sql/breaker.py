"""Circuit breaker for a database that does not respond.

Without it, each request would hold a thread for ``STORE_TIMEOUT``. After the first time-out, further operations fail at
once. A request that comes while the database is not being asked, a second or more after the last question, asks it on
a thread of its own and waits for the response for a moment, so that nobody notices a database that is back.

An error that the server reports, such as a lock that it waited for in vain, is a response. One of a pooler is not.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
from sqlalchemy.exc import DBAPIError

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql.engine import time_left
from datafor_token.store.sql.errors import is_of_pooler, is_timeout_of_pooler, state

_SILENCE = 1.0  # seconds without a response that are suspicious; also between two questions
_SEVERAL = 2  # reads that have no response for so long
_PATIENCE = 0.2  # seconds that the request that asks waits


class Breaker:
    """State of the connection to one database. ``ask`` returns if the database responds, and raises any error if not.

    It is called in a thread, with no limit of its own.
    """

    def __init__(self, ask: Callable[[], object]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._question: threading.Thread | None = None
        self._asked = self._heard = float("-inf")
        self._timed_out = False
        self._reads: dict[int, float] = {}  # the begin of the read of each thread

    def responded(self) -> None:
        """Note that the database has responded."""
        self._heard = time.monotonic()
        self._timed_out = False

    def check(self) -> None:
        """Raise ``StoreUnavailable`` if the database did not respond and has not been back since."""
        if self._is_closed() or self._is_back():
            return
        raise StoreUnavailable(reason="the database does not respond; it is asked again each second")

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Surround a read. Raise ``StoreUnavailable`` as ``check`` does."""
        self.check()
        thread, begun = threading.get_ident(), time.monotonic()
        self._reads[thread] = begun
        try:
            yield
        except DBAPIError as error:
            self.note(error, begun)
            raise
        finally:
            self._reads.pop(thread, None)

    def note(self, error: DBAPIError, begun: float) -> bool:
        """Note the error of an operation, and return whether the database did not respond to it in time.

        ``begun`` is a time of the monotonic clock.
        """
        if state(error) and not is_of_pooler(error):
            self.responded()
            return False
        is_silence = (
            isinstance(error.orig, psycopg.errors.ConnectionTimeout)
            or (isinstance(error.orig, psycopg.OperationalError) and time_left() == 0)
            or is_timeout_of_pooler(error)
        )
        # A request that had little time left proves nothing.
        if is_silence and time.monotonic() - begun >= _SILENCE:
            # The operation was a question too.
            self._asked, self._timed_out = max(self._asked, begun), True
        return is_silence

    def _is_closed(self) -> bool:
        if self._timed_out:
            return False
        if len(self._reads) < _SEVERAL:
            return True
        long_ago = time.monotonic() - _SILENCE
        return self._heard > long_ago or sum(begun <= long_ago for begun in list(self._reads.values())) < _SEVERAL

    def _is_back(self) -> bool:
        """Ask the database, if it is time to, and return whether it has responded."""
        with self._lock:
            now = time.monotonic()
            # After a fork, a thread of the parent is not alive.
            is_asking = self._question is not None and self._question.is_alive()
            if is_asking or now - self._asked < _SILENCE:
                return False
            self._asked = now
            self._question = question = threading.Thread(target=self._put_question, name="probe", daemon=True)
        question.start()
        question.join(_PATIENCE)
        return self._is_closed()

    def _put_question(self) -> None:
        # It has failed whatever the error is: the next request asks again.
        with contextlib.suppress(Exception):
            self._ask()
            self.responded()
