"""Several nodes on one PostgreSQL: a change holds on all of them, and acknowledged changes survive every failure."""

import contextlib
import json
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.handmade_tokens import token
from tests.processes import run
from tests.store.failover import Replicated, replicated
from tests.store.postgres import Postgres
from tests.support import (
    ADMIN_PASSWORD,
    API,
    STRONG_SECRET,
    Server,
    application,
    free_port,
    need,
    wait_for,
)

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LOGIN, LOGOUT = "/plugin/datafor/api/extension/auth/login", "/plugin/datafor/api/extension/auth/logout"


def init(folder: Path, url: str) -> None:
    """Create the tables as users do."""
    environ = {"PATH": "/usr/bin:/bin", "DATAFOR_TOKEN_CONFIG_DIR": str(folder), "DATAFOR_TOKEN_STORE": url}
    done = run("-m", "datafor_token", "store", "init", environ=environ)
    assert (done.returncode, done.stderr) == (0, "The tables were created\n"), done.stderr


def nodes(folder: Path, url: str, number: int = 2, **settings: str) -> list[Server]:
    """Start nodes in folders of their own, which share the database and the key."""
    made: list[Server] = []
    for index in range(number):
        own = folder / f"node{index}"
        own.mkdir()
        server = Server(own, DATAFOR_TOKEN_STORE=url, **settings)
        if index:
            shutil.copy(made[0].config_dir / "secret_key", server.config_dir)
        made.append(server.start())
        assert server.port, server.output
    return made


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres().make().start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[list[Server]]:
    """Two nodes that no test breaks."""
    folder = tmp_path_factory.mktemp("pair")
    postgres.ask("CREATE DATABASE pair")
    init(folder, postgres.url("pair"))
    running = nodes(folder, postgres.url("pair"))
    yield running
    for server in running:
        server.stop()


def all_agree(pair: list[Server], headers: dict[str, str], status: int, path: str = DETAIL) -> None:
    """Assert that each worker of each node responds with this status."""
    calls = [server for server in pair for _ in range(12)]
    with ThreadPoolExecutor(8) as pool:
        responses = pool.map(lambda server: server.request("GET", path, headers=headers).status, calls)
    assert set(responses) == {status}


def test_each_change_holds_on_every_node(pair: list[Server]) -> None:
    """A change that one node acknowledged holds on the other at once: enable, secret, rotate, revoke, delete."""
    # A secret of no other application: a token signs in by any application that verifies it.
    secret = f"{STRONG_SECRET}-of-its-own"
    claims = {"loginname": "everywhere", "exp": int(time.time()) + 3600}
    headers = {"Authorization": f"Bearer {token(claims, secret)}"}
    app = application(name="Everywhere", secret=secret)
    steps: list[tuple[str, dict[str, Any], int]] = [
        ("update", app, 200),
        ("update", {**app, "enable": "0"}, 401),
        ("update", app, 200),
        ("update", {**app, "secret": secret[::-1]}, 401),
        ("update", app, 200),
        ("rotate", {"name": "Everywhere", "grace": 60}, 200),
        ("rotate", {"name": "Everywhere", "grace": 0}, 401),
        ("update", app, 200),
        ("revoke", {"token": token(claims, secret)}, 401),
        ("delete", {"name": "Everywhere"}, 401),
    ]
    for number, (call, body, status) in enumerate(steps):
        assert pair[number % 2].post(call, body).status == 200
        all_agree(pair, headers, status)


def test_revoking_holds_on_every_node(pair: list[Server]) -> None:
    """A token that one node revoked by id, jti or time is refused by the other at once, with its session."""
    secret = f"{STRONG_SECRET}-to-revoke"
    assert pair[0].post("update", application(name="Revoking", secret=secret)).status == 200

    def cookie_of(text: str) -> dict[str, str]:
        entered = pair[1].request("GET", f"/auth/enter?token={text}&next=/", headers={})
        return {"Cookie": entered.headers["Set-Cookie"].partition(";")[0]}

    exp = int(time.time()) + 3600
    by_id = pair[0].post("generate", {"name": "Revoking", "username": "by-id"}).json["token"]
    query = "event=token_generated&user=by-id&limit=1"
    (line,) = pair[0].request("GET", f"{API}/audit?{query}").json["data"]
    cases: list[tuple[str, dict[str, Any]]] = [
        (by_id, {"id": line["target"]["token"]}),
        (token({"loginname": "by-jti", "exp": exp, "jti": "7"}, secret), {"jti": "7", "application": "Revoking"}),
        (token({"loginname": "of-user", "exp": exp}, secret), {"user": "of-user", "before": "now"}),
        (token({"loginname": "all", "exp": exp}, secret), {"application": "Revoking", "before": "now"}),
    ]
    for number, (text, body) in enumerate(cases):
        headers, cookie = {"Authorization": f"Bearer {text}"}, cookie_of(text)
        all_agree(pair, headers, 200)
        all_agree(pair, cookie, 200, "/auth/check")
        assert pair[1 - number % 2].post("revoke", body).status == 200
        all_agree(pair, headers, 401)
        all_agree(pair, cookie, 401, "/auth/check")
    time.sleep(1)
    after = pair[1].post("generate", {"name": "Revoking", "username": "of-user"}).json["token"]
    all_agree(pair, {"Authorization": f"Bearer {after}"}, 200)


