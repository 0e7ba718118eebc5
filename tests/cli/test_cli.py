"""Every command, once right and once wrong, in a pipe and on a terminal."""

import base64
import errno
import gzip
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from flask import Flask

from datafor_token.errors import Conflict
from datafor_token.operations import declared
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.handmade_tokens import NOW, claims, token
from tests.processes import Process, environment, first_start, flask, run
from tests.stores import Record, records_in, unavailable
from tests.support import (
    ADMIN_PASSWORD,
    ROOT,
    SEED_APPLICATION,
    STRONG_SECRET,
    Server,
    application,
    basic,
    key_for,
    private_pem,
    public_pem,
    record_of,
)

PASSWORD = "/plugin/datafor-modeler/api/user/password"
DETAIL = "/plugin/datafor-modeler/api/user/detail"


class Shell:
    """Runs commands in a pipe."""

    def __init__(self, app: Flask) -> None:
        self.runner = app.test_cli_runner()

    def __call__(self, *arguments: str, put: str = "") -> Result:
        return self.runner.invoke(args=list(arguments), input=put)

    def done(self, *arguments: str, put: str = "") -> str:
        result = self(*arguments, put=put)
        assert result.exit_code == 0, result.output
        return result.stdout

    def refused(self, *arguments: str, put: str = "", code: int = 1) -> str:
        result = self(*arguments, put=put)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.output


@pytest.fixture
def shell(app: Flask) -> Shell:
    return Shell(app)


def commands(app: Flask) -> Iterator[tuple[str, Any]]:
    for group in ("user", "application", "token", "store", "settings"):
        found: Any = app.cli.commands[group]
        for name, command in found.commands.items():
            yield f"{group} {name}", command


def test_every_command_has_help_and_an_example(app: Flask, shell: Shell) -> None:
    """The help of each command says what it does and shows an example that names it."""
    assert len(list(commands(app))) >= 25
    for name, command in commands(app):
        text = shell.done(*name.split(), "--help")
        assert f"Example: flask {name}" in " ".join(text.split()), name
        assert all(option.help for option in command.params if isinstance(option, click.Option)), name


@pytest.mark.parametrize(
    "arguments", [("user", "add"), ("user", "nothing"), ("token", "generate", "ERP"), ("user", "set", "x")]
)
def test_wrong_usage_is_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    """A command without what it needs ends with exit code 2."""
    shell.refused(*arguments, code=2)


def test_no_secret_is_asked_for_as_an_argument(app: Flask) -> None:
    """No command has an option or argument that takes a secret or a password itself."""
    for name, command in commands(app):
        for parameter in command.params:
            assert parameter.name not in ("password", "secret", "private_key"), name


