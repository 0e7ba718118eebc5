"""All sinks of an installation, and what a service and its commands send."""

import dataclasses
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token.metrics.counters import Metrics
from datafor_token.operations.services import Services
from datafor_token.settings import Settings
from datafor_token.sinks import queue as queues
from datafor_token.sinks.sinks import FOLDER, Sinks
from datafor_token.store.files.locking import hold
from tests.commands import invoke
from tests.conftest import Caller
from tests.processes import run_command
from tests.sinks.receiver import SECRET, Receiver, receiving
from tests.sinks.test_queue import line, read_all
from tests.support import Clock, Server, application, basic

LINE = b'{"event":"sign_in"}\n'


def metric(metrics: Metrics, name: str) -> float:
    text = metrics.exposition("")[0].decode()
    (value,) = [one.split()[-1] for one in text.splitlines() if one.startswith(f"datafor_token_audit_sink_{name}{{")]
    return float(value)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def settings(settings: Settings, receiver: Receiver) -> Settings:
    return dataclasses.replace(settings, audit_sink=(receiver.url,), audit_webhook_secret=SECRET)


def test_by_default_there_is_none(settings: Settings) -> None:
    """Without the setting nothing is queued, and no folder is created."""
    settings = dataclasses.replace(settings, audit_sink=Settings.audit_sink)
    sinks = Sinks(settings, Clock(), Metrics("test"))
    sinks.watch()
    sinks.put(LINE)
    assert sinks.waiting() == {}
    assert not settings.data_dir.exists()


def test_each_sink_has_a_queue(settings: Settings) -> None:
    """Each line is queued for each sink; a command, which does not call ``watch``, sends nothing."""
    settings = dataclasses.replace(
        settings, audit_sink=("syslog", "https://siem.example/x", "stdout"), audit_webhook_secret=SECRET
    )
    metrics = Metrics("test")
    sinks = Sinks(settings, Clock(), metrics)
    sinks.put(LINE, durably=True)
    sinks.start()
    assert sinks.waiting() == dict.fromkeys(("syslog", "webhook", "stdout"), len(LINE) + 1)
    for name in ("syslog", "webhook", "stdout"):
        assert [entry.line for entry in read_all(settings.data_dir / FOLDER / name)] == [LINE[:-1]]


