"""Changes are effective in every worker before they are acknowledged; connections are spread over the workers."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.handmade_tokens import token
from tests.stores import Record
from tests.support import ADMIN_PASSWORD, Server, application, basic

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LOGIN, LOGOUT = "/plugin/datafor/api/extension/auth/login", "/plugin/datafor/api/extension/auth/logout"


def statuses(call: Callable[[], int], times: int = 30) -> set[int]:
    """Return the statuses of so many calls, eight at once, so that every worker serves some."""
    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(lambda _: call(), range(times)))


def claims(name: str, **more: Any) -> dict[str, Any]:
    return {"loginname": name, "exp": int(time.time()) + 3600, **more}


@pytest.mark.slow
def test_sixteen_first_sign_ins_create_one_user(server: Server) -> None:
    """Sixteen requests at once with a token of an unknown user are all signed in, and create one user."""
    server.post("update", application(name="First", secret="first", initpwd="start"))
    for number in range(3):
        name = f"newcomer{number}"
        headers = {"Authorization": f"Bearer {token(claims(name), 'first')}"}
        before = server.output.count(f"user={name} type=")
        with ThreadPoolExecutor(16) as pool:
            responses = list(pool.map(lambda sent: server.request("GET", DETAIL, headers=sent), [headers] * 16))
        assert {response.status for response in responses} == {200}
        assert len({response.body for response in responses}) == 1
        assert server.request("GET", DETAIL, headers=basic(name, "start")).status == 200
        assert server.output.count(f"user={name} type=") - before <= 1


def test_each_change_is_effective_in_every_worker(server: Server) -> None:
    """Thirty calls right after each change (enable, secret, rotate, revoke, delete) agree with it."""
    headers = {"Authorization": f"Bearer {token(claims('worker'), 'shared')}"}

    def status() -> int:
        return server.request("GET", DETAIL, headers=headers).status

    def change(call: str, body: dict[str, Any], expected: int) -> None:
        assert server.post(call, body).status == 200
        assert statuses(status) == {expected}

    app = application(name="Everywhere", secret="shared")
    change("update", app, 200)
    change("update", {**app, "enable": "0"}, 401)
    change("update", app, 200)
    change("update", {**app, "secret": "another"}, 401)
    change("update", app, 200)
    change("rotate", {"name": "Everywhere", "grace": 60}, 200)
    change("rotate", {"name": "Everywhere", "grace": 0}, 401)
    change("update", app, 200)
    change("delete", {"name": "Everywhere"}, 401)
    change("update", app, 200)
    change("revoke", {"token": token(claims("other"), "shared")}, 200)
    change("revoke", {"token": headers["Authorization"].removeprefix("Bearer ")}, 401)


def test_every_worker_refuses_a_disabled_user(server: Server) -> None:
    """A user disabled by hand is refused by every worker at once, by token, password and session."""
    server.post("update", application(name="Out", secret="out", initpwd="start"))
    by_token = {"Authorization": f"Bearer {token(claims('leaver'), 'out')}"}
    assert server.request("GET", DETAIL, headers=by_token).status == 200
    login = server.request("POST", LOGIN, {"username": "leaver", "password": "start"}, {})
    by_session = {"Cookie": f"JSESSIONID={login.json['jsessionid']}"}
    path = Record(server.data_dir, "users", "leaver")
    # A session that ended remains ended; token and password are refused while the user is disabled.
    for enabled, expected, session in ((True, 200, 200), (False, 401, 401), (True, 200, 401)):
        path.write_text(json.dumps({**json.loads(path.read_text()), "enabled": enabled}))
        for headers, status in ((by_token, expected), (by_session, session)):
            found = statuses(lambda sent=headers: server.request("GET", DETAIL, headers=sent).status)  # type: ignore[misc]
            assert found == {status}
        if not enabled:
            # Ten passwords are checked, further ones are too many.
            found = statuses(lambda: server.request("GET", DETAIL, headers=basic("leaver", "start")).status)
            assert found == {401, 429}


def test_a_logout_is_effective_in_every_worker(server: Server) -> None:
    """A cookie that is used after the logout is 401 in every worker."""
    login = server.request("POST", LOGIN, f"username=admin&password={ADMIN_PASSWORD}", {})
    cookie = {"Cookie": f"JSESSIONID={login.json['jsessionid']}"}
    assert statuses(lambda: server.request("GET", DETAIL, headers=cookie).status) == {200}
    assert server.request("GET", LOGOUT, headers=cookie).status == 200
    assert statuses(lambda: server.request("GET", DETAIL, headers=cookie).status) == {401}


def sockets_of(process: int) -> int:
    """Return the number of open sockets of a process."""
    found = 0
    for path in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(path.readlink()).startswith("socket:")
    return found


def shares_of(server: Server, workers: list[int]) -> list[int]:
    """Let sixteen clients connect at once, ten times; return how many of each time the worker with the fewest got."""
    shares = []
    idle = [sockets_of(worker) for worker in workers]
    for _ in range(10):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.socket()) for _ in range(16)]
            for client in clients:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", server.port))
            time.sleep(0.1)
            for client in clients:
                client.setblocking(True)
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert all(client.recv(64).startswith(b"HTTP/1.1 200") for client in clients)
            shares.append(min(sockets_of(worker) - had for worker, had in zip(workers, idle, strict=True)))
        while any(sockets_of(worker) > had for worker, had in zip(workers, idle, strict=True)):
            time.sleep(0.01)
    return shares


@pytest.mark.alone
def test_connections_are_spread_over_the_workers(server: Server) -> None:
    """Connections that come at once and stay open are spread over the workers."""
    workers = server.both_workers()
    # Another program on a core of the machine keeps the worker of that core from its share; rarely three times.
    tries = (shares_of(server, workers) for _ in range(3))
    # gunicorn's own worker: about 55 of the 160; even shares are 80.
    assert any(sum(shares) > 67 for shares in tries)


def test_silent_connections_hold_no_thread(server: Server) -> None:
    """Clients that connect and send nothing do not delay others."""
    server.both_workers()
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(24)]
        time.sleep(0.1)
        assert server.request("GET", "/healthz").status == 200
        for client in silent:
            # Still open: the worker did not wait for them.
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)


def test_clients_that_do_not_close_delay_nobody(server: Server) -> None:
    """Clients that do not close a connection after its last response do not delay others."""
    server.both_workers()
    with contextlib.ExitStack() as stack:
        lazy = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(8)]
        for client in lazy:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"".join(iter(lambda client=client: client.recv(65536), b"")).startswith(b"HTTP/1.1 200")  # type: ignore[misc]
        for _ in range(4):
            assert server.request("GET", "/healthz").status == 200
        for client in lazy:
            # Still open on the other side: the worker did not wait for them.
            client.sendall(b"more")
        time.sleep(0.1)
        assert [client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for client in lazy] == [0] * len(lazy)


@pytest.mark.parametrize(("much", "pause"), [(65536, 0.0), (1, 0.05)])
def test_a_client_that_continues_to_send_is_cut_off(server: Server, much: int, pause: float) -> None:
    """After the last response, only a limited amount of data is read, for a limited time."""

    def send_on() -> None:
        for _ in range(1000):
            client.sendall(b"x" * much)
            time.sleep(pause)

    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(64).startswith(b"HTTP/1.1 200")
        with pytest.raises(ConnectionError):
            send_on()


def test_each_worker_reads_the_applications_when_it_starts(tmp_path: Path) -> None:
    """Each worker reads all applications before its first request needs them."""
    server = Server(tmp_path).start()
    try:
        sample = r'store_operations_total{collection="applications",operation="changes"} ([0-9.]+)'
        for _ in range(600):
            found = re.search(sample, server.request("GET", "/metrics", headers={}).body.decode())
            # A worker reads them for the index, and then once or twice for the keys of providers.
            if found is not None and float(found[1]) >= 4:
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"not both workers have read them: {found and found[0]}\n{server.output}")
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["datafor_token.server.worker.Worker", "gthread"])
def test_another_application_runs_under_the_same_settings(tmp_path: Path, kind: str) -> None:
    """gunicorn's settings serve any application, for comparisons."""
    server = Server(tmp_path, GUNICORN_CMD_ARGS=f"--worker-class {kind}")
    server.application = "tests.bench.baseline:app"
    server.start()
    try:
        assert server.request("GET", "/hello").body == b"hello"
    finally:
        server.stop()
