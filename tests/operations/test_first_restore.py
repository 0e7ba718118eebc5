"""The first restore on a new host: interrupted at any point, it can be repeated."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from click.testing import Result

from datafor_token import create_app
from datafor_token.settings_sources import load_settings
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY
from tests.processes import Process
from tests.store.files.test_restore import Calls
from tests.support import ADMIN_PASSWORD

pytestmark = pytest.mark.file_store


class Host:
    """A host in its own folder, whose commands run in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.config, self.data = folder / "config", folder / "data"

    def begin(self) -> None:
        """Start the server."""
        self._choose()
        create_app(load_settings(None, os.environ), hasher=CHEAP_FOR_TESTS_ONLY)

    def run(self, *arguments: str, put: str = "") -> Result:
        """Run a command."""
        self._choose()
        return invoke(None, arguments, put=put)

    def done(self, *arguments: str, put: str = "") -> str:
        """Run a command that succeeds; return its output."""
        result = self.run(*arguments, put=put)
        assert result.exit_code == 0, result.output
        return result.output

    def _choose(self) -> None:
        self.monkeypatch.setenv("DATAFOR_TOKEN_CONFIG_DIR", str(self.config))
        self.monkeypatch.setenv("DATAFOR_TOKEN_DATA_DIR", str(self.data))
        self.monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)

    def users(self) -> list[str]:
        """Return the names of the users."""
        return [row["username"] for row in json.loads(self.done("user", "list", "--json"))]

    def identifiers(self) -> tuple[str, str]:
        """Return the identifier in the configuration folder, and the one in the store."""
        stored = json.loads((self.data / "instance" / "store.json").read_text())["identifier"]
        return (self.config / "store_id").read_text().strip(), stored


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return the host that wrote the backup."""
    host = Host(tmp_path / "old", monkeypatch)
    host.begin()
    return host


@pytest.fixture
def file(old: Host, tmp_path: Path) -> Path:
    """Return the backup of that host."""
    old.done("store", "backup", str(tmp_path / "backup.gz"))
    return tmp_path / "backup.gz"


def new_host(old: Host, folder: Path, *, lost: bool = False) -> Host:
    """Return a new host with the key of the old one, or (``lost``) the old one without its data folder."""
    host = Host(folder, old.monkeypatch)
    host.config.mkdir(parents=True)
    for name in ("secret_key", "store_id", ".last_store_id") if lost else ("secret_key",):
        shutil.copy(old.config / name, host.config / name)
    return host


@pytest.mark.parametrize("lost", [pytest.param(False, marks=pytest.mark.slow), True])
def test_killed_at_any_point(old: Host, file: Path, tmp_path: Path, lost: bool) -> None:
    """A restore that is killed at any system call is completed by the same command, and the server starts."""
    # This test is not about power failures.
    old.monkeypatch.setattr(os, "fsync", lambda _: None)
    expected = (old.config / "store_id").read_text().strip()
    numbers = changes_of_restore(new_host(old, tmp_path / "clean", lost=lost), file)
    # With a known identifier only a few calls differ.
    for index, number in enumerate(numbers[::3] if lost else numbers):
        host = new_host(old, tmp_path / str(number), lost=lost)
        die_in_restore(host, file, number)
        again = host.run("store", "restore", str(file), "--yes")
        assert again.exit_code == 0, (number, again.output)
        assert [one.name for one in (host.data / "users").glob("*.json")] == ["admin.json"]
        assert host.identifiers() == (expected, expected)
        if index % 10 == 0:
            host.begin()
            assert host.users() == ["admin"]
        shutil.rmtree(host.folder)


def changes_of_restore(host: Host, file: Path) -> list[int]:
    """Restore, and return the numbers of the system calls before which files differ from those at the call before.

    Killed at any other call, a restore leaves the same files as at the last of these.
    """
    states: list[set[tuple[str, int, int, int]]] = []

    def look() -> None:
        present = [(path, path.lstat()) for path in host.folder.rglob("*")]
        states.append({(str(path), one.st_ino, one.st_size, one.st_mtime_ns) for path, one in present})

    with Calls(watch=look):
        host.done("store", "restore", str(file), "--yes")
    look()
    found = [number for number in range(1, len(states)) if states[number] != states[number - 1]]
    assert len(found) > 100
    # The first call has the number 1.
    return [number + 1 for number in found]


def die_in_restore(host: Host, file: Path, number: int) -> None:
    """Restore in another process, which dies before the system call of that number."""
    process = os.fork()
    if process == 0:
        calls = Calls(watch=lambda: os._exit(9) if calls.number >= number else None)
        with calls:
            host.run("store", "restore", str(file), "--yes")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) in (0, 9)


def test_a_real_kill(old: Host, file: Path, tmp_path: Path) -> None:
    """A killed process leaves nothing that prevents the next restore."""
    arguments = ("-m", "datafor_token", "store", "restore", str(file), "--yes")
    for number, part in enumerate((None, 0.4, 0.6, 0.7, 0.8, 0.9)):
        host = new_host(old, tmp_path / str(number))
        host.run("settings", "show")
        begun = time.monotonic()
        process = Process(arguments)
        if part is None:
            assert process.wait() == 0
            whole = time.monotonic() - begun
        else:
            time.sleep(part * whole)
            process.kill()
            assert process.wait() in (0, -9)
        host.done("store", "restore", str(file), "--yes")
        assert host.users() == ["admin"]


def test_a_key_record_is_no_store(old: Host, file: Path, tmp_path: Path) -> None:
    """The record of the key alone, which a killed restore leaves, does not count as an existing store."""
    host = new_host(old, tmp_path / "new")
    (host.data / "instance").mkdir(parents=True)
    shutil.copy(old.data / "instance" / "key.json", host.data / "instance" / "key.json")
    assert host.run("user", "list").exit_code == 3
    host.done("store", "restore", str(file), "--yes")
    assert host.users() == ["admin"]


def test_a_first_restore_names_the_folder(old: Host, file: Path, tmp_path: Path) -> None:
    """A first restore names the folder before the confirmation and in a dry run; any other restore does not."""
    host = new_host(old, tmp_path / "new")
    sentence = f"No store exists in {host.data}: this creates one"
    assert sentence in host.run("store", "restore", str(file)).output
    assert host.done("store", "restore", str(file), "--dry-run").count(sentence) == 1
    assert host.done("store", "restore", str(file), "--yes").count(sentence) == 1
    assert "begins" not in host.done("store", "restore", str(file), "--yes")


def test_without_the_key(old: Host, file: Path, tmp_path: Path) -> None:
    """The error names the missing key and its place."""
    host = Host(tmp_path / "new", old.monkeypatch)
    result = host.run("store", "restore", str(file), "--yes")
    assert result.exit_code == 1
    assert f"{host.config / 'secret_key'} is missing: copy the key of the backup (config/secret_key)" in result.output
    assert len(result.output.splitlines()) == 1
    assert not host.folder.exists()


class TestIdentifiers:
    """The identifier of a backup and the file ``config/store_id``."""

    def other(self, old: Host, tmp_path: Path) -> Host:
        """Return another service with the same key."""
        host = new_host(old, tmp_path / "other")
        (host.config / ".last_store_id").touch()
        host.begin()
        return host

    @pytest.mark.parametrize("place", ["the store", "a mistyped folder"])
    def test_another_store_is_refused(self, old: Host, file: Path, tmp_path: Path, place: str) -> None:
        """A backup of another store is refused before anything is changed; the removal of store_id allows it."""
        host = self.other(old, tmp_path)
        mine, theirs = host.identifiers()[0], old.identifiers()[0]
        present = host.data
        if place != "the store":
            host.data = tmp_path / "mistyped"
        before = {path: path.read_bytes() for path in host.folder.rglob("*") if path.is_file()}
        for option in ("--dry-run", "--yes"):
            result = host.run("store", "restore", str(file), option)
            assert result.exit_code == 1
            assert len(result.output.splitlines()) == 1
            assert mine in result.output
            assert theirs in result.output
            assert f"remove {host.config / 'store_id'}" in result.output
        assert {path: path.read_bytes() for path in host.folder.rglob("*") if path.is_file()} == before
        assert not (tmp_path / "mistyped").exists()
        host.data = present
        host.begin()
        (host.config / "store_id").unlink()
        host.done("store", "restore", str(file), "--yes")
        assert host.identifiers() == (theirs, theirs)
        host.begin()

    @pytest.mark.parametrize("lost", [False, True])
    def test_a_backup_without_an_identifier(self, old: Host, tmp_path: Path, lost: bool) -> None:
        """A backup without an identifier gets that of the configuration folder, so that the service starts."""
        known = old.identifiers()[0]
        (old.data / "instance" / "store.json").unlink()
        (old.config / "store_id").unlink()
        old.done("store", "backup", str(tmp_path / "before.gz"))
        (old.config / "store_id").write_text(known + "\n")
        if lost:
            shutil.rmtree(old.data)
        else:
            record = {"format": 1, "name": "store", "identifier": known}
            (old.data / "instance" / "store.json").write_text(json.dumps(record))
        old.done("store", "restore", str(tmp_path / "before.gz"), "--yes")
        assert old.identifiers() == (known, known)
        old.begin()
