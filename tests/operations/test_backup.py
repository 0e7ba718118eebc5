"""Backups and restores: authenticity, bounds on size, and the preview of what a restore would give access to."""

import gzip
import json
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import Forbidden
from datafor_token.operations import backup
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.service import BEFORE, KEYS, NEW, OLD, Service
from tests.stores import Record, records_in
from tests.support import ADMIN_PASSWORD, ROOT, STRONG_SECRET, application

pytestmark = pytest.mark.file_store
CHECK, EXTENSION = "/auth/check", "/plugin/datafor/api/extension"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.gz"


def filled(service: Service) -> Caller:
    caller = service.start(OLD)
    caller.post("update", application(secret=STRONG_SECRET))
    service.run("user", "add", "lena", put="a-long-password")
    return caller


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def put(file: Path, lines: list[dict[str, Any]], *, fit: bool = True) -> None:
    """Write a backup as an attacker without the key can: ``fit`` the number of records, leave the code unchanged."""
    if fit:
        lines[0]["records"] = sum("document" in line for line in lines)
    file.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))


def forged(file: Path, change: Callable[[dict[str, Any]], Any], name: str = "lena") -> None:
    """Change one record of a backup."""
    lines = lines_of(file)
    (line,) = (line for line in lines if line.get("document", {}).get("name") == name)
    change(line["document"])
    put(file, lines)


def state(service: Service) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in service.settings.data_dir.rglob("*.json")}


def eve(file: Path) -> dict[str, Any]:
    (admin,) = (line for line in lines_of(file) if line.get("document", {}).get("name") == "admin")
    return {**admin, "document": {**admin["document"], "name": "eve"}}


def test_a_changed_backup_is_refused(service: Service, file: Path) -> None:
    """Any change of the content is refused, nothing is changed, and the error names --unauthenticated."""
    filled(service)
    service.run("store", "backup", str(file))
    whole, lines = file.read_bytes(), lines_of(file)
    before = state(service)
    code = lines[-1]["hmac"]
    for changed in (
        [*lines[:1], eve(file), *lines[1:]],
        [*lines[:-2], lines[-1]],
        [lines[0], *reversed(lines[1:-1]), lines[-1]],
        [{**lines[0], "more": 1}, *lines[1:]],
        [*lines[:-1], {"hmac": code[:-1] + ("0" if code[-1] != "0" else "1")}],
        [*lines[:-1], {"hmac": "\ud800"}],
        [*lines[:-1], {"hmac": ""}],
        lines[:-1],
    ):
        put(file, [dict(line) for line in changed])
        for options in (("--dry-run",), ("--yes",)):
            said = service.refused("store", "restore", str(file), *options)
            assert "--unauthenticated" in said
            assert len(said.splitlines()) == 1
    assert state(service) == before
    file.write_bytes(whole)
    service.run("store", "restore", str(file), "--yes")


def test_every_changed_byte_is_refused(service: Service, file: Path) -> None:
    """A backup in which one byte was changed, removed or added is not authentic."""
    filled(service)
    service.run("store", "backup", str(file))
    keyring = Keyring(KEYS[:1])
    data = gzip.decompress(file.read_bytes())
    for place in range(0, len(data), 11):
        for changed in (
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :],
            data[:place] + data[place + 1 :],
            data[:place] + b" " + data[place:],
        ):
            file.write_bytes(gzip.compress(changed, 1))
            with pytest.raises(Forbidden):
                backup.read(file, keyring)


def test_a_truncated_backup_is_refused(service: Service, file: Path) -> None:
    """A truncated file, or one with data after its end, is refused, also with --unauthenticated."""
    filled(service)
    service.run("store", "backup", str(file))
    keyring, data = Keyring(KEYS[:1]), file.read_bytes()
    for changed in (*(data[:length] for length in range(0, len(data), 5)), data + b"\0", data + data, data * 2 + b"x"):
        file.write_bytes(changed)
        for unauthenticated in (False, True):
            with pytest.raises(Forbidden, match="not a whole backup"):
                backup.read(file, keyring, unauthenticated=unauthenticated)


