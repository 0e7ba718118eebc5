"""What a PostgreSQL server may be like, and what is said of one that cannot be worked with."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from datafor_token.errors import StoreNotReady
from datafor_token.store import sql_schema
from datafor_token.store.sql_engine import Database
from tests.store.conftest import opened
from tests.store.postgres import Postgres
from tests.test_migration import shell

_numbers = itertools.count()
NAME = "客户"


@pytest.fixture
def made(postgres: Postgres) -> Callable[[str], str]:
    """Makes a database without tables, of an encoding."""

    def make(encoding: str = "UTF8") -> str:
        name = f"server{next(_numbers)}"
        postgres.ask(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        return postgres.url(name)

    return make


@pytest.mark.parametrize("query", ["", "?client_encoding=latin1", "?options=-cclient_encoding%3Dlatin1"])
def test_every_connection_speaks_utf8(postgres_url: str, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    """Whatever the URL, the environment and the server say of the client's encoding, every name is kept."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = opened(postgres_url + query)
    store.put("users", {"name": NAME})
    assert store.get("users", NAME) == {"name": NAME}
    assert store.names("users") == [NAME]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_is_not_utf8_is_refused(
    postgres: Postgres, made: Callable[[str], str], tmp_path: Path, encoding: str
) -> None:
    """A database of another encoding is refused in one sentence by each command and at the start; nothing is made."""
    url = made(encoding)
    database = Database(url, 30, 30)
    for refused in (sql_schema.make, sql_schema.check):
        with pytest.raises(StoreNotReady, match=f"encoding {encoding}"):
            refused(database)
    commands = [("file", "store", "migrate", "--to", url), (url, "store", "init"), (url, "user", "list")]
    for setting, *arguments in commands:
        done = shell(tmp_path, *arguments, store=setting)
        assert (done.returncode, f"encoding {encoding}" in done.stderr, "Traceback" in done.stderr) == (3, True, False)
    assert postgres.ask("SELECT * FROM pg_tables WHERE tablename ~ 'datafor'", url.rpartition("/")[2]) == []
