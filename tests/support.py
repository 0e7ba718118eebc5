"""Helpers for tests: a clock to advance, a valid application, keys, a real server."""

import atexit
import base64
import contextlib
import functools
import http.client
import itertools
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from datafor_token.audit.events import Origin
from datafor_token.audit.log import Audit
from datafor_token.audit.writer import AuditLog
from datafor_token.crypto.at_rest import Keyring
from datafor_token.crypto.keys import Key, verification_key
from datafor_token.metrics.counters import Metrics
from tests.stores import KIND, Record, url_for

ROOT = Path(__file__).resolve().parent.parent
API = "/plugin/datafor-modeler/api/token"
ADMIN_PASSWORD = "the-Password-of-the-tests"
# The request of the documentation.
SAMPLE_APPLICATION: dict[str, Any] = {
    "name": "ERP",
    "token_name": "token",
    "secret": "abcd",
    "expire": 86400,
    "fieldmap": {"username": "loginname", "name": "name", "email": "email"},
    "algorithm": "HS256",
    "enable": "1",
    "inituser": "1",
    "initroles": ["SYS_Reader"],
}
STRONG_SECRET = "Vx7_q2LkfP9-sT4mZ0aWcY8nB1eRgHjU3oKiD6tQyXw"


CHROMIUM = Path("/usr/bin/chromium")
# The same engine without the user interface of a browser: a page takes a third of the processor time.
HEADLESS = next((path for path in [Path("/usr/bin/chromium-headless-shell")] if path.exists()), CHROMIUM)


def need(tool: str, file: Path | None = None, *, optional: bool = False) -> None:
    """Skip the test if a tool is not installed; under ``CI=true`` fail, because ``.ci/run`` installs it.

    ``file``: the file to look for if the tool is not a command. ``optional``: one that ``.ci/run`` does not install.
    """
    if not (file.exists() if file else shutil.which(tool)):
        if os.environ.get("CI") == "true" and not optional:
            pytest.fail(f"{tool} is not installed, though .ci/run installs it")
        pytest.skip(f"{tool} is not installed")


def gunicorn_settings() -> dict[str, Any]:
    """Return the names of ``gunicorn_conf.py``, without any effect on the metrics and the log of this process."""
    with mock.patch("datafor_token.metrics.files.share"), mock.patch("datafor_token.web.hooks.begin_log"):
        return runpy.run_module("datafor_token.gunicorn_conf")


# Below those that the system gives to clients, and to servers that ask for any: nothing takes such a port before the
# test does, or while its server is stopped. Each process begins elsewhere, by the golden ratio: a thousand ports from
# processes with neighbouring IDs, none of which may take the port of a server that is being restarted.
_PORTS = range(11_000, 28_000)
_next_ports = itertools.islice(itertools.cycle(_PORTS), os.getpid() * 10_507 % len(_PORTS), None)


