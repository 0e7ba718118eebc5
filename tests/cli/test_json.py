"""``--json``, and what goes to standard output and to standard error."""

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from datafor_token.settings import Settings
from tests.cli.shell import Shell, fill
from tests.cli.test_commands import commands
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.processes import environment, first_start
from tests.stores import Record
from tests.support import ROOT, STRONG_SECRET, application, basic

TOKEN = token(claims())
DRY_RUN = {"changes", "dry_run", "rehearsal", "warnings"}
# Each command with its standard input, and the members of its document; an empty set is a list.
CASES: list[tuple[Sequence[str], str, set[str]]] = [
    (("drain",), "", {"draining", "warnings"}),
    (("user", "list"), "", set()),
    (("user", "show", "lena"), "", {"username", "name", "email", "type", "roles", "enabled"}),
    (("user", "add", "new"), "long enough", {"user", "warnings"}),
    (("user", "add", "new", "--random-password"), "", {"user", "password", "warnings"}),
    (("user", "passwd", "lena"), "long enough", {"user", "warnings"}),
    (("user", "passwd", "lena", "--random-password"), "", {"user", "password", "warnings"}),
    (("user", "set", "lena", "--no-roles"), "", {"user", "warnings"}),
    (("user", "enable", "lena"), "", {"user", "warnings"}),
    (("user", "disable", "lena"), "", {"user", "warnings"}),
    (("token", "personal", "lena"), "", set()),
    (("user", "sessions", "lena"), "", set()),
    (("user", "end-sessions", "lena"), "", {"ended", "warnings"}),
    (("user", "delete", "lena", "--yes"), "", {"deleted", "warnings"}),
    (("application", "list"), "", set()),
    (("application", "check"), "", {"since", "findings", "notes", "warnings"}),
    (("application", "add", "New"), STRONG_SECRET, {"application", "warnings"}),
    (("application", "add", "New", "--random-secret"), "", {"application", "secret", "warnings"}),
    (("application", "set", "ERP", "--expire", "5"), "", {"application", "warnings"}),
    (("application", "enable", "ERP"), "", {"application", "warnings"}),
    (("application", "disable", "ERP"), "", {"application", "warnings"}),
    (("application", "rotate", "ERP"), "", {"application", "secret", "warnings"}),
    (("application", "delete", "ERP", "--yes"), "", {"deleted", "warnings"}),
    (("application", "export"), "", {"application"}),
    (("application", "apply", "FILE"), "", {"changes", "dry_run", "warnings"}),
    (("application", "apply", "FILE", "--dry-run"), "", DRY_RUN),
    (("application", "set", "ERP", "--expire", "5", "--dry-run"), "", DRY_RUN),
    (("application", "disable", "ERP", "--dry-run"), "", DRY_RUN),
    (("application", "delete", "ERP", "--dry-run"), "", DRY_RUN),
    (("application", "rotate", "ERP", "--dry-run"), "", {*DRY_RUN, "after_grace"}),
    (("settings", "rehearse", "LEEWAY=5"), "", {"changes", "rehearsal", "warnings"}),
    (("token", "generate", "ERP", "--username", "lena"), "", {"token", "expire", "warnings"}),
    (("token", "explain"), TOKEN, {"accepted", "reason", "application", "steps"}),
    (("token", "decode"), TOKEN, {"header", "claims", "identifiers", "refused"}),
    (("token", "issued"), "", set()),
    (("token", "revoke"), TOKEN, {"revoked", "warnings"}),
    (("audit", "show"), "", set()),
    (("settings", "show"), "", set()),
    (("settings", "check"), "", {"valid", "folder", "warnings"}),
]
OF_FILES: list[tuple[Sequence[str], str, set[str]]] = [
    (("store", "check"), "", {"valid", "faults", "notes", "temporary", "moved_to", "warnings"}),
    (("store", "check", "--repair"), "", {"valid", "faults", "notes", "temporary", "moved_to", "warnings"}),
    (("store", "backup", "NEW"), "", {"file", "records", "warnings"}),
    (("store", "restore", "BACKUP", "--dry-run"), "", RESTORED := {
        "counts", "new_administrators", "changed_users", "changed_applications", "deleted_users",
        "deleted_applications", "dry_run", "warnings",
    }),
    (("store", "restore", "BACKUP", "--yes"), "", RESTORED),
    (("store", "rekey"), "", {"applications", "key", "warnings"}),
    (("store", "init"), "", {"created", "warnings"}),
]  # fmt: skip
# A file on standard output, and a server.
WITHOUT_JSON = {"settings example", "completion", "serve"}