def test_sessions_are_shared(pair: list[Server]) -> None:
    """A session of one node is valid on the other, until the logout on either."""
    login = pair[0].request("POST", LOGIN, f"username=admin&password={ADMIN_PASSWORD}", {})
    cookie = {"Cookie": f"JSESSIONID={login.json['jsessionid']}"}
    all_agree(pair, cookie, 200)
    assert pair[1].request("GET", LOGOUT, headers=cookie).status == 200
    all_agree(pair, cookie, 401)


def test_a_link_is_redeemed_once(pair: list[Server]) -> None:
    """Of sixteen concurrent requests for a one-time link on two nodes, one is signed in."""
    pair[0].post("update", application(name="Links", secret=STRONG_SECRET))
    for number in range(5):
        url = pair[number % 2].post("link", {"name": "Links", "username": "lena"}).json["url"]
        with ThreadPoolExecutor(16) as pool:
            opened = pool.map(lambda server, path=url: server.request("GET", path, headers={}).status, pair * 8)
        assert sorted(opened) == [303, *[401] * 15]


def test_concurrent_first_sign_ins_create_one_user(pair: list[Server]) -> None:
    """A token of an unknown user on both nodes at once creates the user once, and signs everybody in."""
    pair[0].post("update", application(name="First", secret=STRONG_SECRET, token_name="first"))
    for number in range(3):
        claims = {"loginname": f"newcomer{number}", "exp": int(time.time()) + 3600}
        headers = {"Authorization": f"Bearer {token(claims, STRONG_SECRET)}"}
        with ThreadPoolExecutor(16) as pool:
            responses = list(pool.map(lambda one, sent=headers: one.request("GET", DETAIL, headers=sent), pair * 8))
        assert {response.status for response in responses} == {200}
        assert len({response.body for response in responses}) == 1


def test_another_key_is_refused(pair: list[Server], postgres: Postgres, tmp_path: Path) -> None:
    """A node without the key of the others does not start, and reports why."""
    stranger = Server(tmp_path, DATAFOR_TOKEN_STORE=postgres.url("pair")).start()
    assert stranger.stop() != 0
    assert "secret_key" in stranger.output
    assert "copy it from another node" in stranger.output
    assert "the-Password-of-the-database" not in stranger.output


class Ledger:
    """Write through a front without pause, and record the acknowledged writes and all other responses."""

    def __init__(self, front: Callable[[], Server]) -> None:
        self.acknowledged: dict[str, int] = {}
        self.sent: dict[str, int] = {}
        self.statuses: list[int] = []
        self.broken = 0
        self._front = front
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(index,)) for index in range(4)]

    def __enter__(self) -> "Ledger":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, index: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            name = f"ledger{index}-{number % 5}"
            self.sent[name] = number
            try:
                response = self._front().post("update", application(name=name, secret=STRONG_SECRET, expire=number))
            except OSError:
                self.broken += 1
                continue
            self.statuses.append(response.status)
            if response.status == 200:
                self.acknowledged[name] = number

    def wait_for_more(self, number: int = 30) -> None:
        """Wait until that many more writes were acknowledged."""
        before = self.statuses.count(200)
        for _ in range(1200):
            if self.statuses.count(200) >= before + number:
                return
            time.sleep(0.05)
        pytest.fail(f"writes do not go on: {self.statuses[-10:]}, {self.broken} broken")

    def check(self, server: Server) -> None:
        """Assert that each acknowledged write, or a later one, is stored."""
        found = {row["name"]: row["expire"] for row in server.request("GET", f"{API}/list").json["data"]}
        assert self.acknowledged
        for name, number in self.acknowledged.items():
            assert number <= found[name] <= self.sent[name], name


