"""Copies of the audit log between files and a database, and the deletion of old events."""

import gzip
import json
import logging
import threading
from pathlib import Path

import pytest

from datafor_token.audit.copying import Copied, copy
from datafor_token.audit.writer import AuditLog
from datafor_token.operations.audit_logs import Retention
from datafor_token.store.sql import schema
from datafor_token.store.sql.engine import Database
from datafor_token.store.sql.store import SqlStore
from datafor_token.validation.logs import timestamp
from tests.audit.test_filters import line
from tests.operations.test_migration import shell
from tests.processes import environment, first_start
from tests.stores import COLLECTIONS


def store_in(folder: Path) -> tuple[SqlStore, str]:
    url = f"sqlite:///{folder}/records.db"
    database = Database(url, 30, 30)
    schema.create(database)
    return SqlStore(database, COLLECTIONS), url


def test_a_copy_of_rotated_files(tmp_path: Path) -> None:
    """A copy has the events of all files, oldest first, each with the name of a node, and nothing that is no event."""
    old = [line(time=timestamp(number), node="node-x") for number in range(3)]
    new = [line(time=timestamp(number), event="user_made") for number in range(3, 6)]
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(b"".join(old)))
    (tmp_path / "audit.log").write_bytes(b"\x00\x00\n" + b"".join(new) + b"{}\nin progress")
    store, _ = store_in(tmp_path)
    assert copy(AuditLog(tmp_path), store.line_log, "node-a") == Copied(6, 2)
    assert copy(AuditLog(tmp_path), store.line_log, "node-a") == Copied(0, 2)
    events = [json.loads(one) for one in store.line_log.oldest_first()]
    assert [event["time"] for event in events] == [timestamp(number) for number in range(6)]
    assert [event["node"] for event in events] == ["node-x"] * 3 + ["node-a"] * 3
    # NODE was set meanwhile.
    assert copy(AuditLog(tmp_path), store.line_log, "node-b") == Copied(0, 2)
    assert list(events[-1])[-2:] == ["target", "node"]


def test_a_node_that_was_renamed(tmp_path: Path) -> None:
    """The events of a node that has another name since its first import are not added again."""
    log, (store, _) = AuditLog(tmp_path), store_in(tmp_path)
    log.append(line(time=timestamp(1)) + line(time=timestamp(1)) + line(time=timestamp(2), node="node-x"))
    assert copy(log, store.line_log, "node-a") == Copied(3, 0)
    log.append(line(time=timestamp(3)))
    assert copy(log, store.line_log, "node-b") == Copied(1, 0)
    events = [json.loads(one) for one in store.line_log.oldest_first()]
    assert [event["node"] for event in events] == ["node-a", "node-a", "node-x", "node-b"]


def test_there_and_back(tmp_path: Path) -> None:
    """A file that was copied to a database gets only what is new when the database is copied back."""
    log, (store, _) = AuditLog(tmp_path), store_in(tmp_path)
    log.append(line(time=timestamp(1)) + line(time=timestamp(1)))
    copy(log, store.line_log, "node-a")
    store.line_log.append(line(time=timestamp(2), node="node-b"))
    assert copy(store.line_log, log, "node-a") == Copied(1, 0)
    assert [json.loads(one).get("node") for one in log.oldest_first()] == [None, None, "node-b"]
    assert copy(store.line_log, AuditLog(tmp_path), "node-a") == Copied(0, 0)


def test_a_damaged_file(tmp_path: Path) -> None:
    """A copy of damaged files adds what can be read, and the commands name the files and fail."""
    source = tmp_path / "data"
    first_start(environment(tmp_path))
    last = [line(time=timestamp(number), event="user_made", actor=f"name {number}") for number in range(1000)]
    packed = gzip.compress(b"".join(last))
    damaged = {
        "audit.log.1.gz": packed[: len(packed) // 2],
        "audit.log.2.gz": b"",
        "audit.log.3.gz": b"no gzip\n",
        "audit.log.5.zst": b"",
    }
    for name, content in damaged.items():
        (source / name).write_bytes(content)
    (source / "audit.log.4").mkdir()
    store, _ = store_in(tmp_path)
    copied = copy(AuditLog(source), store.line_log, "node-a")
    assert 0 < copied.added < 1000
    assert copied.unread == sorted([*damaged, "audit.log.4"])
    to = f"sqlite:///{tmp_path}/other.db"
    for command, url in (("store", "migrate", "--to", to), "file"), (("audit", "import", str(source)), to):
        done = shell(tmp_path, *command, store=url)
        assert (done.returncode, "could be read: repair, unpack or" in done.stderr) == (1, True), done.stderr
        assert all(name in done.stderr for name in copied.unread)


def test_import(tmp_path: Path) -> None:
    """The command adds the events of a folder once, names a folder without files, and refuses a log in files."""
    folder = tmp_path / "of node b"
    folder.mkdir()
    (folder / "audit.log").write_bytes(line(time=timestamp(1)) + line(time=timestamp(2)))
    _, url = store_in(tmp_path)
    first_start(environment(tmp_path, DATAFOR_TOKEN_STORE=url))
    done = shell(tmp_path, "audit", "import", str(folder), "--json", store=url)
    assert json.loads(done.stdout) == {"added": 2, "skipped": 0, "warnings": []}, done.stderr
    done = shell(tmp_path, "audit", "import", str(folder), store=url)
    assert done.stderr == "0 events were added to the audit log in the database\n"
    done = shell(tmp_path, "audit", "import", store=url)
    assert "has no audit.log: name the folder" in done.stderr
    assert len(json.loads(shell(tmp_path, "audit", "show", "--event", "sign_in", "--json", store=url).stdout)) == 2
    in_files = tmp_path / "in files"
    in_files.mkdir()
    first_start(environment(in_files))
    assert "in files already" in shell(in_files, "audit", "import", str(folder)).stderr


def test_retention(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old events are deleted in parts until none is left; what is younger stays, and a file is left to logrotate."""
    monkeypatch.setattr("datafor_token.store.sql.audit_lines._ADDED", 3)
    store, _ = store_in(tmp_path)
    lines = [line(time=timestamp(number)) for number in range(10)]
    store.line_log.add_missing([*lines, line(time="2999-01-01T00:00:00.000Z")])
    pause = threading.Event()
    pause.set()
    with caplog.at_level(logging.INFO):
        Retention(store.line_log, 30).delete(pause)
    assert len(list(store.line_log.oldest_first())) == 1
    assert 'event="old events deleted" number=10 days=30' in caplog.text
    AuditLog(tmp_path).append(lines[0])
    Retention(AuditLog(tmp_path), 30).delete(pause)
    assert len(list(AuditLog(tmp_path).oldest_first())) == 1


@pytest.mark.parametrize("days", [0, 30])
def test_retention_is_off_by_default(tmp_path: Path, days: int) -> None:
    """No thread deletes events unless AUDIT_DAYS is set and the log is in a database."""
    store, _ = store_in(tmp_path)
    Retention(AuditLog(tmp_path) if days else store.line_log, days).start()
    assert "audit retention" not in {thread.name for thread in threading.enumerate()}
