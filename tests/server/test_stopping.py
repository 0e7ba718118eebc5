"""The stop of a server: no signal is lost, no connection is reset, and before it the server drains."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import SAMPLE_APPLICATION, HttpResponse, Server

pytestmark = pytest.mark.file_store
WORKERS = pytest.mark.parametrize("worker", ["", "gthread"], ids=["ours", "gthread"])


def until(condition: Callable[[], object], server: Server) -> None:
    """Wait until a condition is true, but not for ever."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(server.output)


@WORKERS
def test_a_signal_before_the_handlers_of_a_worker(tmp_path: Path, worker: str) -> None:
    """A SIGTERM that comes when a worker has just been forked ends that worker."""
    settings = tmp_path / "settings.py"
    settings.write_text(
        "import os, signal\n"
        "from datafor_token import gunicorn_conf\n"
        "from datafor_token.gunicorn_conf import *\n"
        "def post_fork(server, worker):\n"
        "    gunicorn_conf.post_fork(server, worker)\n"
        "    if worker.age == 1:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    server = Server(tmp_path, DATAFOR_TOKEN_WORKER=worker)
    server.command = [sys.executable, "-m", "gunicorn", "-c", settings, "wsgi:app"]
    server.start()
    until(lambda: "Worker exiting" in server.output, server)
    assert server.stop() == 0


@WORKERS
def test_a_stop_just_after_the_start(tmp_path: Path, worker: str) -> None:
    """A server that gets SIGTERM as soon as it listens stops without killing a worker."""
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        server = Server(folder, DATAFOR_TOKEN_WORKER=worker).start()
        assert server.stop() == 0
        assert server.output.count("Worker exiting") == server.output.count("Booting worker")


@WORKERS
def test_no_connection_is_reset(tmp_path: Path, worker: str) -> None:
    """During a stop, which waits for an idle client, each connection is served or refused; none is accepted in vain."""
    server = Server(tmp_path, DATAFOR_TOKEN_WORKER=worker).start()
    workers = server.both_workers()
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
    for client in idle:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(64).startswith(b"HTTP/1.1 200")
    server.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            assert server.request("GET", "/healthz", headers={}).status == 200
    # They still wait for these clients.
    assert server.workers() == workers
    for client in idle:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"".join(iter(lambda client=client: client.recv(65536), b"")).count(b"HTTP/1.1 200") == 1  # type: ignore[misc]
        client.close()
    assert server.process.wait(60) == 0


def ready(server: Server) -> HttpResponse:
    return server.request("GET", "/readyz", headers={})


def check_drains(server: Server) -> None:
    """Check that each worker is not ready, and serves each call with the last response of its connection."""
    until(lambda: {ready(server).status for _ in range(8)} == {503}, server)
    for _ in range(8):
        response = ready(server)
        assert (response.status, response.json["draining"]) == (503, True)
        call = server.post("update", SAMPLE_APPLICATION)
        assert (call.status, call.headers["Connection"]) == (200, "close")
        assert server.request("GET", "/healthz", headers={}).headers["Connection"] == "close"


@WORKERS
def test_sigterm_drains(tmp_path: Path, worker: str) -> None:
    """For DRAIN_SECONDS after SIGTERM, /readyz is 503 and calls are served; a second SIGTERM stops at once."""
    server = Server(tmp_path, DATAFOR_TOKEN_WORKER=worker, DATAFOR_TOKEN_DRAIN_SECONDS="120").start()
    server.both_workers()
    assert (ready(server).status, ready(server).headers["Connection"]) == (200, "keep-alive")
    server.process.send_signal(signal.SIGTERM)
    check_drains(server)
    assert "event=draining by=stop" in server.output
    assert "Handling signal" not in server.output
    assert server.stop() == 0


def test_a_drain_ends(tmp_path: Path) -> None:
    """After DRAIN_SECONDS the server stops; workers that ended meanwhile were replaced, and drained too."""
    server = Server(tmp_path, DATAFOR_TOKEN_DRAIN_SECONDS="4").start()
    before = server.both_workers()
    server.process.send_signal(signal.SIGTERM)
    until(lambda: ready(server).status == 503, server)
    for worker in before:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)
    with contextlib.suppress(ConnectionError):
        while True:
            assert ready(server).status == 503
    assert server.process.wait(60) == 0
    assert server.output.count("Booting worker") == 4
