"""The page about several hosts: each of its steps, with a real PostgreSQL, Redis and nginx."""

import contextlib
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_filters import line
from tests.handmade_tokens import token
from tests.lifecycle.host import ME, Host, block, blocks_without_test, signs_in, user_of
from tests.redis_server import Redis
from tests.store.postgres import Postgres, binaries
from tests.support import ADMIN_PASSWORD, API, STRONG_SECRET, Server, application, basic, free_port, need, wait_for

pytestmark = [pytest.mark.file_store, pytest.mark.slow, pytest.mark.sql]

CHECK = "/auth/check"
LENA_PASSWORD = "the-Password-of-lena"
LENA = basic("lena", LENA_PASSWORD)
LOGIN, LOGOUT = "/plugin/datafor/api/extension/auth/login", "/plugin/datafor/api/extension/auth/logout"


def page(containing: str, language: str = "sh") -> str:
    return block("several-hosts", containing, language)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres(safe=False).make().start()
    yield server
    server.remove()


class Cluster:
    """The database of the page on a server for tests, and the nodes that use it."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self.postgres, self.folder = postgres, folder
        self.role, self.database = page("CREATE ROLE", "sql").splitlines()
        self.nodes: list[Server] = []
        self.replaced = {"db1.example": f"127.0.0.1:{postgres.port}"}

    def done(self, host: Host, commands: str) -> str:
        """Run commands of the page that name the database."""
        # The programs have the version of the server.
        return host.done(f"PATH={binaries()}:$PATH\n{commands}", self.replaced)

    def set(self, host: Host, setting: str) -> None:
        """Add a setting to those of a host."""
        for old, new in self.replaced.items():
            setting = setting.replace(old, new)
        with (host.config / "settings.toml").open("a") as file:
            file.write(setting)

    def start(self, *hosts: Host) -> list[Server]:
        """Start nodes, which take STORE from their settings."""
        for host in hosts:
            self.nodes.append(host.server(DATAFOR_TOKEN_STORE=""))
            assert self.nodes[-1].port, self.nodes[-1].output
        return self.nodes

    def restart(self, number: int, host: Host) -> None:
        self.nodes[number].stop()
        self.nodes[number] = host.server(DATAFOR_TOKEN_STORE="")
        assert self.nodes[number].port, self.nodes[number].output

    def stop(self) -> None:
        while self.nodes:
            self.nodes.pop().stop()


@pytest.fixture(scope="module")
def moved(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Return a host whose records were moved to PostgreSQL as the page says; the tests copy it and its database."""
    cluster = Cluster(postgres, tmp_path_factory.mktemp("moved"))
    postgres.ask(cluster.role)
    postgres.ask(cluster.database)
    host = Host(cluster.folder / "a")
    host.first_start()
    host.done("datafor-token application add ERP --random-secret --inituser 1")
    host.done("datafor-token token generate ERP --username lena > token.txt")
    host.done(page("store backup before.gz"))
    assert "both stores are equal" in cluster.done(host, page("--to postgresql"))
    cluster.set(host, page("password@db1.example/", "toml"))
    assert host.done(page("chmod 600")).endswith("All records are valid\n")
    host.done(page("mv data/applications"))
    postgres.ask("ALTER DATABASE datafor RENAME TO moved")
    return host


