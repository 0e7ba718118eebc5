"""Logging: one line for each request, one format for all lines, and no secret in any."""

import io
import logging
import os
import re
import signal
import socket
from pathlib import Path

import pytest
from flask import Flask

from datafor_token.validation import logs
from tests.handmade_tokens import token
from tests.stores import Record
from tests.support import API, Server, application, basic, key_for, private_pem, public_pem

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ [\w.]+\[\d+\] .+")


def test_one_line_per_request(app: Flask, log: io.StringIO) -> None:
    """A request is one line with id, method, path, status, duration, address and user, without the query string."""
    response = app.test_client().post(f"{API}/generate?token=marked-token", headers=basic())
    lines = log.getvalue().splitlines()
    assert len(lines) == 1
    assert LINE.fullmatch(lines[0])
    assert f"request_id={response.headers['X-Request-ID']} method=POST path={API}/generate status=404 ms=" in lines[0]
    assert lines[0].endswith("address=127.0.0.1 user=admin way=basic")
    assert "marked-token" not in lines[0]


def test_a_path_cannot_forge_a_line(app: Flask, log: io.StringIO) -> None:
    """Line breaks and quotes in a path are escaped: a request stays one line of ASCII."""
    app.test_client().get('/x%0A2026-01-01T00:00:00.000Z INFO forged[1] status=200%E2%80%A8"')
    lines = log.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].isascii()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/auth/enter", "/auth/enter"),
        ("/auth/enter?token=x", "/auth/enter"),
        ("/auth/enter;ticket=x", "/auth/enter"),
        ("/auth/enter&token=x", "/auth/enter"),
        ("/x/" + "t" * 43, "/x/(43 characters)"),
        ("eyJ" + "t" * 90 + ":80", "(96 characters)"),
    ],
)
def test_a_mangled_link_shows_no_token(path: str, shown: str) -> None:
    """A possible token in a path, after an encoded question mark, is not logged."""
    assert logs.safe_path(path) == shown


def test_events_quote_what_needs_it() -> None:
    """Values with spaces, quotes or other characters are JSON strings; None is left out."""
    assert logs.event(a="x", b="x y", c=None, d='"', e="é", f=5, g="") == 'a=x b="x y" d="\\"" e="\\u00e9" f=5 g=""'


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Invalid request from ip=10.0.0.1: Invalid HTTP Header: 'A: marked'", "Invalid request from ip=10.0.0.1"),
        ("Error handling request GET /x?token=marked", "Error handling request"),
        ("Booting worker with pid: 5", "Booting worker with pid: 5"),
    ],
)  # fmt: skip
def test_gunicorns_lines_lose_what_a_client_sent(message: str, kept: str) -> None:
    """Of gunicorn's messages, only the part that no client wrote is logged."""
    record = logging.LogRecord("gunicorn.error", logging.WARNING, "", 0, "%s", (message,), None)
    assert logs._without_request(record)
    assert record.getMessage() == kept


MARKED_TOKEN = token({"loginname": "lena", "exp": 4_000_000_000}, "marked-secret")


