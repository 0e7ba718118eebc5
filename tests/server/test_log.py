"""The log of a real server: every line of its life has the format of the log."""

import logging
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from datafor_token import __version__
from datafor_token.server.logger import without_request
from datafor_token.validation import logs
from tests.log_lines import read
from tests.server.test_server import reloaded
from tests.support import ROOT, SAMPLE_APPLICATION, Server, basic, free_port, wait_for

# The service, with calls that fail as no call should.
BROKEN = """
import sys
import threading
import warnings

from wsgi import app


@app.get("/bug")
def bug():
    warnings.warn("marked")
    print("marked=printed\\nlevel=error", file=sys.stderr)
    thread = threading.Thread(target=lambda: {}["marked"])
    thread.start()
    thread.join()
    try:
        raise KeyError("marked\\nlevel=error")
    except KeyError as error:
        raise RuntimeError("marked") from error
"""
HOSTILE = 'a"\n level=error event="forged\u2028\u202e\x1b[2J='


@pytest.mark.parametrize("form", logs.FORMATS)
def test_every_line_of_a_server(tmp_path: Path, form: str) -> None:
    """From the first start to the stop, each line is of the one format, and no other line is printed."""
    (tmp_path / "broken.py").write_text(BROKEN)
    server = Server(
        tmp_path,
        DATAFOR_TOKEN_ADMIN_PASSWORD="",
        DATAFOR_TOKEN_LOG_FORMAT=form,
        PYTHONPATH=str(tmp_path),
        PYTHONWARNINGS="default",
    )
    server.application = "broken:app"
    server.start()
    try:
        server.both_workers()
        password = (server.config_dir / "initial_admin_password").read_text().strip()
        right = basic("admin", password)
        assert server.post("update", SAMPLE_APPLICATION, right).status == 200
        assert server.request("GET", "/bug", headers={}).status == 500
        for headers in (
            basic(HOSTILE, HOSTILE),
            {"Authorization": "Bearer a.b.c", "Origin": ascii(HOSTILE)},
        ):
            assert server.post("generate", {HOSTILE: HOSTILE, "name": HOSTILE}, headers).status == 401
        assert server.post("generate", {HOSTILE: HOSTILE, "name": HOSTILE}, right).status == 400
        assert server.request("GET", "/%0A%20level=error%22%E2%80%AE%1B", headers={}).status == 404
        for head in (b"GET / HTTP/9", b"GET / HTTP/1.1\r\nmarked: \0", b"marked level=error\x1b \xff"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
                connection.sendall(head + b"\r\n\r\n")
                connection.recv(65536)
        reloaded(server)
        (server.config_dir / "settings.toml").write_text("LEEWAY = 31\n")
        reloaded(server)
    finally:
        assert server.stop() == 0
    lines = read(server.output, form)
    started, first = lines[:2]
    assert (started["event"], started["version"], started["pid"]) == ("starting", __version__, server.process.pid)
    assert started["data"] == str(server.data_dir)
    assert (first["event"], first["user"], first["password"]) == ("first start", "admin", password)
    assert [line["event"] for line in lines].count("starting") == 1
    assert server.output.count(password) == 1
    events = [line["event"] for line in lines]
    assert events.count("Invalid request") == 3
    assert {line["reason"] for line in lines if line["event"] == "Invalid request"} <= {
        "InvalidHTTPVersion", "InvalidHeader", "InvalidHeaderName", "InvalidRequestLine", "InvalidRequestMethod",
    }  # fmt: skip
    assert any(event.startswith("settings changed") for event in events)
    assert "Shutting down: Master" in events
    # Only the bug is an error: the request, and the exception of its thread.
    bug, thread = sorted(
        (line for line in lines if line["level"] == "error"), key=lambda line: line["event"] != "request"
    )
    assert (bug["path"], bug["status"], bug["reason"]) == ("/bug", 500, "bug")
    assert bug["exception"].split("\n")[-1] == "builtins.RuntimeError (its text is not logged)"
    assert (thread["event"], thread["error"]) == ("uncaught exception", "KeyError")
    # What the service prints is shown; nothing else of it, and nothing of a client.
    assert {"marked=printed", "level=error"} < set(events)
    assert server.output.count("marked") == 1


@pytest.mark.parametrize("form", logs.FORMATS)
@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"LEEWAY": "soon"}, "LEEWAY (environment variable DATAFOR_TOKEN_LEEWAY) must be a number"),
        ({"BIND": "x"}, "DATAFOR_TOKEN_BIND must be host:port, [IPv6 address]:port or unix:path"),
        ({"ADMIN_PASSWORD": "x"}, "DATAFOR_TOKEN_ADMIN_PASSWORD must be at least 8 characters long"),
    ],
)
def test_an_error_that_stops_the_start(tmp_path: Path, form: str, environ: dict[str, str], fault: str) -> None:
    """A start that is refused logs the version, then one line for each fault."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.toml").write_text(f'LOG_FORMAT = "{form}"\n')
    server = Server(tmp_path, **{f"DATAFOR_TOKEN_{name}": value for name, value in environ.items()}).start()
    assert server.stop() == 1
    lines = read(server.output, form)
    assert [line["event"] for line in lines] == ["starting", "cannot start"]
    assert lines[0]["version"] == __version__
    assert (lines[1]["level"], lines[1]["fault"]) == ("error", fault)


def test_an_unknown_format_is_named(tmp_path: Path) -> None:
    """A format that does not exist stops the start, with a line in logfmt that names it."""
    server = Server(tmp_path, DATAFOR_TOKEN_LOG_FORMAT="xml").start()
    assert server.stop() == 1
    assert read(server.output)[-1]["fault"].startswith("LOG_FORMAT (environment variable DATAFOR_TOKEN_LOG_FORMAT)")


def test_the_server_for_experiments(tmp_path: Path) -> None:
    """``app.py`` logs in the same format, and no query strings."""
    environ = Server(tmp_path)._environ
    text = (ROOT / "app.py").read_text().replace("28080", str(port := free_port()))
    process = subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(port)
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"GET /healthz?token=marked HTTP/1.0\r\n\r\n")
            connection.recv(65536)
    finally:
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=60)
    assert [line["event"] for line in read(output)] == [
        "starting",
        f"Listening at: http://127.0.0.1:{port}",
        "request",
    ]
    assert "marked" not in output


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Invalid request from ip=10.0.0.1: Invalid HTTP Header: 'A: x'", 'event="Invalid request" address=10.0.0.1'),
        ("Invalid request from ip=2001:db8::1: marked", 'event="Invalid request" address=2001:db8::1'),
        # The client of a Unix socket has no address.
        ("Invalid request from ip=: Invalid HTTP Header: 'marked'", 'event="Invalid request" address=""'),
        ("Error handling request GET /x?token=marked", 'event="Error handling request"'),
        ("Exception during worker exit:\nKeyError: 'marked'", 'event="Exception during worker exit"'),
        ("Booting worker with pid: 5", "Booting worker with pid: 5"),
    ],
)  # fmt: skip
def test_gunicorns_lines_lose_what_a_client_sent(message: str, kept: str) -> None:
    """Of gunicorn's messages, only the part that no client wrote is logged."""
    record = logging.LogRecord("gunicorn.error", logging.WARNING, "", 0, "%s", (message,), None)
    assert without_request(record)
    assert record.getMessage() == kept


def test_a_refused_request_of_gunicorn_has_the_type_of_its_error() -> None:
    """A malformed request is logged with the type of gunicorn's exception."""
    record = logging.LogRecord(
        "gunicorn.error", logging.WARNING, "", 0, "Invalid request from ip=10.0.0.1: x", (), None
    )
    try:
        raise ValueError("marked")
    except ValueError:
        without_request(record)
    assert record.getMessage() == 'event="Invalid request" address=10.0.0.1 reason=ValueError'
