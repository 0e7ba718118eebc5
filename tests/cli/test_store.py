"""``datafor-token store check``, and an unavailable store."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from datafor_token.settings import Settings
from tests.cli.shell import Shell, fill
from tests.conftest import Caller
from tests.handmade_tokens import NOW
from tests.stores import Record, unavailable


@pytest.mark.file_store
def test_check(shell: Shell, caller: Caller, settings: Settings) -> None:
    """Five kinds of damage are reported file by file; repair moves those files aside and changes nothing else."""
    fill(caller)
    assert shell.done("store", "check") == "All records are valid\n"
    data = settings.data_dir
    whole = (data / "applications" / "erp.json").read_bytes()
    damaged = {
        "applications/cut.json": whole[:50],
        "applications/schema.json": b'{"name": "schema", "expire": 5}',
        "applications/other.json": whole,
        "users/binary.json": b"\xff\x00",
        "users/kind.json": b'{"name": "kind", "type": "Boss"}',
    }
    for name, content in damaged.items():
        (data / name).write_bytes(content)
    (data / "users" / ".temp-dead").write_bytes(b"x")
    output = shell.refused("store", "check")
    assert all(name in output for name in (*damaged, ".temp-dead"))
    assert len(output.splitlines()) == 6
    shell.done("store", "check", "--repair")
    assert shell.done("store", "check") == "All records are valid\n"
    assert sorted(path.read_bytes() for path in (data / "damaged").iterdir()) == sorted(damaged.values())
    assert len(caller.get("list").json["data"]) == 2


@pytest.mark.file_store
@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE])
def test_an_unreadable_file_is_not_damaged(
    shell: Shell, caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A record that the system cannot read is an outage: exit code 3 and a message; the file stays in place."""
    fill(caller)
    file = settings.data_dir / "applications" / "erp.json"
    whole = os.open

    def refused(path: Any, *rest: Any, **named: Any) -> int:
        if str(path) == str(file):
            raise OSError(number, os.strerror(number))
        return whole(path, *rest, **named)

    for options in ((), ("--repair",)):
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refused)
            output = shell.refused("store", "check", *options, code=3)
        assert f"cannot read applications/erp.json: {os.strerror(number)}" in output
        assert file.exists()
    assert shell.done("store", "check") == "All records are valid\n"


@pytest.mark.file_store
def test_repair_moves_links_aside(shell: Shell, settings: Settings) -> None:
    """A link or a folder instead of a record is damage, and is moved aside."""
    (settings.data_dir / "applications" / "link.json").symlink_to("/nowhere")
    (settings.data_dir / "applications" / "folder.json").mkdir()
    shell.done("store", "check", "--repair")
    assert len(list((settings.data_dir / "damaged").iterdir())) == 2


@pytest.mark.file_store
def test_repair_keeps_what_it_moved_before(shell: Shell, settings: Settings) -> None:
    """A file that was moved aside is never replaced by another one of that name."""
    for content in ("first", "second"):
        Record(settings.data_dir, "applications", "x").write_text(content)
        shell.done("store", "check", "--repair")
    assert {path.read_text() for path in (settings.data_dir / "damaged").iterdir()} == {"first", "second"}


@pytest.mark.file_store
def test_progress(shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
    """With more than a thousand records, check and restore report their progress on standard error."""
    fill(caller)
    assert "Checking" not in shell("store", "check").stderr
    for number in range(1000):
        document = {"format": 1, "name": f"{number:064x}", "expires": NOW + 1000}
        Record(settings.data_dir, "revocations", f"{number:064x}").write_text(json.dumps(document))
    result = shell("store", "check")
    assert (result.stdout, result.stderr) == ("All records are valid\n", "Checking\n")
    shell.done("store", "backup", str(tmp_path / "backup.gz"))
    result = shell("store", "restore", str(tmp_path / "backup.gz"), "--yes")
    assert (result.stdout, result.stderr) == ("0 created, 0 changed, 0 deleted\n", "Checking\nWriting\n")


def test_an_unavailable_store_is_3(shell: Shell, settings: Settings) -> None:
    """If the store is missing, commands exit with 3 and a message."""
    with unavailable(settings.data_dir, "users"):
        for arguments in (("user", "list"), ("user", "enable", "lena"), ("store", "check")):
            assert "storage is unavailable" in shell.refused(*arguments, code=3)
