"""Clocks of several nodes: all use that of the database, and one whose own clock is wrong is found or refused."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datafor_token.metrics.table import PREFIX
from tests.handmade_tokens import token
from tests.metrics.test_metrics import scrape
from tests.store.postgres import Postgres
from tests.store.sql.test_nodes import DETAIL, LOGIN, init
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Server, application, need, token_parts

pytestmark = [pytest.mark.sql, pytest.mark.slow]

Node = Callable[..., Server]


@pytest.fixture
def node(tmp_path: Path, postgres: Postgres) -> Iterator[Node]:
    """Return a function that starts a node with settings, all on one database."""
    postgres.ask("CREATE DATABASE clocks")
    url = postgres.url("clocks")
    init(tmp_path, url)
    started: list[Server] = []

    def start(**environ: str) -> Server:
        own = tmp_path / f"node{len(started)}"
        own.mkdir()
        server = Server(own, DATAFOR_TOKEN_STORE=url, **environ)
        if "LD_PRELOAD" in environ:
            # It needs a process of its own.
            server.forked = False
        if started:
            shutil.copy(started[0].config_dir / "secret_key", server.config_dir)
        started.append(server)
        return server.start()

    yield start
    for server in started:
        server.stop()
    postgres.ask("DROP DATABASE clocks WITH (FORCE)")


def wrong_by(text: str) -> dict[str, str]:
    """Return the environment of a program whose clock is wrong by a text such as ``+5m``."""
    need("faketime")
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    return {"LD_PRELOAD": str(library), "FAKETIME": text}


SETTABLE = """
import os, pathlib, time
true, place = time.time, pathlib.Path(__file__).with_name("seconds")
time.time = lambda: true() + int(place.read_text())
"""


class SettableClock:
    """A clock of a node that is set while it runs, without the clock for durations, as ``date --set`` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(SETTABLE)
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set the clock to so many seconds ahead of the right time."""
        new = self.folder / "new"
        new.write_text(str(seconds))
        new.rename(self.folder / "seconds")


def ready(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", "/readyz", headers={}).json
    return found


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.mark.parametrize(
    ("wrong", "leeway", "sentence"),
    [
        ("+5m", "30", "s ahead of that of the database, and LEEWAY allows 30 s"),
        ("-1m", "30", "s behind that of the database, and LEEWAY allows 30 s"),
        ("+3s", "0", "s ahead of that of the database, and LEEWAY allows 2 s"),
    ],
)
def test_a_node_does_not_start_with_a_wrong_clock(node: Node, wrong: str, leeway: str, sentence: str) -> None:
    """A node whose clock differs from the database's by more than LEEWAY, or 2 s if that is less, does not start."""
    server = node(DATAFOR_TOKEN_LEEWAY=leeway, **wrong_by(wrong))
    assert server.port == 0
    assert sentence in server.output
    assert "Traceback" not in server.output


@pytest.mark.parametrize(("wrong", "offset"), [("+4m", -240), ("-4m", 240)])
def test_a_wrong_clock_within_leeway_changes_nothing(node: Node, wrong: str, offset: int) -> None:
    """A node whose clock is four minutes ahead or behind warns, and issues and judges by the database's clock."""
    right, other = node(), node(DATAFOR_TOKEN_LEEWAY="300", **wrong_by(wrong))
    assert right.post("update", application(name="ERP", secret=STRONG_SECRET)).status == 200
    assert (ready(right)["warnings"], abs(ready(right)["clock_offset"]) < 2) == ([], True)
    assert "clocks differ" not in right.output
    assert other.output.count('event="clocks differ"') == 1
    assert ready(other)["clock_offset"] == pytest.approx(offset, abs=2)
    assert len(ready(other)["warnings"]) == 1
    assert scrape(other)[f"{PREFIX}clock_offset_seconds", frozenset()] == pytest.approx(offset, abs=2)
    issued = other.post("generate", {"name": "ERP", "username": "lena"}).json["token"]
    assert token_parts(issued)[1]["exp"] - time.time() == pytest.approx(86400, abs=20)
    assert right.request("GET", DETAIL, headers=bearer(issued)).status == 200
    for one, two in ((right, other), (other, right)):
        # A cut-off of one node refuses what another has issued, and nothing that is issued from the next second on.
        issued = two.post("generate", {"name": "ERP", "username": "lena"}).json["token"]
        assert one.post("revoke", {"user": "lena", "before": "now"}).status == 200
        assert two.request("GET", DETAIL, headers=bearer(issued)).status == 401
        time.sleep(1)
        again = two.post("generate", {"name": "ERP", "username": "lena"}).json["token"]
        assert one.request("GET", DETAIL, headers=bearer(again)).status == 200


@pytest.mark.parametrize("days", [20, -20])
def test_a_clock_that_is_set_while_a_node_runs(node: Node, postgres: Postgres, tmp_path: Path, days: int) -> None:
    """After the clock of a running node was set, sessions live on, and a revoked token stays revoked on all nodes."""
    clock = SettableClock(tmp_path / "clock")
    right, jumping = node(), node(PYTHONPATH=str(clock.folder))
    assert right.post("update", application(name="ERP", secret=STRONG_SECRET)).status == 200
    login = right.request("POST", LOGIN, f"username=admin&password={ADMIN_PASSWORD}", {})
    cookie = {"Cookie": f"JSESSIONID={login.json['jsessionid']}"}
    exp = int(time.time()) + 3600
    revoked, other = (token({"loginname": name, "exp": exp}, STRONG_SECRET) for name in ("lena", "otto"))
    assert right.post("revoke", {"token": revoked}).status == 200
    clock.set(days * 86400)
    # Also begins the hourly sweep.
    assert jumping.post("revoke", {"token": other}).status == 200
    assert ready(jumping)["clock_offset"] == pytest.approx(-days * 86400, abs=5)
    for server in (jumping, right):
        for _ in range(4):
            assert server.request("GET", DETAIL, headers=bearer(revoked)).status == 401
            assert server.request("GET", DETAIL, headers=cookie).status == 200
    assert postgres.ask("SELECT count(*) FROM datafor_records WHERE collection = 'revocations'", "clocks") == [(2,)]
    assert 'event="clocks differ"' in jumping.output
