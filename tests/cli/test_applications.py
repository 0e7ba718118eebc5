"""``datafor-token application``."""

import json
import os
from pathlib import Path

import pytest
from flask import Flask

from datafor_token.errors import Conflict
from datafor_token.operations import declared
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.processes import environment, first_start, run_command
from tests.stores import Record, records_in
from tests.support import SAMPLE_APPLICATION, STRONG_SECRET, application, key_for, public_pem, record_of


def test_add_and_change(shell: Shell, settings: Settings, caller: Caller) -> None:
    """An application is added with a given or a random secret, and changed field by field."""
    secret = shell.done("application", "add", "ERP", "--random-secret", "--claim-username", "loginname").strip()
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == secret
    output = shell("application", "add", "CRM", "--algorithm", "HS512", put="weak\n")
    assert (output.exit_code, "warning: secret is weak" in output.output) == (0, True)
    key = key_for("ES256")
    shell.done("application", "add", "P", "--algorithm", "ES256", put=public_pem(key))
    shell.done("application", "set", "ERP", "--expire", "60", "--initrole", "A", "--initrole", "B", "--inituser", "1")
    found = json.loads(shell.done("application", "show", "erp", "--json"))
    assert (found["expire"], found["initroles"], found["inituser"]) == (60, ["A", "B"], "1")
    assert found["fieldmap"]["username"] == "loginname"
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == secret
    shell.done("application", "disable", "ERP")
    assert caller.post("generate", {"name": "ERP"}).status_code == 403
    shell.done("application", "enable", "ERP")
    assert caller.post("generate", {"name": "ERP"}).status_code == 200
    new = shell.done("application", "rotate", "ERP", "--grace", "60").strip()
    record = record_of(settings.config_dir, settings.data_dir, "erp")
    assert (record["secret"], record["previous"]["secret"]) == (new, secret)
    shell.done("application", "set", "ERP", "--new-secret", put=STRONG_SECRET)
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == STRONG_SECRET
    rows = json.loads(shell.done("application", "list", "--json"))
    assert [row["name"] for row in rows] == ["CRM", "ERP", "P"]
    assert secret not in shell.done("application", "list")
    shell.done("application", "delete", "CRM", "--yes")
    assert len(json.loads(shell.done("application", "list", "--json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "put", "message", "code"),
    [
        (("add", "a/b"), "x", "name may only contain", 1),
        (("add", "erp"), "x", "name already exists", 1),
        (("add", "X", "--algorithm", "RS256"), "x", "secret ", 1),
        (("add", "X", "--expire", "0"), "x", "expire must be", 1),
        (("add", "X"), "", "secret cannot be empty: use --secret-file", 1),
        (("add", "X", "--algorithm", "RS256", "--random-secret"), "", "public key", 2),
        (("set", "nobody", "--expire", "5"), "", "does not exist: `datafor-token", 1),
        (("set", "ERP", "--algorithm", "RS256"), "", "secret ", 1),
        (("show", "nobody"), "", "does not exist: `datafor-token", 1),
        (("enable", "nobody"), "", "does not exist: `datafor-token", 1),
        (("disable", "nobody"), "", "does not exist: `datafor-token", 1),
        (("rotate", "nobody"), "", "does not exist: `datafor-token", 1),
        (("rotate", "ERP", "--grace", "-1"), "", "grace must be", 1),
        (("delete", "nobody", "--yes"), "", "does not exist: `datafor-token", 1),
        (("delete", "ERP"), "", "give --yes", 1),
        (("export", "nobody"), "", "application 'nobody' does not exist", 1),
    ],
)
def test_refused(
    shell: Shell,
    caller: Caller,
    settings: Settings,
    arguments: tuple[str, ...],
    put: str,
    message: str,
    code: int,
) -> None:
    """A refused command prints a message and changes nothing."""
    caller.post("update", SAMPLE_APPLICATION)
    path = Record(settings.data_dir, "applications", "erp")
    before = path.read_text()
    assert message in shell.refused("application", *arguments, put=put, code=code)
    assert path.read_text() == before
    assert len(records_in(settings.data_dir, "applications")) == 1


@pytest.mark.parametrize("form", ["toml", "json"])
def test_export_wipe_apply(shell: Shell, caller: Caller, settings: Settings, tmp_path: Path, form: str) -> None:
    """Applications that are exported with secrets, deleted and applied are the same; applying again changes nothing."""
    key = public_pem(key_for("RS256"))
    caller.post("update", application(initpwd="start", secret='a"b\\c\n\u540d'))
    caller.post("update", application(name="客户", algorithm="RS256", secret=key, self_service="0"))
    before = {name: record_of(settings.config_dir, settings.data_dir, name) for name in ("erp", "客户")}
    file = tmp_path / f"all.{form}"
    file.write_text(shell.done("application", "export", "--format", form, "--secrets"))
    for name in ("ERP", "客户"):
        shell.done("application", "delete", name, "--yes")
    assert "create ERP" in shell.done("application", "apply", str(file))
    for name, old in before.items():
        new = record_of(settings.config_dir, settings.data_dir, name)
        assert {field for field in {**old, **new} if old.get(field) != new.get(field)} <= {"creatorId"}
    assert shell.done("application", "apply", str(file)) == "nothing to change\n"
    assert shell.done("application", "apply", str(file), "--dry-run") == "nothing would be changed\n"


def test_null_in_a_file(shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
    """A member that is null in a file counts as left out: the stored secret and initial password stay."""
    caller.post("update", application(initpwd="marked-initial", secret="marked-secret"))
    before = record_of(settings.config_dir, settings.data_dir, "erp")
    file = tmp_path / "erp.json"
    declared = {**SAMPLE_APPLICATION, "secret": None, "initpwd": None, "self_service": None}
    file.write_text(json.dumps({"application": [declared]}))
    shell.done("application", "apply", str(file))
    after = record_of(settings.config_dir, settings.data_dir, "erp")
    assert {name: after[name] for name in ("secret", "initpwd")} == {
        name: before[name] for name in ("secret", "initpwd")
    }


def test_export_for_git(shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
    """Without --secrets, no secret is exported, and applying the file does not change stored secrets."""
    caller.post("update", application(initpwd="marked-initial", secret="marked-secret"))
    caller.post("rotate", {"name": "ERP", "secret": "marked-next"})
    text = shell.done("application", "export", "ERP")
    assert "marked" not in text
    file = tmp_path / "erp.toml"
    file.write_text(text.replace("expire = 86400", "expire = 60"))
    output = shell.done("application", "apply", str(file))
    assert output == "change ERP\n    expire: 86400 -> 60\n1 changed\n"
    record = record_of(settings.config_dir, settings.data_dir, "erp")
    assert (record["secret"], record["initpwd"], record["previous"]["secret"]) == (
        "marked-next", "marked-initial", "marked-secret",
    )  # fmt: skip


def test_dry_run_and_prune(shell: Shell, caller: Caller, tmp_path: Path) -> None:
    """A dry run prints what would be created, changed (secrets as stars) and deleted, and changes nothing."""
    caller.post("update", application())
    caller.post("update", application(name="Old"))
    file = tmp_path / "all.json"
    new = application(name="New", secret="marked-new")
    file.write_text(json.dumps({"application": [application(secret="marked-erp", expire=60), new]}))
    output = shell.done("application", "apply", str(file), "--prune", "--dry-run")
    assert output.splitlines() == [
        "change ERP", "    secret: ************ -> ************", "    expire: 86400 -> 60",
        "create New", "delete Old", "3 would be changed",
        "no sign-in is kept that the change concerns: whom it refuses is not known",
    ]  # fmt: skip
    assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP", "Old"]
    assert "give --yes" in shell.refused("application", "apply", str(file), "--prune")
    assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP", "Old"]
    shell.done("application", "apply", str(file), "--prune", "--yes")
    assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP", "New"]


def test_secrets_from_elsewhere(
    shell: Shell, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret is read from secret_file, relative to the declared file, or from the variable of secret_env."""
    (tmp_path / "apps").mkdir()
    (tmp_path / "apps" / "erp.secret").write_text("from-file\n")
    monkeypatch.setenv("CRM_SECRET", "from-environment")
    body = {name: value for name, value in SAMPLE_APPLICATION.items() if name != "secret"}
    for name, more in (("ERP", {"secret_file": "erp.secret"}), ("CRM", {"secret_env": "CRM_SECRET"})):
        entry = {**body, **more, "name": name}
        (tmp_path / "apps" / f"{name}.json").write_text(json.dumps({"application": [entry]}))
    shell.done("application", "apply", str(tmp_path / "apps"))
    assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == "from-file"
    assert record_of(settings.config_dir, settings.data_dir, "crm")["secret"] == "from-environment"


@pytest.mark.parametrize("dry", [True, False])
def test_the_secret_before_a_rotation(
    shell: Shell, caller: Caller, settings: Settings, tmp_path: Path, *, dry: bool
) -> None:
    """A file with a secret from before a rotation is refused; one without a secret does not change the new one."""
    caller.post("update", application(secret="marked-before"))
    caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET})
    file = tmp_path / "all.json"
    others = [application(name=name, secret=STRONG_SECRET) for name in ("A", "Z")]
    file.write_text(json.dumps({"application": [*others, application(secret="marked-before")]}))
    output = shell.refused("application", "apply", str(file), *(["--dry-run"] if dry else []))
    assert "ERP: this is the secret before the rotation of 2024-08-06T07:31:56Z; leave `secret` out" in output
    assert "marked" not in output
    assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP"]
    file.write_text(json.dumps({"application": [*others, application(secret=None, expire=5)]}))
    shell.done("application", "apply", str(file))
    record = record_of(settings.config_dir, settings.data_dir, "erp")
    assert (record["secret"], record["expire"]) == (STRONG_SECRET, 5)


def test_a_rotation_while_a_file_is_applied(app: Flask, caller: Caller, tmp_path: Path) -> None:
    """A rotation between plan and apply is refused with the name of the application."""
    file = tmp_path / "all.json"
    caller.post("update", application(secret="before"))
    file.write_text(json.dumps({"application": [application(secret="before", expire=5)]}))
    with app.app_context():
        registry = services().registry
        steps = declared.plan(registry, declared.read(file, {}), prune=False)
        caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET})
        with pytest.raises(Conflict, match="ERP: this is the secret before the rotation"):
            declared.apply(registry, steps, "somebody")


def test_suspicious_secrets(shell: Shell, settings: Settings, tmp_path: Path) -> None:
    """Each command that stores a suspicious secret warns on standard error and stores it unchanged."""
    secret = tmp_path / "secret"
    for given, message in ((f"{STRONG_SECRET}\n\n", "line break"), (f'"{STRONG_SECRET}2"\n', "is in quotes")):
        secret.write_text(given, newline="")
        for number, command in enumerate((("add",), ("set",), ("rotate",))):
            if number == 2:
                secret.write_text(given.replace(STRONG_SECRET, STRONG_SECRET[::-1]), newline="")
            result = shell("application", *command, "ERP", "--secret-file", str(secret))
            assert result.exit_code == 0, result.output
            assert message in result.stderr
            assert "warning: secret " in result.stderr
            assert STRONG_SECRET[:8] not in result.output
            record = record_of(settings.config_dir, settings.data_dir, "erp")
            assert record["secret"] == secret.read_bytes().decode().removesuffix("\n")
        shell.done("application", "delete", "ERP", "--yes")
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"application": [application(secret=f" {STRONG_SECRET}")]}))
    for options in (["--dry-run"], []):
        output = shell("application", "apply", str(file), *options).stderr
        assert "warning: ERP: secret begins or ends with a blank" in output
    assert shell("application", "apply", str(file)).stderr == ""


def test_set_undoes_no_rotation(shell: Shell, caller: Caller, tmp_path: Path) -> None:
    """set refuses the secret from before a rotation; rotate accepts it."""
    caller.post("update", application(secret="before"))
    caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET})
    secret = tmp_path / "secret"
    secret.write_text("before\n")
    output = shell.refused("application", "set", "ERP", "--secret-file", str(secret))
    assert output.startswith("this is the secret before the rotation of ")
    shell.done("application", "rotate", "ERP", "--secret-file", str(secret))


def test_a_secret_that_is_not_text(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable that is not UTF-8 is refused with a message."""
    monkeypatch.setitem(os.environ, "ERP_SECRET", "marked\udcff")
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"application": [application(secret=None, secret_env="ERP_SECRET")]}))
    output = shell.refused("application", "apply", str(file))
    assert "secret_env names an environment variable that is not UTF-8 text" in output
    assert "marked" not in output


@pytest.mark.file_store
def test_a_warning_is_printed_once(tmp_path: Path) -> None:
    """A command prints the warnings about a change as sentences, and does not log them too."""
    first_start(environment(tmp_path))
    for command in ("add", "rotate"):
        (tmp_path / "secret").write_text(f"weak-{command}")
        done = run_command(tmp_path, "application", command, "ERP", "--secret-file", str(tmp_path / "secret"))
        warning, _ = done.stderr.splitlines()
        assert (done.returncode, warning.startswith("warning: secret is weak")) == (0, True)


def test_pipes_and_endless_files(shell: Shell, tmp_path: Path) -> None:
    """A pipe in a folder is an error at once; a secret, or a file with one, has an end."""
    (tmp_path / "all").mkdir()
    os.mkfifo(tmp_path / "all" / "pipe.toml")
    assert "it is not a regular file" in shell.refused("application", "apply", str(tmp_path / "all"))
    assert "secret is larger than 1 MiB" in shell.refused("application", "add", "New", "--secret-file", "/dev/zero")
    (tmp_path / "one.json").write_text(json.dumps({"application": [application(secret=None, secret_file="/dev/zero")]}))
    assert "a file that cannot be read" in shell.refused("application", "apply", str(tmp_path / "one.json"))
    assert "it is larger than 64 MiB" in shell.refused("application", "apply", "/dev/zero")


def test_one_faulty_file(shell: Shell, caller: Caller, tmp_path: Path) -> None:
    """With an error in one file of a folder, nothing is applied, and every error of every file is reported."""
    good = {"application": [application(name="Good")]}
    bad = {"application": [application(name="Bad", expire=0, enable="x"), application(name="B2", secret=None)]}
    for name, content in {
        "1.json": json.dumps(good),
        "2.json": json.dumps(bad),
        "3.toml": '[[application]]\nsecret = "marked\n',
        "4.json": "{}",
        "5.json": json.dumps({"application": [application(name="good")]}),
        "6.json": json.dumps({"application": [application(name="S", secret_file="nowhere")]}),
    }.items():
        (tmp_path / name).write_text(content)
    output = shell.refused("application", "apply", str(tmp_path))
    for fault in ("2.json, Bad: expire must", "2.json, Bad: enable must", "3.toml is not valid TOML (at line 2,",
                  "4.json: the list 'application' is missing", "5.json, good: the same application",
                  "6.json, S: secret is given more than once"):  # fmt: skip
        assert fault in output, output
    assert "marked" not in output
    assert caller.get("list").json["data"] == []
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "new.json").write_text(json.dumps({"application": [application(secret=None)]}))
    assert "ERP: secret is missing" in shell.refused("application", "apply", str(tmp_path / "one"))
