"""``datafor-token drain``."""

import logging
import os
from pathlib import Path

import pytest
from flask import Flask

from datafor_token.operations import draining
from datafor_token.settings import Settings
from tests.commands import invoke
from tests.conftest import Caller, services_in
from tests.processes import run_command
from tests.support import API, Server


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_INTERVAL", 0)


def test_a_drained_node(app: Flask, caller: Caller, settings: Settings) -> None:
    """After the command /readyz is 503 and calls are served, until it is ended; doing either twice changes nothing."""
    for _ in range(2):
        assert invoke(app, ["drain"]).exit_code == 0
    response = caller.get("/readyz")
    assert (response.status_code, response.json["draining"]) == (503, True)
    assert caller.get("/healthz").status_code == 200
    assert caller.get(f"{API}/list").status_code == 200
    assert [one.stat().st_mode & 0o777 for one in settings.data_dir.glob(".draining")] == [0o600]
    for _ in range(2):
        assert invoke(app, ["drain", "--end"]).exit_code == 0
    assert caller.get("/readyz").status_code == 200


def test_draining_wins_over_an_outage(app: Flask, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that drains says so, whatever the state of its store."""

    def fail(_: object) -> None:
        pytest.fail("the store was probed")

    services = services_in(app)
    monkeypatch.setattr(type(services.readiness), "unwritable", fail)
    services.draining.begin()
    assert caller.get("/readyz").json["draining"] is True


def test_a_probe_of_a_drained_node_is_no_error(app: Flask, caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """The log has the probes of load balancers while a node drains as information: nobody is to look after them."""
    services_in(app).draining.begin()
    caplog.set_level(logging.INFO)
    caplog.clear()
    assert caller.get("/readyz").status_code == 503
    assert [one.levelname for one in caplog.records if "status=503" in one.getMessage()] == ["INFO"]


def test_a_start_ends_it(tmp_path: Path) -> None:
    """A node that is started again does not drain; while it runs, a command of another process drains each worker."""
    server = Server(tmp_path).start()
    server.both_workers()
    assert run_command(tmp_path, "drain").returncode == 0
    while {server.request("GET", "/readyz", headers={}).status for _ in range(8)} != {503}:
        assert server.process.poll() is None
    assert server.request("GET", "/healthz", headers={}).headers["Connection"] == "close"
    assert "event=draining by=command" in server.output
    server.stop()
    server = Server(tmp_path).start()
    assert server.request("GET", "/readyz", headers={}).status == 200
    server.stop()


def test_a_disk_that_hangs_holds_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread looks for the file of the command, others use the last result."""
    state = draining.Draining(tmp_path)
    state.begin()
    assert state.is_on()
    state.end()

    def exists(_: object) -> bool:
        assert state.is_on(), "a second thread waits too"
        return False

    monkeypatch.setattr(os.path, "exists", exists)
    assert not state.is_on()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The command, which root may run, creates no file elsewhere."""
    (tmp_path / ".draining").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        draining.Draining(tmp_path).begin()
    assert not (tmp_path / "elsewhere").exists()


def test_a_wrong_folder(tmp_path: Path) -> None:
    """A data folder that does not exist is named, and not created."""
    done = run_command(tmp_path, "drain")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"the data folder {tmp_path}/data does not exist: name that of the server with --data\n"
    assert not list(tmp_path.iterdir())
