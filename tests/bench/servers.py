"""Servers to compare: gunicorn on a free port of 127.0.0.1, all under the same settings."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gunicorn.config import KNOWN_SETTINGS

from tests.support import ADMIN_PASSWORD, ROOT, HttpResponse, free_port, gunicorn_settings

CONFIGURATION = ROOT / "config" / "gunicorn.conf.py"
_TICKS = os.sysconf("SC_CLK_TCK")


class Running:
    """A running server, which responds when the constructor returns. ``started``: seconds that the start took."""

    def __init__(self, folder: Path, application: str, configuration: str, probe: str, **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config_dir, self.data_dir = folder / "config", folder / "data"
        self.port = free_port()
        self._log = folder / "server.log"
        settings = folder / "gunicorn.conf.py"
        settings.write_text(configuration + f'\nbind = "127.0.0.1:{self.port}"\n')
        self._start(
            [sys.executable, "-m", "gunicorn", "-c", str(settings), application],
            ROOT,
            {
                **{name: value for name, value in os.environ.items() if not name.startswith("DATAFOR_TOKEN_")},
                "DATAFOR_TOKEN_CONFIG_DIR": str(self.config_dir),
                "DATAFOR_TOKEN_DATA_DIR": str(self.data_dir),
                "DATAFOR_TOKEN_ADMIN_PASSWORD": ADMIN_PASSWORD,
                **environ,
            },
            probe,
        )

    def _start(self, command: Sequence[str], cwd: Path, environ: Mapping[str, str], probe: str) -> None:
        begun = time.perf_counter()
        # To a file, like the log of a service: a pipe would have to be read, on the same two cores.
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=environ, stdout=log, stderr=log, start_new_session=True
            )
        self._wait(probe)
        self.started = time.perf_counter() - begun
        # gunicorn starts its workers one after the other, and the first one responds already.
        time.sleep(0.3)

    def _wait(self, probe: str) -> None:
        for _ in range(6000):
            try:
                if self.call("GET", probe).status == 200:
                    return
            except OSError:
                time.sleep(0.01)
            if self.process.poll() is not None:
                break
        self.stop()
        raise RuntimeError(f"{self.folder.name} did not start: {self._log.read_text()[-1000:]}")

    def call(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: str = "") -> HttpResponse:
        """Send one request over a new connection."""
        connection = self.connection()
        try:
            return call(connection, method, path, headers, body)
        finally:
            connection.close()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def workers(self) -> list[int]:
        """Return the worker processes."""
        master = self.process.pid
        return [int(child) for child in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of master and workers so far, user and system."""
        total = 0
        for process in (self.process.pid, *self.workers()):
            # After the name in parentheses, which can be any text: state is field 3, utime and stime 14 and 15.
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def memory(self) -> tuple[float, float]:
        """Return the memory of master and workers together, and of the largest worker, in MiB of PSS."""
        workers = [_pss(process) for process in self.workers()]
        return _pss(self.process.pid) + sum(workers), max(workers)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


class Foreign(Running):
    """A server of another project. Its command finds PORT and FOLDER (a new, empty one) in the environment."""

    def __init__(self, folder: Path, command: Sequence[str], cwd: Path, probe: str, **environ: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.port = free_port()
        self._log = folder / "server.log"
        # Without Python's variables and the settings of the service.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATAFOR_TOKEN_", "PYTHON"))}
        self._start(command, cwd, {**kept, "PORT": str(self.port), "FOLDER": str(folder), **environ}, probe)


def call(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str] | None, body: str
) -> HttpResponse:
    """Send one request over a connection that stays open."""
    connection.request(method, path, body=body.encode() if body else None, headers=dict(headers or {}))
    response = connection.getresponse()
    return HttpResponse(response.status, response.headers, response.read())


def _pss(process: int) -> float:
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{process}/smaps_rollup has no Pss")


def product(folder: Path, changes: str = "", worker: str = "") -> Running:
    """Start the whole service on the records in ``folder``, with ``changes`` to the shipped settings of gunicorn.

    One of the measured callers of ``generate`` is an Administrator with a token.
    """
    configuration = f"exec(open({str(CONFIGURATION)!r}).read())\n{changes}"
    environ = {"DATAFOR_TOKEN_WORKER": worker, "DATAFOR_TOKEN_TOKENS_MAY_ADMINISTER": "true"}
    return Running(folder, "wsgi:app", configuration, "/healthz", **environ)


def baseline(folder: Path, keys: Path, *, our_worker: bool = False) -> Running:
    """Start B under the service's settings of gunicorn; ``keys`` has the private keys of its other algorithms.

    Under gunicorn's own threaded worker with four threads, as a demo is run, unless ``our_worker`` is wanted.
    """
    found = shipped() if our_worker else {**shipped(), "worker_class": "gthread", "threads": 4}
    settings = "\n".join(f"{name} = {value!r}" for name, value in found.items())
    return Running(folder, "tests.bench.baseline:app", settings, "/hello", BENCH_KEYS=str(keys))


def shipped() -> dict[str, Any]:
    """Return the plain settings of config/gunicorn.conf.py; a server with them imports no code of ours."""
    plain = (str, int, float, dict)
    return {
        name: value
        for name, value in gunicorn_settings().items()
        if name in {setting.name for setting in KNOWN_SETTINGS} - {"bind", "logger_class"} and isinstance(value, plain)
    }
