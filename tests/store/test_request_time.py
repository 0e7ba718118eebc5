"""How long a request may wait for its database: all of its questions together no longer than STORE_TIMEOUT."""

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
    """Nobody else can read or write records."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("LOCK TABLE datafor_records IN ACCESS EXCLUSIVE MODE")
        yield connection
        connection.rollback()


class Lefts:
    """How much time each wait for an answer had left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        wait = engine._Connection.wait

        def noting(connection: engine._Connection, *arguments: Any, **options: Any) -> Any:
            self.seconds.append(engine.time_left())
            return wait(connection, *arguments, **options)

        monkeypatch.setattr(engine._Connection, "wait", noting)


def wait_in_a_request(store: SqlStore, url: str) -> None:
    """A request whose first question waits for a while, and is answered."""
    store.begin_request()
    with locked(url) as connection:
        answered = threading.Timer(LOCKED, connection.rollback)
        answered.start()
        assert store.get("users", "lena") == {"name": "lena"}
        answered.join()


@pytest.mark.parametrize("question", ["get", "put"])
def test_the_questions_of_a_request_have_one_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """What one question of a request waited, the next ones no longer can; with no time left nothing is sent."""
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


def test_a_write_gives_up_its_lock_within_what_is_left(postgres_url: str) -> None:
    """A write of a request that has waited says that another writer was waited for, not that the server is silent."""
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
    """Time that passes when it is told to, and by ``step`` with each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float = 0.0) -> None:
        self.offset, self.step = 0.0, step
        monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=self.monotonic))

    def monotonic(self) -> float:
        """As in ``time``."""
        self.offset += self.step
        return time.monotonic() + self.offset


def test_a_long_request_is_not_refused_for_what_else_it_does(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash or a slow body between two questions takes nothing off the time for the database."""
    store, clock = opened(url, TIMEOUT), Clock(monkeypatch)
    store.begin_request()
    for _ in range(3):
        store.put("users", {"name": "lena"})
        clock.offset += 10 * TIMEOUT
    assert store.get("users", "lena") == {"name": "lena"}
    store.end_request()


def test_many_quick_questions_are_no_waiting(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request with a long list asks many times; as long as each is answered quickly, it comes to its end."""
    store = opened(url, 60)
    store.put("users", {"name": "lena"})
    clock = Clock(monkeypatch, step=0.1)
    store.begin_request()
    for _ in range(400):
        assert store.get("users", "lena") == {"name": "lena"}
    store.end_request()
    assert clock.offset > 60
