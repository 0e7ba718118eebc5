"""Logging: one line for each request, one format for all lines, and no secret in any."""

import io
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.settings import Settings
from datafor_token.validation import logs
from tests.conftest import Caller
from tests.console.client import Client
from tests.handmade_tokens import token
from tests.log_lines import read
from tests.stores import Record
from tests.support import (
    API,
    ROOT,
    STRONG_SECRET,
    Clock,
    Server,
    application,
    basic,
    key_for,
    private_pem,
    public_pem,
)

FORMATTER = logs.LineFormatter()


def line_of(event: logs.Event, form: str, **changes: Any) -> str:
    """Return the line of an event in a format."""
    record = logging.LogRecord("datafor_token.x", logging.INFO, "", 0, event, (), None)
    vars(record).update(changes)
    FORMATTER.is_json = form == "json"
    return FORMATTER.format(record)


@pytest.fixture(params=logs.FORMATS)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the format of the log."""
    monkeypatch.setattr(logs.FORMATTER, "is_json", request.param == "json")
    return str(request.param)


def test_one_line_per_request(app: Flask, log: io.StringIO, form: str) -> None:
    """A request is one line with the same fields in the same order in both formats, without the query string."""
    response = app.test_client().post(f"{API}/list?token=marked-token", headers=basic())
    (line,) = read(log.getvalue(), form)
    assert "marked-token" not in log.getvalue()
    assert line.pop("time")
    assert isinstance(line.pop("ms"), int)
    assert list(line.items()) == [
        ("level", "warning"),
        ("logger", "datafor_token.web.responses"),
        ("pid", os.getpid()),
        ("event", "request"),
        ("request_id", response.headers["X-Request-ID"]),
        ("method", "POST"),
        ("path", f"{API}/list"),
        ("status", 405),
        ("address", "127.0.0.1"),
        ("reason", "method not allowed"),
    ]


def test_a_served_request_has_its_user_and_application(caller: Caller, log: io.StringIO) -> None:
    """The line of a request has the user, how they signed in, and the application, as far as they are known."""
    caller.post("update", application(secret=STRONG_SECRET))
    caller.post("generate", {"name": "erp", "username": "lena"})
    bearer = {"Authorization": f"Bearer {token({'loginname': 'lena', 'exp': 4_000_000_000}, STRONG_SECRET)}"}
    caller.get("/auth/check", headers=bearer)
    lines = [line for line in read(log.getvalue()) if line["event"] == "request"]
    found = [(line["user"], line["way"], line.get("application")) for line in lines]
    assert found == [("admin", "basic", None), ("admin", "basic", "ERP"), ("lena", "bearer", "ERP")]
    assert {line["level"] for line in lines} == {"info"}


HOSTILE = [
    "/x%0A2026-01-01T00:00:00.000Z", '/x"%20level=error%20event="forged', "/%E2%80%A8%E2%80%AE%C2%85x", "/a=b%20c=d",
    "/%5C%22%5Cn", "/%00%1b[2J", "/%ff%fe", "/" + "a/" * 4000,
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
def test_a_path_cannot_forge_a_line(app: Flask, log: io.StringIO, path: str, form: str) -> None:
    """A request stays one short line with its own fields, whatever characters its path has."""
    app.test_client().get(path)
    (line,) = read(log.getvalue(), form)
    assert (line["event"], line["level"], line["reason"]) == ("request", "warning", "not found")
    assert len(log.getvalue()) < 4096


@pytest.mark.parametrize("form", logs.FORMATS)
@given(value=st.text())
def test_a_value_cannot_forge_a_field(form: str, value: str) -> None:
    """Any text is exactly one field of one line of ASCII, and is read back unchanged."""
    line = line_of(logs.event("x", user=value, ms=5), form)
    (found,) = read(f"{line}\n", form)
    assert list(found)[3:] == ["pid", "event", "user", "ms"]
    assert (found["user"], found["ms"]) == (value, 5)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/auth/enter", "/auth/enter"),
        ("/auth/enter?token=x", "/auth/enter"),
        ("/auth/enter;ticket=x", "/auth/enter"),
        ("/auth/enter&token=x", "/auth/enter"),
        ("/x/" + "t" * 43, "/x/(43 characters)"),
        ("eyJ" + "t" * 90 + ":80", "(96 characters)"),
        ("/a" * 101, "/a" * 100 + "... (202 characters)"),
    ],
)
def test_a_mangled_link_shows_no_token(path: str, shown: str) -> None:
    """A possible token in a path, after an encoded question mark, is not logged."""
    assert logs.safe_path(path) == shown


def test_events_quote_what_needs_it() -> None:
    """Values with spaces, quotes or other characters are JSON strings; None is left out."""
    event = logs.event("two words", b="x y", c=None, d='"', e="é", f=5, g="", h="a/b:c")
    assert str(event) == 'event="two words" b="x y" d="\\"" e="\\u00e9" f=5 g="" h=a/b:c'


@pytest.mark.parametrize("form", logs.FORMATS)
def test_any_message_is_an_event(form: str) -> None:
    """A message of another library is the field event; an exception is one field, without its text."""
    try:
        raise KeyError("marked")
    except KeyError as error:
        line = line_of(
            logs.Event(), form, msg="pool %s:\ngone", args=("a=b",), exc_info=(KeyError, error, error.__traceback__)
        )
    (found,) = read(f"{line}\n", form)
    assert found["event"] == "pool a=b:\ngone"
    place, kind = found["exception"].split("\n")
    assert place.startswith(f"{__file__}:")
    assert place.endswith(" in test_any_message_is_an_event")
    assert kind == "builtins.KeyError (its text is not logged)"


def test_a_deep_traceback_is_short() -> None:
    """Of a long traceback, the last 30 places of each exception are logged."""

    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError as error:
        assert logs._without_texts(error).count("\n") == 30


# Method, path, body, headers; then status, reason, application and fields of the line.
REFUSALS: list[tuple[str, str, Any, dict[str, str], int, str, str | None, str | None]] = [
    ("GET", "/nowhere", None, {}, 404, "not found", None, None),
    ("GET", f"{API}/list", None, {}, 401, "not logged in", None, None),
    ("GET", f"{API}/list", None, {"Authorization": "Basic marked!"}, 401, "malformed", None, None),
    ("GET", f"{API}/list", None, basic("marked", "marked"), 401, "unknown_user", None, None),
    ("GET", f"{API}/list", None, basic("admin", "marked"), 401, "wrong_password", None, None),
    ("GET", f"{API}/list", None, {"Authorization": "Bearer marked"}, 401, "malformed", None, None),
    ("GET", f"{API}/list?t=marked&t=a.b.c", None, {}, 401, "several_tokens", None, None),
    ("GET", "/auth/enter?ticket=marked", None, {}, 401, "ticket", None, None),
    ("GET", "/auth/check?role=Marked", None, basic(), 403, "a requirement of the check is not met", None, None),
    ("POST", f"{API}/generate", {"name": "Marked"}, basic(), 404, "name does not exist", None, None),
    ("POST", f"{API}/generate", {"name": "OFF"}, basic(), 403, "application <name> is not enabled", "OFF", None),
    ("POST", f"{API}/generate", {"name": "ERP", "privateKey": "marked"}, basic(), 403,
     "privateKey does not belong to application <name>", "ERP", None),
    ("POST", f"{API}/generate", {"name": "ERP"}, {**basic(), "Origin": "http://elsewhere"}, 403,
     "a request from another site is not accepted", None, None),
    ("POST", f"{API}/update", application(name="eRP"), basic(), 409, "name already exists as '<name>'", None, None),
    ("POST", f"{API}/update", application(expire="marked"), basic(), 400,
     "must be a whole number of seconds from <lowest> to <highest>", None, "expire"),
    ("POST", f"{API}/update", application(fieldmap={"username": "exp", "name": "n", "email": "e"}), basic(), 400,
     "cannot be <claim>: the service sets that claim itself", None, "fieldmap.username"),
    ("POST", f"{API}/generate", {"usrename": "marked"}, basic(), 400,
     "<field> is not a field of this call; did you mean '<meant>'?", None, None),
    ("POST", f"{API}/generate", {"name": "ERP", "z, marked": "x"}, basic(), 400,
     "an unknown field after <field>", None, "name"),
    ("POST", f"{API}/generate", {"name": "ERP", "payload": {"exp": "marked"}}, basic(), 400,
     "cannot be given: the service sets that claim itself", None, "payload"),
    ("POST", f"{API}/generate", ["marked"], basic(), 400,
     "the request body must be an object with the fields of this call", None, None),
]  # fmt: skip


def test_a_refusal_is_one_line_with_its_reason(caller: Caller, log: io.StringIO, form: str) -> None:
    """A refused request is one line, with a reason without values of the client, and the fields that it is about."""
    caller.post("update", application(token_name="t"))
    caller.post("update", application(name="OFF", enable="0"))
    found = []
    for method, path, body, headers, *_ in REFUSALS:
        log.seek(0)
        log.truncate()
        caller.client.open(path, method=method, json=body, headers=headers)
        (line,) = read(log.getvalue(), form)
        assert line["level"] == "warning"
        assert "arked" not in log.getvalue()
        found.append((line["status"], line["reason"], line.get("application"), line.get("fields")))
    assert found == [tuple(expected) for *_, expected in ((*one[:4], one[4:]) for one in REFUSALS)]


def test_the_line_of_a_refused_token_says_what_is_wrong(caller: Caller, log: io.StringIO, clock: Clock) -> None:
    """The line of a token that an application signed has the application, the reason and a sentence."""
    caller.post("update", application(secret=STRONG_SECRET))
    expired = token({"loginname": "lena", "exp": int(clock.now) - 42}, STRONG_SECRET)
    caller.get("/auth/check", headers={"Authorization": f"Bearer {expired}"})
    forged = token({"loginname": "lena", "exp": 4_000_000_000}, "another secret")
    caller.get("/auth/check", headers={"Authorization": f"Bearer {forged}"})
    first, second = read(log.getvalue())[-2:]
    assert (first["status"], first["application"], first["way"]) == (401, "ERP", "bearer")
    assert first["reason"] == "expired"
    assert first["detail"].startswith("expired 42 s ago")
    # Anybody can send a token that no application signed.
    assert (second["reason"], "detail" in second) == ("signature", False)


def test_the_line_of_a_token_too_late_for_a_session(caller: Caller, log: io.StringIO, clock: Clock) -> None:
    """A token within its leeway, which is accepted elsewhere, is refused at ``auth/enter`` with a sentence."""
    caller.post("update", application(secret=STRONG_SECRET))
    late = token({"loginname": "lena", "exp": int(clock.now) - 20}, STRONG_SECRET)
    caller.get(f"/auth/enter?token={late}")
    line = read(log.getvalue())[-1]
    assert (line["reason"], line["detail"]) == ("expired", "the token expires too soon for a session")


def test_a_refusal_in_the_console_has_its_reason(app: Flask, log: io.StringIO) -> None:
    """A form that is shown again because of an error has the reason in its log line, too."""
    client = Client(app)
    client.sign_in()
    client.post("me/password", {"old": "wrong", "new": "a-long-Password-7"})
    client.post("me/password", {"old": "wrong", "new": ""})
    client.post("new-application", {"name": "a b"})
    lines = [line for line in read(log.getvalue()) if line["status"] >= 400]
    assert [(line["status"], line["reason"], line.get("fields")) for line in lines[:2]] == [
        (401, "wrong_password", None),
        (400, "can not be empty", "new"),
    ]
    assert lines[2]["fields"].split(",")[0] == "name"


def test_an_outage_is_an_error_with_its_cause(caller: Caller, log: io.StringIO, settings: Settings) -> None:
    """A request that the store fails is one line of level error, with the cause."""
    caller.post("update", application())
    Record(settings.data_dir, "applications", "erp").write_text("marked")
    caller.post("generate", {"name": "ERP"})
    line = next(line for line in read(log.getvalue()) if line.get("status") == 503)
    assert (line["event"], line["level"]) == ("request", "error")
    assert "erp" in line["reason"].lower()
    assert "marked" not in log.getvalue()


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


@pytest.mark.parametrize("stream", ["closed", "missing"])
def test_a_line_that_cannot_be_written_is_dropped(
    stream: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When standard error is closed, logging raises no error, and prints no record in another form."""
    logs.configure("INFO", "logfmt")
    closed = io.StringIO()
    closed.close()
    for name in ("stderr", "__stderr__"):
        monkeypatch.setattr(sys, name, closed if stream == "closed" else None)
    logs.LineHandler().handle(logging.LogRecord("datafor_token.x", logging.INFO, "", 0, "%s", ("marked",), None))
    assert "marked" not in capfd.readouterr().err


