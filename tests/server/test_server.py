"""The service under gunicorn with the shipped configuration."""

import json
import re
import signal
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stores import Record
from tests.support import ROOT, SAMPLE_APPLICATION, Server, application, basic, gunicorn_settings, need, record_of


def test_the_first_start_prints_the_password_once(tmp_path: Path) -> None:
    """The first start prints the generated password once and writes it to its file; the next start prints nothing."""
    server = Server(tmp_path, DATAFOR_TOKEN_ADMIN_PASSWORD="").start()
    file = server.config_dir / "initial_admin_password"
    password = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert server.post("update", SAMPLE_APPLICATION, basic("admin", password)).status == 200
    assert server.stop() == 0
    assert server.output.count(password) == 1
    server.output = ""
    server.start()
    response = server.post("generate", {}, basic("admin", password))
    assert response.status == 200
    server.stop()
    assert password not in server.output


def test_two_starts_at_once_create_one_administrator(tmp_path: Path) -> None:
    """If two services start at once on the same folders, one creates the user, and the file has its password."""
    servers = [Server(tmp_path, DATAFOR_TOKEN_ADMIN_PASSWORD="") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(Server.start, servers))
    password = (servers[0].config_dir / "initial_admin_password").read_text().strip()
    for server in servers:
        response = server.post("update", SAMPLE_APPLICATION, basic("admin", password))
        assert response.status == 200
        server.stop()
    assert sum('event="first start"' in server.output for server in servers) == 1


def test_there_are_several_workers(server: Server) -> None:
    """At least two worker processes serve."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.request("GET", "/healthz"), range(60)))

    def booted() -> int:
        return len(set(re.findall(r"Booting worker with pid: (\d+)", server.output)))

    # One of them may have served all requests before the other one started.
    for _ in range(200):
        if booted() >= 2:
            break
        time.sleep(0.05)
    assert booted() >= 2


def test_nothing_is_lost_over_a_restart(tmp_path: Path) -> None:
    """An acknowledged change exists after a stop, and after all processes were killed."""
    server = Server(tmp_path).start()
    assert server.post("update", SAMPLE_APPLICATION).status == 200
    server.stop()
    server.start()
    assert server.post("update", application(name="CRM")).status == 200
    server.stop(signal.SIGKILL)
    server.start()
    for name in ("ERP", "CRM"):
        assert server.post("generate", {"name": name}).status == 200
    server.stop()


@pytest.mark.file_store
def test_files_are_for_their_owner_only(server: Server) -> None:
    """Every file under the data folder has mode 0600, every folder 0700."""
    server.post("update", SAMPLE_APPLICATION)
    paths = [server.data_dir, *server.data_dir.rglob("*")]
    assert len(paths) > 5
    for path in paths:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_eight_clients_write_one_record(server: Server) -> None:
    """Eight clients write one record at once: all are served, and the record is exactly one of theirs."""

    def write(client: int) -> list[int]:
        body = application(name="Shared", secret=f"{client}" * 40, expire=client + 1)
        return [server.post("update", body).status for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(write, range(8)))
    assert statuses == [[200] * 10] * 8
    record = record_of(server.config_dir, server.data_dir, "shared")
    assert record["secret"] == f"{record['expire'] - 1}" * 40


def test_every_worker_uses_a_record_edited_by_hand(server: Server) -> None:
    """After a record was edited on disk, the next call of each worker uses it."""
    server.post("update", application(name="Hand"))
    path = Record(server.data_dir, "applications", "hand")
    for enable, status in (("0", 403), ("1", 200)):
        path.write_text(json.dumps({**json.loads(path.read_text()), "enable": enable}))
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: server.post("generate", {"name": "Hand"}).status, range(24)))
        assert found == {status}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopping_is_quiet(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C and a stop end with status 0 and without a traceback."""
    server = Server(tmp_path).start()
    # Until each worker has responded: gunicorn does not hear a stop in a worker that is just being forked, and
    # waits for the whole graceful time.
    for _ in range(1000):
        server.request("GET", "/plugin/datafor-modeler/api/token/list")
        if len(set(re.findall(r"responses pid=(\d+)", server.output))) == 2:
            break
    else:
        pytest.fail("one of the workers does not respond")
    assert server.stop(how) == 0
    assert "Traceback" not in server.output
    assert "level=error" not in server.output


