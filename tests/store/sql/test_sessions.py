"""Sessions: a request reads all on one connection, which knows the server's timeline, clock and tables."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from datafor_token.errors import MaybeStored, StoreUnavailable
from datafor_token.store.sql import schema
from datafor_token.store.sql import server as sql_server
from datafor_token.store.sql.clock import DatabaseClock
from datafor_token.store.sql.fencing import Fenced, Timelines
from datafor_token.store.sql.store import SqlStore
from tests.store.conftest import opened, prepared
from tests.store.failover import replicated


class Borrowed:
    """Count the connections that a store takes from its pool."""

    def __init__(self, store: SqlStore) -> None:
        self.number = 0
        sa.event.listen(store._database.engine, "checkout", self._note)

    def _note(self, *_: object) -> None:
        self.number += 1

    def during(self, work: Callable[[], object]) -> int:
        before = self.number
        work()
        return self.number - before


def read_all(store: SqlStore) -> None:
    store.get("users", "lena")
    store.version("users", "lena")
    store.stamp("users")
    list(store.changes("users", {})[1])
    list(store.documents("users"))


def test_a_request_reads_on_one_connection(store: SqlStore) -> None:
    """All that a request reads is read on one connection, and a write gives it back before it takes its own."""
    store.put("users", {"name": "lena"})
    borrowed = Borrowed(store)
    store.begin_request()
    assert borrowed.during(lambda: read_all(store)) == 1
    assert borrowed.during(lambda: store.put("users", {"name": "mia"})) == 1
    assert borrowed.during(lambda: read_all(store)) == 1
    store.end_request()
    assert store._database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def break_connection(store: SqlStore) -> None:
    """Break the connection of this thread's session, as a restart of the server does."""
    session = store._sessions._thread.session
    assert session is not None
    pid = session.connection.execute(sa.text("SELECT pg_backend_pid()")).scalar()
    with store._database.writing(None) as other:
        other.execute(sa.text(f"SELECT pg_terminate_backend({pid}, 5000)"))


@pytest.mark.sql
def test_a_new_connection_begins_with_the_generations(postgres_url: str) -> None:
    """If the connection breaks within a request, the generations are read again on the next one, before a record."""
    store, other = opened(postgres_url), opened(postgres_url)
    store.put("users", {"name": "lena"})
    store.begin_request()
    before, old = store.stamp("users"), store.version("users", "lena")
    other.put("users", {"name": "lena", "type": "User"})
    assert store.stamp("users") == before
    break_connection(store)
    assert store.version("users", "mia") is None
    assert store.stamp("users") == other.stamp("users") != before
    assert store.version("users", "lena") != old
    store.end_request()


def advance(postgres_url: str) -> SqlStore:
    """Return a store that has seen a later timeline than the server's."""
    store = opened(postgres_url)
    store.put("users", {"name": "lena"})
    store._server._timelines.check(0x10)
    return store


@pytest.mark.sql
def test_a_former_primary_is_refused(postgres_url: str) -> None:
    """A server on a lower timeline than one already seen is neither read nor written, and the reason names fencing."""
    store = advance(postgres_url)
    works: list[Callable[[], object]] = [
        lambda: store.get("users", "lena"),
        lambda: store.stamp("users"),
        lambda: store.put("users", {"name": "mia"}),
        lambda: store.delete("users", "lena"),
        store.check_readable,
        store.check_writable,
    ]
    for work in works:
        with pytest.raises(StoreUnavailable) as caught:
            work()
        assert "fencing: a host of the database is on timeline 1" in str(caught.value.reason)
    assert [name for name, _ in opened(postgres_url).documents("users")] == ["lena"]


