"""Python processes of the service, forked from one that has imported everything.

Starting an interpreter and importing the service takes 0.6 s of processor time, a fork 0.01 s. Arguments, environment,
folder, standard streams and exit status are those of ``python -m`` or ``python -c``. Tests of a terminal, of imports
or of a limit on memory start an interpreter instead.
"""

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.stores import url_for
from tests.support import ADMIN_PASSWORD, ROOT

_LARGEST_REQUEST = 2**20


def environment(folder: Path, **changes: str) -> dict[str, str]:
    """Return the environment of a process whose data are in ``folder``; an empty change removes a variable."""
    environ = {
        **os.environ,
        "DATAFOR_TOKEN_CONFIG_DIR": str(folder / "config"),
        "DATAFOR_TOKEN_DATA_DIR": str(folder / "data"),
        "DATAFOR_TOKEN_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "DATAFOR_TOKEN_STORE": url_for(folder / "data"),
        **changes,
    }
    return {name: value for name, value in environ.items() if value}


def run_command(folder: Path, *arguments: str, put: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
    """Run ``datafor-token`` as users do, with ``put`` as standard input."""
    return run("-m", "datafor_token", *arguments, environ=environment(folder, **changes), put=put)


def first_start(environ: Mapping[str, str]) -> None:
    """Start the service without serving, which creates the store and the first user; no command does that."""
    done = run("-c", "import wsgi", environ=environ)
    assert done.returncode == 0, done.stderr


def run(
    *arguments: str, environ: Mapping[str, str] | None = None, folder: Path = ROOT, put: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` or ``python -c`` to its end."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        given.write(put.encode())
        given.seek(0)
        process = Process(arguments, environ, folder, (given, out, error))
        status = process.wait()
        out.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read().decode(), error.read().decode())


def started(*arguments: str, environ: Mapping[str, str]) -> tuple["Process", IO[str]]:
    """Start ``python -m``; return the process, and its output as it writes it."""
    ours, theirs = os.pipe()
    with open(theirs, "wb") as output, Path(os.devnull).open("rb") as nothing:  # noqa: PTH123 - a descriptor
        process = Process(arguments, environ, streams=(nothing, output, output))
    return process, open(ours)  # noqa: PTH123 - a descriptor, which the caller closes


class Process:
    """A running process in a session of its own, with methods of ``Popen``; without ``streams`` it writes to nobody."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        environ: Mapping[str, str] | None = None,
        folder: Path = ROOT,
        streams: tuple[IO[bytes], ...] | None = None,
    ) -> None:
        request = {"arguments": arguments, "environ": dict(environ or os.environ), "folder": str(folder)}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, Path(os.devnull).open("r+b") as nothing:
            files = [*(one.fileno() for one in streams or (nothing,) * 3), theirs.fileno()]
            socket.send_fds(_server(), [json.dumps(request).encode()], files)
        self._control = ours
        self.pid = int(self._received())
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM; nothing happens if it has ended."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL; nothing happens if it has ended."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends and return its exit status, negative for a signal; raise ``TimeoutExpired``."""
        if self.returncode is None:
            if not select.select([self._control], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0)
            with self._control:
                self.returncode = int(self._received())
        return self.returncode

    def _received(self) -> bytes:
        found = self._control.recv(100)
        assert found, "the process that forks has ended"
        return found


@functools.cache
def _server() -> socket.socket:
    """Start the process that forks; it ends when this end of the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST_REQUEST)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.processes", str(theirs.fileno())],
            cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request; return the request in the process that is to run it."""
    # Objects that the collector does not touch stay shared with the forked processes.
    gc.freeze()
    # No zombies of supervisors.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, files, *_ = socket.recv_fds(requests, _LARGEST_REQUEST, 4)
        if not message:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _supervise(files.pop(), files)
            for number, file in enumerate(files):
                os.dup2(file, number)
                os.close(file)
            request: dict[str, Any] = json.loads(message)
            return request
        for file in files:
            os.close(file)


def _supervise(control: int, files: list[int]) -> None:
    """Fork; return in the child, and in the parent report its process ID and exit status, and end."""
    pid = os.fork()
    if pid == 0:
        os.close(control)
        return
    # A reader of its output waits until every copy is closed.
    for file in files:
        os.close(file)
    with socket.socket(fileno=control) as connection:
        connection.send(str(pid).encode())
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        status = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        connection.send(str(status).encode())
        # Keep the process ID taken until the test has read the status, so that it cannot kill another process.
        connection.recv(1)
        os.waitpid(pid, 0)
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Run these arguments as ``python`` does."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environ"])
    option, program, *arguments = request["arguments"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = open(number, "w" if number else "r", buffering=1 if number == 2 else -1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
    sys.path[:1] = [request["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
    sys.argv = [option, *arguments]
    if os.environ.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")
    if option == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - as python does


def _import_all() -> None:
    from gunicorn.app import wsgiapp

    from datafor_token import factory
    from datafor_token.cli import flask_commands, main
    from datafor_token.server import affinity, logger, selection, worker
    from datafor_token.store.sql import engine, store

    for name in ("user", "application", "token", "store", "audit", "settings"):
        main.load(name)
    assert all((wsgiapp, factory, flask_commands, affinity, logger, selection, worker, engine, store))


if __name__ == "__main__":
    # As a process does that tests start with PYTHONWARNINGS=error.
    with warnings.catch_warnings(action="error"):
        _import_all()
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
