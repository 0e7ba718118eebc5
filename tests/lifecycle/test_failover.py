"""The page about a database that fails over: its configurations, with a real Patroni, etcd, HAProxy and PgBouncer."""

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datafor_token.settings_sources import load_settings
from tests.lifecycle.host import block, blocks_without_test
from tests.store.postgres import as_user, binaries
from tests.support import API, STRONG_SECRET, Server, application, free_port, need, wait_for

pytestmark = [pytest.mark.file_store, pytest.mark.slow, pytest.mark.sql]

_PASSWORD = "password"
_LONGEST = 120.0  # seconds until Patroni has chosen a primary


def page(containing: str, language: str = "sh") -> str:
    return block("failover", containing, language)


def replaced(text: str, replacements: dict[str, str]) -> str:
    """Replace parts of a block, each of which must occur."""
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def until(met: Callable[[], object], what: str) -> None:
    """Wait until a condition is met."""
    ends = time.monotonic() + _LONGEST
    while not met():
        assert time.monotonic() < ends, what
        time.sleep(0.1)


class Patroni:
    """A cluster of the page on this host: etcd, and two servers with their Patroni."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.etcd, peer = free_port(), free_port()
        self.ports = {name: (free_port(), free_port()) for name in ("db1", "db2")}  # of PostgreSQL and of Patroni
        urls = f"--listen-client-urls=http://127.0.0.1:{self.etcd} --advertise-client-urls=http://127.0.0.1:{self.etcd}"
        peers = f"--listen-peer-urls=http://127.0.0.1:{peer} --initial-advertise-peer-urls=http://127.0.0.1:{peer}"
        cluster = f"--initial-cluster=default=http://127.0.0.1:{peer} --data-dir={folder}/etcd"
        self._run("etcd", "etcd", *f"{urls} {peers} {cluster}".split())
        wait_for(self.etcd)

    def configuration(self, name: str) -> Path:
        """Write the configuration of the page for a host."""
        postgresql, rest = self.ports[name]
        addresses = {
            "10.0.0.11:5432": f"127.0.0.1:{postgresql}",
            "10.0.0.11:8008": f"127.0.0.1:{rest}",
            "10.0.0.21:2379,10.0.0.22:2379,10.0.0.23:2379": f"127.0.0.1:{self.etcd}",
            "10.0.0.0/24": "127.0.0.1/32",
            "/var/lib/postgresql/15/datafor": str(self.folder / name),
            "/usr/lib/postgresql/15/bin": str(binaries()),
            "name: db1": f"name: {name}",
        }
        # No watchdog in a test, and no wait for slow networks.
        quick = {"mode: required": "mode: 'off'", "ttl: 30": "ttl: 20", "loop_wait: 10": "loop_wait: 2"}
        quick |= {"retry_timeout: 10": "retry_timeout: 3"}
        sockets = f"  parameters:\n    unix_socket_directories: {self.folder}\n"
        file = self.folder / f"{name}.yml"
        file.write_text(
            replaced(page("scope: datafor", "yaml"), addresses | quick | {"  pg_hba:\n": sockets + "  pg_hba:\n"})
        )
        return file

    def start(self, name: str) -> None:
        """Start a host's Patroni."""
        self._run(name, "patroni", str(self.configuration(name)))

    def _run(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*as_user(), *command],
                cwd=self.folder,
                env={**os.environ, "HOME": str(self.folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def role(self, name: str) -> str:
        """Return the role of a host, as the command of the page lists it, or an empty text."""
        listed = self.command(page("list"), "--format json")
        rows = json.loads(listed) if listed.startswith("[") else []
        return next(
            (row["Role"] for row in rows if row["Member"] == name and row["State"] in ("running", "streaming")), ""
        )

    def command(self, line: str, options: str = "") -> str:
        """Run a command of the page."""
        line = replaced(line.strip(), {"/etc/patroni/config.yml": str(self.folder / "db1.yml")})
        done = subprocess.run(f"{line} {options}".split(), capture_output=True, text=True, check=False, cwd="/")
        return done.stdout

    def ask(self, name: str, *statements: str) -> None:
        """Execute SQL on a host."""
        import psycopg

        url = f"postgresql://postgres:password-of-postgres@127.0.0.1:{self.ports[name][0]}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def kill(self, name: str) -> None:
        """Kill a host: its Patroni, its PostgreSQL, and each process of that."""
        manager = self._processes.pop(name)
        manager.kill()
        manager.wait()
        pid_file = self.folder / name / "postmaster.pid"
        if pid_file.exists():
            server = int(pid_file.read_text().split()[0])
            with contextlib.suppress(OSError):
                os.kill(server, signal.SIGSTOP)
                children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
                for process in (server, *map(int, children)):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            pid_file.unlink()

    def remove(self) -> None:
        """Stop all for good."""
        for name in list(self._processes):
            if name in self.ports:
                self.kill(name)
        for process in self._processes.values():
            process.kill()
            process.wait()

    def said(self) -> str:
        return "\n".join(f"{file}: {file.read_text()[-1500:]}" for file in self.folder.glob("*.log"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the user of PostgreSQL can enter."""
    made = Path(tempfile.mkdtemp(prefix="datafor-patroni-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(made, user.pw_uid, user.pw_gid)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def patroni(folder: Path) -> Iterator[Patroni]:
    need("patroni")
    # Debian's package has no dependency on it.
    need("etcd")
    made = Patroni(folder)
    yield made
    made.remove()


@contextlib.contextmanager
def running(*command: str, port: int) -> Iterator[None]:
    """Run a program that listens on a port."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield
    finally:
        process.kill()
        process.wait()


def haproxy_file(folder: Path, port: int, ports: dict[str, tuple[int, int]]) -> Path:
    """Write the configuration of HAProxy."""
    file = folder / "haproxy.cfg"
    changes = {"127.0.0.1:5000": f"127.0.0.1:{port}"}
    for name, address in (("db1", "10.0.0.11"), ("db2", "10.0.0.12")):
        postgresql, rest = ports[name]
        changes[f"{address}:5432 check port 8008"] = f"127.0.0.1:{postgresql} check port {rest}"
    file.write_text(replaced(page("listen postgresql", "haproxy"), changes))
    return file


def pgbouncer_file(folder: Path, port: int, haproxy: int) -> Path:
    """Write the configuration of PgBouncer."""
    users = folder / "userlist.txt"
    users.write_text(page('"datafor"', "text"))
    changes = {"port=5000": f"port={haproxy}", "= 6432": f"= {port}", "/etc/pgbouncer/userlist.txt": str(users)}
    file = folder / "pgbouncer.ini"
    file.write_text(replaced(page("[pgbouncer]", "ini"), changes))
    return file


def test_a_failover_by_patroni(patroni: Patroni, folder: Path, tmp_path: Path) -> None:
    """With the configurations of the page, a killed primary is replaced, and no acknowledged write is lost."""
    need("haproxy")
    need("pgbouncer", Path("/usr/sbin/pgbouncer"))
    for name, role in (("db1", "Leader"), ("db2", "Sync Standby")):
        patroni.start(name)
        until(lambda name=name, role=role: patroni.role(name) == role, patroni.said())  # type: ignore[misc]
    patroni.ask("db1", *block("several-hosts", "CREATE ROLE", "sql").splitlines())
    haproxy, pooler = free_port(), free_port()
    front = [str(shutil.which("haproxy")), "-db", "-f", str(haproxy_file(folder, haproxy, patroni.ports))]
    pooling = [*as_user(), "/usr/sbin/pgbouncer", str(pgbouncer_file(folder, pooler, haproxy))]
    with running(*front, port=haproxy), running(*pooling, port=pooler), contextlib.ExitStack() as stack:
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "settings.toml").write_text(page("127.0.0.1:5000", "toml"))
        direct = load_settings(tmp_path / "config", {}).store
        nodes: list[Server] = []
        for number, port in enumerate((haproxy, pooler)):
            url = replaced(direct, {":5000": f":{port}"})
            own = tmp_path / f"node{number}"
            own.mkdir()
            node = Server(own, DATAFOR_TOKEN_STORE=url)
            if number:
                shutil.copy(nodes[0].config_dir / "secret_key", node.config_dir)
            else:
                until(lambda node=node: _init(node, direct, haproxy), patroni.said())  # type: ignore[misc]
            assert node.start().port, node.output
            stack.callback(node.stop)
            nodes.append(node)
        written = [_write(nodes[number % 2], f"before{number}") for number in range(6)]
        assert set(written) == {200}
        patroni.kill("db1")
        assert _write(nodes[0], "lost") == 503
        until(lambda: {_write(node, "after") for node in nodes} == {200}, patroni.said())
        for node in nodes:
            names = {row["name"] for row in node.request("GET", f"{API}/list").json["data"]}
            assert names >= {"after", *(f"before{number}" for number in range(6))}
        # The former primary comes back as a standby, and can take over again.
        patroni.start("db1")
        until(lambda: patroni.role("db1") == "Sync Standby", patroni.said())
        patroni.command(replaced(page("switchover"), {"--leader db1 --candidate db2": "--leader db2 --candidate db1"}))
        until(lambda: patroni.role("db1") == "Leader", patroni.said())
        until(lambda: {_write(node, "again") for node in nodes} == {200}, patroni.said())


def _init(node: Server, url: str, port: int) -> bool:
    from tests.processes import run

    environ = {"PATH": os.environ["PATH"], "DATAFOR_TOKEN_CONFIG_DIR": str(node.config_dir)}
    environ["DATAFOR_TOKEN_STORE"] = replaced(url, {":5000": f":{port}"})
    return run("-m", "datafor_token", "store", "init", environ=environ).returncode == 0


def _write(node: Server, name: str) -> int:
    return node.post("update", application(name=name, secret=STRONG_SECRET)).status


def test_the_configurations_are_valid(tmp_path: Path) -> None:
    """HAProxy accepts its configuration, and Patroni's has a watchdog and a synchronous standby."""
    need("haproxy")
    ports = {name: (free_port(), free_port()) for name in ("db1", "db2")}
    file = haproxy_file(tmp_path, free_port(), ports)
    done = subprocess.run(["haproxy", "-c", "-f", file], capture_output=True, text=True, check=False)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
    text = page("scope: datafor", "yaml")
    assert re.search(r"^watchdog:\n(  #.*\n)*  mode: required$", text, re.MULTILINE)
    assert re.search(r"^    synchronous_mode: true$", text, re.MULTILINE)


def test_every_block_has_a_test() -> None:
    """Each block of commands of the page is run by a test here."""
    assert blocks_without_test("failover", Path(__file__)) == []