def test_an_unauthenticated_restore(service: Service, file: Path) -> None:
    """With `--unauthenticated` a changed backup is restored, after a warning and the names of new Administrators."""
    filled(service)
    service.run("store", "backup", str(file))
    lines = lines_of(file)
    put(file, [*lines[:1], eve(file), *lines[1:]])
    for options in (("--dry-run",), ("--yes",)):
        result = service.invoke("store", "restore", str(file), "--unauthenticated", *options)
        assert result.exit_code == 0, result.output
        assert "may have added users" in result.stderr
        assert result.stdout.splitlines()[0] == "New Administrators: eve"
    line = (service.settings.data_dir / "audit.log").read_text().splitlines()[-1]
    assert (json.loads(line)["event"], json.loads(line)["reason"]) == ("store_restored", "unauthenticated")


def test_a_backup_of_version_0_1_0(service: Service, file: Path) -> None:
    """A backup of version 0.1.0 is refused with an explanation; with `--unauthenticated` all of it is restored."""
    filled(service)
    file.write_bytes(gzip.compress(BEFORE["backup"].encode()))
    said = service.refused("store", "restore", str(file), "--yes")
    assert "written by an earlier version" in said
    assert "--unauthenticated" in said
    service.run("store", "restore", str(file), "--unauthenticated", "--yes")
    caller = service.start(OLD)
    for name, key in (("ERP", "abcd"), ("CRM", "after")):
        assert caller.post("generate", {"name": name, "privateKey": key}).status_code == 200
    for name in ("applications/erp", "applications/crm", "users/admin", "users/lena"):
        record = Record(service.settings.data_dir, *name.split("/"))
        assert json.loads(record.read_text()) == json.loads(BEFORE["files"][f"{name}.json"])
    assert caller.get(CHECK, {"Authorization": f"Bearer {BEFORE['revoked_token']}"}).status_code == 401
    assert caller.get(CHECK, {"Authorization": f"Bearer {BEFORE['live_token']}"}).status_code == 200


CHANGES: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("lena", lambda user: user.update(type="Administrator"), "New Administrators: lena"),
    ("lena", lambda user: user.update(type="SYS_Creator"), "Changed users: lena (type)"),
    ("lena", lambda user: user.update(password="$argon2id$other"), "Changed users: lena (password)"),
    ("lena", lambda user: user.update(roles=["Boss"], enabled=False), "Changed users: lena (roles, enabled)"),
    ("ERP", lambda one: one.update(secret="guessed"), "Changed applications: ERP (secret)"),
    ("ERP", lambda one: one.update(previous={"secret": "x", "until": 9**15}), "Changed applications: ERP (previous)"),
    ("ERP", lambda one: one.update(algorithm="HS384"), "Changed applications: ERP (algorithm)"),
    ("ERP", lambda one: one.update(initroles=["Administrator"]), "Changed applications: ERP (initroles)"),
    ("ERP", lambda one: one.update(name="ERX", secret="x"), "Changed applications: ERX (new)"),
]


@pytest.mark.parametrize(("name", "change", "says"), CHANGES, ids=[says for _, _, says in CHANGES])
def test_a_restore_names_changes_of_access(service: Service, file: Path, name: str, change: Any, says: str) -> None:
    """A restore names the users and applications whose access it changes, in a dry run and before it starts."""
    filled(service)
    service.run("store", "backup", str(file))
    forged(file, change, name)
    for options in (("--dry-run",), ("--yes",)):
        printed = service.run("store", "restore", str(file), "--unauthenticated", *options)
        assert says in printed.splitlines()
    assert len(service.run("store", "restore", str(file), "--unauthenticated", "--yes").splitlines()) == 1


def test_a_restore_names_what_it_deletes(service: Service, file: Path) -> None:
    """A restore names deleted users, Administrators first, and applications; it does not count sessions."""
    caller = filled(service)
    service.run("store", "backup", str(file))
    service.run("user", "add", "Anna", put="a-long-password")
    service.run("user", "add", "zoe", "--type", "Administrator", put="a-long-password")
    caller.post("update", application(name="CRM", secret=STRONG_SECRET))
    login = {"username": "admin", "password": ADMIN_PASSWORD}
    assert caller.post(f"{EXTENSION}/auth/login", login, headers={}).status_code == 200
    said = service.run("store", "restore", str(file), "--dry-run").splitlines()
    assert said == [
        "Deleted users: zoe (Administrator), Anna",
        "Deleted applications: CRM",
        "would be: 0 created, 0 changed, 3 deleted",
    ]
    assert service.run("store", "restore", str(file), "--yes").splitlines()[:2] == said[:2]


