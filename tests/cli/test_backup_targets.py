"""Targets of ``datafor-token store backup`` and sources of ``store restore``: files, pipes, terminals, full disks."""

import contextlib
import gzip
import os
import pty
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from datafor_token.store.files.store import FileStore
from tests.processes import Process, environment, first_start, run_command
from tests.stores import COLLECTIONS
from tests.support import ROOT, need

pytestmark = pytest.mark.file_store
BACKUP = ("-m", "datafor_token", "store", "backup", "-")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a store that has one user."""
    first_start(environment(tmp_path))
    return tmp_path


def back_up_to(output: IO[bytes] | int, folder: Path) -> tuple[int, str]:
    """Run `store backup -` with this standard output; return the exit status and the standard error."""
    done = subprocess.run(
        [sys.executable, *BACKUP],
        env=environment(folder), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash, in which $COMMAND is the command and $BACKUP is the backup file."""
    environ = environment(folder, COMMAND=f"{sys.executable} -m datafor_token", BACKUP=str(folder / "backup.gz"))
    line = f"set -o pipefail; {line}"
    return subprocess.run(["bash", "-c", line], env=environ, cwd=ROOT, capture_output=True, check=False)


def test_through_a_pipe(folder: Path) -> None:
    """Standard output has the whole backup and nothing else, and it is restored from standard input."""
    done = shell(folder, "$COMMAND store backup - | tee $BACKUP")
    assert done.returncode == 0
    assert (
        done.stderr
        == b"1 record was written to standard output; without config/secret_key, its secrets cannot be read\n"
    )
    assert gzip.decompress(done.stdout).endswith(b'"}\n')
    assert run_command(folder, "store", "restore", str(folder / "backup.gz"), "--dry-run").returncode == 0
    run_command(folder, "user", "add", "later", put="a-long-password")
    done = shell(folder, "cat $BACKUP | $COMMAND store restore -")
    assert (done.returncode, b"give --yes" in done.stderr) == (1, True)
    done = shell(folder, "cat $BACKUP | $COMMAND store restore - --dry-run")
    assert done.stdout.endswith(b"would be: 0 created, 0 changed, 1 deleted\n")
    done = shell(folder, "$COMMAND store restore - --yes < $BACKUP")
    assert (done.returncode, done.stdout.endswith(b"\n0 created, 0 changed, 1 deleted\n")) == (0, True), done.stderr


def test_a_changed_backup_through_a_pipe(folder: Path) -> None:
    """Standard input that was cut off or changed, or has no backup, is refused with a sentence that says so."""
    assert shell(folder, "$COMMAND store backup - > $BACKUP").returncode == 0
    for line in (
        "head -c -20 $BACKUP | $COMMAND store restore - --yes",
        "$COMMAND store restore - --yes < /dev/null",
        "head -c 100000 /dev/zero | $COMMAND store restore - --yes",
    ):
        done = shell(folder, line)
        assert (done.returncode, done.stderr) == (1, b"standard input is not a whole backup of this service\n")
    done = shell(
        folder, "gunzip -c $BACKUP | sed s/SYS_/XYZ_/\\;s/admin/Admin/ | gzip | $COMMAND store restore - --yes"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"standard input was changed after it was written")
    done = shell(folder, "ulimit -f 0; $COMMAND store restore - --dry-run < $BACKUP")
    assert done.returncode == 1
    assert done.stderr == (
        b"standard input cannot be copied to a temporary file (TMPDIR names its folder): no folder can be written\n"
    )


def test_a_broken_pipe(folder: Path) -> None:
    """If the reader has ended, the command ends with 1 and one sentence."""
    reader, writer = os.pipe()
    os.close(reader)
    assert back_up_to(writer, folder) == (1, "standard output cannot be written: Broken pipe\n")
    os.close(writer)


def test_a_full_disk_behind_standard_output(folder: Path) -> None:
    """If standard output is a file on a full disk, the command ends with 1 and one sentence."""
    with Path("/dev/full").open("wb") as full:
        assert back_up_to(full, folder) == (1, "standard output cannot be written: No space left on device\n")


