"""SQL store behind a real PgBouncer, in session and in transaction mode."""

import contextlib
import itertools
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest
import sqlalchemy as sa

from datafor_token.errors import Forbidden, StoreUnavailable
from datafor_token.store.sql.engine import Database
from tests.store.conftest import opened, prepared
from tests.store.contract import Factory, StoreContract, is_writable
from tests.store.failover import replicated
from tests.store.pgbouncer import PgBouncer
from tests.store.postgres import Postgres
from tests.store.sql.test_server_lock import terminate_all

pytestmark = pytest.mark.sql
_numbers = itertools.count()
MODES: dict[str, dict[str, object]] = {
    "session": {},
    # ``options`` are accepted and ignored. A migration needs two sessions, everything else one.
    "transaction": {"ignore_startup_parameters": "options", "default_pool_size": 2},
}


@pytest.fixture(scope="module", params=MODES)
def pooler(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[PgBouncer]:
    running = PgBouncer(postgres, request.param, "*", **MODES[request.param]).start()
    yield running
    running.remove()


@pytest.fixture
def pooled_url(postgres: Postgres, pooler: PgBouncer) -> str:
    name = f"pooled{next(_numbers)}"
    postgres.ask(f"CREATE DATABASE {name} STRATEGY file_copy")
    return prepared(pooler.url(name))


class TestContractBehindPgBouncer(StoreContract):
    """Behind PgBouncer, the SQL store has the guarantees of every store."""

    # It draws many names, and what they are stored under does not depend on the connection.
    test_no_two_names_collide = None  # type: ignore[assignment]

    @pytest.fixture
    def factory(self, pooled_url: str) -> Factory:
        return partial(opened, pooled_url)


def test_nothing_is_left_in_a_session(postgres: Postgres, pooled_url: str, pooler: PgBouncer) -> None:
    """After reads and writes, the sessions of the pooler have no lock, time limit or prepared statement."""
    store = opened(pooled_url)
    store._database.serve()
    for number in range(20):
        store.begin_request()
        store.put("users", {"name": f"lena{number}"})
        assert store.get("users", f"lena{number}")
        assert number or is_writable(store)
        store.end_request()
    # Many equal statements in one transaction, after which none is rolled back.
    store.put_many("users", [{"name": f"paul{number}"} for number in range(20)])
    assert postgres.ask("SELECT * FROM pg_locks WHERE locktype = 'advisory'") == []
    question = """
        SELECT count(*), current_setting('statement_timeout'), current_setting('lock_timeout'),
        current_setting('idle_in_transaction_session_timeout') FROM pg_prepared_statements
    """
    with contextlib.ExitStack() as stack:
        # All sessions that there are.
        for _ in range(2):
            url = pooled_url.replace("+psycopg", "")
            session = stack.enter_context(psycopg.connect(url, prepare_threshold=None))
            assert session.execute(question).fetchall() == [(0, "0", "0", "0")]


def test_time_limits_are_in_force(pooled_url: str) -> None:
    """Each read and each write through a pooler has the time limits of a connection without one."""
    database = Database(pooled_url, 10, 4)
    database.serve()
    question = "SELECT current_setting('{}')"
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    for context, wait in ((database.reading(), "4s"), (database.writing(None), "4s"), (database.writing(0.5), "500ms")):
        with context as connection:
            found = [connection.exec_driver_sql(question.format(name)).scalar() for name in names]
            assert found == ["9s", wait, "20s"]


def test_a_request_holds_no_session_between_its_reads(pooled_url: str) -> None:
    """Other clients use the pooler while a request does something else, and it reads their changes."""
    stores = [opened(pooled_url, timeout=60) for _ in range(3)]
    for store in stores:
        store.begin_request()
        assert store.version("users", "lena") is None
    for number, store in enumerate(stores):
        store.put("users", {"name": f"lena{number}"})
        assert len(store.names("users")) == number + 1
    for store in stores:
        store.end_request()


def test_what_is_read_is_cached_under_its_own_generation(pooled_url: str) -> None:
    """A record that is read after a change of another node is cached under the generation of that change."""
    store, other = opened(pooled_url), opened(pooled_url)
    store.begin_request()
    stamp = store.stamp("users")
    other.put("users", {"name": "lena"})
    version = store.version("users", "lena")
    versions, _ = store.changes("users", {})
    assert (store.stamp("users") == stamp, versions) == (False, {"lena": version})
    store.end_request()
    statements: list[str] = []
    sa.event.listen(store._database.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    store.begin_request()
    assert (store.version("users", "lena"), store.changes("users", versions)[0]) == (version, versions)
    store.end_request()
    # Of both, only the generations were read.
    assert len([one for one in statements if "datafor_records" in one and "lock" not in one]) == 0


def test_a_migration_through_a_pooler(pooled_url: str, postgres: Postgres) -> None:
    """A migration through a pooler excludes servers with and without one, and its lock ends with it."""
    direct = postgres.url(pooled_url.rpartition("/")[2])
    servers = [opened(url) for url in (pooled_url, direct)]
    for server in servers:
        server._database.serve()
    with opened(pooled_url).exclude_servers() as check:
        for server in servers:
            for call in (partial(server.get, "users", "lena"), partial(server.put, "users", {"name": "lena"})):
                with pytest.raises(StoreUnavailable) as refused:
                    call()
                assert "`store migrate` is copying" in str(refused.value.reason)
        check()
    for server in servers:
        server.put("users", {"name": "lena"})
    with pytest.raises(Forbidden, match="a server is using"), opened(pooled_url).exclude_servers():
        pytest.fail("the server without a pooler is not seen")
    servers[1]._database.close()
    with opened(pooled_url).exclude_servers() as check:
        check()


def test_a_server_without_timelines(postgres: Postgres, pooled_url: str) -> None:
    """Through a pooler, too, a database that has no timelines is used without them."""
    name = pooled_url.rpartition("/")[2]
    postgres.ask(
        f"""
        REVOKE EXECUTE ON FUNCTION pg_walfile_name FROM public;
        CREATE ROLE {name}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {name};
        ALTER ROLE keeper IN DATABASE {name} SET role = {name}
        """,
        name,
    )
    terminate_all(postgres, pooled_url)
    store = opened(pooled_url)
    store.begin_request()
    assert store.names("users") == []
    store.put("users", {"name": "lena"})
    assert store.names("users") == ["lena"]
    store.end_request()
    assert store._server._kind == "without timeline"


def test_a_pooler_with_sessions_on_the_old_primary() -> None:
    """After a failover, what a pooler returns from the old primary is refused, and the pooler closes those sessions."""
    with replicated(safe=False) as servers:
        running = PgBouncer(servers.primary, "transaction")
        running.configure(servers.switch.port, pool_mode="transaction")
        running.start()
        store = opened(prepared(running.url()))
        url = running.url().replace("+psycopg", "")
        with psycopg.connect(url, prepare_threshold=None) as one, psycopg.connect(url, prepare_threshold=None) as two:
            for other in (one, two):
                other.execute("SELECT")
            servers.pause_primary()
            servers.promote()
            # All sessions are in use, so the pooler opens one on the new primary.
            store.put("users", {"name": "lena"})
            servers.continue_old()
            for other in (one, two):
                other.rollback()
            # These are now the sessions that the pooler used last, and uses first.
            assert one.execute("SELECT count(*) FROM datafor_records").fetchone() == (0,)
        for call in (store.names, lambda collection: [store.version(collection, "lena") and "lena"]):
            store.begin_request()
            assert call("users") == ["lena"]
            store.end_request()
        store.put("users", {"name": "paul"})
        assert (store.names("users"), is_writable(store)) == (["lena", "paul"], True)
        assert servers.primary.ask("SELECT 1 FROM pg_stat_activity WHERE application_name = 'datafor_token'") == []
        running.remove()