def named(value: object) -> str:
    """Name a case by its command: the order of a set is another one in each process."""
    return " ".join(value) if isinstance(value, tuple) else ""


@pytest.fixture
def filled(shell: Shell, caller: Caller, tmp_path: Path) -> Shell:
    fill(caller)
    shell.done("user", "add", "lena", put="long enough")
    (tmp_path / "all.json").write_text(json.dumps({"application": [application(secret="weak", expire=5)]}))
    return shell


def document(result: Any) -> Any:
    """Return the document of a command that succeeded and printed nothing else."""
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return json.loads(result.stdout)


def test_every_command_has_the_option() -> None:
    """Each command has ``--json``, except those that print a file or serve."""
    lacking = {name for name, command in commands() if "--json" not in [one for p in command.params for one in p.opts]}
    assert lacking == WITHOUT_JSON
    tested = {" ".join(arguments[:2]) for arguments, *_ in (*CASES, *OF_FILES)}
    assert {name for name, _ in commands()} - WITHOUT_JSON - tested == {
        "application show",
        "store migrate",
        "gate rotate-key",
        "audit import",
    }


@pytest.mark.parametrize(("arguments", "put", "members"), CASES, ids=named)
@pytest.mark.parametrize("place", ["before", "inside", "after"])
def test_one_document(
    filled: Shell, tmp_path: Path, arguments: Sequence[str], put: str, members: set[str], place: str
) -> None:
    """A command with --json prints one document with its members, and nothing else, wherever --json stands."""
    words = [str(tmp_path / "all.json") if one == "FILE" else one for one in arguments]
    at = {"before": 0, "inside": 1, "after": len(words)}[place]
    found = document(filled(*words[:at], "--json", *words[at:], put=put))
    assert isinstance(found, list) if not members else set(found) == members


@pytest.mark.file_store
@pytest.mark.parametrize(("arguments", "put", "members"), OF_FILES, ids=named)
def test_one_document_of_files(
    filled: Shell, tmp_path: Path, arguments: Sequence[str], put: str, members: set[str]
) -> None:
    """Commands for records in files print one document, too."""
    filled.said("store", "backup", str(tmp_path / "BACKUP"))
    words = [str(tmp_path / one) if one in ("NEW", "BACKUP") else one for one in arguments]
    assert set(document(filled(*words, "--json", put=put))) == members


def test_members(filled: Shell, settings: Settings, tmp_path: Path) -> None:
    """Objects of a change are those that ``show`` prints; warnings are members."""
    added = document(filled("application", "add", "W", "--json", put="weak"))
    assert added["application"] == document(filled("application", "show", "w", "--json"))
    assert "secret is weak" in added["warnings"][0]
    assert document(filled("user", "disable", "lena", "--json"))["user"] == document(
        filled("user", "show", "lena", "--json")
    )
    applied = document(filled("application", "apply", str(tmp_path / "all.json"), "--dry-run", "--json"))
    assert applied["changes"][0]["fields"]["expire"] == {"old": 86400, "new": 5}
    assert applied["warnings"][0].startswith("ERP: secret is weak")
    refused = document(filled("token", "decode", "--json", put="e30.e30."))
    assert (refused["claims"], refused["identifiers"], "no signature" in refused["refused"]) == ({}, [], True)


