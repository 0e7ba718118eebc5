"""Time limit of a request: all of its database operations together take no longer than STORE_TIMEOUT."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql import engine
from datafor_token.store.sql.store import SqlStore
from tests.store.conftest import opened
from tests.store.sql.test_generations import Statements

TIMEOUT = 5.0
LOCKED = 1.0  # seconds


@contextmanager
def locked(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Lock the records against all other readers and writers."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("LOCK TABLE datafor_records IN ACCESS EXCLUSIVE MODE")
        yield connection
        connection.rollback()


class Lefts:
    """Record how much time each wait for the server had left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        wait = engine._Connection.wait

        def noting(connection: engine._Connection, *arguments: Any, **options: Any) -> Any:
            self.seconds.append(engine.time_left())
            return wait(connection, *arguments, **options)

        monkeypatch.setattr(engine._Connection, "wait", noting)


def wait_in_a_request(store: SqlStore, url: str) -> None:
    """A request whose first operation waits for a while, and succeeds."""
    store.begin_request()
    with locked(url) as connection:
        released = threading.Timer(LOCKED, connection.rollback)
        released.start()
        assert store.get("users", "lena") == {"name": "lena"}
        released.join()


@pytest.mark.parametrize("question", ["get", "put"])
def test_the_operations_of_a_request_share_one_time_limit(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """Later operations of a request have less time when an earlier one waited; with no time left, nothing is sent."""
    store = opened(postgres_url, TIMEOUT, TIMEOUT)
    store.put("users", {"name": "lena"})
    asks: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("users", "lena"),
        "put": lambda: store.put("users", {"name": "lena"}),
    }
    ask = asks[question]
    lefts, statements = Lefts(monkeypatch), Statements(store)
    wait_in_a_request(store, postgres_url)
    with locked(postgres_url):
        lefts.seconds.clear()
        with pytest.raises(StoreUnavailable):
            ask()
        assert 0 < max(lefts.seconds) < TIMEOUT - LOCKED * 0.9
        with pytest.raises(StoreUnavailable):
            store.get("users", "lena")
        statements.sent.clear()
        with pytest.raises(StoreUnavailable) as caught:
            ask()
        assert ("this request" in str(caught.value.reason), statements.sent) == (True, [])
    store.end_request()
    lefts.seconds.clear()
    ask()
    assert max(lefts.seconds) > TIMEOUT - LOCKED * 0.9
    store.begin_request()
    ask()
    store.end_request()


def test_a_lock_times_out_before_the_deadline(postgres_url: str) -> None:
    """A write of a request that has waited reports the other writer, not a server that does not respond."""
    store, other = opened(postgres_url, TIMEOUT, TIMEOUT), opened(postgres_url)
    store.put("users", {"name": "lena"})
    wait_in_a_request(store, postgres_url)
    with other._database.writing(None) as connection:
        connection.exec_driver_sql("UPDATE datafor_generations SET n = n + 1")
        with pytest.raises(StoreUnavailable) as caught:
            store.put("users", {"name": "lena"})
    store.end_request()
    assert "another writer" in str(caught.value.reason)


class Clock:
    """A clock that advances on demand, and by ``step`` with each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float = 0.0) -> None:
        self.offset, self.step = 0.0, step
        monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=self.monotonic))

    def monotonic(self) -> float:
        """Return the time, as ``time`` does."""
        self.offset += self.step
        return time.monotonic() + self.offset


def test_other_work_of_a_request_takes_no_database_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash or a slow body between two operations takes nothing off the time for the database."""
    store, clock = opened(url, TIMEOUT), Clock(monkeypatch)
    store.begin_request()
    for _ in range(3):
        store.put("users", {"name": "lena"})
        clock.offset += 10 * TIMEOUT
    assert store.get("users", "lena") == {"name": "lena"}
    store.end_request()


def test_quick_operations_take_no_database_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request with many operations comes to its end as long as each is quick."""
    store = opened(url, 60)
    store.put("users", {"name": "lena"})
    clock = Clock(monkeypatch, step=0.1)
    store.begin_request()
    for _ in range(400):
        assert store.get("users", "lena") == {"name": "lena"}
    store.end_request()
    assert clock.offset > 60