def test_nothing_secret_is_logged(tmp_path: Path) -> None:
    """No call with marked values, right or wrong, logs any of them, even at DEBUG."""
    server = Server(tmp_path, DATAFOR_TOKEN_ADMIN_PASSWORD="marked-admin", DATAFOR_TOKEN_LOG_LEVEL="DEBUG").start()
    right, wrong = basic("admin", "marked-admin"), basic("admin", "marked-wrong")
    key = key_for("ES256")
    app = application(secret="marked-secret", initpwd="marked-initpwd")
    signed = application(name="P", algorithm="ES256", secret=public_pem(key))
    generate = {"name": "ERP", "privateKey": "marked-secret", "payload": {"x": "marked-claim"}}
    issued = ""
    for headers in (
        right,
        wrong,
        {},
        {"Authorization": "Bearer marked-bearer"},
        {"Cookie": "JSESSIONID=marked-cookie"},
    ):
        for path, body in (
            ("update", app),
            ("update", {**app, "expire": "marked-expire"}),
            ("update", {**app, "algorithm": "RS256"}),
            ("update", {**signed, "secret": private_pem(key)}),
            ("update", signed),
            ("generate", generate),
            ("generate", {**generate, "privateKey": "marked-wrong-key"}),
            ("generate", {"name": "P", "privateKey": private_pem(key)}),
            ("generate", {"name": "P", "privateKey": private_pem(key)[:200]}),
            ("generate?token=marked-query", b"\xffmarked-body"),
            ("rotate", {"name": "P", "secret": private_pem(key)}),
            ("rotate", {"name": "ERP", "secret": "marked-secret-2"}),
            ("rotate", {"name": "ERP", "secret": "marked-secret"}),
            ("explain", {"token": MARKED_TOKEN}),
            ("revoke", {"token": MARKED_TOKEN + "x"}),
            ("introspect", {"token": MARKED_TOKEN}),
            (f"personal?token={MARKED_TOKEN}", {}),
            ("/plugin/datafor/api/extension/auth/login", {"username": "admin", "password": "marked-admin"}),
            ("/plugin/datafor/api/extension/auth/login", {"username": "admin", "password": "marked-wrong"}),
            ("marked=?x=marked-nowhere", "secret=marked-form"),
        ):
            # From another address: without failures from there, any worker checks a right password.
            server.client_address = "127.0.0.3" if path.endswith("/login") else "127.0.0.1"
            response = server.request("POST", path if path.startswith("/") else f"{API}/{path}", body, headers)
            assert response.status < 500
            issued += f"{response.json.get('token', '')}\n{response.json.get('jsessionid', '')}\n"
    for sent in (MARKED_TOKEN, MARKED_TOKEN[:-1]):
        for path, headers in ((f"{API}/list?token={sent}", {}), (f"{API}/list", {"Authorization": f"Bearer {sent}"})):
            assert server.request("GET", path, headers=headers).status in (401, 403)
    for head in (b"GET /?token=marked-line HTTP/9", b"GET / HTTP/1.1\r\nHost: x\r\nBad Header marked: x", b"marked"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(head + b"\r\n\r\n")
            connection.recv(65536)
    Record(server.data_dir, "applications", "erp").write_text('{"name": "ERP", "secret": "marked-damaged"}')
    assert server.request("POST", f"{API}/generate", {"name": "ERP"}, right).status == 503
    # The output of a worker that dies, and of the next one.
    for how in (signal.SIGABRT, signal.SIGSEGV, signal.SIGQUIT):
        for worker in server.workers()[:1]:
            os.kill(worker, how)
    server.stop()
    assert (server.config_dir / "secret_key").read_text().strip() not in server.output
    tokens = [line for line in issued.split("\n") if line]
    # Two tokens, and a session for each of the five callers, since login ignores credentials.
    assert len(tokens) == 7
    output = server.output
    assert output.count("status=") >= 55
    assert "erp.json" in output or "ERP" in output
    # The one marked path is not a secret.
    assert "marked" not in output.replace("path=/plugin/datafor-modeler/api/token/marked ", "")
    signatures = [one.split(".")[2] for one in (*tokens, MARKED_TOKEN) if "." in one]
    for secret in (*tokens, *signatures, MARKED_TOKEN.split(".")[1], "PRIVATE KEY", private_pem(key).split("\n")[1]):
        assert secret not in output


def test_a_line_that_cannot_be_written_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    """When standard error is closed, logging raises no error, and prints no record in another form."""
    logs.configure("INFO")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.SafeFormatter())
    stream.close()
    handler.handle(logging.LogRecord("datafor_token.x", logging.INFO, "", 0, "%s", ("marked",), None))
    assert "marked" not in capfd.readouterr().err