def free_port() -> int:
    """Return a local port on which nothing listens, another one in each call."""
    while True:
        port = next(_next_ports)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(port: int) -> None:
    """Wait until a server listens on the local port."""
    for _ in range(1200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nothing listens on port {port}")


class Clock:
    """Clock that only moves when a test advances it."""

    def __init__(self, now: float = 1722929516) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def audit_in(folder: Path, clock: Callable[[], float]) -> Audit:
    """Return an audit log in a folder."""
    return Audit(AuditLog(folder), clock, lambda: Origin(None, None, None, None), Metrics("test"), b"key")


def application(**changes: Any) -> dict[str, Any]:
    """Return the documented application with changes; a change to ``None`` removes the field."""
    wanted = {**SAMPLE_APPLICATION, **changes}
    return {name: value for name, value in wanted.items() if value is not None}


def basic(name: str = "admin", password: str = ADMIN_PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


@functools.cache
def private_key(kind: str) -> Any:
    """Return a private key, generated once in each process: ``rsa``, ``rsa-other``, ``ES256``, ``EdDSA`` and so on."""
    match kind.removesuffix("-other"):
        case "rsa":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ES512":
            return ec.generate_private_key(ec.SECP521R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(kind)


def key_for(algorithm: str, other: str = "") -> Any:
    return private_key(("rsa" if algorithm[0] in "RP" else algorithm) + other)


def private_pem(key: Any, password: bytes | None = None) -> str:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    return pem.decode()


def only_key(algorithm: str, secret: str) -> Key:
    """Return the key of a secret that has one; raise ``RuleError``."""
    (key,) = verification_key(algorithm, secret).all()
    return key


def public_pem(key: Any) -> str:
    public = key.public_key()
    pem: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def public_base64(key: Any) -> str:
    public = key.public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(der).decode()


def token_parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a token without verifying its signature."""

    def read(part: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return value

    header, claims, _ = token.split(".")
    return read(header), read(claims)


def record_of(config_dir: Path, data_dir: Path, name: str) -> dict[str, Any]:
    """Return the stored record of an application with its secrets decrypted."""
    record: dict[str, Any] = json.loads(Record(data_dir, "applications", name).read_text())
    keys = [base64.urlsafe_b64decode(text) for text in (config_dir / "secret_key").read_text().split()]
    keyring = Keyring(keys)
    for field in {"secret", "initpwd"} & record.keys():
        record[field] = keyring.decrypt(record["name"], field, record[field])
    if "previous" in record:
        record["previous"]["secret"] = keyring.decrypt(record["name"], "previous", record["previous"]["secret"])
    return record


class HttpResponse:
    """Response of a real server."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _handles_signals(worker: int) -> bool:
    """Return whether a worker of gunicorn has handlers of its own: it begins with its parent's, also of SIGCHLD."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{worker}/status").read_text()
        return not int(status.partition("SigCgt:")[2].split()[0], 16) >> signal.SIGCHLD - 1 & 1
    return False


class Server:
    """The service as users run it: gunicorn with the shipped configuration, on a free port, in folders of its own."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.config_dir, self.data_dir = folder / "config", folder / "data"
        self.config_dir.mkdir(exist_ok=True)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DATAFOR_TOKEN_")},
            "DATAFOR_TOKEN_CONFIG_DIR": str(self.config_dir),
            "DATAFOR_TOKEN_DATA_DIR": str(self.data_dir),
            "DATAFOR_TOKEN_STORE": url_for(self.data_dir),
            "DATAFOR_TOKEN_BIND": "127.0.0.1:0",
            "DATAFOR_TOKEN_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "PYTHONWARNINGS": "error",
            # On a busy machine, all that a request asks a database can take longer than the default.
            **({} if KIND == "file" else {"DATAFOR_TOKEN_STORE_TIMEOUT": "30"}),
            **environ,
        }
        # What an interpreter or a library reads when it starts needs an interpreter.
        self.forked = not any(name.startswith(("PYTHON", "PROMETHEUS")) for name in environ)
        self.output = ""
        self.port = 0
        self.client_address = "127.0.0.1"
        self.folder = ROOT
        self.application = "wsgi:app"
        # By default gunicorn with the configuration of a checkout.
        self.command: list[str | Path] = []

    def start(self) -> "Server":
        """Start it and wait until it listens or has ended."""
        from tests.processes import Process, started

        environ = {name: value for name, value in self._environ.items() if value}
        gunicorn = ["-m", "gunicorn", "-c", "config/gunicorn.conf.py", self.application]
        self.process: subprocess.Popen[str] | Process
        if self.forked and not self.command and self.folder == ROOT:
            self.process, self._lines = started(*gunicorn, environ=environ)
        else:
            self.process = subprocess.Popen(
                self.command or [sys.executable, *gunicorn],
                cwd=self.folder,
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            assert self.process.stdout is not None
            self._lines = self.process.stdout
        # A test that fails does not stop it.
        atexit.register(self.stop, signal.SIGKILL)
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._listening.wait(60), self.output
        return self

    def _read(self) -> None:
        for line in self._lines:
            self.output += line
            found = re.search(r"Listening at: (?:http://127\.0\.0\.1:(?P<port>\d+)|unix:)", line)
            if found:
                self.port = int(found["port"] or 0)
                self._listening.set()
        self._listening.set()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit status; ``output`` is complete then."""
        if how == signal.SIGKILL and self.process.poll() is None:
            os.killpg(self.process.pid, how)
        elif self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(60)
        self._reader.join(60)
        self._lines.close()
        return status

    def workers(self) -> list[int]:
        """Return the worker processes that exist."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(worker) for worker in children.read_text().split()]

    def both_workers(self) -> list[int]:
        """Wait until both workers exist and serve, and return them; gunicorn listens before it forks them."""
        before: list[int] = []
        # A worker that a test has killed exists for a moment, and handles signals.
        while len(before) < 2 or before != self.workers():
            self._wait_for_workers()
            assert self.process.poll() is None, self.output
            before = self.workers()
            time.sleep(1)
        return before

    def _wait_for_workers(self) -> None:
        """Wait until both workers handle signals, or the server has ended; not for ever for one that has fewer."""
        for _ in range(500):
            if self.process.poll() is not None or sum(map(_handles_signals, self.workers())) >= 2:
                break
            time.sleep(0.02)

    def request(
        self,
        method: str,
        path: str,
        body: str | bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Send a request, as the administrator unless ``headers`` are given; a mapping is sent as JSON."""
        sent = dict(basic() if headers is None else headers)
        if isinstance(body, Mapping):
            body = json.dumps(body)
            sent["Content-Type"] = "application/json"
        elif body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        source = (self.client_address, 0)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=source)
        try:
            connection.request(method, path, body=body, headers=sent)
            response = connection.getresponse()
            return HttpResponse(response.status, response.headers, response.read())
        finally:
            connection.close()

    def post(
        self, call: str, body: str | bytes | Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        """Send a POST to a call of the token API, as ``request`` does."""
        return self.request("POST", f"{API}/{call}", body, headers)
