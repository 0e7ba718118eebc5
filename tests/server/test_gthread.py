"""The service under gunicorn's own threaded worker, which is selected on demand or under another gunicorn."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datafor_token.errors import Overloaded, StartError
from datafor_token.server import selection
from datafor_token.settings import worker_wanted
from tests.handmade_tokens import token
from tests.log_lines import logfmt
from tests.server.test_worker import UNREAD, check_closed, post
from tests.support import API, ROOT, SAMPLE_APPLICATION, Server, basic

AS_ADMIN = f"Authorization: {basic()['Authorization']}"
FORM, AS_JSON = "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json"
EXPIRY = int(time.time()) + 86400
BEARER = f"Authorization: Bearer {token({'loginname': 'lena', 'exp': EXPIRY}, str(SAMPLE_APPLICATION['secret']))}"


def get(target: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


# Requests whose responses differ only in the time, in what is random and in what is signed.
REQUESTS = {
    "generate": post(f"{API}/generate", b"name=ERP", AS_ADMIN, FORM),
    "generate, unknown": post(f"{API}/generate", b"name=nobody", AS_ADMIN, FORM),
    "generate, faulty": post(f"{API}/generate", b'{"name": ', AS_ADMIN, AS_JSON),
    "generate, nobody": post(f"{API}/generate", b"name=ERP", FORM),
    "list": get(f"{API}/list", AS_ADMIN),
    "check": get("/auth/check", BEARER),
    "check, refused": get("/auth/check", f"{BEARER}x"),
    "check, HEAD": get("/auth/check", BEARER).replace(b"GET", b"HEAD", 1),
    "login": post("/plugin/datafor/api/extension/auth/login", b"username=admin&password=wrong", FORM),
    "not found": get("/nowhere"),
    "not allowed": get(f"{API}/generate", AS_ADMIN),
    "console": get("/console/"),
    "HTTP/1.0": get("/healthz").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "close": get("/healthz", "Connection: close"),
    "Expect": post(f"{API}/generate", b"name=nobody", AS_ADMIN, FORM, "Expect: 100-continue"),
}
# What differs each time.
DIFFERENT = re.compile(
    rb'(?m)(?<=^Date: )[^\r]*|(?<=^X-Request-ID: )\w*|(?<="token":")[\w.-]+'
    rb'|(?<="createdDate":)\d+|(?<="lastModifiedDate":)\d+'
)
# Malformed requests: after the response, the connection ends.
BROKEN = {
    "no request": b"GET\r\n\r\n",
    "header": get("/healthz", "Na me: value"),
    "two lengths": get("/healthz", "Content-Length: 1", "Content-Length: 2"),
    "too long": get("/" + "x" * 9000),
}


def on_the_wire(server: Server, sent: bytes) -> bytes:
    """Return everything that a server sends until it closes the connection, without what differs each time."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        return DIFFERENT.sub(b"...", b"".join(iter(lambda: connection.recv(65536), b"")))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two servers with the same application: under our own worker, and under gthread."""
    ours = Server(tmp_path_factory.mktemp("ours")).start()
    theirs = Server(tmp_path_factory.mktemp("theirs"), DATAFOR_TOKEN_WORKER="gthread").start()
    for server in (ours, theirs):
        assert server.post("update", SAMPLE_APPLICATION).status == 200
    yield ours, theirs
    for server in (ours, theirs):
        server.stop()


@pytest.mark.parametrize("which", [*REQUESTS, *BROKEN])
def test_both_workers_send_the_same_bytes(servers: tuple[Server, Server], which: str) -> None:
    """A response is the same under both workers, byte for byte, and so is the end of the connection after it."""
    sent = REQUESTS[which] + get("/healthz", "Connection: close") if which in REQUESTS else BROKEN[which]
    ours, theirs = (on_the_wire(server, sent) for server in servers)
    assert ours == theirs
    assert ours.startswith(b"HTTP/1.")


def test_one_line_states_that_gthread_serves(servers: tuple[Server, Server]) -> None:
    """The master logs once, in the format of the service, that gthread serves and why; our own worker needs no line."""
    ours, theirs = servers
    theirs.both_workers()
    (line,) = [line for line in theirs.output.splitlines() if "gthread serves" in line]
    _, *fields = logfmt(line).items()
    assert fields == [
        ("level", "warning"), ("logger", "gunicorn.error"), ("pid", theirs.process.pid),
        ("event", "gthread serves"), ("reason", "DATAFOR_TOKEN_WORKER=gthread"),
    ]  # fmt: skip
    assert "Using worker: datafor_token.server.gthread.Worker" in theirs.output
    assert "gthread" not in ours.output


@pytest.mark.parametrize("which", ["404", "404, small", "404, chunked", "405", "HEAD", "Expect"])
def test_a_body_that_was_not_read_ends_the_connection_of_gthread(servers: tuple[Server, Server], which: str) -> None:
    """A response sent before the whole body was read announces the connection's end, and arrives in full."""
    check_closed(servers[1].port, *UNREAD[which])


def test_another_version_of_gunicorn_gets_gthread() -> None:
    """Our own worker is selected only with the gunicorn version that it was tested with, which is the pinned one."""
    assert f"\ngunicorn=={selection.TESTED_GUNICORN} " in (ROOT / "requirements.txt").read_text()
    assert selection.select("", selection.TESTED_GUNICORN) == ("datafor_token.server.worker.Worker", 3, None)
    worker, _, notice = selection.select("", "27.1.0")
    assert worker == selection.select("gthread", "27.1.0").worker_class == "gthread"
    assert notice is not None
    assert "27.1.0" in str(notice["reason"])
    assert selection.TESTED_GUNICORN in str(notice["reason"])


def test_the_name_of_a_worker_is_checked() -> None:
    """A misspelled name of a worker stops the start."""
    assert worker_wanted({}) == worker_wanted({"DATAFOR_TOKEN_WORKER": ""}) == ""
    with pytest.raises(StartError, match="DATAFOR_TOKEN_WORKER must be gthread"):
        worker_wanted({"DATAFOR_TOKEN_WORKER": "gthreads"})


def test_sign_ins_leave_threads_of_gthread_free(tmp_path: Path) -> None:
    """While more sign-ins wait for a password hash than gthread has threads, other requests are served at once.

    All but two threads of a worker wait. The other sign-ins are refused at once, with a time after which to try again.
    """
    server = Server(tmp_path, DATAFOR_TOKEN_WORKER="gthread")
    server.application = "tests.users.slow_hashes:app"
    server.start()
    try:
        server.both_workers()
        (server.config_dir / "hold").touch()
        with ThreadPoolExecutor(32) as pool:
            guesses = [
                pool.submit(server.request, "GET", f"{API}/list", None, basic(f"guessed-{number}", "wrong"))
                for number in range(32)
            ]
            while sum(guess.done() for guess in guesses) < 32 - 12:
                time.sleep(0.05)
            begun = time.monotonic()
            for _ in range(20):
                assert server.request("GET", "/healthz", headers={}).status == 200
            assert time.monotonic() - begun < 15
            refused = [guess.result() for guess in guesses if guess.done()]
            assert {(one.status, one.json["msg"]) for one in refused} == {(503, Overloaded.message)}
            assert all(int(one.headers["Retry-After"]) > 0 for one in refused)
            assert 1 <= len(guesses) - len(refused) <= 12
            (server.config_dir / "hold").unlink()
            assert {guess.result(60).status for guess in guesses} == {401, 503}
    finally:
        (server.config_dir / "hold").unlink(missing_ok=True)
        server.stop()
