"""Migration from a database beside the servers that use it."""

import gc
import time
import weakref
from pathlib import Path

import pytest

from datafor_token.errors import Forbidden, StoreNotReady, StoreUnavailable
from datafor_token.store.sql.engine import Database
from tests.processes import run_command
from tests.store.conftest import opened
from tests.store.postgres import Postgres
from tests.support import API, Server


def terminate_all(postgres: Postgres, url: str) -> None:
    """End every connection of a database, as its restart or a failover does."""
    name = url.rpartition("/")[2]
    postgres.ask(
        f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'"  # noqa: S608 - made here
    )


def test_a_migration_is_refused_while_a_server_runs(tmp_path: Path, url: str) -> None:
    """A migration from a database is refused while a server uses it, even one without a call, and done afterwards."""
    server = Server(tmp_path, DATAFOR_TOKEN_STORE=url).start()
    server.both_workers()
    arguments = ("store", "migrate", "--to", f"sqlite:///{tmp_path}/target.db")
    done = run_command(tmp_path, *arguments, DATAFOR_TOKEN_STORE=url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("a server is using the records in ")
    assert done.stderr.endswith(", then run this command again\n")
    if url.startswith("postgresql"):
        assert " (connected from 127.0.0.1): stop the service on every node, " in done.stderr
    server.stop()
    done = run_command(tmp_path, *arguments, DATAFOR_TOKEN_STORE=url)
    assert (done.returncode, "both stores are equal" in done.stderr) == (0, True), done.stderr


def test_no_server_starts_during_a_migration(tmp_path: Path, url: str) -> None:
    """While a migration from a database runs, a server exits with 3 and one sentence, and starts afterwards."""
    with opened(url).exclude_servers():
        server = Server(tmp_path, DATAFOR_TOKEN_STORE=url).start()
        assert server.stop() == 3
    (line,) = (line for line in server.output.splitlines() if "migrate" in line)
    assert "`store migrate` is copying the records in " in line
    assert ": start the service when it has ended" in line
    server = Server(tmp_path, DATAFOR_TOKEN_STORE=url).start()
    assert server.request("GET", "/readyz").status == 200
    server.stop()


def test_a_server_without_a_connection(postgres: Postgres, postgres_url: str, tmp_path: Path) -> None:
    """After a failover a server has no connection: during a migration its calls are 503, and then it is seen again."""
    server = Server(tmp_path, DATAFOR_TOKEN_STORE=postgres_url).start()
    # Each worker connects a second after its start.
    while postgres.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != [(2,)]:
        time.sleep(0.05)
    terminate_all(postgres, postgres_url)
    with opened(postgres_url).exclude_servers():
        assert server.request("GET", f"{API}/list").status == 503
    assert server.request("GET", f"{API}/list").status == 200
    with pytest.raises(Forbidden, match="a server is using"), opened(postgres_url).exclude_servers():
        pytest.fail("the server is not seen")
    server.stop()
    assert "`store migrate` is copying the records" in server.output


def test_a_migration_that_loses_its_connection(postgres: Postgres, postgres_url: str) -> None:
    """A migration finds out at its end whether servers were excluded all the time."""
    with opened(postgres_url).exclude_servers() as check:
        check()
        terminate_all(postgres, postgres_url)
        with pytest.raises(StoreUnavailable) as found:
            check()
        assert "cannot lock the database" in str(found.value.reason)


def test_two_installations_in_one_database(postgres: Postgres, postgres_url: str) -> None:
    """A server in one schema of a database does not keep the records in another one from being migrated."""
    postgres.ask("CREATE SCHEMA other; CREATE TABLE other.datafor_records ()", postgres_url.rpartition("/")[2])
    server = Database(postgres_url, 30, 30)
    server.serve()
    with server.reading():
        other = Database(f"{postgres_url}?options=-csearch_path%3Dother", 30, 30)
        with other.exclude_servers():
            pass
        with pytest.raises(Forbidden), Database(postgres_url, 30, 30).exclude_servers():
            pytest.fail("the server is not seen")


def test_a_database_that_serves_is_collected(url: str) -> None:
    """The lock does not keep a database, and with it its connections, from being collected."""
    database = Database(url, 30, 30)
    database.serve()
    with database.reading():
        pass
    found = weakref.ref(database)
    del database
    gc.collect()
    assert found() is None
    with opened(url).exclude_servers():
        pass


def test_a_second_server_of_sqlite(sqlite_url: str) -> None:
    """Servers share the lock; a migration that holds it refuses each of them."""
    servers = [Database(sqlite_url, 30, 30) for _ in range(2)]
    for server in servers:
        server.serve()
    del server, servers
    with (
        opened(sqlite_url).exclude_servers(),
        pytest.raises(StoreNotReady, match="start the service when it has ended"),
    ):
        Database(sqlite_url, 30, 30).serve()
