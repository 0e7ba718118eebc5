"""Probes of a database with locks, without rights, read-only, hung, and without its standby."""

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from datafor_token.errors import MaybeStored, StoreUnavailable
from datafor_token.store.sql.schema import tables
from tests.store.conftest import opened, prepared
from tests.store.postgres import Postgres

pytestmark = pytest.mark.sql
_numbers = itertools.count()
TABLES = [table.name for table in tables()]


@pytest.fixture(autouse=True)
def _much_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datafor_token.store.sql.probing._LONGEST", 60)


@contextlib.contextmanager
def transaction(url: str, statement: str) -> Iterator[None]:
    """Leave a transaction open after a statement."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(statement)
        yield
        connection.rollback()


def reason(probe: Callable[[], object]) -> str:
    """Return the reason why a probe fails."""
    with pytest.raises(StoreUnavailable) as caught:
        probe()
    return str(caught.value.reason)


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE"])
@pytest.mark.parametrize("names", [*([name] for name in TABLES), TABLES])
def test_a_lock_of_another_transaction_is_no_outage(postgres_url: str, names: list[str], mode: str) -> None:
    """While a transaction holds a lock on any table or all of them, both probes succeed."""
    store = opened(postgres_url)
    store.put("users", {"name": "lena"})
    with transaction(postgres_url, f"LOCK TABLE {', '.join(names)} IN {mode} MODE"):
        store.check_readable()
        store.check_writable()
        store.line_log.check()


def test_an_open_write_is_no_outage(postgres_url: str) -> None:
    """A transaction that has changed rows of every table and stays open leaves both probes at success."""
    store = opened(postgres_url)
    store.put("users", {"name": "lena"})
    changes = "UPDATE datafor_records SET document = document; UPDATE datafor_generations SET n = n + 1;"
    changes += "DELETE FROM datafor_audit; UPDATE datafor_schema SET version = version"
    with transaction(postgres_url, changes):
        store.check_readable()
        store.check_writable()
        store.line_log.check()


@pytest.mark.parametrize("name", TABLES)
def test_each_table_is_read(postgres: Postgres, postgres_url: str, name: str) -> None:
    """A table that is missing, or that the user may not read, is an outage with a reason."""
    store = opened(postgres_url)
    role, database = f"probed{next(_numbers)}", postgres_url.rpartition("/")[2]
    postgres.ask(f"CREATE ROLE {role} LOGIN PASSWORD 'password'")
    postgres.ask(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; REVOKE ALL ON {name} FROM {role}", database)
    lesser = opened(f"postgresql://{role}:password@127.0.0.1:{postgres.port}/{database}")
    assert "its user lacks rights" in reason(lesser.check_readable)
    postgres.ask(f"GRANT SELECT ON {name} TO {role}", database)
    lesser.check_readable()
    postgres.ask(f"ALTER TABLE {name} RENAME TO aside", database)
    assert "tables are missing" in reason(store.check_readable)
    postgres.ask(f"DROP OWNED BY {role}; ALTER TABLE aside RENAME TO {name}", database)


@pytest.mark.parametrize("right", ["INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("name", ["datafor_records", "datafor_generations"])
def test_a_missing_right_is_found(postgres: Postgres, postgres_url: str, name: str, right: str) -> None:
    """A user who may read a table, but not insert, update or delete, is reported as one without rights."""
    opened(postgres_url)
    role, database = f"probed{next(_numbers)}", postgres_url.rpartition("/")[2]
    postgres.ask(f"CREATE ROLE {role} LOGIN PASSWORD 'password'")
    postgres.ask(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}", database)
    store = opened(f"postgresql://{role}:password@127.0.0.1:{postgres.port}/{database}")
    store.check_writable()
    postgres.ask(f"REVOKE {right} ON {name} FROM {role}", database)
    store.check_readable()
    assert "its user lacks rights" in reason(store.check_writable)


def test_a_lost_connection_of_the_pool_is_no_outage(postgres_url: str, postgres: Postgres) -> None:
    """After a restart of the database, the first probe of each kind succeeds."""
    store = opened(postgres_url)
    probes: list[Callable[[], None]] = [store.check_readable, store.check_writable]
    for probe in probes:
        probe()
        postgres.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'datafor_token'")
        probe()


def test_nothing_is_left_of_a_probe(postgres: Postgres, postgres_url: str) -> None:
    """A probe leaves no row, and changes no generation."""
    store = opened(postgres_url)
    database = postgres_url.rpartition("/")[2]
    before = [postgres.ask(f"TABLE {name}", database) for name in TABLES]
    store.check_writable()
    store.line_log.check()
    assert [postgres.ask(f"TABLE {name}", database) for name in TABLES] == before


@pytest.fixture(scope="module")
def without_standby() -> Iterator[Postgres]:
    """Run a server whose synchronous standby is away."""
    server = Postgres(safe=False).make().start(synchronous_commit="on")
    prepared(server.url())
    server.ask("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
    server.ask("SELECT pg_reload_conf()")
    while server.ask("SHOW synchronous_standby_names") != [("standby",)]:
        time.sleep(0.05)
    yield server
    server.remove()


def waiting(server: Postgres) -> list[tuple[object, ...]]:
    """Return the connections that wait for a standby."""
    return server.ask("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")


def test_a_standby_that_is_away_is_found(without_standby: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its synchronous standby the database can be read and not written, and no connection stays behind."""
    monkeypatch.setattr("datafor_token.store.sql.probing._LONGEST", 6)
    monkeypatch.setattr("datafor_token.store.sql.probing._CANCEL", 5)
    store = opened(without_standby.url())
    store.check_readable()
    assert "no synchronous standby" in reason(store.check_writable)
    assert waiting(without_standby) == []


