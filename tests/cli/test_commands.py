"""All commands: help, usage, and runs without and with a terminal."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from datafor_token.applications.record import DEFAULTS
from datafor_token.cli.main import load, root
from tests.cli.shell import Shell
from tests.processes import environment, first_start, run, run_command
from tests.support import ROOT


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield the name and the command of each command, also of those that are no group's."""
    for name in root.list_commands(click.Context(root)):
        found = load(name)
        if isinstance(found, click.Group):
            yield from ((f"{name} {one}", command) for one, command in found.commands.items())
        else:
            yield name, found


def test_every_command_has_help_and_an_example(shell: Shell) -> None:
    """The help of each command, and of each option, exists and has an example of the command."""
    assert len(list(commands())) >= 25
    for name, command in commands():
        text = shell.done(*name.split(), "--help")
        assert f"Example: datafor-token {name}" in " ".join(text.split()), name
        assert all(option.help for option in command.params if isinstance(option, click.Option)), name


def test_defaults(shell: Shell) -> None:
    """The help of ``application add`` and ``user add`` has the defaults of each field; that of ``set`` has none."""
    helps = {name: " ".join(shell.done(*name.split(), "--help").split()) for name, _ in commands()}
    options = dict(commands())["application add"].params
    fields = {option.name: option.help or "" for option in options if isinstance(option, click.Option)}
    for name, default in DEFAULTS.items():
        texts = {f"claim_{claim}": value for claim, value in default.items()} if name == "fieldmap" else {name: default}
        for option, value in texts.items():
            shown = value[0] if isinstance(value, list) else value
            assert option in {"enable", "initpwd"} or fields[option].endswith(f"[default: {shown}]"), option
    assert "[default: SYS_Reader]" in helps["user add"]
    for name in ("user set", "application set"):
        assert helps[name].count("[default: ") == 2, "the folders"


@pytest.mark.parametrize(
    "arguments", [("user", "add"), ("user", "nothing"), ("token", "generate", "ERP"), ("user", "set", "x")]
)
def test_wrong_usage_is_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    """A command without a required argument exits with 2."""
    shell.refused(*arguments, code=2)


def test_no_argument_is_a_secret() -> None:
    """No command has an option or argument that takes a secret or a password itself."""
    for name, command in commands():
        for parameter in command.params:
            assert parameter.name not in ("password", "secret", "private_key"), name


@pytest.mark.file_store
def test_help_creates_nothing(tmp_path: Path) -> None:
    """The help of a command does not create the store or its first user."""
    for words in ((), ("user",), ("store", "migrate")):
        done = run_command(tmp_path, *words, "--help")
        assert done.returncode == 0, done.stderr
        assert "--help" in done.stdout
        assert "first start" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.file_store
def test_from_a_real_shell(tmp_path: Path) -> None:
    """The command finds the service without options, shows the origin of each setting, and exits with 1 on an error."""
    first_start(environment(tmp_path))
    command = [sys.executable, "-m", "datafor_token", "user", "list", "--json"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, json.loads(done.stdout)[0]["username"]) == (0, "admin")
    (tmp_path / "config" / "settings.toml").write_text("LOCK_TIMEOUT = 2\n")
    done = run_command(tmp_path, "settings", "show", DATAFOR_TOKEN_LEEWAY="7")
    assert re.search(r"LOCK_TIMEOUT +2\.0 +seconds +.*settings.toml", done.stdout)
    assert re.search(r"LEEWAY +7\.0 +seconds +environment variable DATAFOR_TOKEN_LEEWAY", done.stdout)
    (tmp_path / "file").touch()
    done = run_command(tmp_path, "user", "list", DATAFOR_TOKEN_DATA_DIR=str(tmp_path / "file"))
    assert (done.returncode, "is not a folder" in done.stderr, done.stdout) == (3, True, "")
    done = run_command(tmp_path, "settings", "check", DATAFOR_TOKEN_LEEWAY="x", DATAFOR_TOKEN_COLOUR="red")
    assert done.returncode == 1
    assert "LEEWAY" in done.stderr
    assert "COLOUR" in done.stderr
    assert "Traceback" not in done.stderr


def on_a_terminal(folder: Path, *arguments: str, replies: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal, reply to its prompts; return its exit code and output."""
    environ = environment(folder)
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "datafor_token", *arguments], environ)  # noqa: S606 - a test
    output, asked = "", 0
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            output += data.decode()
        if replies[asked:] and replies[asked][0] in output[-200:]:
            os.write(terminal, f"{replies[asked][1]}\n".encode())
            asked += 1
            output += "\n"
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), output


def test_on_a_terminal(tmp_path: Path) -> None:
    """A password is read twice and not shown; a deletion needs a yes."""
    first_start(environment(tmp_path))
    code, output = on_a_terminal(
        tmp_path, "user", "add", "lena", replies=[("Password: ", "hidden-one"), ("confirmation: ", "hidden-one")]
    )
    assert code == 0, output
    assert "hidden-one" not in output
    code, output = on_a_terminal(tmp_path, "user", "delete", "lena", replies=[("Delete the user lena?", "n")])
    assert code == 1
    code, output = on_a_terminal(tmp_path, "user", "delete", "lena", replies=[("Delete the user lena?", "y")])
    assert code == 0
    assert [row["username"] for row in json.loads(run_command(tmp_path, "user", "list", "--json").stdout)] == ["admin"]


@pytest.mark.file_store
def test_relative_folders_and_bare_names(tmp_path: Path) -> None:
    """Folders of the settings and files of commands can be relative to the current folder."""
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
    command = ("-m", "datafor_token")
    assert str(tmp_path / "configuration") in output(*command, "settings", "check")
    (tmp_path / "erp.toml").write_text(output(*command, "application", "export"))
    output(*command, "application", "add", "ERP", "--random-secret")
    (tmp_path / "erp.toml").write_text(output(*command, "application", "export"))
    assert output(*command, "application", "apply", "erp.toml") == "nothing to change\n"
    output(*command, "store", "backup", "backup.gz")
    assert "0 created" in output(*command, "store", "restore", "backup.gz", "--yes")
    shutil.rmtree(tmp_path / "records")
    output(*command, "store", "restore", "backup.gz", "--yes")
    assert "ERP" in output(*command, "application", "list")
