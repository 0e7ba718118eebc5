"""``datafor-token store backup`` and ``datafor-token store restore``."""

import gzip
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from datafor_token.settings import Settings
from tests.cli.shell import Shell, fill
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.processes import Process, environment, first_start, run_command
from tests.stores import Record, records_in
from tests.support import ADMIN_PASSWORD, API, SAMPLE_APPLICATION, STRONG_SECRET, Server, application, record_of

DETAIL = "/plugin/datafor-modeler/api/user/detail"


@pytest.mark.file_store
def test_backup_of_a_damaged_store(shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
    """A backup refuses to leave out a damaged record; a restore repairs it."""
    fill(caller)
    file = tmp_path / "backup.gz"
    shell.done("store", "backup", str(file))
    Record(settings.data_dir, "applications", "erp").write_text("x")
    assert "cannot be read: erp" in shell.refused("application", "export", code=3)
    assert "CRM" in shell.done("application", "export", "CRM")
    assert "store check --repair" in shell.refused("store", "backup", str(tmp_path / "other.gz"))
    assert [path.name for path in tmp_path.glob("*.gz*")] == ["backup.gz"]
    shell.done("store", "restore", str(file), "--yes")
    assert len(caller.get("list").json["data"]) == 2


@pytest.mark.file_store
def test_a_backup_goes_into_a_file_only(shell: Shell, tmp_path: Path) -> None:
    """A path that is not a regular file, or has no folder, is refused in one line."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "nowhere/file"):
        assert len(shell.refused("store", "backup", str(tmp_path / name)).splitlines()) == 1
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.file_store
@pytest.mark.parametrize("chain", [1, 2])
def test_a_backup_goes_where_a_link_leads(shell: Shell, tmp_path: Path, chain: int) -> None:
    """A link stays a link, its target is written, whether it exists or not, and no other file is left."""
    for name in ("present", "new"):
        links, files = tmp_path / f"{name}-links", tmp_path / f"{name}-files"
        links.mkdir()
        files.mkdir()
        target = files / "x.gz"
        if name == "present":
            target.write_text("before")
        leads_to = target
        for number in range(chain):
            (links / f"{number}").symlink_to(leads_to)
            leads_to = links / f"{number}"
        shell.done("store", "backup", str(leads_to))
        assert gzip.decompress(target.read_bytes())
        assert all(one.is_symlink() for one in links.iterdir())
        assert [one.name for one in files.iterdir()] == ["x.gz"]


@pytest.mark.file_store
def test_a_backup_into_redirected_output(shell: Shell, tmp_path: Path) -> None:
    """A link to a redirected output, such as /dev/stdout, stays, and the file gets the backup."""
    link = tmp_path / "stdout"
    with (tmp_path / "x.gz").open("w") as file:
        link.symlink_to(f"/proc/self/fd/{file.fileno()}")
        shell.done("store", "backup", str(link))
        assert link.is_symlink()
    assert gzip.decompress((tmp_path / "x.gz").read_bytes())


@pytest.mark.file_store
def test_a_backup_replaces_no_link(shell: Shell, tmp_path: Path) -> None:
    """A link to a pipe, to a deleted file or to itself is refused with a reason, and stays as it is."""
    os.mkfifo(tmp_path / "fifo")
    reader, writer = os.pipe()
    with (tmp_path / "deleted").open("w") as deleted:
        (tmp_path / "deleted").unlink()
        for name, leads_to in {
            "to-fifo": tmp_path / "fifo",
            "to-pipe": f"/proc/self/fd/{writer}",
            "to-deleted": f"/proc/self/fd/{deleted.fileno()}",
            "circle": tmp_path / "circle",
        }.items():
            link = tmp_path / name
            link.symlink_to(str(leads_to))
            output = shell.refused("store", "backup", str(link))
            assert str(link) in output, name
            assert len(output.splitlines()) == 1
            assert link.is_symlink()
    os.close(reader)
    os.close(writer)
    assert len(list(tmp_path.iterdir())) >= 5
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".to") or "deleted)" in one.name]


@pytest.mark.file_store
def test_why_a_backup_cannot_be_written(shell: Shell, tmp_path: Path) -> None:
    """The message has the reason of the operating system."""
    assert "No such file or directory" in shell.refused("store", "backup", str(tmp_path / "nowhere" / "x.gz"))


@pytest.mark.file_store
def test_backup_and_restore(shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
    """A restore brings back the records of the backup; sessions end, revoked tokens and cut-offs remain."""
    fill(caller)
    file = tmp_path / "backup.gz"
    assert shell.said("store", "backup", str(file)).startswith("3 records were written to")
    assert file.stat().st_mode & 0o777 == 0o600
    before = {path.name: path.read_text() for path in records_in(settings.data_dir, "applications")}
    caller.client.post(
        "/plugin/datafor/api/extension/auth/login", json={"username": "admin", "password": ADMIN_PASSWORD}
    )
    caller.post("delete", {"name": "ERP"})
    caller.post("update", application(name="CRM", token_name="t"))
    caller.post("update", application(name="New"))
    caller.post("revoke", {"token": token(claims())})
    caller.post("revoke", {"user": "otto", "before": "now"})
    output = shell.done("store", "restore", str(file), "--dry-run")
    assert (
        output
        == "Changed applications: ERP (new)\nDeleted applications: New\nwould be: 1 created, 1 changed, 1 deleted\n"
    )
    assert len(caller.get("list").json["data"]) == 2
    assert "give --yes" in shell.refused("store", "restore", str(file))
    shell.done("store", "restore", str(file), "--yes")
    after = {path.name: path.read_text() for path in records_in(settings.data_dir, "applications")}
    assert after == before
    assert caller.get(DETAIL, {}).status_code == 401
    for user in ("lena", "otto"):
        headers = {"Authorization": f"Bearer {token(claims(loginname=user))}"}
        assert caller.get(DETAIL, headers).status_code == 401
    caller.post("update", application(name="Later"))
    assert not [
        path
        for path in settings.data_dir.iterdir()
        if path.name.startswith(".restore") and path.name != ".restore-lock"
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-20],
        lambda _: b"nonsense",
        lambda _: b"",
        lambda _: gzip.compress(b""),
        lambda _: gzip.compress(b"\n"),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"records": 4', b'"records": 5')),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"format": 2, "key": "', b'"format": 2, "key": "0')),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"expire": 86400', b'"expire": 0')),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"name": "CRM"', b'"nome": "CRM"')),
        lambda data: gzip.compress(gzip.decompress(data).replace(b'"Administrator"', b'"SYS_Reader"')),
    ],
    ids=[
        "cut",
        "nonsense",
        "empty",
        "empty gzip",
        "one empty line",
        "one missing",
        "other key",
        "no record",
        "no name",
        "no Administrator",
    ],
)
@pytest.mark.file_store
def test_a_bad_backup_changes_nothing(shell: Shell, caller: Caller, tmp_path: Path, change: Any) -> None:
    """A backup that is cut off, foreign or not valid is refused completely."""
    fill(caller)
    file = tmp_path / "backup.gz"
    shell.done("store", "backup", str(file))
    file.write_bytes(change(file.read_bytes()))
    caller.post("update", application(name="New"))
    for options in (("--dry-run",), ("--yes",)):
        result = shell("store", "restore", str(file), *options)
        assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert len(caller.get("list").json["data"]) == 3


@pytest.mark.file_store
def test_backup_under_load(tmp_path: Path) -> None:
    """A backup under writes is consistent, and a restore into an empty folder gives the same records."""
    server = Server(tmp_path).start()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            # First, then second: a backup has the same number in both, or one less in the second.
            for name in ("First", "Second"):
                server.post("update", application(name=name, expire=number))

    writer = threading.Thread(target=write)
    writer.start()
    while server.request("GET", f"{API}/content?name=Second").status != 200:
        time.sleep(0.05)
    for number in range(3):
        assert run_command(tmp_path, "store", "backup", str(tmp_path / f"{number}.gz")).returncode == 0
    stop.set()
    writer.join()
    server.stop()
    for number in range(3):
        lines = [json.loads(line) for line in gzip.decompress((tmp_path / f"{number}.gz").read_bytes()).splitlines()]
        found = {line["document"]["name"]: line["document"].get("expire") for line in lines[1:-1]}
        assert found["First"] - found["Second"] in (0, 1)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config").mkdir()
    (other / "config" / "secret_key").write_text((tmp_path / "config" / "secret_key").read_text())
    done = run_command(other, "store", "restore", str(tmp_path / "2.gz"), "--yes")
    assert done.returncode == 0, done.stderr
    assert "valid" in run_command(other, "store", "check").stdout
    assert record_of(other / "config", other / "data", "first")["secret"] == SAMPLE_APPLICATION["secret"]


@pytest.mark.file_store
def test_a_restore_that_is_killed(tmp_path: Path) -> None:
    """Killed at any moment, a restore has happened whole or not at all once the next command has run."""
    first_start(environment(tmp_path))
    backup, file = tmp_path / "backup.gz", tmp_path / "all.json"

    def write(expire: int) -> None:
        changed = [application(name=name, secret=STRONG_SECRET, expire=expire) for name in ("A", "B", "C", "D")]
        file.write_text(json.dumps({"application": changed}))
        assert run_command(tmp_path, "application", "apply", str(file)).returncode == 0

    def restore() -> Process:
        return Process(("-m", "datafor_token", "store", "restore", str(backup), "--yes"), environment(tmp_path))

    write(86400)
    assert run_command(tmp_path, "store", "backup", str(backup)).returncode == 0
    begun = time.monotonic()
    assert restore().wait() == 0
    whole = time.monotonic() - begun
    outcomes = set()
    # From well before the first write to the end, however long it takes this time.
    for part in (0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, None):
        write(7)
        process = restore()
        if part is None:
            process.wait()
        else:
            time.sleep(part * whole)
        process.kill()
        assert process.wait() in (0, -9)
        rows = json.loads(run_command(tmp_path, "application", "list", "--json").stdout)
        assert len(rows) == 4
        assert len({row["expire"] for row in rows}) == 1
        outcomes |= {row["expire"] for row in rows}
    assert outcomes == {7, 86400}


@pytest.mark.file_store
def test_a_first_restore_with_the_wrong_key(tmp_path: Path) -> None:
    """On a new host, a wrong key, no key, or a bad backup creates nothing; the right key then restores all records."""
    first_start(environment(tmp_path))
    run_command(tmp_path, "application", "add", "ERP", put=STRONG_SECRET)
    backup = tmp_path / "backup.gz"
    assert run_command(tmp_path, "store", "backup", str(backup)).returncode == 0
    (tmp_path / "bad.gz").write_bytes(backup.read_bytes()[:-20])
    key = (tmp_path / "config" / "secret_key").read_text()
    other = tmp_path / "other"
    (other / "config").mkdir(parents=True)

    def restore(file: Path, *options: str, put: str = "") -> subprocess.CompletedProcess[str]:
        return run_command(other, "store", "restore", str(file), *options, put=put)

    assert "secret_key is missing" in restore(backup, "--yes").stderr
    (other / "config" / "secret_key").write_text("A" * 20 + key[20:])
    done = restore(backup, "--yes")
    assert (done.returncode, "key" in done.stderr) == (1, True)
    (other / "config" / "secret_key").write_text(key)
    assert restore(tmp_path / "bad.gz", "--yes").returncode == 1
    assert restore(backup, "--dry-run").stdout.endswith("\nwould be: 2 created, 0 changed, 0 deleted\n")
    assert restore(backup).returncode == 1
    assert sorted(path.name for path in other.rglob("*")) == ["config", "secret_key"]
    done = restore(backup, "--yes")
    assert (done.returncode, done.stdout.endswith("\n2 created, 0 changed, 0 deleted\n")) == (0, True), done.stderr
    for name in ("store_id", "secret_key"):
        assert (other / "config" / name).read_text() == (tmp_path / "config" / name).read_text()
    assert record_of(other / "config", other / "data", "erp")["secret"] == STRONG_SECRET
    # The server continues with the restored records, and its start creates nothing.
    first_start(environment(other))
    assert [row["username"] for row in json.loads(run_command(other, "user", "list", "--json").stdout)] == ["admin"]
    assert "store_restored" in run_command(other, "audit", "show").stdout


@pytest.mark.file_store
def test_a_restore_after_the_records_were_lost(tmp_path: Path) -> None:
    """After the loss of all records, a restore brings back the store with its identifier."""
    first_start(environment(tmp_path))
    assert run_command(tmp_path, "store", "backup", str(tmp_path / "backup.gz")).returncode == 0
    before = (tmp_path / "config" / "store_id").read_text()
    shutil.rmtree(tmp_path / "data")
    assert run_command(tmp_path, "store", "restore", str(tmp_path / "backup.gz"), "--yes").returncode == 0
    assert (tmp_path / "config" / "store_id").read_text() == before
    first_start(environment(tmp_path))