class TestUsers:
    """``flask user``."""

    def test_add_list_show(self, shell: Shell, caller: Caller) -> None:
        """A user is made with a password from standard input or a file, and shown without it."""
        said = shell.done(
            "user", "add", "Lena", "--type", "SYS_Creator", "--role", "A", "--role", "B", put="pass word\n"
        )
        assert said == "Lena was added as SYS_Creator\n"
        assert caller.get(DETAIL, basic("lena", "pass word")).json["data"]["user"]["roles"] == ["A", "B"]
        rows = json.loads(shell.done("user", "list", "--json"))
        assert [row["username"] for row in rows] == ["admin", "Lena"]
        assert json.loads(shell.done("user", "show", "LENA", "--json"))["type"] == "SYS_Creator"
        assert "argon2" not in shell.done("user", "show", "lena")
        table = shell.done("user", "list")
        assert "\x1b" not in table
        assert re.search(r"^Lena +.*SYS_Creator +A, B +yes$", table, flags=re.MULTILINE)

    @pytest.mark.parametrize(
        ("arguments", "put", "says"),
        [
            (("add", "ADMIN"), "long enough", "name already exists as 'admin'"),
            (("add", "a:b"), "long enough", "username can not contain ':'"),
            (("add", "lena"), "", "password can not be empty"),
            (("add", "lena", "--role", "a,b"), "x", "comma"),
            (("add", "lena", "--role", "Administrator"), "x", "roles can not contain Administrator"),
            (("add", "lena", "--full-name", "L\nX-User: admin"), "x", "full-name has control characters"),
            (("set", "admin", "--email", "a\x1b[2J"), "", "email has control characters"),
            (("show", "nobody"), "", "name does not exist"),
            (("passwd", "nobody"), "x", "name does not exist"),
            (("passwd", "admin"), "", "password can not be empty"),
            (("disable", "admin"), "", "admin is the last enabled Administrator"),
            (("set", "admin", "--type", "SYS_Reader"), "", "admin is the last enabled Administrator"),
            (("delete", "admin", "--yes"), "", "admin is the last enabled Administrator"),
            (("delete", "nobody", "--yes"), "", "name does not exist"),
            (("delete", "admin"), "", "give --yes"),
            (("enable", "nobody"), "", "name does not exist"),
        ],
    )
    def test_refused(self, shell: Shell, settings: Settings, arguments: tuple[str, ...], put: str, says: str) -> None:
        """What is refused is said in one line, with exit code 1, and changes nothing."""
        path = Record(settings.data_dir, "users", "admin")
        before = path.read_text()
        assert says in shell.refused("user", *arguments, put=put)
        assert path.read_text() == before

    def test_change(self, shell: Shell, caller: Caller) -> None:
        """Type, roles, name, address, enabled and password are changed, and count at once."""
        shell.done("user", "add", "lena", put="password one")
        shell.done(
            "user", "set", "lena", "--type", "Administrator", "--role", "X", "--full-name", "Lena Li", "--email", "l@x"
        )
        found = json.loads(shell.done("user", "show", "lena", "--json"))
        assert (found["type"], found["roles"], found["name"], found["email"]) == (
            "Administrator",
            ["X"],
            "Lena Li",
            "l@x",
        )
        shell.done("user", "set", "lena", "--no-roles")
        assert json.loads(shell.done("user", "show", "lena", "--json"))["roles"] == []
        shell.done("user", "disable", "admin")
        assert caller.get(DETAIL).status_code == 401
        shell.refused("user", "delete", "lena", "--yes")
        shell.done("user", "enable", "admin")
        shell.done("user", "passwd", "lena", put="password two\n")
        assert caller.get(DETAIL, basic("lena", "password one")).status_code == 401
        assert caller.get(DETAIL, basic("lena", "password two")).status_code == 200
        shell.done("user", "delete", "lena", "--yes")
        assert caller.get(DETAIL, basic("lena", "password two")).status_code == 401

    def test_a_password_from_a_file(self, shell: Shell, caller: Caller, tmp_path: Path) -> None:
        """A file's last line break is no part of the password."""
        (tmp_path / "pw").write_text("päss-word\n")
        shell.done("user", "add", "lena", "--password-file", str(tmp_path / "pw"))
        assert caller.get(DETAIL, basic("lena", "päss-word")).status_code == 200

    def test_the_first_password_goes(self, shell: Shell, settings: Settings, caller: Caller) -> None:
        """When the password of admin is changed, the file with the first one is removed."""
        file = settings.config_dir / "initial_admin_password"
        for change in ("command", "call"):
            file.write_text(f"{ADMIN_PASSWORD if change == 'command' else 'the next one'}\n")
            if change == "command":
                shell.done("user", "passwd", "admin", put="the next one")
            else:
                caller.post(PASSWORD, {"old": "the next one", "new": "the last one"}, basic("admin", "the next one"))
            assert not file.exists()

    def test_the_first_password_of_another_store_stays(self, shell: Shell, settings: Settings) -> None:
        """A file whose password is not the one that is replaced, as in a copy of the store, is left where it is."""
        file = settings.config_dir / "initial_admin_password"
        for content in (b"of another store\n", b"", b"\xff"):
            file.write_bytes(content)
            shell.done("user", "passwd", "admin", put="the next one")
            assert file.read_bytes() == content
        shell.done("user", "add", "lena", put="lena's own password")
        file.write_text("lena's own password")
        shell.done("user", "passwd", "lena", put="the next one")
        assert file.exists()

    def test_one_of_two_administrators_stays(self, shell: Shell, app: Flask) -> None:
        """Two Administrators who disable each other at the same moment: one stays."""
        shell.done("user", "add", "boss", "--type", "Administrator", put="long enough")
        results: list[int] = []

        def disable(name: str) -> None:
            with app.app_context():
                try:
                    services().accounts.change(name, enabled=False)
                    results.append(0)
                except Exception:  # noqa: BLE001 - whatever it is, it is not done
                    results.append(1)

        threads = [threading.Thread(target=disable, args=(name,)) for name in ("boss", "admin")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == [0, 1]


class TestOwnPassword:
    """``user/password``."""

    def test_one_changes_ones_own(self, caller: Caller, shell: Shell) -> None:
        """By password or session, with the present password; the sessions end."""
        shell.done("user", "add", "lena", put="password one")
        client = caller.client
        client.post("/plugin/datafor/api/extension/auth/login", json={"username": "lena", "password": "password one"})
        answer = client.post(PASSWORD, json={"old": "password one", "new": "password two"})
        assert answer.get_json() == {"success": True, "msg": "success"}
        assert client.get(DETAIL).status_code == 401
        assert (
            caller.post(PASSWORD, "old=password+two&new=password+three", basic("lena", "password two")).status_code
            == 200
        )
        assert caller.get(DETAIL, basic("lena", "password three")).status_code == 200

    @pytest.mark.parametrize(
        ("body", "status", "says"),
        [
            ({"old": "wrong", "new": "long enough"}, 401, "wrong password"),
            ({"old": ADMIN_PASSWORD, "new": ""}, 400, "new can not be empty"),
            ({"old": ADMIN_PASSWORD, "new": "a\nb"}, 400, "new can not contain control characters"),
            ({"old": ADMIN_PASSWORD}, 400, "new is missing"),
            ({"new": "x"}, 400, "old is missing"),
            ({"old": ADMIN_PASSWORD, "new": "x", "username": "lena"}, 400, "an unknown field after old"),
        ],
    )
    def test_refused(self, caller: Caller, body: dict[str, str], status: int, says: str) -> None:
        """A wrong present password and a bad new one change nothing."""
        answer = caller.post(PASSWORD, body)
        assert (answer.status_code, answer.json["msg"]) == (status, says)
        assert caller.get(DETAIL).status_code == 200

    def test_not_with_a_token(self, caller: Caller) -> None:
        """A token changes no password."""
        caller.post("update", application())
        answer = caller.post(PASSWORD, {"old": "x", "new": "y"}, {"Authorization": f"Bearer {token(claims())}"})
        assert answer.status_code == 403
        assert caller.post(PASSWORD, {"old": "x", "new": "y"}, {}).status_code == 401


class TestApplications:
    """``flask application``."""

    def test_add_and_change(self, shell: Shell, settings: Settings, caller: Caller) -> None:
        """An application is added with a secret from standard input or a random one, and changed field by field."""
        secret = shell.done("application", "add", "ERP", "--random-secret", "--claim-username", "loginname").strip()
        assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == secret
        said = shell("application", "add", "CRM", "--algorithm", "HS512", put="weak\n")
        assert (said.exit_code, "warning: secret is weak" in said.output) == (0, True)
        key = key_for("ES256")
        shell.done("application", "add", "P", "--algorithm", "ES256", put=public_pem(key))
        shell.done(
            "application", "set", "ERP", "--expire", "60", "--initrole", "A", "--initrole", "B", "--inituser", "1"
        )
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
        ("arguments", "put", "says", "code"),
        [
            (("add", "a/b"), "x", "name may only contain", 1),
            (("add", "erp"), "x", "name already exists", 1),
            (("add", "X", "--algorithm", "RS256"), "x", "secret ", 1),
            (("add", "X", "--expire", "0"), "x", "expire must be", 1),
            (("add", "X"), "", "secret can not be empty", 1),
            (("add", "X", "--algorithm", "RS256", "--random-secret"), "", "public key", 2),
            (("set", "nobody", "--expire", "5"), "", "name does not exist", 1),
            (("set", "ERP", "--algorithm", "RS256"), "", "secret ", 1),
            (("show", "nobody"), "", "name does not exist", 1),
            (("enable", "nobody"), "", "name does not exist", 1),
            (("disable", "nobody"), "", "name does not exist", 1),
            (("rotate", "nobody"), "", "name does not exist", 1),
            (("rotate", "ERP", "--grace", "-1"), "", "grace must be", 1),
            (("delete", "nobody", "--yes"), "", "name does not exist", 1),
            (("delete", "ERP"), "", "give --yes", 1),
            (("export", "nobody"), "", "name does not exist", 1),
        ],
    )
    def test_refused(
        self,
        shell: Shell,
        caller: Caller,
        settings: Settings,
        arguments: tuple[str, ...],
        put: str,
        says: str,
        code: int,
    ) -> None:
        """What is refused is said in one line and changes nothing."""
        caller.post("update", SEED_APPLICATION)
        path = Record(settings.data_dir, "applications", "erp")
        before = path.read_text()
        assert says in shell.refused("application", *arguments, put=put, code=code)
        assert path.read_text() == before
        assert len(records_in(settings.data_dir, "applications")) == 1

    @pytest.mark.parametrize("form", ["toml", "json"])
    def test_export_wipe_apply(
        self, shell: Shell, caller: Caller, settings: Settings, tmp_path: Path, form: str
    ) -> None:
        """What was exported with secrets, deleted and applied is the same; applying again changes nothing."""
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

    def test_export_for_git(self, shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
        """Without --secrets no secret is exported, and applying the file keeps those that are stored."""
        caller.post("update", application(initpwd="marked-initial", secret="marked-secret"))
        caller.post("rotate", {"name": "ERP", "secret": "marked-next"})
        text = shell.done("application", "export", "ERP")
        assert "marked" not in text
        file = tmp_path / "erp.toml"
        file.write_text(text.replace("expire = 86400", "expire = 60"))
        said = shell.done("application", "apply", str(file))
        assert said == "change ERP\n    expire: 86400 -> 60\n1 changed\n"
        record = record_of(settings.config_dir, settings.data_dir, "erp")
        assert (record["secret"], record["initpwd"], record["previous"]["secret"]) == (
            "marked-next", "marked-initial", "marked-secret",
        )  # fmt: skip

    def test_dry_run_and_prune(self, shell: Shell, caller: Caller, tmp_path: Path) -> None:
        """A dry run says what would be made, changed (secrets as stars) and deleted, and does nothing of it."""
        caller.post("update", application())
        caller.post("update", application(name="Old"))
        file = tmp_path / "all.json"
        new = application(name="New", secret="marked-new")
        file.write_text(json.dumps({"application": [application(secret="marked-erp", expire=60), new]}))
        said = shell.done("application", "apply", str(file), "--prune", "--dry-run")
        assert said.splitlines() == [
            "change ERP", "    secret: ************ -> ************", "    expire: 86400 -> 60",
            "create New", "delete Old", "3 would be changed",
        ]  # fmt: skip
        assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP", "Old"]
        assert "give --yes" in shell.refused("application", "apply", str(file), "--prune")
        assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP", "Old"]
        shell.done("application", "apply", str(file), "--prune", "--yes")
        assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP", "New"]

    def test_secrets_from_elsewhere(
        self, shell: Shell, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """secret_file (beside the file that names it) and secret_env say where a secret lies."""
        (tmp_path / "apps").mkdir()
        (tmp_path / "apps" / "erp.secret").write_text("from-file\n")
        monkeypatch.setenv("CRM_SECRET", "from-environment")
        body = {name: value for name, value in SEED_APPLICATION.items() if name != "secret"}
        for name, more in (("ERP", {"secret_file": "erp.secret"}), ("CRM", {"secret_env": "CRM_SECRET"})):
            entry = {**body, **more, "name": name}
            (tmp_path / "apps" / f"{name}.json").write_text(json.dumps({"application": [entry]}))
        shell.done("application", "apply", str(tmp_path / "apps"))
        assert record_of(settings.config_dir, settings.data_dir, "erp")["secret"] == "from-file"
        assert record_of(settings.config_dir, settings.data_dir, "crm")["secret"] == "from-environment"

    @pytest.mark.parametrize("dry", [True, False])
    def test_the_secret_before_a_rotation(
        self, shell: Shell, caller: Caller, settings: Settings, tmp_path: Path, *, dry: bool
    ) -> None:
        """A file with it is refused whole and names the application; without a secret it keeps the new one."""
        caller.post("update", application(secret="marked-before"))
        caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET})
        file = tmp_path / "all.json"
        others = [application(name=name, secret=STRONG_SECRET) for name in ("A", "Z")]
        file.write_text(json.dumps({"application": [*others, application(secret="marked-before")]}))
        said = shell.refused("application", "apply", str(file), *(["--dry-run"] if dry else []))
        assert "ERP: this is the secret before the rotation of 2024-08-06T07:31:56Z; leave `secret` out" in said
        assert "marked" not in said
        assert [one["name"] for one in caller.get("list").json["data"]] == ["ERP"]
        file.write_text(json.dumps({"application": [*others, application(secret=None, expire=5)]}))
        shell.done("application", "apply", str(file))
        record = record_of(settings.config_dir, settings.data_dir, "erp")
        assert (record["secret"], record["expire"]) == (STRONG_SECRET, 5)

    def test_a_rotation_while_a_file_is_applied(self, app: Flask, caller: Caller, tmp_path: Path) -> None:
        """What was rotated between planning and applying is refused by name too."""
        file = tmp_path / "all.json"
        caller.post("update", application(secret="before"))
        file.write_text(json.dumps({"application": [application(secret="before", expire=5)]}))
        with app.app_context():
            registry = services().registry
            steps = declared.plan(registry, declared.read(file, {}), prune=False)
            caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET})
            with pytest.raises(Conflict, match="ERP: this is the secret before the rotation"):
                declared.apply(registry, steps, "somebody")

    def test_suspicious_secrets(self, shell: Shell, settings: Settings, tmp_path: Path) -> None:
        """Each command that stores a suspicious secret warns on standard error, and stores it as it was given."""
        secret = tmp_path / "secret"
        for given, says in ((f"{STRONG_SECRET}\n\n", "line break"), (f'"{STRONG_SECRET}2"\n', "is in quotes")):
            secret.write_text(given, newline="")
            for number, command in enumerate((("add",), ("set",), ("rotate",))):
                if number == 2:
                    secret.write_text(given.replace(STRONG_SECRET, STRONG_SECRET[::-1]), newline="")
                result = shell("application", *command, "ERP", "--secret-file", str(secret))
                assert result.exit_code == 0, result.output
                assert says in result.stderr
                assert "warning: secret " in result.stderr
                assert STRONG_SECRET[:8] not in result.output
                record = record_of(settings.config_dir, settings.data_dir, "erp")
                assert record["secret"] == secret.read_bytes().decode().removesuffix("\n")
            shell.done("application", "delete", "ERP", "--yes")
        file = tmp_path / "all.json"
        file.write_text(json.dumps({"application": [application(secret=f" {STRONG_SECRET}")]}))
        for options in (["--dry-run"], []):
            said = shell("application", "apply", str(file), *options).stderr
            assert "warning: ERP: secret begins or ends with a blank" in said
        assert shell("application", "apply", str(file)).stderr == ""

    def test_set_undoes_no_rotation(self, shell: Shell, caller: Caller, tmp_path: Path) -> None:
        """set with the secret before the rotation is refused, rotate with it goes back."""
        caller.post("update", application(secret="before"))
        caller.post("rotate", {"name": "ERP", "secret": STRONG_SECRET})
        secret = tmp_path / "secret"
        secret.write_text("before\n")
        said = shell.refused("application", "set", "ERP", "--secret-file", str(secret))
        assert said.startswith("this is the secret before the rotation of ")
        shell.done("application", "rotate", "ERP", "--secret-file", str(secret))

    def test_a_secret_that_is_no_text(self, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An environment variable whose bytes are not UTF-8 is refused by name, without a traceback."""
        monkeypatch.setitem(os.environ, "ERP_SECRET", "marked\udcff")
        file = tmp_path / "all.json"
        file.write_text(json.dumps({"application": [application(secret=None, secret_env="ERP_SECRET")]}))
        said = shell.refused("application", "apply", str(file))
        assert "secret_env names an environment variable that is not UTF-8 text" in said
        assert "marked" not in said

    def test_one_faulty_file(self, shell: Shell, caller: Caller, tmp_path: Path) -> None:
        """With a fault in one file of a folder nothing is applied, and every fault of every file is named."""
        good = {"application": [application(name="Good")]}
        bad = {"application": [application(name="Bad", expire=0, enable="x"), application(name="B2", secret=None)]}
        for name, content in {
            "1.json": json.dumps(good),
            "2.json": json.dumps(bad),
            "3.toml": 'secret = "marked',
            "4.json": "{}",
            "5.json": json.dumps({"application": [application(name="good")]}),
            "6.json": json.dumps({"application": [application(name="S", secret_file="nowhere")]}),
        }.items():
            (tmp_path / name).write_text(content)
        said = shell.refused("application", "apply", str(tmp_path))
        for fault in ("2.json, Bad: expire must", "2.json, Bad: enable must", "3.toml is not valid TOML",
                      "4.json: a list", "5.json, good: the same application",
                      "6.json, S: secret is given more than once"):  # fmt: skip
            assert fault in said, said
        assert "marked" not in said
        assert caller.get("list").json["data"] == []
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "new.json").write_text(json.dumps({"application": [application(secret=None)]}))
        assert "ERP: secret is missing" in shell.refused("application", "apply", str(tmp_path / "one"))


class TestTokens:
    """``flask token``."""

    @pytest.fixture(autouse=True)
    def _erp(self, caller: Caller) -> None:
        caller.post("update", application())

    def test_generate(self, shell: Shell, caller: Caller, tmp_path: Path) -> None:
        """A token is printed alone, as the call would issue it; with a private key from a file."""
        text = shell.done("token", "generate", "erp", "--username", "lena", "--payload", '{"email": "l@x"}').strip()
        body = {"name": "ERP", "username": "lena", "payload": {"email": "l@x"}}
        assert text == caller.post("generate", body).json["token"]
        key = key_for("ES256")
        caller.post("update", application(name="P", algorithm="ES256", secret=public_pem(key)))
        (tmp_path / "key.pem").write_text(private_pem(key))
        shell.done("token", "generate", "P", "--username", "x", "--private-key-file", str(tmp_path / "key.pem"))
        for arguments, says in (
            (("generate", "P", "--username", "x"), "privateKey is missing"),
            (("generate", "nobody", "--username", "x"), "name does not exist"),
            (("generate", "ERP", "--username", "a:b"), "username can not contain ':'"),
            (("generate", "ERP", "--username", "a", "--payload", "{"), "payload is not valid JSON"),
            (("generate", "ERP", "--username", "a", "--payload", "[]"), "payload must be an object"),
        ):
            assert says in shell.refused("token", *arguments)

    def test_explain(self, shell: Shell, caller: Caller) -> None:
        """The same steps as the call; exit code 0 for an accepted token and 1 for a refused one."""
        for text, code in ((token(claims()), 0), (token(claims(exp=1)), 1), ("x", 1)):
            result = shell("token", "explain", "--json", put=text + "\n")
            assert result.exit_code == code
            answer = caller.post("explain", {"token": text}).json
            del answer["success"]
            assert json.loads(result.stdout) == answer
        assert "refused: expired" in shell.refused("token", "explain", token(claims(exp=1)))
        assert "name does not exist" in shell.refused("token", "explain", "x", "--application", "nobody")

    def test_decode(self, shell: Shell) -> None:
        """Header and claims of any token, with times in words."""
        said = shell.done("token", "decode", put=token(claims(exp=NOW + 7200, nbf=NOW - 86400, iat="x"), "foreign"))
        assert "header alg" in said
        assert f"{NOW + 7200} (2024-08-06 09:31:56 UTC, in 2 h)" in said
        assert f"{NOW - 86400} (2024-08-05 07:31:56 UTC, 1 d ago)" in said
        assert json.loads(shell.done("token", "decode", "--json", token(claims())))["claims"]["loginname"] == "lena"
        assert "three parts" in shell.refused("token", "decode", put="x")

    @pytest.mark.parametrize(
        ("header", "more", "says"),
        [
            ({"alg": "HS256", "typ": "at+jwt"}, {}, "typ"),
            ({"alg": "none"}, {}, "no signature"),
            ({"alg": "HS256", "cty": "JWT"}, {}, "cty"),
            ({"alg": "HS256"}, {"big": 2**70}, "payload"),
            ({}, {"exp": NOW, "nested": {"a": [1]}}, "no alg"),
        ],
    )
    def test_decode_of_what_is_not_accepted(
        self, shell: Shell, header: dict[str, Any], more: dict[str, Any], says: str
    ) -> None:
        """Any two or three parts with JSON objects are shown, with the reason why this service refuses the token."""
        header_part, payload_part = (
            base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=")
            for one in (header, {"loginname": "lena", **more})
        )
        endings = (".", "") if header.get("alg") == "none" else (".c2ln",)
        for ending in endings:
            result = shell("token", "decode", "--json", put=f"{header_part}.{payload_part}{ending}")
            assert result.exit_code == 0, result.output
            shown = json.loads(result.stdout)
            assert (shown["header"], shown["claims"]) == (header, {"loginname": "lena", **more})
            assert shown["identifiers"] == []
            assert result.stderr.startswith("this service does not accept it: ")
            assert says in result.stderr or ending == ""
            assert "loginname" in shell("token", "decode", put=f"{header_part}.{payload_part}{ending}").stdout

    @pytest.mark.parametrize("before", ["Bearer ", "bearer\n ", "Authorization: Bearer ", " \t"])
    def test_decode_of_a_header(self, shell: Shell, before: str) -> None:
        """The words of an Authorization header and white space around or inside the token are ignored."""
        text = token(claims())
        said = json.loads(shell.done("token", "decode", "--json", put=f"{before}{text[:20]}\n{text[20:]}\n"))
        assert said["claims"]["loginname"] == "lena"
        assert len(said["identifiers"]) == 1

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Bearer",
            "a.b",
            "e30",
            "e30.W10.x",
            "W10.e30.",
            "e30.e30.e30.e30.e30",
            "e30.\xff.",
            "e30." + "e30" * 4000,
        ],
    )
    def test_decode_of_nonsense(self, shell: Shell, text: str) -> None:
        """Other text is refused in one line."""
        assert len(shell.refused("token", "decode", put=text).splitlines()) == 1

    def test_decode_of_a_hostile_token(self, shell: Shell) -> None:
        """Nothing in a token moves the cursor, begins a line of its own, or is taken for another number."""
        hostile = token({"a": "\x1b[2J\nheader alg  none", "n": "1e5", "b": ["\x9b0m"]})
        said = shell.done("token", "decode", put=hostile)
        assert "\x1b" not in said
        assert "\x9b" not in said
        assert re.search(r"^header alg +HS256$", said, flags=re.MULTILINE)
        assert len(re.findall(r"^header alg", said, flags=re.MULTILINE)) == 1
        assert re.search(r" 1e5$", said, flags=re.MULTILINE)

    def test_names_of_claims_are_escaped(self, shell: Shell) -> None:
        """Names in a token are as hostile as values; as JSON nothing is lost, and nothing moves the cursor either."""
        name = "\x1b[2J\x9b1m\u202e\r\n" + "exp\x7f\u2028"
        hostile = token({name: "x", "nested": {name: [name]}, "\U000e0041": 1})
        for options in ((), ("--json",)):
            said = shell.done("token", "decode", *options, put=hostile)
            assert all(letter == "\n" or letter.isprintable() for letter in said)
        assert json.loads(said)["claims"] == {name: "x", "nested": {name: [name]}, "\U000e0041": 1}

    def test_errors_are_escaped(self, shell: Shell, tmp_path: Path) -> None:
        """What files hold, and what they are called, is escaped in errors and in what apply shows."""
        entry = application(**{"name": "X", "\x1b[2Jtoken": "x"})
        for name, content in (
            ("a.json", json.dumps({"application": [entry]})),
            ("b\x1b[2J\n.json", "{"),
            ("c.toml", '"\\u001b]0;x" = 1\napplication = []'),
        ):
            (tmp_path / name).write_text(content)
            said = shell.refused("application", "apply", str(tmp_path / name))
            assert said.count("\n") == 1
            assert all(letter == "\n" or letter.isprintable() for letter in said), said

    @pytest.mark.parametrize("form", ["toml", "json"])
    def test_an_export_is_escaped(self, shell: Shell, caller: Caller, tmp_path: Path, form: str) -> None:
        """An export can be looked at on a terminal, and applied: what is escaped in it is the same value."""
        secret = "s\x9b1m\u202e\U000e0041" + "x" * 40
        assert caller.post("update", application(name="X", secret=secret)).status_code == 200
        said = shell.done("application", "export", "--secrets", "--format", form, "X")
        assert all(letter == "\n" or letter.isprintable() for letter in said), said
        (tmp_path / f"x.{form}").write_text(said)
        assert shell.done("application", "apply", str(tmp_path / f"x.{form}")) == "nothing to change\n"

    @pytest.mark.parametrize("payload", ['{"a": 1, "a": 2}', '{"a": NaN}', "[1]", "[" * 5000])
    def test_a_payload_that_is_not_json(self, shell: Shell, caller: Caller, payload: str) -> None:
        """The command refuses the payloads that the API refuses, in one line."""
        caller.post("update", SEED_APPLICATION)
        assert (
            len(shell.refused("token", "generate", "ERP", "--username", "lena", "--payload", payload).splitlines()) == 1
        )

    def test_revoke(self, shell: Shell, caller: Caller) -> None:
        """A revoked token is refused from then on; revoking it again is no error."""
        for _ in range(2):
            assert shell.done("token", "revoke", put=token(claims()) + "\n") == "The token is revoked\n"
            assert caller.get(DETAIL, {"Authorization": f"Bearer {token(claims())}"}).status_code == 401

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("nonsense", "three parts"),
            ("", "three parts"),
            (token(claims(), "of somebody else"), "no application here signed it"),
            (token(claims(exp=NOW - 3600)), "ERP: expired 3600 s ago"),
            (token(claims(loginname=5)), "ERP: the user name in loginname must be text"),
        ],
    )
    def test_revoke_of_what_is_no_token_here(
        self, shell: Shell, caller: Caller, settings: Settings, text: str, says: str
    ) -> None:
        """What cannot be revoked is said in one line with exit code 1; for the call it is no error (RFC 7009)."""
        said = shell.refused("token", "revoke", put=text + "\n")
        assert said.startswith("Nothing was revoked: ")
        assert says in said
        assert len(said.splitlines()) == 1
        assert records_in(settings.data_dir, "revocations") == []
        if text:
            assert caller.post("revoke", {"token": text}).json == {"success": True, "msg": "success"}


class TestStore:
    """``flask store``."""

    def fill(self, caller: Caller) -> None:
        for name in ("ERP", "CRM"):
            caller.post("update", application(name=name))

    @pytest.mark.file_store
    def test_check(self, shell: Shell, caller: Caller, settings: Settings) -> None:
        """Five kinds of damage are named file by file; repair moves those files aside and touches nothing else."""
        self.fill(caller)
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
        said = shell.refused("store", "check")
        assert all(name in said for name in (*damaged, ".temp-dead"))
        assert len(said.splitlines()) == 6
        shell.done("store", "check", "--repair")
        assert shell.done("store", "check") == "All records are valid\n"
        assert sorted(path.read_bytes() for path in (data / "damaged").iterdir()) == sorted(damaged.values())
        assert len(caller.get("list").json["data"]) == 2

    @pytest.mark.file_store
    @pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE])
    def test_what_cannot_be_read_is_not_damaged(
        self, shell: Shell, caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        """A record that the system does not let be read is an outage: exit code 3, a sentence, and it stays."""
        self.fill(caller)
        file = settings.data_dir / "applications" / "erp.json"
        whole = os.open

        def refused(path: Any, *rest: Any, **named: Any) -> int:
            if str(path) == str(file):
                raise OSError(number, os.strerror(number))
            return whole(path, *rest, **named)

        for options in ((), ("--repair",)):
            with monkeypatch.context() as patched:
                patched.setattr(os, "open", refused)
                said = shell.refused("store", "check", *options, code=3)
            assert f"cannot read applications/erp.json: {os.strerror(number)}" in said
            assert file.exists()
        assert shell.done("store", "check") == "All records are valid\n"

    @pytest.mark.file_store
    def test_repair_moves_links_aside(self, shell: Shell, settings: Settings) -> None:
        """A link or a folder in a record's place is damage, and moved aside."""
        (settings.data_dir / "applications" / "link.json").symlink_to("/nowhere")
        (settings.data_dir / "applications" / "folder.json").mkdir()
        shell.done("store", "check", "--repair")
        assert len(list((settings.data_dir / "damaged").iterdir())) == 2

    @pytest.mark.file_store
    def test_repair_keeps_what_it_moved_before(self, shell: Shell, settings: Settings) -> None:
        """A file that was moved aside is never replaced by the next one of that name."""
        for content in ("first", "second"):
            Record(settings.data_dir, "applications", "x").write_text(content)
            shell.done("store", "check", "--repair")
        assert {path.read_text() for path in (settings.data_dir / "damaged").iterdir()} == {"first", "second"}

    @pytest.mark.file_store
    def test_backup_of_a_damaged_store(self, shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
        """A backup leaves nothing out in silence; a restore mends what is damaged."""
        self.fill(caller)
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
    def test_progress(self, shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
        """With more than a thousand records, checking and restoring say on standard error what they are at."""
        self.fill(caller)
        assert "Checking" not in shell("store", "check").stderr
        for number in range(1000):
            document = {"format": 1, "name": f"{number:064x}", "expires": NOW + 1000}
            Record(settings.data_dir, "revocations", f"{number:064x}").write_text(json.dumps(document))
        result = shell("store", "check")
        assert (result.stdout, result.stderr) == ("All records are valid\n", "Checking\n")
        shell.done("store", "backup", str(tmp_path / "backup.gz"))
        result = shell("store", "restore", str(tmp_path / "backup.gz"), "--yes")
        assert (result.stdout, result.stderr) == ("0 created, 0 changed, 0 deleted\n", "Checking\nWriting\n")

    @pytest.mark.file_store
    def test_a_backup_goes_into_a_file_only(self, shell: Shell, tmp_path: Path) -> None:
        """What is no regular file, or lies in no folder, is refused in one line."""
        os.mkfifo(tmp_path / "pipe")
        for name in ("pipe", "nowhere/file"):
            assert len(shell.refused("store", "backup", str(tmp_path / name)).splitlines()) == 1
        assert (tmp_path / "pipe").is_fifo()

    @pytest.mark.file_store
    @pytest.mark.parametrize("chain", [1, 2])
    def test_a_backup_goes_where_a_link_leads(self, shell: Shell, tmp_path: Path, chain: int) -> None:
        """A link stays a link: its target is written, whether it exists or not, and nothing is left beside either."""
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
    def test_a_backup_into_redirected_output(self, shell: Shell, tmp_path: Path) -> None:
        """A link to the open file of a redirection, as /dev/stdout is one, stays, and the file has the backup."""
        link = tmp_path / "stdout"
        with (tmp_path / "x.gz").open("w") as file:
            link.symlink_to(f"/proc/self/fd/{file.fileno()}")
            shell.done("store", "backup", str(link))
            assert link.is_symlink()
        assert gzip.decompress((tmp_path / "x.gz").read_bytes())

    @pytest.mark.file_store
    def test_a_backup_replaces_no_link(self, shell: Shell, tmp_path: Path) -> None:
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
                said = shell.refused("store", "backup", str(link))
                assert str(link) in said, name
                assert len(said.splitlines()) == 1
                assert link.is_symlink()
        os.close(reader)
        os.close(writer)
        assert len(list(tmp_path.iterdir())) >= 5
        assert not [one for one in tmp_path.iterdir() if one.name.startswith(".to") or "deleted)" in one.name]

    @pytest.mark.file_store
    def test_why_a_backup_cannot_be_written(self, shell: Shell, tmp_path: Path) -> None:
        """The sentence has the reason of the operating system."""
        assert "No such file or directory" in shell.refused("store", "backup", str(tmp_path / "nowhere" / "x.gz"))

    @pytest.mark.file_store
    def test_backup_and_restore(self, shell: Shell, caller: Caller, settings: Settings, tmp_path: Path) -> None:
        """What was backed up is what is there after a restore; sessions end, revoked tokens stay revoked."""
        self.fill(caller)
        file = tmp_path / "backup.gz"
        assert shell.done("store", "backup", str(file)).startswith("3 records were written to")
        assert file.stat().st_mode & 0o777 == 0o600
        before = {path.name: path.read_text() for path in records_in(settings.data_dir, "applications")}
        caller.client.post(
            "/plugin/datafor/api/extension/auth/login", json={"username": "admin", "password": ADMIN_PASSWORD}
        )
        caller.post("delete", {"name": "ERP"})
        caller.post("update", application(name="CRM", expire=5))
        caller.post("update", application(name="New"))
        caller.post("revoke", {"token": token(claims())})
        said = shell.done("store", "restore", str(file), "--dry-run")
        assert (
            said
            == "Changed applications: ERP (new)\nDeleted applications: New\nwould be: 1 created, 1 changed, 1 deleted\n"
        )
        assert len(caller.get("list").json["data"]) == 2
        assert "give --yes" in shell.refused("store", "restore", str(file))
        shell.done("store", "restore", str(file), "--yes")
        after = {path.name: path.read_text() for path in records_in(settings.data_dir, "applications")}
        assert after == before
        assert caller.get(DETAIL, {}).status_code == 401
        assert caller.get(DETAIL, {"Authorization": f"Bearer {token(claims())}"}).status_code == 401
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
            lambda data: gzip.compress(
                gzip.decompress(data).replace(b'"format": 2, "key": "', b'"format": 2, "key": "0')
            ),
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
    def test_a_bad_backup_touches_nothing(self, shell: Shell, caller: Caller, tmp_path: Path, change: Any) -> None:
        """A backup that is cut, foreign or not valid is refused as a whole."""
        self.fill(caller)
        file = tmp_path / "backup.gz"
        shell.done("store", "backup", str(file))
        file.write_bytes(change(file.read_bytes()))
        caller.post("update", application(name="New"))
        for options in (("--dry-run",), ("--yes",)):
            result = shell("store", "restore", str(file), *options)
            assert (result.exit_code, type(result.exception)) == (1, SystemExit)
        assert len(caller.get("list").json["data"]) == 3

    def test_an_unavailable_store_is_3(self, shell: Shell, settings: Settings) -> None:
        """When the store is gone, commands end with exit code 3 and a sentence."""
        with unavailable(settings.data_dir, "users"):
            for arguments in (("user", "list"), ("user", "enable", "lena"), ("store", "check")):
                assert "storage is unavailable" in shell.refused(*arguments, code=3)


def test_settings(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting with its value and origin; secrets as stars."""
    monkeypatch.setenv("DATAFOR_TOKEN_SECRET_KEY", "marked-key")
    monkeypatch.setenv("DATAFOR_TOKEN_BIND", "127.0.0.1:1")
    rows = {row["name"]: row for row in json.loads(shell.done("settings", "show", "--json"))}
    assert rows["LOCK_TIMEOUT"]["from"] == "default"
    assert rows["SECRET_KEY"]["value"] == "************"
    assert rows["BIND"]["value"] == "127.0.0.1:1"
    assert "marked" not in shell.done("settings", "show")
    assert "are valid" in shell.done("settings", "check")


@pytest.mark.file_store
def test_help_begins_nothing(tmp_path: Path) -> None:
    """Whoever asks a command for help gets it, and no first start with its files and its first user."""
    for words in ((), ("user",), ("store", "migrate")):
        done = flask(tmp_path, *words, "--help")
        assert done.returncode == 0, done.stderr
        assert "--help" in done.stdout
        assert "First start" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.file_store
def test_from_a_real_shell(tmp_path: Path) -> None:
    """Without further options `flask` finds the service; where a setting comes from is said; faults end with 1."""
    first_start(environment(tmp_path))
    command = [sys.executable, "-m", "flask", "user", "list", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)[0]["username"]) == (0, "admin")
    (tmp_path / "config" / "settings.toml").write_text("LOCK_TIMEOUT = 2\n")
    done = flask(tmp_path, "settings", "show", DATAFOR_TOKEN_LEEWAY="7")
    assert re.search(r"LOCK_TIMEOUT +2\.0 +seconds +.*settings.toml", done.stdout)
    assert re.search(r"LEEWAY +7\.0 +seconds +environment variable DATAFOR_TOKEN_LEEWAY", done.stdout)
    (tmp_path / "file").touch()
    done = flask(tmp_path, "user", "list", DATAFOR_TOKEN_DATA_DIR=str(tmp_path / "file"))
    assert (done.returncode, "is not a folder" in done.stderr, done.stdout) == (3, True, "")
    done = flask(tmp_path, "settings", "check", DATAFOR_TOKEN_LEEWAY="x", DATAFOR_TOKEN_COLOUR="red")
    assert done.returncode == 1
    assert "LEEWAY" in done.stderr
    assert "COLOUR" in done.stderr
    assert "Traceback" not in done.stderr


def on_a_terminal(folder: Path, *arguments: str, answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal, answer its questions; what it said, and its exit code."""
    environ = environment(folder)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "flask", *arguments], environ)  # noqa: S606 - a test
    said, asked = "", 0
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            said += data.decode()
        if answers[asked:] and answers[asked][0] in said[-200:]:
            os.write(terminal, f"{answers[asked][1]}\n".encode())
            asked += 1
            said += "\n"
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), said


def test_on_a_terminal(tmp_path: Path) -> None:
    """A password is asked for twice and not shown; deleting asks, and no is no."""
    first_start(environment(tmp_path))
    code, said = on_a_terminal(
        tmp_path, "user", "add", "lena", answers=[("Password: ", "hidden-one"), ("confirmation: ", "hidden-one")]
    )
    assert code == 0, said
    assert "hidden-one" not in said
    code, said = on_a_terminal(tmp_path, "user", "delete", "lena", answers=[("Delete the user lena?", "n")])
    assert code == 1
    code, said = on_a_terminal(tmp_path, "user", "delete", "lena", answers=[("Delete the user lena?", "y")])
    assert code == 0
    assert [row["username"] for row in json.loads(flask(tmp_path, "user", "list", "--json").stdout)] == ["admin"]


@pytest.mark.file_store
def test_backup_under_load(tmp_path: Path) -> None:
    """A backup while the service is written to is whole, and restored in an empty folder gives the same records."""
    server = Server(tmp_path).start()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            # Always both, one after the other: a backup has the same number in both, or one less in the second.
            for name in ("First", "Second"):
                server.post("update", application(name=name, expire=number))

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(1)
    for number in range(3):
        assert flask(tmp_path, "store", "backup", str(tmp_path / f"{number}.gz")).returncode == 0
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
    done = flask(other, "store", "restore", str(tmp_path / "2.gz"), "--yes")
    assert done.returncode == 0, done.stderr
    assert "valid" in flask(other, "store", "check").stdout
    assert record_of(other / "config", other / "data", "first")["secret"] == SEED_APPLICATION["secret"]


@pytest.mark.file_store
def test_a_restore_that_is_killed(tmp_path: Path) -> None:
    """Killed at any moment, a restore has happened whole or not at all once the next command has run."""
    first_start(environment(tmp_path))
    backup, file = tmp_path / "backup.gz", tmp_path / "all.json"

    def write(expire: int) -> None:
        changed = [application(name=name, secret=STRONG_SECRET, expire=expire) for name in ("A", "B", "C", "D")]
        file.write_text(json.dumps({"application": changed}))
        assert flask(tmp_path, "application", "apply", str(file)).returncode == 0

    def restore() -> Process:
        return Process(("-m", "flask", "store", "restore", str(backup), "--yes"), environment(tmp_path))

    write(86400)
    assert flask(tmp_path, "store", "backup", str(backup)).returncode == 0
    begun = time.monotonic()
    assert restore().wait() == 0
    whole = time.monotonic() - begun
    outcomes = set()
    # From well before the first write to well after the last one.
    for part in (0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 5):
        write(7)
        process = restore()
        time.sleep(part * whole)
        process.kill()
        assert process.wait() in (0, -9)
        rows = json.loads(flask(tmp_path, "application", "list", "--json").stdout)
        assert len(rows) == 4
        assert len({row["expire"] for row in rows}) == 1
        outcomes |= {row["expire"] for row in rows}
    assert outcomes == {7, 86400}


def test_settings_are_escaped(tmp_path: Path) -> None:
    """An unknown setting with control characters in its name is named without them."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.toml").write_text('"\\u001b[2J\\u009b" = 1\n')
    done = flask(tmp_path, "settings", "check")
    assert (done.returncode, "\\x1b[2J\\x9b" in done.stderr, "\x1b" in done.stderr) == (1, True, False)


def test_settings_check_judges_the_address(tmp_path: Path) -> None:
    """The address is a setting too: one with which gunicorn would not start is named."""
    done = flask(tmp_path, "settings", "check", DATAFOR_TOKEN_BIND="nowhere")
    assert (done.returncode, "DATAFOR_TOKEN_BIND" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.file_store
def test_relative_folders_and_bare_names(tmp_path: Path) -> None:
    """Folders of the settings and files of commands may be relative to the current folder, for root and others."""
    environ = {
        **environment(tmp_path),
        "DATAFOR_TOKEN_DATA_DIR": "records",
        "DATAFOR_TOKEN_CONFIG_DIR": "configuration",
        "PYTHONPATH": str(ROOT),
    }

    def output(*words: str) -> str:
        done = run(*words, environ=environ, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    output("-c", "import wsgi")
    assert (tmp_path / "records" / "users" / "admin.json").exists()
    assert (tmp_path / "configuration" / "secret_key").exists()
    command = ("-m", "flask", "--app", "wsgi")
    assert str(tmp_path / "configuration") in output(*command, "settings", "check")
    (tmp_path / "erp.toml").write_text(output(*command, "application", "export"))
    output(*command, "application", "add", "ERP", "--random-secret")
    (tmp_path / "erp.toml").write_text(output(*command, "application", "export"))
    assert output(*command, "application", "apply", "erp.toml") == "nothing to change\n"
    assert "records were written to backup.gz" in output(*command, "store", "backup", "backup.gz")
    assert "0 created" in output(*command, "store", "restore", "backup.gz", "--yes")
    shutil.rmtree(tmp_path / "records")
    output(*command, "store", "restore", "backup.gz", "--yes")
    assert "ERP" in output(*command, "application", "list")


@pytest.mark.file_store
def test_a_first_restore_with_the_wrong_key(tmp_path: Path) -> None:
    """On a new host a wrong key, no key, or a bad backup leaves nothing behind; the right key then restores all."""
    first_start(environment(tmp_path))
    flask(tmp_path, "application", "add", "ERP", put=STRONG_SECRET)
    backup = tmp_path / "backup.gz"
    assert flask(tmp_path, "store", "backup", str(backup)).returncode == 0
    (tmp_path / "bad.gz").write_bytes(backup.read_bytes()[:-20])
    key = (tmp_path / "config" / "secret_key").read_text()
    other = tmp_path / "other"
    (other / "config").mkdir(parents=True)

    def restore(file: Path, *options: str, put: str = "") -> subprocess.CompletedProcess[str]:
        return flask(other, "store", "restore", str(file), *options, put=put)

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
    # The server goes on with what was restored, and begins nothing.
    first_start(environment(other))
    assert [row["username"] for row in json.loads(flask(other, "user", "list", "--json").stdout)] == ["admin"]
    assert "store_restored" in flask(other, "audit", "show").stdout


@pytest.mark.file_store
def test_a_restore_after_the_records_were_lost(tmp_path: Path) -> None:
    """Where the server refuses to start on an empty data folder, a restore puts the store back with its identifier."""
    first_start(environment(tmp_path))
    assert flask(tmp_path, "store", "backup", str(tmp_path / "backup.gz")).returncode == 0
    before = (tmp_path / "config" / "store_id").read_text()
    shutil.rmtree(tmp_path / "data")
    assert flask(tmp_path, "store", "restore", str(tmp_path / "backup.gz"), "--yes").returncode == 0
    assert (tmp_path / "config" / "store_id").read_text() == before
    first_start(environment(tmp_path))