def test_a_long_list_is_truncated(service: Service, file: Path) -> None:
    """A long list shows the first fifty names and the number of the others."""
    filled(service)
    service.run("store", "backup", str(file))
    lines = lines_of(file)
    more = [{**eve(file), "document": {**eve(file)["document"], "name": f"eve{number:03}"}} for number in range(60)]
    put(file, [*lines[:1], *more, *lines[1:]])
    first = service.run("store", "restore", str(file), "--unauthenticated", "--dry-run").splitlines()[0]
    assert first.endswith("eve049, and 10 more")


def test_control_characters_are_not_printed(service: Service, file: Path) -> None:
    """No text of a backup reaches the terminal as a control sequence or starts a new line."""
    filled(service)
    service.run("store", "backup", str(file))
    lines = lines_of(file)
    application_line = next(line for line in lines if line.get("document", {}).get("name") == "ERP")
    hostile = "\x1b[2J\n\u202e\x07"
    for line in (
        {**eve(file), "document": {**eve(file)["document"], "name": hostile}},
        {**application_line, "document": {**application_line["document"], "name": hostile}},
        {"collection": hostile, "document": {"name": "x"}},
    ):
        put(file, [*lines[:1], line, *lines[1:]])
        said = service.refused("store", "restore", str(file), "--unauthenticated", "--dry-run")
        assert not {"\x1b", "\x07", "\u202e"} & set(said)
        assert len(said.splitlines()) == 1
    put(file, [{**lines[0], "key": hostile}, *lines[1:]])
    said = service.refused("store", "restore", str(file))
    assert (len(said.splitlines()), "\x1b" in said) == (1, False)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[0].update(records=len(lines)),
        lambda lines: lines[0].update(records=-1),
        lambda lines: lines[0].update(records="3"),
        lambda lines: lines[0].update(format=3),
        lambda lines: lines[0].update(format=[]),
        lambda lines: lines[0].update(key="0" * 16),
        lambda lines: lines[0].pop("datafor_token"),
        lambda lines: lines.insert(1, lines[1]),
        lambda lines: lines.insert(1, {"collection": "users", "document": {**lines[1]["document"], "name": "ADMIN"}}),
        lambda lines: lines.insert(1, {"collection": "sessions", "document": {"name": "x"}}),
        lambda lines: lines.insert(1, {"collection": "instance", "document": {"name": "key", "identifier": "0"}}),
        lambda lines: lines.insert(1, {"collection": ["users"], "document": {"name": "x"}}),
        lambda lines: lines.insert(1, {"collection": "revocations", "document": {"name": "x" * 2000}}),
        lambda lines: lines.insert(1, {"collection": "revocations", "document": {"name": None}}),
        lambda lines: lines.insert(1, {"collection": "users", "document": {"name": "x", "type": "Boss"}}),
        lambda lines: lines.insert(1, {"collection": "users"}),
        lambda lines: lines.clear() or lines.append([]),
    ],
)
def test_invalid_content_is_refused(service: Service, file: Path, change: Any) -> None:
    """A wrong count, a duplicate name, a foreign collection or an invalid record is refused, also unauthenticated."""
    filled(service)
    service.run("store", "backup", str(file))
    lines = lines_of(file)
    number = len(lines)
    change(lines)
    put(file, lines, fit=len(lines) > number)
    before = state(service)
    service.refused("store", "restore", str(file), "--unauthenticated", "--yes")
    assert state(service) == before