# What libraries, Python and the service may print in a process that logs everything.
PRINTING = """
import sys, threading, warnings, logging
from datafor_token.validation import logs
logs.configure("INFO", sys.argv[1])
logs.capture_output()
print("marked printed\\n\\nlines", file=sys.stderr)
warnings.warn("marked text")
logging.getLogger("sqlalchemy.pool").warning("lost a connection")
logging.getLogger("sqlalchemy.pool").info("not logged")
logs.write(logging.getLogger("datafor_token.x"), logging.INFO, logs.event("once"))

class Marked:
    def __del__(self):
        raise KeyError("marked text")

Marked()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise SystemError("marked text")
"""


@pytest.mark.parametrize("form", logs.FORMATS)
def test_everything_that_is_printed_has_the_format(form: str) -> None:
    """Printed lines, warnings, uncaught exceptions and messages of libraries are lines of the log."""
    done = subprocess.run([sys.executable, "-c", PRINTING, form], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    found = [(line["level"], line["logger"], line["event"]) for line in read(done.stderr, form)]
    assert found == [
        ("warning", "python", "marked printed"),
        ("warning", "python", "lines"),
        ("warning", "python", "<string>:7: UserWarning (its text is not logged)"),
        ("warning", "sqlalchemy.pool", "lost a connection"),
        ("info", "datafor_token.x", "once"),
        ("error", "python", "uncaught exception"),
        ("error", "python", "uncaught exception"),
        ("error", "python", "uncaught exception"),
    ]
    assert done.stderr.count("its text is not logged") == 4
    assert "marked text" not in done.stderr
