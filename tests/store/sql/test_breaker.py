"""Circuit breaker for a database that does not respond."""

import contextlib
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from datafor_token.errors import StoreUnavailable
from datafor_token.store.sql.breaker import Breaker
from tests.store.conftest import opened
from tests.store.postgres import Postgres


class Asked:
    """A database that is asked, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.times: list[float] = []
        self.is_away = True

    def ask(self) -> None:
        self.times.append(self.now)
        if self.is_away:
            raise StoreUnavailable


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr("datafor_token.store.sql.breaker.time", SimpleNamespace(monotonic=lambda: made.now))
    # Questions in these tests end, or are to be waited for no longer.
    monkeypatch.setattr("datafor_token.store.sql.breaker._PATIENCE", 60)
    monkeypatch.setattr("datafor_token.store.sql.breaker.time_left", lambda: 0)
    return made


def fail(breaker: Breaker, asked: Asked, seconds: float, error: Exception) -> None:
    """Read for some seconds, until an error."""
    with contextlib.suppress(OperationalError), breaker.read():
        asked.now += seconds
        raise OperationalError("SELECT", {}, error)


def is_open(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except StoreUnavailable as error:
        assert error.reason == "the database does not respond; it is asked again each second"
        return True
    return False


def test_after_a_time_out_calls_fail_at_once(asked: Asked) -> None:
    """After a time-out operations fail, and once a second one asks, until the database responds."""
    breaker = Breaker(asked.ask)
    fail(breaker, asked, 5, psycopg.OperationalError("timeout"))
    for _ in range(8):
        with pytest.raises(StoreUnavailable), breaker.read():
            pytest.fail("the database was read")
        asked.now += 0.5
    # The operation that timed out was a question, too, so that the first request after it asks.
    assert asked.times == [1005, 1006, 1007, 1008]
    asked.is_away = False
    assert not is_open(breaker)
    assert not is_open(breaker)
    assert asked.times[4:] == [1009]


def test_a_probe_ends_it(asked: Asked) -> None:
    """A response to somebody else ends it without a question."""
    breaker = Breaker(asked.ask)
    fail(breaker, asked, 5, psycopg.OperationalError("timeout"))
    breaker.responded()
    assert not is_open(breaker)
    assert asked.times == []


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        (5, psycopg.errors.LockNotAvailable("lock timeout")),
        (5, psycopg.errors.QueryCanceled("statement timeout")),
        (0.9, psycopg.OperationalError("timeout")),
        (5, OSError("of another library")),
    ],
)
def test_other_errors_do_not_open_it(asked: Asked, seconds: float, error: Exception) -> None:
    """An error that the server reports, and a request that had little time left, prove nothing."""
    breaker = Breaker(asked.ask)
    fail(breaker, asked, seconds, error)
    assert not is_open(breaker)
    assert asked.times == []


def test_several_silent_reads_open_it(asked: Asked) -> None:
    """While two reads have had no response for a second, further ones fail at once; one read is not enough."""
    breaker, go_on = Breaker(asked.ask), threading.Event()
    begun = [threading.Event(), threading.Event()]

    def read(number: int) -> None:
        with breaker.read():
            begun[number].set()
            go_on.wait()
            breaker.responded()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(2)]
    threads[0].start()
    begun[0].wait()
    asked.now += 10
    assert not is_open(breaker)
    threads[1].start()
    begun[1].wait()
    asked.now += 0.9
    assert not is_open(breaker)
    asked.now += 0.1
    assert is_open(breaker)
    assert is_open(breaker)
    assert asked.times == [1011]
    go_on.set()
    for thread in threads:
        thread.join()
    assert not is_open(breaker)


def test_a_question_that_hangs_holds_nobody(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for its question for a moment only, and while it hangs there is no other one."""
    monkeypatch.setattr("datafor_token.store.sql.breaker._PATIENCE", 0.01)
    go_on, ended = threading.Event(), threading.Event()

    def hang() -> None:
        asked.ask()
        go_on.wait()
        ended.set()

    asked.is_away = False
    breaker = Breaker(hang)
    fail(breaker, asked, 5, psycopg.OperationalError("timeout"))
    for _ in range(3):
        assert is_open(breaker)
        asked.now += 1
    assert asked.times == [1005]
    go_on.set()
    ended.wait()
    while is_open(breaker):
        pass


@pytest.mark.sql
def test_a_server_that_hangs_costs_one_time_out(postgres: Postgres, postgres_url: str) -> None:
    """After the first operation that got no response, reads and writes fail without a wait for the server."""
    store = opened(postgres_url, timeout=2)
    store.put("users", {"name": "lena"})
    works: list[Callable[[], object]] = [lambda: store.get("users", "lena"), lambda: store.put("users", {"name": "x"})]
    for first in works:
        store.check_readable()
        postgres.signal_all(signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable) as caught:
                first()
            assert "did not respond in time" in str(caught.value.reason)
            for work in works * 3:
                with pytest.raises(StoreUnavailable) as caught:
                    work()
                assert "is asked again each second" in str(caught.value.reason)
        finally:
            postgres.signal_all(signal.SIGCONT)