@pytest.mark.sql
def test_a_former_primary_is_not_asked_without_pause(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write whose response was lost is looked up at most ten times a second where only a former primary responds."""
    store = opened(postgres_url, timeout=1)
    store.put("users", {"name": "lena"})
    borrowed = Borrowed(store)

    def lost(connection: sa.Connection) -> None:
        store._server._timelines.check(0x10)
        connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
        connection.exec_driver_sql("SELECT 1")

    monkeypatch.setattr(sa.Connection, "commit", lost)
    with pytest.raises(MaybeStored):
        store.put("users", {"name": "mia"})
    assert borrowed.number <= 12


@pytest.mark.sql
def test_another_host_is_tried() -> None:
    """When the first host of the URL is a former primary, the service finds the other one."""
    with replicated(safe=False) as servers:
        prepared(servers.primary.url())
        servers.wait_for_standby()
        servers.standby.promote()
        both = servers.primary.url("postgres", servers.standby, query="?target_session_attrs=read-write")
        store = opened(both)
        store.put("users", {"name": "lena"})
        with store._database.reading() as connection:
            assert connection.execute(sa.text("SHOW port")).scalar() == str(servers.primary.port)
        store._server._timelines.check(2)
        store.put("users", {"name": "mia"})
        assert [name for name, _ in store.documents("users")] == ["mia"]


def test_forked_processes_share_the_timeline() -> None:
    """A timeline that one worker has seen is known to all workers of the node."""
    code = """
import os
from datafor_token.store.sql.fencing import Fenced, Timelines
timelines = Timelines()
timelines.check(1)
if os.fork() == 0:
    timelines.check(7)
    os._exit(0)
os.wait()
try:
    timelines.check(6)
except Fenced as error:
    print(error.reason)
"""
    assert (
        "timeline 6, although timeline 7 exists"
        in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )


def test_the_same_or_a_later_timeline_is_accepted() -> None:
    """A promotion raises the timeline; it never falls."""
    timelines = Timelines()
    for timeline in (1, 1, 3, 3):
        timelines.check(timeline)
    with pytest.raises(Fenced):
        timelines.check(2)


@pytest.mark.sql
def test_a_database_without_timelines_works(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a server that has no timeline, the service works, and one line of the log says what is missing."""
    asked = sa.select(
        *(
            column if column.name != "timeline" else sa.literal_column("no_such_function()").label("timeline")
            for column in sql_server._FACTS["postgresql"]
        )
    ).subquery()
    broken = sa.select(asked, schema.generations).select_from(asked.outerjoin(schema.generations, sa.true()))
    monkeypatch.setitem(sql_server._READ, "postgresql", broken)
    store = opened(postgres_url)
    assert store.get("users", "lena") is None
    store.put("users", {"name": "lena"})
    assert store.get("users", "lena") == {"name": "lena"}
    assert [one.message.count("the database has no timelines") for one in caplog.records] == [1]


def test_a_change_of_the_tables_is_noticed(store: SqlStore) -> None:
    """When the tables get another version while the service runs, its calls fail with a sentence, and store nothing."""
    store.put("users", {"name": "lena"})
    set_version(store, 2)
    works: list[Callable[[], object]] = [
        lambda: store.get("users", "lena"),
        lambda: store.put("users", {"name": "mia"}),
    ]
    for work in works:
        with pytest.raises(StoreUnavailable) as caught:
            work()
        assert "the tables in the database are version 2, this service knows version 1" in str(caught.value.reason)
    set_version(store, 1)
    assert [name for name, _ in store.documents("users")] == ["lena"]


def set_version(store: SqlStore, version: int) -> None:
    with store._database.writing(None) as connection:
        connection.execute(sa.text("UPDATE datafor_schema SET version = :version"), {"version": version})
        connection.commit()


def test_the_difference_of_the_clocks() -> None:
    """The difference is that of a query, and changes only if the query proves that it has changed."""
    clock = DatabaseClock()
    clock.observe(1000.4, 1000.0, 1001.0)
    assert clock.offset == 0
    clock.observe(1300.5, 1000.4, 1000.6)
    assert clock.offset == pytest.approx(300)
    clock.observe(1310.2, 1009.0, 1011.0)
    assert clock.offset == pytest.approx(300)


def test_processes_share_the_difference_of_the_clocks(caplog: pytest.LogCaptureFixture) -> None:
    """The offset that a forked process has seen is known to all, and logged once when it exceeds two seconds."""
    clock = DatabaseClock()
    if (child := os.fork()) == 0:
        clock.observe(1300, 1000, 1000)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert clock.offset == 300
    for database in (1001.0, 1003.0, 1004.0):
        clock.observe(database, 1000, 1000)
    assert [record.getMessage() for record in caplog.records] == ['event="clocks differ" seconds=3.000']


@pytest.mark.sql
def test_the_clock_of_the_database_is_seen(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store knows by how much the database's clock is ahead of the host's, from reading and from writing."""
    true = time.time
    works: list[tuple[float, Callable[[SqlStore], object]]] = [
        (300, lambda store: store.get("users", "lena")),
        (-70, lambda store: store.put("users", {"name": "lena"})),
    ]
    for behind, work in works:
        store = opened(postgres_url)
        with monkeypatch.context() as patch:
            patch.setattr("datafor_token.store.sql.server.time.time", lambda behind=behind: true() - behind)
            work(store)
        assert store.clock_offset == pytest.approx(behind, abs=2)
