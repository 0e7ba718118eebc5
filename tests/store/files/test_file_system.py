"""File systems on which records cannot be stored: each lack is refused at the start with a sentence."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datafor_token.errors import StoreNotReady
from datafor_token.store.files import file_system
from tests.log_lines import read
from tests.processes import environment, first_start, run_command
from tests.support import ROOT, need

# A fault for strace to inject into every call, and a part of the sentence.
LACKS = {
    "flock:retval=0": "locks (flock) have no effect",
    "flock:error=ENOLCK": "locks (flock) fail (No locks available)",
    "flock:error=EOPNOTSUPP": "mount it with locks (NFS version 4",
    "rename:error=EPERM": "cannot be replaced by a rename (Operation not permitted)",
    "rename:retval=0": "a rename does not replace a file",
    "fsync:error=EINVAL": "cannot be synced (fsync: Invalid argument)",
    "link,linkat:error=EPERM": "hard links, which `store restore` needs, cannot be created",
}
GUNICORN = ("-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app")


def run_with(lack: str, folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run Python, with a fault injected into each of some system calls."""
    need("strace")
    options = ["-e", f"trace={lack.partition(':')[0]}", "-e", f"inject={lack}", "-o", "/dev/null"]
    return subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", *options, os.path.realpath(sys.executable), *arguments],
        cwd=ROOT,
        env=environment(folder, DATAFOR_TOKEN_BIND="127.0.0.1:0", PYTHONPATH=os.pathsep.join(sys.path), **changes),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in which every folder may be mounted, and unmount them."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    yield tmp_path
    for folder in tmp_path.iterdir():
        if folder.is_mount():
            subprocess.run(["umount", folder], check=True)


def mount(folder: Path, *arguments: str) -> None:
    """Mount a file system, or skip the test where the kernel does not let root do that (in a container)."""
    done = subprocess.run(["mount", *arguments, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mount: {done.stderr.strip()}")


@pytest.mark.slow
@pytest.mark.parametrize("lack", LACKS)
def test_a_server_refuses_an_unsuitable_file_system(tmp_path: Path, lack: str) -> None:
    """The server exits with 3 and a sentence that names folder, file system and remedy, and creates nothing."""
    done = run_with(lack, tmp_path, *GUNICORN)
    lines = [line["fault"] for line in read(done.stderr) if "fault" in line]
    assert (done.returncode, len(lines)) == (3, 1), done.stderr
    assert lines[0].startswith(f"the data folder {tmp_path}/data is on a file system of the type ")
    assert LACKS[lack] in lines[0]
    assert "put the folder on a local disk (DATAFOR_TOKEN_DATA_DIR)" in lines[0]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_existing_store_continues_without_hard_links(tmp_path: Path) -> None:
    """A store that an earlier version created starts where only `store restore` would fail, and that is logged."""
    first_start(environment(tmp_path))
    for lack, status in (("link,linkat:error=EPERM", 0), ("flock:retval=0", 3)):
        done = run_with(lack, tmp_path, "-c", "import wsgi")
        assert done.returncode == status, done.stderr
    assert "unsuitable file system" in run_with("link,linkat:error=EPERM", tmp_path, "-c", "import wsgi").stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["restore", "migrate"])
def test_a_command_creates_no_store_there(tmp_path: Path, command: str) -> None:
    """`store restore` and `store migrate --to file` create no records on an unsuitable file system, and exit with 3."""
    first_start(environment(tmp_path))
    url = f"sqlite:///{tmp_path}/records.db"
    backup = tmp_path / "backup.gz"
    for arguments in (("migrate", "--to", url), ("backup", str(backup))):
        done = run_command(tmp_path, "store", *arguments)
        assert done.returncode == 0, done.stderr
    (tmp_path / "data").rename(tmp_path / "old")
    arguments = ("restore", str(backup), "--yes") if command == "restore" else ("migrate", "--to", "file")
    store = "file" if command == "restore" else url
    done = run_with("flock:retval=0", tmp_path, "-m", "datafor_token", "store", *arguments, DATAFOR_TOKEN_STORE=store)
    assert (done.returncode, LACKS["flock:retval=0"] in done.stderr) == (3, True), done.stderr
    assert list((tmp_path / "data").rglob("*.json")) == []


def test_modes_without_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If every file is open to other users (FAT, SMB), a new store is refused; for an existing one, that is logged."""
    status = os.fstat

    # No file system of the usual kernels ignores modes, except on a Windows or FAT partition.
    def as_on_fat(descriptor: int) -> os.stat_result:
        mode, *others = status(descriptor)
        return os.stat_result([int(mode) | 0o777, *others])

    monkeypatch.setattr("os.fstat", as_on_fat)
    with pytest.raises(StoreNotReady, match=r"have the mode 0777 whatever is set.*umask=077"):
        file_system.check(tmp_path, is_new=True)
    file_system.check(tmp_path, is_new=False)
    assert "unsuitable file system" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_the_type_of_a_file_system(mounts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the type and mount point of the folder's own file system, also with a blank in its name."""
    folder = mounts / "my data"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "tmpfs")
    file_system.check(folder / "data", is_new=True)
    monkeypatch.setattr(file_system, "hold", lambda _: None)
    with pytest.raises(StoreNotReady, match=rf"of the type tmpfs \(mounted at {folder}\) where locks"):
        file_system.check(folder / "data", is_new=True)


@pytest.mark.parametrize("broken", ["read-only", "full"])
def test_a_disk_that_cannot_be_written(mounts: Path, broken: str) -> None:
    """A service whose disk is read-only or full starts all the same, since it can verify tokens."""
    folder = mounts / "data"
    folder.mkdir()
    mount(folder, "-t", "tmpfs", "-o", "size=1m", "tmpfs")
    first_start(environment(mounts, DATAFOR_TOKEN_STORE="file"))
    if broken == "full":
        subprocess.run(["dd", "if=/dev/zero", f"of={folder}/filler"], capture_output=True, check=False)
        assert shutil.disk_usage(folder).free == 0
    else:
        mount(folder, "-o", "remount,ro")
    file_system.check(folder, is_new=False)
    first_start(environment(mounts, DATAFOR_TOKEN_STORE="file"))
