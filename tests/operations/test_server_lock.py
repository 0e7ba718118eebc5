"""Migration beside a server: it refuses while the source is used, and no server starts on the source meanwhile."""

import fcntl
import gzip
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from datafor_token.errors import Forbidden
from datafor_token.store.files import server_lock
from datafor_token.store.files.store import FileStore
from tests.log_lines import read
from tests.processes import environment, first_start, run_command
from tests.stores import COLLECTIONS
from tests.support import ROOT, Server

pytestmark = pytest.mark.file_store
IN_USE = "a server is using the records in {}/data: stop the service, then run this command again\n"
STARTED = "`store migrate` is copying the records in {}/data: start the service when it has ended"


class Owner:
    """An object that holds a lock as long as it exists."""


def migrate(folder: Path) -> subprocess.CompletedProcess[str]:
    """Migrate the records in files to a new database."""
    return run_command(folder, "store", "migrate", "--to", f"sqlite:///{folder}/{time.time_ns()}.db")


def is_refused(folder: Path) -> bool:
    """Return whether a migration is refused with its sentence; it must be done otherwise."""
    done = migrate(folder)
    if done.returncode == 0:
        return False
    assert (done.returncode, done.stdout, done.stderr) == (1, "", IN_USE.format(folder))
    return True


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def locks_of(process: int) -> list[Path]:
    """Return the open descriptors of a process that are the lock of servers."""
    found = Path(f"/proc/{process}/fd").iterdir()
    return [one for one in found if str(one.readlink()).endswith("/.server.lock")]


def test_a_migration_is_refused_while_a_server_runs(tmp_path: Path) -> None:
    """A migration is refused while any of two servers on a folder runs, also an idle one, and possible afterwards."""
    servers = [Server(tmp_path).start() for _ in range(2)]
    for server in servers:
        assert is_refused(tmp_path)
        server.stop()
    assert not is_refused(tmp_path)


def test_workers_without_their_master_hold_the_lock(tmp_path: Path) -> None:
    """After kill -9 of gunicorn's master the lock is held as long as a worker lives, and ends with the last one."""
    server = Server(tmp_path).start()
    workers = server.both_workers()
    for worker in workers:
        # A stopped worker does not notice that its master has ended.
        os.kill(worker, signal.SIGSTOP)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    for worker in workers:
        assert is_refused(tmp_path)
        os.kill(worker, signal.SIGKILL)
    server.stop()
    assert not is_refused(tmp_path)


def test_a_reload_and_an_upgrade_keep_the_lock(tmp_path: Path) -> None:
    """The lock is held after HUP, and after USR2 by the new master; no program that is executed inherits it."""
    # The new master runs the file of gunicorn's module, whose folder must not hide modules of Python.
    server = Server(tmp_path, PYTHONSAFEPATH="1", PYTHONPATH=str(ROOT)).start()
    before = server.both_workers()
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(server.workers()) == 2 and not {*server.workers()} & {*before})
    assert is_refused(tmp_path)
    server.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: server.output.count("Booting worker") == 6)
    masters = [server.process.pid, *(one for one in server.workers() if len(list_children(one)) == 2)]
    assert [len(locks_of(one)) for one in masters] == [1, 1]
    for lock in locks_of(masters[1]):
        flags = (lock.parent.parent / "fdinfo" / lock.name).read_text().split("flags:")[1].split()[0]
        assert int(flags, 8) & os.O_CLOEXEC
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(60)
    assert is_refused(tmp_path)
    os.kill(masters[1], signal.SIGTERM)
    server.stop()
    assert not is_refused(tmp_path)


def list_children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_no_server_starts_during_a_migration(tmp_path: Path) -> None:
    """While a migration holds the lock, a server exits with 3 and one sentence; commands and backups work."""
    first_start(environment(tmp_path))
    with FileStore(tmp_path / "data", COLLECTIONS, 5).exclude_servers():
        server = Server(tmp_path).start()
        assert server.stop() == 3
        assert [line["fault"] for line in read(server.output) if "fault" in line] == [STARTED.format(tmp_path)]
        assert "Traceback" not in server.output
        for arguments in (("user", "list"), ("store", "backup", str(tmp_path / "backup.gz"))):
            assert run_command(tmp_path, *arguments).returncode == 0
        done = migrate(tmp_path)
        assert (done.returncode, "another `store migrate` is copying" in done.stderr) == (1, True)
    first_start(environment(tmp_path))


def test_the_lock_is_no_record(tmp_path: Path) -> None:
    """The lock file is private, and no part of a backup, a check or a restore, which work beside a server."""
    server = Server(tmp_path).start()
    lock, backup = tmp_path / "data" / ".server.lock", tmp_path / "backup.gz"
    before = lock.stat()
    assert stat.S_IMODE(before.st_mode) == 0o600
    for arguments in (("backup", str(backup)), ("check",), ("restore", str(backup), "--yes")):
        done = run_command(tmp_path, "store", *arguments)
        assert (done.returncode, ".server" in done.stdout) == (0, False), done.stderr
    assert b".server" not in gzip.decompress(backup.read_bytes())
    assert lock.stat().st_ino == before.st_ino
    assert is_refused(tmp_path)
    server.stop()
    assert lock.exists()


def test_a_migration_by_root_leaves_the_lock_to_the_service(tmp_path: Path) -> None:
    """A lock file that root creates belongs to the owner of the data folder, so that the service can open it."""
    if os.geteuid() != 0:
        pytest.skip("only root can create files of others")
    first_start(environment(tmp_path))
    (tmp_path / "data" / ".server.lock").unlink()
    os.chown(tmp_path / "data", 1234, 1234)
    assert not is_refused(tmp_path)
    assert (tmp_path / "data" / ".server.lock").stat().st_uid == 1234


@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_folder(tmp_path: Path, exists: bool, caplog: pytest.LogCaptureFixture) -> None:
    """On a read-only disk the lock is held if its file exists; without it nothing is, since no server can write."""
    folder = tmp_path / "data"
    folder.mkdir()
    lock = folder / ".server.lock"
    if exists:
        lock.touch(0o600)
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True, check=False).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        owner = Owner()
        server_lock.share(lock, folder, owner)
        if exists:
            with pytest.raises(Forbidden, match="a server is using"), server_lock.exclude(lock, folder):
                pytest.fail("the lock is held twice")
        del owner
        with server_lock.exclude(lock, folder):
            assert lock.exists() is exists
    finally:
        subprocess.run(["umount", folder], check=True)
    assert caplog.text == ""


def test_a_lock_that_cannot_be_created(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that cannot create the lock, as on a full disk, logs that and starts."""
    owner = Owner()
    server_lock.share(tmp_path / "nowhere" / ".server.lock", tmp_path, owner)
    assert "cannot see this server" in caplog.text
    assert "No such file or directory" in caplog.text


def test_an_application_that_is_collected_releases_the_lock(tmp_path: Path) -> None:
    """The lock is held as long as its owner exists."""
    store = FileStore(tmp_path, COLLECTIONS, 5)
    store.serve()
    with (tmp_path / ".server.lock").open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        del store
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