def test_a_queue_that_is_full(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines that a full queue cannot take are counted, and logged once a minute; nothing is raised."""
    monkeypatch.setattr(queues, "SEGMENT", 1)
    monkeypatch.setattr(queues, "MOST", 3)
    metrics = Metrics("test")
    sinks = Sinks(settings, Clock(), metrics)
    metrics.add_gauge("audit_sink_waiting_bytes", sinks.waiting)
    for number in range(5):
        sinks.put(line(number))
    assert metric(metrics, "lost_total") == 2
    assert metric(metrics, "waiting_bytes") == 3 * (len(line(0)) + 1)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(record.msg) == 'event="audit events lost" sink=webhook reason="the queue webhook is full"'


def test_a_disk_that_cannot_be_written(settings: Settings, services: Services, caller: Caller) -> None:
    """A failure of the queue fails no change."""
    services.sinks.stop()
    folder = settings.data_dir / FOLDER
    shutil.rmtree(folder)
    folder.write_text("in the way")
    assert caller.post("update", application(), basic()).status_code == 200
    assert metric(services.metrics, "lost_total") > 0


def test_the_lines_of_a_service(app: Flask, services: Services, caller: Caller, receiver: Receiver) -> None:
    """The webhook gets the lines of the audit log: changes, what changes nothing, counts, and those of commands."""
    caller.post("update", application())
    for _ in range(2):
        caller.post("generate", {"name": "x"}, {"Authorization": "Bearer wrong"})
    services.audit.finish()
    assert invoke(app, ["application", "disable", "ERP"]).exit_code == 0
    expected = list(services.audit.since(0))
    found = [json.loads(receiver.next().body) for _ in expected]
    # Two processes can queue at the same time, so that the order is not exactly that of the log.
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert sorted(one["event"] for one in found) == [
        "application_added",
        "application_changed",
        "sign_in",
        "sign_in_refused",
        "sign_in_refused",
        "user_made",
    ]
    services.sinks.stop()
    assert metric(services.metrics, "sent_total") == len(expected)
    assert metric(services.metrics, "waiting_bytes") == 0


@pytest.mark.file_store
def test_a_change_that_cannot_be_recorded(settings: Settings, services: Services, caller: Caller) -> None:
    """A change that is refused, since its event cannot be recorded, is not sent."""
    services.sinks.stop()
    log = settings.data_dir / "audit.log"
    log.unlink(missing_ok=True)
    log.mkdir()
    queue = settings.data_dir / FOLDER / "webhook"
    read_all(queue)
    assert caller.post("update", application()).status_code == 503
    assert [entry.line for entry in read_all(queue) if b"application_added" in entry.line] == []


def events(bodies: list[bytes]) -> list[Any]:
    return [json.loads(body) for body in bodies]


def wait_until(condition: Any) -> None:
    """Wait until a condition holds; a test that waits too long is ended by its runner."""
    while not condition():
        time.sleep(0.02)


class TestServer:
    """The service as users run it."""

    def test_a_kill_and_an_outage(self, tmp_path: Path) -> None:
        """Events of an outage of the receiver reach it after SIGKILL and a restart, and so do those of commands."""
        with receiving() as receiver:
            receiver.status = 503
            environ = {"DATAFOR_TOKEN_AUDIT_SINK": receiver.url, "DATAFOR_TOKEN_AUDIT_WEBHOOK_SECRET": SECRET}
            server = Server(tmp_path, **environ).start()
            for number in range(3):
                assert server.post("update", application(name=f"A{number}")).status == 200
            wait_until(lambda: "audit event not sent" in server.output)
            server.stop(signal.SIGKILL)
            assert SECRET not in server.output
            assert "of-the-url" not in server.output
            done = run_command(tmp_path, "application", "disable", "A1", **environ)
            assert done.returncode == 0, done.stderr
            assert receiver.bodies == []
            receiver.status = 200
            server.start()
            wait_until(lambda: any(b"application_changed" in body for body in receiver.bodies))
            assert server.stop() == 0
            found = [one["target"]["application"] for one in events(receiver.bodies) if "application" in one["target"]]
        assert [name for name in found if name.startswith("A")] == ["A0", "A1", "A2", "A1"]

    def test_a_stop_during_a_request(self, tmp_path: Path) -> None:
        """A receiver that does not respond delays no stop: the request is not waited for, and its event is kept."""
        with receiving() as receiver:
            receiver.may_respond.clear()
            environ = {"DATAFOR_TOKEN_AUDIT_SINK": receiver.url, "DATAFOR_TOKEN_AUDIT_WEBHOOK_SECRET": SECRET}
            server = Server(tmp_path, **environ).start()
            receiver.next()
            assert server.stop() == 0
            receiver.may_respond.set()
            assert "audit event not sent" not in server.output
            assert [b"user_made" in entry.line for entry in read_all(tmp_path / "data" / FOLDER / "webhook")] == [True]

    def test_standard_output(self, tmp_path: Path) -> None:
        """Events are lines of JSON on standard output of the server, of which one process sends each event once."""
        server = Server(tmp_path, DATAFOR_TOKEN_AUDIT_SINK="stdout").start()
        for number in range(3):
            server.post("update", application(name=f"A{number}"))
        wait_until(lambda: '"application":"A2"' in server.output)
        server.stop()
        lines = [line for line in server.output.splitlines() if line.startswith('{"time"')]
        found = [one["target"].get("application") for one in map(json.loads, lines)]
        assert [name for name in found if name] == ["A0", "A1", "A2"]

    def test_the_worker_that_sends_is_killed(self, tmp_path: Path) -> None:
        """When the worker that sends dies, another one continues."""
        with receiving() as receiver:
            environ = {"DATAFOR_TOKEN_AUDIT_SINK": receiver.url, "DATAFOR_TOKEN_AUDIT_WEBHOOK_SECRET": SECRET}
            server = Server(tmp_path, **environ).start()
            wait_until(lambda: receiver.bodies)
            lock = tmp_path / "data" / FOLDER / "webhook" / "sender.lock"
            assert hold(lock) is None
            for pid in server.both_workers():
                os.kill(pid, signal.SIGKILL)
                name = f"A{pid}"
                server.both_workers()
                assert server.post("update", application(name=name)).status == 200
                wait_until(lambda name=name: name in b"".join(receiver.bodies).decode())
            server.stop()