def test_a_pipe_that_does_not_block(folder: Path) -> None:
    """A backup that is larger than a non-blocking pipe arrives whole."""
    store = FileStore(folder / "data", COLLECTIONS, 5)
    for _ in range(2500):
        store.put("revocations", {"format": 1, "name": secrets.token_hex(32), "expires": 10**12})
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    received = b""

    def read() -> None:
        nonlocal received
        with os.fdopen(reader, "rb") as file:
            received = file.read()

    thread = threading.Thread(target=read)
    thread.start()
    status, _ = back_up_to(writer, folder)
    os.close(writer)
    thread.join()
    assert (status, len(received) > 2**16) == (0, True)
    (folder / "backup.gz").write_bytes(received)
    assert run_command(folder, "store", "restore", str(folder / "backup.gz"), "--dry-run").returncode == 0


def test_a_terminal(folder: Path) -> None:
    """A terminal is refused as the target and as the source of a backup."""
    master, terminal = pty.openpty()
    status, message = back_up_to(terminal, folder)
    assert (status, message.startswith("standard output is a terminal: redirect it")) == (1, True)
    done = subprocess.run(
        [sys.executable, "-m", "datafor_token", "store", "restore", "-", "--yes"],
        env=environment(folder), cwd=ROOT, stdin=terminal, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.startswith("standard input is a terminal: redirect")) == (1, True)
    for descriptor in (master, terminal):
        os.close(descriptor)


def test_a_backup_in_the_data_folder(folder: Path) -> None:
    """A backup in the data folder, which could replace a record, is refused, also through a link; records stay."""
    data = folder / "data"
    (folder / "link").symlink_to(data / "users")
    before = (data / "users" / "admin.json").read_bytes()
    for file in (data / "backup.gz", data / "users" / "admin.json", folder / "link" / "admin.json"):
        done = run_command(folder, "store", "backup", str(file))
        assert (done.returncode, done.stderr) == (
            1,
            f"{file} is in the data folder, with which a backup would be lost: name a file outside of {data}\n",
        )
    assert (data / "users" / "admin.json").read_bytes() == before
    assert not (data / "backup.gz").exists()


def test_one_file_several_times_at_once(folder: Path) -> None:
    """Backups into one file at the same time succeed, the file is one of them, and no other file is left."""
    target = folder / "backups" / "backup.gz"
    target.parent.mkdir()
    arguments = ("-m", "datafor_token", "store", "backup", str(target))
    processes = [Process(arguments, environment(folder)) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert run_command(folder, "store", "restore", str(target), "--dry-run").returncode == 0
    assert list(target.parent.iterdir()) == [target]


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of 64 KiB, or skip the test where that is not allowed."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mount: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_or_read_only_disk(folder: Path) -> None:
    """A backup that does not fit on its disk is refused with the reason; the older one stays, and no other file."""
    disk = folder / "disk"
    with small_disk(disk):
        target = disk / "backup.gz"
        assert run_command(folder, "store", "backup", str(target)).returncode == 0
        before = target.read_bytes()
        subprocess.run(["dd", "if=/dev/zero", f"of={disk}/filler"], capture_output=True, check=False)
        done = run_command(folder, "store", "backup", str(target))
        assert (done.returncode, done.stderr) == (1, f"{target} cannot be written: No space left on device\n")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        done = run_command(folder, "store", "backup", str(target))
        assert (done.returncode, done.stderr) == (1, f"{target} cannot be written: Read-only file system\n")
        assert target.read_bytes() == before
        assert sorted(one.name for one in disk.iterdir()) == ["backup.gz", "filler"]


@pytest.mark.parametrize(("error", "status"), [("EINVAL", 0), ("EIO", 1)])
def test_a_folder_that_cannot_be_synced(folder: Path, error: str, status: int) -> None:
    """A network folder that cannot be synced takes a backup, since its file is; an error of the disk is refused."""
    need("strace")
    target = folder / "backup.gz"
    # The first fsync is that of the file.
    inject = ["-e", "trace=fsync", "-e", f"inject=fsync:error={error}:when=2", "-o", "/dev/null"]
    done = subprocess.run(
        ["strace", "-f", "-qq", *inject, os.path.realpath(sys.executable), *BACKUP[:-1], target],
        env=environment(folder, PYTHONPATH=os.pathsep.join(sys.path)), cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert (f"{target} cannot be written: Input/output error\n" == done.stderr) is (status == 1)
    assert run_command(folder, "store", "restore", str(target), "--dry-run").returncode == 0
