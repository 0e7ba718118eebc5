"""A real PgBouncer of Debian in front of a PostgreSQL server, on a free port, run by a user that is not root."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.store.postgres import PASSWORD, Postgres, as_user
from tests.support import free_port, need


class PgBouncer:
    """One pooler. ``url()`` returns a value for the setting STORE."""

    def __init__(self, postgres: Postgres, mode: str, databases: str = "*", **settings: object) -> None:
        """``mode``: session, transaction or statement. ``settings`` are those of pgbouncer.ini."""
        need("pgbouncer", Path("/usr/sbin/pgbouncer"))
        self._postgres = postgres
        self._databases = databases
        self._home = Path(tempfile.mkdtemp(prefix="datafor-pgbouncer-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        (self._home / "users").write_text(f'"keeper" "{PASSWORD}"\n')
        self.configure(postgres.port, pool_mode=mode, **settings)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self._home, *self._home.iterdir()):
                os.chown(path, user.pw_uid, user.pw_gid)

    def configure(self, port: int, **settings: object) -> None:
        """Write pgbouncer.ini for the server on this port."""
        given = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self._home / "users",
            "server_login_retry": 1,  # s
            **settings,
        }
        lines = [f"{name} = {value}" for name, value in given.items()]
        text = "\n".join(["[databases]", f"{self._databases} = host=127.0.0.1 port={port}", "[pgbouncer]", *lines, ""])
        (self._home / "pgbouncer.ini").write_text(text)

    def start(self) -> "PgBouncer":
        """Start the pooler and wait until it accepts connections."""
        self._log = (self._home / "log").open("ab")
        self.process = subprocess.Popen(
            [*as_user(), "/usr/sbin/pgbouncer", str(self._home / "pgbouncer.ini")],
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            start_new_session=True,
        )
        for _ in range(600):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            assert self.process.poll() is None, self.said()
            time.sleep(0.05)
        pytest.fail(f"PgBouncer does not respond: {self.said()}")

    def stop(self) -> None:
        """Stop the pooler at once; its connections break."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
            self._log.close()
            self.process = None

    def remove(self) -> None:
        """Stop the pooler for good."""
        self.stop()
        shutil.rmtree(self._home)

    def said(self) -> str:
        """Return the end of its log."""
        return (self._home / "log").read_text()[-2000:]

    def url(self, database: str = "postgres", query: str = "") -> str:
        """Return the setting STORE for a database behind the pooler."""
        return self._postgres.url(database, query=query).replace(f":{self._postgres.port}/", f":{self.port}/")
