"""Messages about a PgBouncer that cannot be used, or that ends a connection."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from datafor_token.errors import MaybeStored, StoreUnavailable
from datafor_token.store.sql.errors import explained
from tests.processes import environment, run
from tests.store.conftest import opened, prepared
from tests.store.pgbouncer import PgBouncer
from tests.store.postgres import PASSWORD, Postgres
from tests.store.sql.test_sql_server import reason

pytestmark = pytest.mark.sql


@contextlib.contextmanager
def pooler(
    postgres: Postgres, mode: str = "transaction", databases: str = "*", **settings: object
) -> Iterator[PgBouncer]:
    running = PgBouncer(postgres, mode, databases, **settings).start()
    try:
        yield running
    finally:
        running.remove()


def test_a_pooler_that_cannot_be_used_is_explained(postgres: Postgres) -> None:
    """Statement mode, an unknown database, a wrong password and too many clients are explained with what to do."""
    with pooler(postgres, "statement") as running:
        assert "`pool_mode = transaction` in pgbouncer.ini" in reason(running.url())
    with pooler(postgres, databases="another") as running:
        assert "add it to [databases] in pgbouncer.ini" in reason(running.url())
    with pooler(postgres, max_client_conn=1) as running:
        assert "refuses the user or the password" in reason(running.url().replace(PASSWORD, "another"))
        with psycopg.connect(running.url().replace("+psycopg", "")):
            assert "raise `max_client_conn` in pgbouncer.ini" in reason(running.url())


def test_no_free_connection_is_an_outage(postgres: Postgres, postgres_url: str) -> None:
    """When the pooler gives up, the reason is that; further calls fail at once until it has a connection again."""
    name = postgres_url.rpartition("/")[2]
    with pooler(postgres, default_pool_size=1, query_wait_timeout=2) as running:
        store = opened(running.url(name))
        store.put("users", {"name": "lena"})
        with psycopg.connect(running.url(name).replace("+psycopg", "")) as other:
            other.execute("SELECT")
            said = []
            calls: list[Callable[[], object]] = [
                partial(store.get, "users", "lena"),
                partial(store.get, "users", "lena"),
                partial(store.put, "users", {"name": "paul"}),
            ]
            for call in calls:
                with pytest.raises(StoreUnavailable) as refused:
                    call()
                assert not isinstance(refused.value, MaybeStored)
                said.append(str(refused.value.reason))
            assert "the pooler had no connection to the server in time" in said[0]
            assert said[1:] == ["the database does not respond; it is asked again each second"] * 2
        while True:
            with contextlib.suppress(StoreUnavailable):
                assert store.names("users") == ["lena"]
                return
            time.sleep(0.1)


def test_a_write_that_the_pooler_ends_is_done_again(postgres: Postgres, postgres_url: str) -> None:
    """A write whose transaction the pooler ended is done again, and its change is not."""
    with pooler(postgres, idle_transaction_timeout=1) as running:
        store = opened(running.url(postgres_url.rpartition("/")[2]))
        calls: list[object] = []

        def change(present: object) -> dict[str, str]:
            calls.append(present)
            # The pooler looks every second or so.
            time.sleep(3)
            return {"name": "lena"}

        store.update("users", "lena", change)
        assert (store.names("users"), calls) == (["lena"], [None])
        assert "idle transaction timeout" in running.said()


def test_an_absent_standby_behind_a_pooler() -> None:
    """A commit that waits for a standby is ended through a pooler too, and its session can be used again."""
    postgres = Postgres(safe=True).make().start()
    try:
        with pooler(postgres, default_pool_size=1) as running:
            store = opened(prepared(running.url()), timeout=3)
            postgres.ask("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            postgres.ask("SELECT pg_reload_conf()")
            while postgres.ask("SHOW synchronous_standby_names") != [("nobody",)]:
                time.sleep(0.05)
            with pytest.raises(MaybeStored):
                store.put("users", {"name": "lena"})
            assert store.names("users") == ["lena"]
            with pytest.raises(StoreUnavailable):
                store.check_writable()
            assert store.names("users") == ["lena"]
    finally:
        postgres.remove()


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        ("query timeout", "raise `query_timeout`"),
        ("idle transaction timeout", "raise `query_timeout` and `idle_transaction_timeout`"),
        ("query_wait_timeout", "had no connection to the server in time"),
        ("client_login_timeout (server down)", "had no connection to the server in time"),
        ("server login has been failing, try again later (server_login_retry)", "cannot connect to the server"),
        ("server conn crashed?", "lost its connection to the server"),
        ('database "datafor" is disabled', "has disabled the database"),
        ("no such user", "add it to its `auth_file`"),
        ("unsupported startup parameter: geqo", "add it to `ignore_startup_parameters`"),
    ],
)
def test_the_words_of_a_pooler_are_explained(words: str, saying: str) -> None:
    """Each error of PgBouncer itself is explained, and names the pooler."""
    said = explained(psycopg.OperationalError(f"connection failed: FATAL:  {words}"))
    assert said.startswith("the pooler ")
    assert saying in said


def test_options_of_the_url_are_refused(postgres: Postgres, postgres_url: str, tmp_path: Path) -> None:
    """Options of the URL, such as a schema, would be ignored behind a pooler: no service starts with them."""
    name = postgres_url.rpartition("/")[2]
    for ignored in ("extra_float_digits", "options"):
        with pooler(postgres, ignore_startup_parameters=ignored) as running:
            url = running.url(name, query="?options=-csearch_path%3Dother")
            assert "ALTER ROLE ... SET ..." in reason(url)
            done = run("-m", "datafor_token", "user", "list", environ=environment(tmp_path, DATAFOR_TOKEN_STORE=url))
            assert (done.returncode, "ALTER ROLE ... SET ..." in done.stderr) == (3, True), done.stderr


def test_a_session_of_others_is_not_a_missing_user() -> None:
    """An unknown prepared statement is explained by the pooler that causes it, not as a missing user or database."""
    for error in (psycopg.errors.InvalidSqlStatementName, psycopg.errors.DuplicatePreparedStatement):
        said = explained(error('prepared statement "_pg3_0" does not exist'))
        assert ("a pooler was not recognised" in said, "user" in said) == (True, False)
