"""Upgrade node by node on one PostgreSQL, up and down, while clients go on calling."""

import contextlib
import http.client
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.handmade_tokens import token
from tests.lifecycle.versions import LAST_WITH_AN_AUDIT_OF_EACH_NODE, ME, Records, cookie, former, run, server
from tests.store.postgres import Postgres
from tests.support import ADMIN_PASSWORD, API, ROOT, STRONG_SECRET, HttpResponse, Server, application

pytestmark = [pytest.mark.file_store, pytest.mark.slow, pytest.mark.sql]

LOGIN = "/plugin/datafor/api/extension/auth/login"


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    one = Postgres(safe=False).make().start()
    yield one
    one.remove()


class Nodes:
    """Nodes on one database, each of which is replaced by one of another version."""

    def __init__(self, folder: Path, url: str, number: int = 2) -> None:
        self._folders = [folder / f"node{index}" for index in range(number)]
        self.environ = {"DATAFOR_TOKEN_STORE": url}
        self.running: list[Server | None] = [None] * number

    def start(self, index: int, code: Path) -> Server:
        """Start a node of a version; the first start creates the key, which all others get."""
        folder = self._folders[index]
        folder.mkdir(exist_ok=True)
        if index and not (folder / "config").exists():
            shutil.copytree(self._folders[0] / "config", folder / "config")
        one = server(code, folder, **self.environ).start()
        assert one.port, one.output
        self.running[index] = one
        return one

    def stop(self, index: int) -> None:
        """Stop a node; from now on, no client calls it."""
        one, self.running[index] = self.running[index], None
        if one is not None:
            one.stop()
            assert "Traceback" not in one.output, one.output

    def init(self, code: Path) -> str:
        """Run `store init` of a version."""
        done = run(code, self._folders[0], "store", "init", **self.environ)
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout


class Traffic:
    """Clients that write on one node and read on the next one, as a load balancer spreads their calls."""

    def __init__(self, nodes: Nodes, clients: int = 2) -> None:
        self._nodes = nodes
        self._end = threading.Event()
        self.rounds = [0] * clients
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def go_on(self, rounds: int = 3) -> None:
        """Wait until each client has made some more rounds, or has failed."""
        wanted = [number + rounds for number in self.rounds]
        while not self.failures and any(made < most for made, most in zip(self.rounds, wanted, strict=True)):
            time.sleep(0.05)
        assert self.failures == []

    def _run(self, client: int) -> None:
        while not self._end.is_set() and not self.failures:
            try:
                self._round(client, self.rounds[client])
            except Exception as error:  # noqa: BLE001 - of a thread, whose error the test shows
                self.failures.append(f"round {self.rounds[client]}: {error!r}")
            self.rounds[client] += 1

    def _round(self, client: int, number: int) -> None:
        secret = f"{STRONG_SECRET}-{client}-{number}"
        name = f"App{client}"
        self._call(200, number, "POST", f"{API}/update", application(name=name, secret=secret))
        made = token({"loginname": f"user{client}", "exp": time.time() + 600, "jti": str(number)}, secret)
        issued = self._call(200, number, "POST", f"{API}/generate", {"name": name, "username": f"user{client}"})
        for text in (made, issued.json["token"]):
            bearer = {"Authorization": f"Bearer {text}"}
            self._call(200, number + 1, "GET", ME, headers=bearer)
            self._call(200, number, "GET", "/auth/check", headers=bearer)
        self._call(200, number + 1, "POST", f"{API}/revoke", {"token": made})
        self._call(401, number, "GET", ME, headers={"Authorization": f"Bearer {made}"})
        body = {"username": "admin", "password": ADMIN_PASSWORD}
        session = self._call(200, number, "POST", LOGIN, body, headers={})
        self._call(200, number + 1, "GET", ME, headers={"Cookie": cookie(session.headers["Set-Cookie"])})

    def _call(self, status: int, first: int, *request: Any, **options: Any) -> HttpResponse:
        """Call a node, or the next one if it is stopped: a call that was interrupted can be repeated."""
        for attempt in range(100):
            # Another one than the first only for what a restart interrupts.
            one = self._nodes.running[(first + attempt) % len(self._nodes.running)]
            if one is not None:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    response = one.request(*request, **options)
                    if response.status != status:
                        raise AssertionError(f"{request[:2]}: {response.status} {response.body!r}")
                    return response
            time.sleep(0.02)
        raise AssertionError(f"{request[:2]}: no node responds")


def test_node_by_node(postgres: Postgres, tmp_path: Path) -> None:
    """Two nodes are upgraded one by one, and one goes back: no call fails, and each reads what the other writes."""
    old = former(LAST_WITH_AN_AUDIT_OF_EACH_NODE)
    postgres.ask("CREATE DATABASE datafor")
    nodes = Nodes(tmp_path, postgres.url("datafor"))
    nodes.init(old)
    try:
        written = [Records(nodes.start(index, old), f"old{index}") for index in range(2)]
        with Traffic(nodes) as traffic:
            traffic.go_on()
            # What the new version needs in the database is added while the old one uses it.
            assert nodes.init(ROOT) == "The tables were created\n"
            traffic.go_on()
            for index, code in ((0, ROOT), (1, ROOT), (1, old), (1, ROOT)):
                nodes.stop(index)
                traffic.go_on(2)
                one = nodes.start(index, code)
                traffic.go_on()
                for records in written:
                    records.check(one, audited=False)
                if len(written) == 2:
                    written.append(Records(one, "new"))
                    for each in nodes.running:
                        assert each is not None
                        written[-1].check(each, audited=False)
            traffic.go_on()
        assert traffic.failures == []
        # What the nodes of the new version recorded is one log.
        for each in nodes.running:
            assert each is not None
            written[-1].check(each)
    finally:
        for index in range(2):
            nodes.stop(index)