def start_output(tmp_path: Path, **environ: str) -> str:
    server = Server(tmp_path, **environ)
    server.start()
    assert server.stop() != 0
    return server.output


def reloaded(server: Server) -> None:
    """Reload the service, and wait for its new workers."""
    before = set(server.both_workers())
    server.process.send_signal(signal.SIGHUP)
    while before & set(server.both_workers()):
        time.sleep(0.05)


def test_a_reload_logs_that_changed_settings_need_a_restart(tmp_path: Path) -> None:
    """SIGHUP logs the names of changed settings and what to do; without a change, it logs no such line."""
    server = Server(tmp_path).start()
    try:
        reloaded(server)
        assert "settings changed" not in server.output
        file = server.config_dir / "settings.toml"
        file.write_text('LEEWAY = 31\nPUBLIC_URL = "https://intra.example"\n')
        reloaded(server)
        file.write_text("LEEWAY = 31\nTYPO = 1\n")
        reloaded(server)
    finally:
        server.stop()
    changed, faulty = [line for line in server.output.splitlines() if "settings changed" in line]
    assert "restart" in changed
    assert "names=LEEWAY,PUBLIC_URL" in changed
    assert "intra.example" not in changed
    assert "TYPO" in faulty


def test_faulty_settings_stop_the_start_with_a_sentence(tmp_path: Path) -> None:
    """Each fault is one line without a traceback, and nothing is created on disk."""
    output = start_output(tmp_path, DATAFOR_TOKEN_LOCK_TIMEOUT="soon", DATAFOR_TOKEN_COLOUR="red")
    assert "LOCK_TIMEOUT (environment variable DATAFOR_TOKEN_LOCK_TIMEOUT) must be a number" in output
    assert "COLOUR" in output
    assert "Traceback" not in output
    assert not (tmp_path / "data").exists()


def test_a_faulty_address_stops_the_start_with_a_sentence(tmp_path: Path) -> None:
    """An invalid address stops the start, without a traceback."""
    output = start_output(tmp_path, DATAFOR_TOKEN_BIND="127.0.0.1:99999")
    assert "DATAFOR_TOKEN_BIND must be host:port" in output
    assert "Traceback" not in output


def test_a_data_folder_that_cannot_be_created(tmp_path: Path) -> None:
    """A file in place of the data folder stops the start with a sentence."""
    (tmp_path / "data").write_text("a file")
    output = start_output(tmp_path)
    assert 'event="cannot start"' in output
    assert "Traceback" not in output


def test_forwarded_headers_are_not_trusted(server: Server) -> None:
    """No header of a client changes the logged address."""
    headers = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=6.6.6.6",
        "X-Real-IP": "6.6.6.6",
    }
    assert server.request("GET", "/healthz", headers=headers).status == 200
    assert "6.6.6.6" not in server.output


def test_the_server_header_and_keep_alive(server: Server) -> None:
    """A response has exactly the expected headers."""
    names = {name.lower() for name in server.request("GET", "/healthz").headers}
    assert names == {
        "server", "date", "connection", "content-type", "content-length",
        "x-request-id", "cache-control", "x-content-type-options", "referrer-policy",
    }  # fmt: skip


def test_nothing_generated_is_in_git() -> None:
    """Git tracks and would track no records, no environment and no generated file."""
    need("git")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert not [name for name in tracked if name.startswith(("data/", ".venv/")) or "__pycache__" in name]
    ignored = subprocess.run(
        ["git", "check-ignore", "data/x", ".venv/x", "config/initial_admin_password"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert len(ignored) == 3


def test_the_default_address() -> None:
    """Without DATAFOR_TOKEN_BIND, the address is 127.0.0.1:28080."""
    values = gunicorn_settings()
    assert values["bind"] == "127.0.0.1:28080"
    assert isinstance(values["workers"], int)
    assert values["workers"] >= 2
