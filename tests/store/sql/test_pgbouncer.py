"""SQL store behind a real PgBouncer, in session and in transaction mode."""

import functools
import itertools
from collections.abc import Iterator

import pytest

from tests.store.conftest import opened, prepared
from tests.store.contract import Factory, StoreContract
from tests.store.pgbouncer import PgBouncer
from tests.store.postgres import Postgres

pytestmark = pytest.mark.sql
_numbers = itertools.count()
MODES = {
    "session": ("session", {}),
    "transaction": ("transaction", {}),
    # ``options`` are accepted and ignored; hardly a session for all clients.
    "ignoring": ("transaction", {"ignore_startup_parameters": "options", "default_pool_size": 2}),
}


@pytest.fixture(scope="module", params=MODES)
def pooler(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[PgBouncer]:
    mode, settings = MODES[request.param]
    running = PgBouncer(postgres, mode, **settings).start()
    yield running
    running.remove()


@pytest.fixture
def pooled_url(postgres: Postgres, pooler: PgBouncer) -> str:
    name = f"pooled{next(_numbers)}"
    postgres.ask(f"CREATE DATABASE {name} STRATEGY file_copy")
    return prepared(pooler.url(name))


class TestContractBehindPgBouncer(StoreContract):
    """Behind PgBouncer, the SQL store has the guarantees of every store."""

    @pytest.fixture
    def factory(self, pooled_url: str) -> Factory:
        return functools.partial(opened, pooled_url)