class Site(NamedTuple):
    """Run nginx in front of two nodes."""

    front: Server
    nodes: list[Server]


def configuration(folder: Path, port: int, servers: list[Server]) -> str:
    upstream = "\n".join(f"server 127.0.0.1:{one.port} max_fails=1 fail_timeout=1s;" for one in servers)
    return f"""
    pid {folder}/nginx.pid;
    error_log {folder}/error.log;
    events {{ worker_connections 512; }}
    http {{
        access_log off;
        upstream nodes {{ {upstream} }}
        server {{
            listen 127.0.0.1:{port};
            location / {{
                proxy_pass http://nodes;
                proxy_next_upstream error timeout;
                proxy_connect_timeout 2s;
            }}
        }}
    }}
    """


@contextlib.contextmanager
def site(folder: Path, url: str, **settings: str) -> Iterator[Site]:
    need("nginx")
    init(folder, url)
    running = nodes(folder, url, 2, **settings)
    front = Server(folder / "node0")
    front.port = free_port()
    (folder / "nginx.conf").write_text(configuration(folder, front.port, running))
    nginx = [str(shutil.which("nginx")), "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]
    process = subprocess.Popen([*nginx, "-g", "daemon off; user root;"], stderr=subprocess.DEVNULL)
    try:
        wait_for(front.port)
        yield Site(front, running)
    finally:
        process.terminate()
        process.wait(30)
        for server in running:
            server.stop()


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may break."""
    server = Postgres().make().start()
    yield server
    server.remove()


def test_a_node_is_killed_under_load(tmp_path: Path, own_postgres: Postgres) -> None:
    """After kill -9 of one of two nodes, only requests that it served fail, and no acknowledged write is lost."""
    with site(tmp_path, own_postgres.url()) as (front, (one, other)):
        with Ledger(lambda: front) as ledger:
            ledger.wait_for_more()
            one.stop(signal.SIGKILL)
            ledger.wait_for_more(60)
            # The requests that the killed node served: nginx does not send a write twice.
            assert len(ledger.statuses) - ledger.statuses.count(200) + ledger.broken <= 4
        ledger.check(other)
        one.start()
        ledger.check(one)


def test_postgres_is_restarted_under_load(tmp_path: Path, own_postgres: Postgres) -> None:
    """During an outage of PostgreSQL calls are 503; afterwards they succeed, and no acknowledged write is lost."""
    with site(tmp_path, own_postgres.url()) as (front, running):
        with Ledger(lambda: front) as ledger:
            for how in (signal.SIGINT, signal.SIGKILL):
                ledger.wait_for_more()
                own_postgres.stop(how)
                for server in running:
                    assert server.request("GET", "/healthz", headers={}).status == 200
                    response = server.request("GET", f"{API}/list")
                    assert (response.status, response.json["msg"]) == (503, "storage is unavailable")
                own_postgres.start()
            ledger.wait_for_more()
        assert set(ledger.statuses) == {200, 503}
        assert ledger.broken == 0
        for server in running:
            ledger.check(server)
            assert server.request("GET", "/readyz", headers={}).json["writable"] is True


def test_a_server_that_hangs_is_503_in_time(tmp_path: Path, own_postgres: Postgres) -> None:
    """A PostgreSQL that hangs without closing a connection is 503 after STORE_TIMEOUT, and recovers."""
    with site(tmp_path, own_postgres.url(), DATAFOR_TOKEN_STORE_TIMEOUT="2") as (front, running):
        with Ledger(lambda: front) as ledger:
            ledger.wait_for_more()
            own_postgres.signal_all(signal.SIGSTOP)
            try:
                for server in running:
                    assert server.request("GET", f"{API}/list").status == 503
            finally:
                own_postgres.signal_all(signal.SIGCONT)
            ledger.wait_for_more()
        assert set(ledger.statuses) <= {200, 503}
        ledger.check(running[1])


def test_the_standby_takes_over(tmp_path: Path, own_postgres: Postgres) -> None:
    """When the standby of a killed primary is promoted, writes resume without a restart, and none is lost."""
    standby = Postgres()
    try:
        standby.copy_of(own_postgres, "standby").start()
        own_postgres.stop()
        # From here on, a write is acknowledged after the standby has it.
        own_postgres.start(synchronous_standby_names="standby")
        url = own_postgres.url("postgres", standby)
        with site(tmp_path, url) as (front, running):
            with Ledger(lambda: front) as ledger:
                ledger.wait_for_more()
                own_postgres.stop(signal.SIGKILL)
                assert running[0].request("GET", f"{API}/list").status == 503
                standby.promote()
                ledger.wait_for_more()
            assert set(ledger.statuses) <= {200, 503}
            for server in running:
                ledger.check(server)
    finally:
        standby.remove()


@pytest.fixture
def own_pair() -> Iterator[Replicated]:
    """A primary and its standby that a test may break."""
    with replicated() as made:
        yield made


class Watched:
    """A node, and a token that it accepts until it is revoked."""

    def __init__(self, node: Server) -> None:
        self.node = node
        assert node.post("update", application(secret=STRONG_SECRET)).status == 200
        self.token = token({"loginname": "lena", "exp": int(time.time()) + 3600}, STRONG_SECRET)

    def status(self) -> int:
        """Return the status of a call with the token."""
        return self.node.request("GET", DETAIL, headers={"Authorization": f"Bearer {self.token}"}).status

    def statuses(self) -> set[int]:
        """Return the statuses of many calls, more than a worker has connections."""
        return {self.status() for _ in range(24)}

    def revoke(self) -> None:
        """Revoke the token."""
        assert self.node.post("revoke", {"token": self.token}).status == 200


def test_a_revoked_token_stays_revoked_when_the_old_primary_continues(tmp_path: Path, own_pair: Replicated) -> None:
    """A request reads one server: after a failover, no generation of the new primary goes with a record of the old."""
    init(tmp_path, own_pair.primary.url())
    one_worker = {"GUNICORN_CMD_ARGS": "--workers=1", "DATAFOR_TOKEN_STORE_TIMEOUT": "60"}
    (node,) = nodes(tmp_path, own_pair.switch.url(), 1, **one_worker)
    try:
        watched = Watched(node)
        assert watched.statuses() == {200}
        with ThreadPoolExecutor(1) as pool:
            own_pair.pause_primary()
            # Without connections in the pool, the request opens one to the old primary, and waits for it.
            own_pair.switch.cut()
            sent = own_pair.switch.sent
            waiting = pool.submit(watched.status)
            while own_pair.switch.sent == sent:
                time.sleep(0.02)
            own_pair.promote()
            # On a connection to the new primary.
            watched.revoke()
            own_pair.continue_old()
            # It began before the token was revoked.
            assert waiting.result() in (200, 401, 503)
        # Now the worker has a connection to each of them.
        assert watched.statuses() <= {401, 503}
        assert watched.statuses() == {401}
    finally:
        node.stop(signal.SIGKILL)


def test_no_worker_uses_a_primary_that_was_replaced(tmp_path: Path, own_pair: Replicated) -> None:
    """When one worker has seen the new primary, every worker of the node refuses the old one, and names fencing."""
    init(tmp_path, own_pair.primary.url())
    (node,) = nodes(tmp_path, own_pair.switch.url(), 1)
    try:
        watched = Watched(node)
        assert watched.statuses() == {200}
        own_pair.fail_over()
        own_pair.switch.cut()
        watched.revoke()
        own_pair.continue_old()
        own_pair.switch.target = own_pair.primary
        own_pair.switch.cut()
        assert watched.statuses() == {503}
        refused = node.post("update", application(name="Lost", secret=STRONG_SECRET))
        assert (refused.status, refused.json["msg"]) == (503, "storage is unavailable")
        assert node.request("GET", "/readyz", headers={}).status == 503
        assert "fencing" in node.output
        # The old primary is gone: no restart of the service is necessary.
        own_pair.switch.target = own_pair.standby
        own_pair.switch.cut()
        assert watched.statuses() == {401}
        names = [row["name"] for row in node.request("GET", f"{API}/list").json["data"]]
        assert names == ["ERP"]
    finally:
        node.stop()


def test_the_log_holds_no_password_of_the_database(pair: list[Server]) -> None:
    """No output of the nodes contains the URL's password."""
    for server in pair:
        assert "the-Password-of-the-database" not in server.output
        assert "the-Password-of-the-database" not in json.dumps(server.request("GET", "/readyz", headers={}).json)
        assert urllib.parse.quote("the-Password") not in server.output