@pytest.mark.file_store
def test_damaged_records(filled: Shell, settings: Settings) -> None:
    """A list without its damaged records is a list, with one object about them on standard error."""
    Record(settings.data_dir, "users", "lena").write_text("{")
    result = filled("user", "list", "--json")
    assert (result.exit_code, len(json.loads(result.stdout))) == (0, 1)
    assert json.loads(result.stderr) == {"warnings": ["lena: the record cannot be read"]}
    checked = filled("store", "check", "--json")
    assert (checked.exit_code, checked.stderr, json.loads(checked.stdout)["valid"]) == (1, "", False)
    assert json.loads(checked.stdout)["faults"][0]["record"].endswith("users/lena.json")


@pytest.mark.parametrize(
    ("arguments", "code", "members"),
    [
        (("user", "show", "nobody", "--json"), 1, {}),
        (("--json", "user", "delete", "admin", "--yes"), 1, {}),
        (("user", "--json", "add", "lena"), 1, {"password": 1}),
        (("application", "set", "ERP", "--expire", "0", "--json"), 1, {"expire": 1}),
        (("user", "delete", "lena", "--json"), 1, {}),
        (("token", "revoke", "x", "--json"), 1, {}),
        (("--json",), 2, {}),
        (("--json", "users"), 2, {}),
        (("user", "--json"), 2, {}),
        (("user", "list", "--json", "--colour"), 2, {}),
        (("user", "list", "--colour", "--json"), 2, {}),
        (("application", "add", "--json"), 2, {}),
        (("user", "list", "x", "--json"), 2, {}),
        (("user", "add", "x", "--type", "y", "--json"), 2, {}),
        (("user", "add", "x", "--password-file", "/nowhere", "--json"), 2, {}),
    ],
)
def test_errors(filled: Shell, arguments: Sequence[str], code: int, members: dict[str, int]) -> None:
    """With --json, each error is one object on standard error, also about a command line that cannot be parsed."""
    result = filled(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    found = json.loads(result.stderr)
    assert (found["exit_code"], bool(found["error"])) == (code, True)
    assert {field: len(sentences) for field, sentences in found.get("errors", {}).items()} == members
    assert set(found) - {"errors"} == {"error", "exit_code"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("user", "add", "new", "--random-password"), "new was added as SYS_Reader"),
        (("user", "passwd", "lena", "--random-password"), "lena has a new password"),
        (("application", "add", "New", "--random-secret"), "New was added"),
        (("application", "rotate", "erp"), "ERP has a new secret"),
        (("token", "generate", "erp", "--username", "lena"), "The token of ERP for lena expires in 86400 seconds"),
    ],
)
def test_a_result_stands_alone(filled: Shell, arguments: Sequence[str], sentence: str) -> None:
    """A password, secret or token is the only word on standard output; a sentence is on standard error."""
    result = filled(*arguments)
    assert (result.exit_code, result.stdout.count("\n"), len(result.stdout.split())) == (0, 1, 1)
    assert result.stderr == f"{sentence}\n"


def test_a_random_password_signs_in(filled: Shell, caller: Caller) -> None:
    """The printed password is the new one, and each is another."""
    detail = "/plugin/datafor-modeler/api/user/detail"
    first, second = (filled.done("user", "passwd", "lena", "--random-password").strip() for _ in range(2))
    assert first != second
    assert caller.get(detail, basic("lena", first)).status_code == 401
    assert caller.get(detail, basic("lena", second)).status_code == 200


@pytest.mark.file_store
def test_a_backup_on_standard_output(tmp_path: Path) -> None:
    """Beside a backup on standard output, the document is on standard error."""
    first_start(environment(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "datafor_token", "store", "backup", "-", "--json"],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stderr) == {"file": "-", "records": 1, "warnings": []}
    assert gzip.decompress(done.stdout)