@pytest.fixture
def cluster(moved: Host, postgres: Postgres, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(postgres, tmp_path)
    postgres.ask(made.database.replace("TEMPLATE template0", "TEMPLATE moved"))
    shutil.copytree(moved.folder, tmp_path / "a")
    yield made
    made.stop()
    postgres.ask("DROP DATABASE datafor WITH (FORCE)")


@pytest.fixture
def one(cluster: Cluster) -> Host:
    """Return a host whose records were moved to PostgreSQL as the page says."""
    return Host(cluster.folder / "a")


def second_node(cluster: Cluster, one: Host) -> Host:
    """Return a second host with the key and the settings of the first."""
    other = Host(cluster.folder / "b")
    other.config.mkdir()
    one.done(page("scp "), {"scp": "cp", "b.example:/var/lib/datafor_token": str(other.folder)})
    return other


def issued(host: Host) -> str:
    return (host.folder / "token.txt").read_text().strip()


def signed_in(server: Server) -> dict[str, str]:
    """Return the cookie of a new session of admin."""
    response = server.request("POST", LOGIN, f"username=admin&password={ADMIN_PASSWORD}", {})
    return {"Cookie": f"JSESSIONID={response.json['jsessionid']}"}


def test_move_to_postgresql_and_back(cluster: Cluster, one: Host) -> None:
    """Users, passwords, tokens and sessions survive the way to PostgreSQL and back."""
    (server,) = cluster.start(one)
    assert signs_in(server, ADMIN_PASSWORD)
    assert user_of(server, issued(one)) == "lena"
    cookie = signed_in(server)
    assert not (one.data / "users").exists()
    cluster.stop()
    assert "both stores are equal" in one.done(page("--to file"))
    cluster.set(one, page("RATELIMIT", "toml"))
    assert one.done(page("sed -i '/^STORE")).endswith("All records are valid\n")
    assert (one.config / "settings.toml").read_text() == ""
    cluster.postgres.ask("ALTER DATABASE datafor RENAME TO gone")
    (server,) = cluster.start(one)
    try:
        assert server.request("GET", ME, headers=cookie).status == 200
        assert user_of(server, issued(one)) == "lena"
    finally:
        cluster.postgres.ask("ALTER DATABASE gone RENAME TO datafor")


def test_a_running_server_refuses_a_move(cluster: Cluster, one: Host) -> None:
    """While a server uses the source, neither way copies anything."""
    cluster.start(one)
    assert signs_in(cluster.nodes[0], ADMIN_PASSWORD)
    assert "a server is using the records" in one.refused(page("--to file"))
    assert not list(one.data.glob("users/*.json"))
    old = Host(cluster.folder / "old")
    server = old.server()
    try:
        assert "a server is using the records" in old.refused(page("--to postgresql"), cluster.replaced)
    finally:
        server.stop()


@contextlib.contextmanager
def balancer(folder: Path, nodes: list[Server]) -> Iterator[Server]:
    """Run nginx with the lines of the page; give it as a server to call."""
    need("nginx")
    upstream = page("upstream", "nginx")
    for number, node in enumerate(nodes, start=1):
        assert f"10.0.0.{number}:28080" in upstream
        upstream = upstream.replace(f"10.0.0.{number}:28080", f"127.0.0.1:{node.port}")
    front = Server(folder)
    front.port = free_port()
    location = "proxy_pass http://datafor_token; proxy_connect_timeout 2s;"
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid; events {{}} http {{ access_log off; {upstream}"
        f"server {{ listen 127.0.0.1:{front.port}; location / {{ {location} }} }} }}"
    )
    command = [str(shutil.which("nginx")), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/start.log"]
    process = subprocess.Popen([*command, "-g", "daemon off; user root;"], stderr=subprocess.DEVNULL)
    try:
        wait_for(front.port)
        yield front
    finally:
        process.terminate()
        process.wait()


def test_a_node_behind_a_load_balancer(cluster: Cluster, one: Host) -> None:
    """A second node serves the same users and sessions; while it is down, the balancer asks the first."""
    cluster.set(one, page("TRUSTED_PROXIES", "toml"))
    other = second_node(cluster, one)
    nodes = cluster.start(one, other)
    other.done(
        page("curl http://10.0.0.2:28080/readyz"),
        {"curl ": "curl -sSf ", "10.0.0.2:28080": f"127.0.0.1:{nodes[1].port}"},
    )
    with balancer(cluster.folder, nodes) as front:
        cookie = signed_in(front)
        assert {front.request("GET", ME, headers=cookie).status for _ in range(8)} == {200}
        nodes[1].stop()
        assert {user_of(front, issued(one)) for _ in range(8)} == {"lena"}


def test_a_node_is_drained(cluster: Cluster, one: Host) -> None:
    """The command of the page takes a node out of its balancer, and no other node."""
    nodes = cluster.start(one, second_node(cluster, one))
    one.done(page("datafor-token drain"))
    while nodes[0].request("GET", "/readyz", headers={}).status != 503:
        assert nodes[0].process.poll() is None
    assert nodes[1].request("GET", "/readyz", headers={}).status == 200
    assert user_of(nodes[0], issued(one)) == "lena"


def test_the_nodes_are_compared(cluster: Cluster, one: Host) -> None:
    """Nodes with the same settings are described by the same members, those of the page; other settings differ."""
    other = second_node(cluster, one)
    cluster.set(other, 'NODE = "b"\nLOG_FORMAT = "json"\n')
    nodes = cluster.start(one, other)

    def found() -> list[dict[str, Any]]:
        places = {f"10.0.0.{number}:28080": f"127.0.0.1:{node.port}" for number, node in enumerate(nodes, 1)}
        documents = one.done(page("10.0.0.1:28080/readyz"), places).replace("}\n{", "},{")
        read: list[dict[str, Any]] = json.loads(f"[{documents}]")
        return read

    def same(described: list[dict[str, Any]]) -> list[bool]:
        first, second = described
        return [first[member] == second[member] for member in ("version", "key", "other_keys", "settings")]

    shown = json.loads(page('"readable":true', "json"))
    described = found()
    assert [one.keys() for one in described] == [shown.keys()] * 2
    assert ([one["node"] for one in described][1], same(described)) == ("b", [True] * 4)
    cluster.set(other, "LEEWAY = 31\n")
    cluster.restart(1, other)
    assert same(found()) == [True, True, True, False]


def test_a_node_with_another_key(cluster: Cluster, one: Host) -> None:
    """A node with another key does not start."""
    other = second_node(cluster, one)
    other.done("openssl rand -base64 32 > config/secret_key")
    server = other.server(DATAFOR_TOKEN_STORE="")
    assert server.stop() != 0
    assert "is not the key of these records" in server.output


def test_failed_passwords_are_counted_together(cluster: Cluster, one: Host, redis: Redis) -> None:
    """With the setting of the page, ten failures on two nodes lock out a user on both."""
    cluster.set(one, page("RATELIMIT", "toml").replace("redis://cache.example", redis.uri))
    nodes = cluster.start(one, second_node(cluster, one))
    for number in range(10):
        assert nodes[number % 2].request("GET", ME, headers=basic("lena", "wrong")).status == 401
    assert [node.request("GET", ME, headers=basic("lena", "wrong")).status for node in nodes] == [429, 429]


def test_backups(cluster: Cluster, one: Host) -> None:
    """A dump brings records back, but no session that was ended by a logout."""
    (server,) = cluster.start(one)
    cookie = signed_in(server)
    cluster.done(one, page("pg_dump"))
    one.done("datafor-token application delete ERP --yes")
    assert server.request("GET", LOGOUT, headers=cookie).status == 200
    cluster.stop()
    cluster.done(one, page("pg_restore"))
    (server,) = cluster.start(one)
    assert user_of(server, issued(one)) == "lena"
    assert server.request("GET", ME, headers=cookie).status == 401


def test_a_dump_on_a_new_database_server(cluster: Cluster, one: Host) -> None:
    """A dump fills a new, empty database."""
    cluster.done(one, page("pg_dump"))
    cluster.postgres.ask("DROP DATABASE datafor WITH (FORCE)")
    cluster.postgres.ask(cluster.database)
    cluster.done(one, page("pg_restore"))
    (server,) = cluster.start(one)
    assert user_of(server, issued(one)) == "lena"


class Writes:
    """Records that nodes write during a key change, each of which every node must understand."""

    def __init__(self, nodes: list[Server]) -> None:
        self._nodes = nodes  # of which one is replaced when it restarts
        self._numbers = itertools.count()
        self.revoked: list[str] = []
        self.issued: list[str] = []
        path = f"{API.removesuffix('/token')}/user/insertOrUpdate"
        assert nodes[0].request("POST", path, {"username": "lena", "password": LENA_PASSWORD}).status == 200

    def check(self) -> None:
        """Write with each node, and assert that all nodes agree about this and about all that was written before."""
        for node in self._nodes:
            self._write(node, self._others(node))
        for node in self._nodes:
            assert {user_of(node, text) for text in self.issued} == {"lena"}
            assert {user_of(node, text) for text in self.revoked} == {401}

    def _others(self, node: Server) -> list[Server]:
        return [one for one in self._nodes if one is not node]

    def _write(self, node: Server, others: list[Server]) -> None:
        name = f"CRM{next(self._numbers)}"
        secret = STRONG_SECRET + name
        assert node.post("update", application(name=name, secret=secret, self_service="1")).status == 200
        kept, revoked = (token({"loginname": "lena", "exp": time.time() + 600, "jti": jti}, secret) for jti in "ab")
        assert user_of(node, kept) == "lena"
        personal = node.post("personal", {"name": name}, LENA).json
        link = node.post("link", {"name": name, "username": "lena"}).json["url"]
        session = signed_in(node)
        page = {"X-Original-URI": f"/?token={kept}"}
        gate = {"Cookie": node.request("GET", CHECK, headers=page).headers["Set-Cookie"].partition(";")[0]}
        for other in others:
            assert [user_of(other, one) for one in (kept, revoked, personal["token"])] == ["lena"] * 3
            assert "X-Datafor-Assertion" in other.request("GET", CHECK, headers=gate).headers
            assert other.request("GET", ME, headers=session).status == 200
            assert other.request("GET", link, headers={}).status == 303
            assert other.post("rotate", {"name": name, "grace": 86400}).status == 200
            assert other.post("revoke", {"token": revoked}).status == 200
            jti = {"jti": personal["jti"], "username": "lena"}
            assert other.post("personal/revoke", jti).status == 200
            assert other.request("POST", "/auth/leave", headers={**gate, "Sec-Fetch-Site": "same-origin"}).status == 200
        assert node.request("GET", CHECK, headers=gate).status == 401
        assert node.request("GET", link, headers={}).status == 401
        assert {user_of(node, one) for one in (revoked, personal["token"])} == {401}
        self.issued += [kept, node.post("generate", {"name": name, "username": "lena"}).json["token"]]
        self.revoked += [revoked, personal["token"]]
        # Nobody is signed in again by what a browser loads after the sign-out.
        assert not any("Set-Cookie" in one.request("GET", CHECK, headers=page).headers for one in self._nodes)


def both_nodes(cluster: Cluster, one: Host) -> tuple[Host, Host]:
    """Start two nodes, which sign identities, with the new key of the page in a file on both."""
    cluster.set(one, 'GATE_ASSERTION = true\nPUBLIC_URL = "https://intra.example"\n')
    hosts = one, second_node(cluster, one)
    cluster.start(*hosts)
    one.done(page("> new_key"))
    shutil.copy(one.folder / "new_key", hosts[1].folder)
    return hosts


def test_change_the_key(cluster: Cluster, one: Host) -> None:
    """While nodes restart one by one, each reads and revokes what another wrote; at the end one key suffices."""
    hosts = both_nodes(cluster, one)
    nodes = cluster.nodes
    writes = Writes(nodes)

    def on_each_node(commands: str) -> None:
        for number, host in enumerate(hosts):
            host.done(commands)
            cluster.restart(number, host)
            writes.check()

    writes.check()
    on_each_node(page("echo; cat new_key"))
    on_each_node(page("head -n 1"))
    assert "applications are encrypted with the key" in one.done(page("store rekey"))
    writes.check()
    new = (one.folder / "new_key").read_text()
    on_each_node(page("sed -i '1!d'"))
    assert [(host.config / "secret_key").read_text() for host in hosts] == [new, new]
    assert user_of(nodes[1], issued(one)) == "lena"
    assert one.done(page("datafor-token store check")).endswith("All records are valid\n")


def test_a_step_of_the_key_change_was_left_out(cluster: Cluster, one: Host) -> None:
    """A record that a node cannot decrypt is 503 there, never 401, and is served once the node has the key."""
    hosts = both_nodes(cluster, one)
    nodes = cluster.nodes

    def written(node: int) -> str:
        """Let a node encrypt a secret; return a token of it."""
        name = f"CRM{node}"
        secret = STRONG_SECRET + name
        assert nodes[node].post("update", application(name=name, secret=secret)).status == 200
        return token({"loginname": "lena", "exp": time.time() + 600}, secret)

    # The new key is in front on one node, and the other one does not have it.
    hosts[0].done(page("head -n 1"))
    cluster.restart(0, hosts[0])
    text = written(0)
    assert [user_of(node, text) for node in nodes] == ["lena", 503]
    assert nodes[1].post("revoke", {"token": text}).status == 503
    hosts[1].done(page("echo; cat new_key"))
    cluster.restart(1, hosts[1])
    assert [user_of(node, text) for node in nodes] == ["lena", "lena"]
    # The old key was removed on one node before the other one had the new one in front.
    hosts[0].done(page("store rekey"))
    hosts[0].done(page("sed -i '1!d'"))
    cluster.restart(0, hosts[0])
    text = written(1)
    assert [user_of(node, text) for node in nodes] == [503, "lena"]
    assert "add that key to config/secret_key" in hosts[0].refused(page("datafor-token store check"))
    hosts[1].done(page("head -n 1"))
    cluster.restart(1, hosts[1])
    hosts[1].done(page("store rekey"))
    assert [user_of(node, text) for node in nodes] == ["lena", "lena"]
    assert user_of(nodes[0], issued(one)) == "lena"


def test_the_tables_of_a_new_version(cluster: Cluster, one: Host) -> None:
    """If all tables exist, the command changes nothing, and a running node serves on."""
    (node,) = cluster.start(one)
    assert one.done(page("store init")) == "The tables exist already\n"
    assert user_of(node, issued(one)) == "lena"


def test_the_audit_log_of_a_node(cluster: Cluster, one: Host) -> None:
    """A node adds the events of its former file to the shared log while a server runs, and moves the file aside."""
    (node,) = cluster.start(one)
    (one.data / "audit.log").write_bytes(line(target={"user": "formerly"}))
    assert "1 event was added" in one.done(page("audit import"))
    assert not (one.data / "audit.log").exists()
    (event,) = node.request("GET", f"{API}/audit?user=formerly").json["data"]
    assert event["time"] == "1970-01-01T00:00:00.000Z"


def test_every_block_has_a_test() -> None:
    """Each block of commands of the page is run by a test here."""
    assert blocks_without_test("several-hosts", Path(__file__)) == []


def test_a_standby() -> None:
    """The setting for a standby is that of the test in which one takes over: both hosts, and no parameter."""
    assert page("db2.example", "toml").endswith('@db1.example,db2.example/datafor"\n')
