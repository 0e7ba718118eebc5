"""A real PostgreSQL of Debian, on a free port, in a temporary folder, run by a user that is not root."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.stores import MEMORY
from tests.support import free_port

PASSWORD = "the-Password-of-the-database"


def binaries() -> Path:
    """Return the folder of the server's programs, or skip the test."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed, though .ci/run installs it")
        pytest.skip("PostgreSQL is not installed")
    return found[-1].parent


def as_user() -> list[str]:
    """Return the beginning of a command that is not to be run as root, which PostgreSQL's programs refuse."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL"]
        if os.geteuid() == 0
        else []
    )


class Postgres:
    """One server. ``url()`` returns a value for the setting STORE."""

    def __init__(self, *, safe: bool = True, trusting: bool = False) -> None:
        """``safe``: survive a power cut, which is slower. ``trusting``: check no password."""
        # Not in the temporary folder of the tests, which other users cannot enter. In memory, tables are created seven
        # times faster than on a disk, also without fsync.
        self._home = Path(tempfile.mkdtemp(prefix="datafor-postgres-", dir=None if safe else MEMORY))
        self.folder = self._home / "data"
        self.port = free_port()
        self._safe = safe
        self._way = "trust" if trusting else "scram-sha-256"
        self._binaries = binaries()
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs to its end."""
        done = subprocess.run(
            [*as_user(), str(self._binaries / program), *arguments],
            env={**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def make(self) -> "Postgres":
        """Create a new, empty server."""
        self._make_folder()
        secret = self._home / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self.run(
            "initdb", "-D", str(self.folder), "-U", "keeper", "-E", "UTF8", "--locale=C", "--no-sync",
            "-A", self._way, f"--pwfile={secret}",
        )  # fmt: skip
        with (self.folder / "pg_hba.conf").open("a") as file:
            file.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        return self

    def copy_of(self, primary: "Postgres", slot: str, port: int = 0) -> "Postgres":
        """Become a streaming standby of another server, which has another ``port`` for it; forget all records."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._make_folder()
        source = f"host=127.0.0.1 port={port or primary.port} user=keeper application_name=standby"
        self.run("pg_basebackup", "-D", str(self.folder), "-R", "-X", "stream", "-C", "-S", slot, "-d", source)
        return self

    def start(self, **settings: str) -> "Postgres":
        """Start the server and wait until it responds; ``settings`` are those of postgresql.conf."""
        quick = dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes", "autovacuum"), "off")
        # In memory, the log must not grow to its usual GB.
        quick |= {"min_wal_size": "32MB", "max_wal_size": "64MB"}
        given = {"max_connections": "200", "shared_buffers": "64MB", **({} if self._safe else quick), **settings}
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        self._log = (self._home / "log").open("ab")
        self.process = subprocess.Popen(
            [
                *as_user(), str(self._binaries / "postgres"), "-D", str(self.folder), "-p", str(self.port),
                "-h", "127.0.0.1", "-k", "", *options,
            ],
            stdout=self._log,
            stderr=self._log,
            cwd="/",
            start_new_session=True,
        )  # fmt: skip
        self.wait()
        return self

    def wait(self) -> None:
        """Wait until the server accepts connections."""
        for _ in range(600):
            arguments = [str(self._binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
            if subprocess.run(arguments, check=False).returncode == 0:
                return
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)
        pytest.fail(f"PostgreSQL does not respond: {self.said()}")

    def said(self) -> str:
        return (self._home / "log").read_text()[-2000:]

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: ``SIGINT`` closes its connections at once, ``SIGKILL`` kills all its processes."""
        if self.process is None:
            return
        if how == signal.SIGKILL:
            self.signal_all(how)
        else:
            self.process.send_signal(how)
        self.process.wait(60)
        self._log.close()
        self.process = None

    def remove(self) -> None:
        """Stop the server for good."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self._home)

    def signal_all(self, how: signal.Signals) -> None:
        """Send a signal to the server and to each of its processes, which are groups of their own."""
        assert self.process is not None
        # A stopped server forks no process that would miss the signal.
        os.kill(self.process.pid, signal.SIGSTOP)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for process in (self.process.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, how)

    def promote(self) -> None:
        """Promote a standby to a primary."""
        self.run("pg_ctl", "promote", "-D", str(self.folder), "-w")

    def ask(self, question: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute SQL and return the result."""
        import psycopg

        url = f"postgresql://keeper:{PASSWORD}@127.0.0.1:{self.port}/{database}"
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute(question)
            return found.fetchall() if found.description else []

    def url(self, database: str = "postgres", *others: "Postgres", query: str = "") -> str:
        """Return the setting STORE for a database of this server, and of the servers that may take it over."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in (self, *others))
        return f"postgresql+psycopg://keeper:{PASSWORD}@{hosts}/{database}{query}"

    def _make_folder(self) -> None:
        self.folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self._home, self.folder):
                os.chown(path, user.pw_uid, user.pw_gid)