def test_a_write_without_a_standby_ends(without_standby: Postgres) -> None:
    """A write that no standby confirms is 'may be stored', and leaves no connection behind. Reads go on."""
    store = opened(without_standby.url(), timeout=5)
    with pytest.raises(MaybeStored) as caught:
        store.put("users", {"name": "lena"})
    assert "is stored, but not on a standby" in str(caught.value.reason)
    assert waiting(without_standby) == []
    assert store.get("users", "lena") == {"name": "lena"}


def test_no_other_commit_without_a_standby_stays(without_standby: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and imported lines that no standby confirms are an outage, and leave no connection behind."""
    monkeypatch.setattr("datafor_token.store.sql.schema._LONGEST_INIT", 2)
    lines = opened(without_standby.url(), timeout=2).line_log
    line = b'{"time":"2026-11-30T03:13:13.570Z","event":"sign_in"}\n'
    works: list[Callable[[], object]] = [
        lambda: prepared(without_standby.url("template1")),
        lambda: lines.add_missing([line]),
    ]
    for work in works:
        assert "no synchronous standby" in reason(work)
        assert waiting(without_standby) == []


def test_a_write_that_is_looked_up_waits_for_the_standby(without_standby: Postgres) -> None:
    """A write whose connection broke while it waited for the standby is 'may be stored', although it is found."""
    store = opened(without_standby.url(), timeout=3)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(store.put, "users", {"name": "mia"})
        while not (found := waiting(without_standby)):
            time.sleep(0.02)
        without_standby.ask(f"SELECT pg_terminate_backend({found[0][0]})")
        with pytest.raises(MaybeStored):
            written.result()
    assert waiting(without_standby) == []
    assert store.get("users", "mia") == {"name": "mia"}


def test_a_server_that_hangs_is_an_outage(
    postgres: Postgres, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not respond in time fails both probes, and when it responds again both succeed."""
    store = opened(postgres_url)
    probes: list[Callable[[], None]] = [store.check_readable, store.check_writable]
    for probe in probes:
        probe()
    postgres.signal_all(signal.SIGSTOP)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("datafor_token.store.sql.probing._LONGEST", 0.2)
            assert ["did not respond in time" in reason(probe) for probe in probes] == [True, True]
    finally:
        postgres.signal_all(signal.SIGCONT)
    for probe in probes:
        probe()
