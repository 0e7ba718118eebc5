"""Several nodes behind a real PgBouncer: a change holds on all of them, and they survive restarts of what is behind."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.handmade_tokens import token
from tests.store.pgbouncer import PgBouncer
from tests.store.postgres import Postgres
from tests.store.sql import test_nodes
from tests.store.sql.test_nodes import DETAIL, all_agree, init, nodes
from tests.support import API, STRONG_SECRET, Server, application

pytestmark = pytest.mark.sql
MODES: dict[str, dict[str, object]] = {
    # Each connection of a node keeps its session.
    "session": {"ignore_startup_parameters": "options", "default_pool_size": 100},
    # All clients share one session.
    "transaction": {"default_pool_size": 1},
}


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    server = Postgres(safe=False).make().start()
    yield server
    server.remove()


@pytest.fixture(scope="module", params=MODES)
def pooler(request: pytest.FixtureRequest, own_postgres: Postgres) -> Iterator[PgBouncer]:
    running = PgBouncer(own_postgres, request.param, "*", **MODES[request.param]).start()
    yield running
    running.remove()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, own_postgres: Postgres, pooler: PgBouncer) -> Iterator[list[Server]]:
    """Two nodes behind the pooler."""
    folder = tmp_path_factory.mktemp("pair")
    own_postgres.ask(f"CREATE DATABASE {folder.name}")
    init(folder, pooler.url(folder.name))
    running = nodes(folder, pooler.url(folder.name))
    yield running
    for server in running:
        server.stop()


def test_each_change_holds_on_every_node(pair: list[Server]) -> None:
    """Behind a pooler, a change that one node acknowledged holds on the other at once."""
    test_nodes.test_each_change_holds_on_every_node(pair)


def test_revoking_holds_on_every_node(pair: list[Server]) -> None:
    """Behind a pooler, a token that one node revoked is refused by the other at once, with its session."""
    test_nodes.test_revoking_holds_on_every_node(pair)


def test_restarts(pair: list[Server], pooler: PgBouncer, own_postgres: Postgres) -> None:
    """After a restart of the pooler or of the server behind it, every change is there, and calls succeed."""
    headers = {"Authorization": f"Bearer {token({'loginname': 'lena', 'exp': int(time.time()) + 3600}, STRONG_SECRET)}"}
    behind: tuple[PgBouncer | Postgres, ...] = (pooler, own_postgres)
    for number, restarted in enumerate(behind):
        assert pair[0].post("update", application(name="Restarts", secret=STRONG_SECRET)).status == 200
        all_agree(pair, headers, 200)
        restarted.stop()
        with ThreadPoolExecutor(2) as pool:
            stopped = pool.map(lambda server: server.request("GET", f"{API}/list").status, pair)
            assert set(stopped) == {503}
        restarted.start()
        # PgBouncer connects to the server again after `server_login_retry`; each worker asks it each second.
        while {server.request("GET", DETAIL, headers=headers).status for server in pair for _ in range(8)} != {200}:
            time.sleep(0.1)
        assert pair[number].post("delete", {"name": "Restarts"}).status == 200
        all_agree(pair, headers, 401)
