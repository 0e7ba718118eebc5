"""Fixtures of the store tests: databases with tables, on SQLite and on PostgreSQL."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from datafor_token.store.sql import schema
from datafor_token.store.sql.engine import Database, close_all
from datafor_token.store.sql.store import SqlStore
from tests.store.contract import COLLECTIONS
from tests.store.postgres import Postgres

_numbers = itertools.count()


def opened(url: str, timeout: float = 30, lock_timeout: float = 30) -> SqlStore:
    return SqlStore(Database(url, timeout, lock_timeout), COLLECTIONS)


def prepared(url: str) -> str:
    """Return a store in a database with tables."""
    database = Database(url, 30, 30)
    schema.create(database)
    database.close()
    return url


def lose_response(monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> "itertools.count[int]":
    """Break the connection at the next commit, after it or before it. Return the number of commits."""
    commit, times = sa.Connection.commit, itertools.count()

    def lost(connection: sa.Connection) -> None:
        if next(times) == 0:
            if committed:
                commit(connection)
            connection.connection.dbapi_connection.close()  # type: ignore[union-attr]
            connection.exec_driver_sql("SELECT 1")
        commit(connection)

    monkeypatch.setattr(sa.Connection, "commit", lost)
    return times


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres(safe=False).make().start()
    yield server
    server.remove()


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return prepared(f"sqlite:///{tmp_path}/records.db")


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    name = f"store{next(_numbers)}"
    postgres.ask(f"CREATE DATABASE {name} STRATEGY file_copy")
    return prepared(postgres.url(name))


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.sql)])
def url(request: pytest.FixtureRequest) -> str:
    """Run each test on SQLite and on PostgreSQL."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(url: str) -> SqlStore:
    return opened(url)