class TestBombs:
    """Small files that decompress to large ones."""

    def header(self, records: int = 10**6) -> bytes:
        key = Keyring(KEYS[:1]).identifier
        return json.dumps({"datafor_token": "backup", "format": 1, "key": key, "records": records}).encode() + b"\n"

    def write(self, file: Path, begin: bytes, part: bytes, times: int) -> None:
        """Write a file of ``begin`` and many times ``part``, which is compressed once."""
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        start = packer.compress(begin) + packer.flush(zlib.Z_FULL_FLUSH)
        block = packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH)
        with file.open("wb") as out:
            out.write(start)
            for _ in range(times):
                out.write(block)
            # Its checksum is wrong, which only a reader of the whole file notices.
            out.write(packer.flush())

    @pytest.mark.slow
    @pytest.mark.parametrize("unauthenticated", [False, True])
    @pytest.mark.parametrize(
        ("header", "part", "times"),
        [
            (False, b"\0" * 2**20, 3000),
            (True, b" " * 2**20, 3000),
            (True, b'{"collection": "users", "document": {"name": "x"}}\n' * 20_000, 3000),
            (True, b'{"collection": "users", "document": {"name": "x", "y": [' + b"[]," * 300_000 + b"0]}}\n", 1200),
            (True, b"\n" * 2**20, 3000),
        ],
        ids=["zeros", "one line", "records", "lists", "lines"],
    )
    def test_memory_is_bounded(self, file: Path, header: bool, part: bytes, times: int, unauthenticated: bool) -> None:
        """A file of three megabytes with three gigabytes of data is refused within 700 MiB of memory."""
        self.write(file, self.header() if header else b"", part, times)
        assert str(file) in self.read(file, *(["yes"] if unauthenticated else []))

    def read(self, file: Path, *unauthenticated: str) -> str:
        """Read a backup in a process with little memory; return what it prints."""
        script = (
            "import sys; from pathlib import Path; from datafor_token.operations import backup\n"
            "from datafor_token.errors import Forbidden; from datafor_token.crypto.at_rest import Keyring\n"
            "try:\n"
            "    keyring = Keyring([bytes(range(32))])\n"
            "    found = backup.read(Path(sys.argv[1]), keyring, unauthenticated=bool(sys.argv[2:]))\n"
            "    print(len(found.records), 'records')\n"
            "except Forbidden as error: print(error)\n"
        )
        limit = 700 * 2**20
        done = subprocess.run(
            [sys.executable, "-c", script, str(file), *unauthenticated],
            cwd=ROOT, capture_output=True, text=True, check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    @pytest.mark.slow
    def test_very_many_records(self, file: Path) -> None:
        """The largest allowed number of small records is read within 700 MiB of memory; one more is refused."""
        number = backup.MAX_UNAUTHENTICATED_SIZE // 200
        lines = (b'{"collection": "revocations", "document": {"name": "%d"}}\n' % one for one in range(number))
        file.write_bytes(gzip.compress(self.header(number) + b"".join(lines), 1))
        assert f"{number} records" in self.read(file, "yes")
        file.write_bytes(gzip.compress(self.header(number + 1) + b"\n" * number, 1))
        assert "larger than a backup of its kind" in self.read(file, "yes")

    def test_too_many_records(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """More records than allowed are refused, however small they are."""
        monkeypatch.setattr(backup, "MAX_RECORDS", 10)
        line = b'{"collection": "revocations", "document": {"name": "%d"}}\n'
        file.write_bytes(gzip.compress(self.header(20) + b"".join(line % number for number in range(20))))
        with pytest.raises(Forbidden):
            backup.read(file, Keyring(KEYS[:1]), unauthenticated=True)

    def test_a_store_that_is_too_large_is_not_backed_up(
        self, service: Service, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store that is larger than a backup may be is not backed up, and the command reports that."""
        filled(service)
        monkeypatch.setattr(backup, "MAX_SIZE", 100)
        assert "more than a backup may have" in service.refused("store", "backup", str(file))
        assert not file.exists()


def test_a_pipe_is_refused(service: Service, tmp_path: Path) -> None:
    """A file that is not a regular one is refused at once."""
    service.start(OLD)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in service.refused("store", "restore", str(tmp_path / "pipe"))


class TestKeys:
    """The key of a backup and the keys of the service that restores it."""

    def test_a_missing_key(self, service: Service, file: Path) -> None:
        """Without its key a backup is refused; the error names that key, the present ones, and what to do."""
        filled(service)
        service.run("store", "backup", str(file))
        for path in service.settings.data_dir.rglob("*.json"):
            path.unlink()
        service.start(NEW)
        for options in ((), ("--unauthenticated",)):
            said = service.refused("store", "restore", str(file), "--yes", *options)
            assert Keyring(KEYS[:1]).identifier in said
            assert Keyring(KEYS[1:2]).identifier in said
            assert "config/secret_key" in said

    def test_under_a_former_key(self, service: Service, file: Path) -> None:
        """A backup with a former key is authentic; its secrets and revocations are valid after that key is removed."""
        caller = filled(service)
        text = token(claims(), secret=STRONG_SECRET)
        caller.post("revoke", {"token": text})
        service.run("store", "backup", str(file))
        for path in service.settings.data_dir.rglob("*.json"):
            path.unlink()
        service.start(NEW, OLD)
        (service.settings.config_dir / "store_id").unlink()
        said = service.invoke("store", "restore", str(file), "--yes").stderr
        assert Keyring(KEYS[:1]).identifier in said
        caller = service.start(NEW)
        assert caller.post("generate", {"name": "ERP", "privateKey": STRONG_SECRET}).status_code == 200
        assert caller.get(CHECK, {"Authorization": f"Bearer {text}"}).status_code == 401
        fresh = token(claims(loginname="otto"), secret=STRONG_SECRET)
        assert caller.get(CHECK, {"Authorization": f"Bearer {fresh}"}).status_code == 200

    def test_after_a_key_change(self, service: Service, file: Path) -> None:
        """A backup contains the former identifier keys: tokens revoked with them stay revoked on a new host."""
        caller = filled(service)
        text = token(claims(), secret=STRONG_SECRET)
        caller.post("revoke", {"token": text})
        service.start(NEW, OLD)
        service.run("store", "rekey")
        service.start(NEW)
        service.run("store", "backup", str(file))
        for path in service.settings.data_dir.rglob("*.json"):
            path.unlink()
        service.start(NEW)
        (service.settings.config_dir / "store_id").unlink()
        service.run("store", "restore", str(file), "--yes")
        caller = service.start(NEW)
        assert caller.get(CHECK, {"Authorization": f"Bearer {text}"}).status_code == 401
        fresh = token(claims(loginname="otto"), secret=STRONG_SECRET)
        assert caller.get(CHECK, {"Authorization": f"Bearer {fresh}"}).status_code == 200


def test_the_content_of_a_backup(service: Service, file: Path) -> None:
    """A backup has applications, users, revocations and the identifier; no session, ticket, count, log or metric."""
    caller = filled(service)
    live, gone = (token(claims(loginname=name), secret=STRONG_SECRET) for name in ("lena", "otto"))
    login = {"username": "admin", "password": ADMIN_PASSWORD}
    cookie = caller.post(f"{EXTENSION}/auth/login", login, headers={}).json["jsessionid"]
    caller.post(f"{EXTENSION}/auth/login", {**login, "password": "wrong"}, headers={})
    gate = caller.get(f"/auth/enter?token={live}&next=/", headers={}).headers["Set-Cookie"]
    caller.post("link", {"username": "lena"})
    caller.post("revoke", {"token": gone})
    data = service.settings.data_dir
    present = {(folder.name, path.stem) for folder in data.iterdir() for path in folder.glob("*.json")}
    assert {folder for folder, _ in present} >= {"sessions", "tickets", "instance"}
    assert len(records_in(data, "sessions")) == 2
    service.run("store", "backup", str(file))
    lines = lines_of(file)
    held = {(line["collection"], line["document"]["name"].lower()) for line in lines[1:-1]}
    kept = {(folder, name) for folder, name in present if folder in ("applications", "users", "revocations")}
    # The identifier is how the server recognizes its store.
    assert held == kept | {("instance", "store")}
    text = gzip.decompress(file.read_bytes()).decode()
    for name in [record.name for folder in ("sessions", "tickets") for record in records_in(data, folder)]:
        assert name not in text
    assert "audit" not in text
    assert "throttle" not in text
    service.run("store", "restore", str(file), "--yes")
    caller = service.start(OLD)
    assert {folder for folder in ("sessions", "tickets") for _ in records_in(data, folder)} == set()
    assert caller.get(CHECK, {"Cookie": gate.partition(";")[0]}).status_code == 401
    detail = "/plugin/datafor-modeler/api/user/detail"
    assert caller.get(detail, {"Cookie": f"JSESSIONID={cookie}"}).status_code == 401
    assert caller.get(CHECK, {"Authorization": f"Bearer {gone}"}).status_code == 401
