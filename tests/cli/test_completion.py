"""Completion of commands, options, choices and names in a shell."""

import contextlib
import os
import pty
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.test_main import HEAVY, imported
from tests.processes import environment, first_start, run_command
from tests.stores import Record
from tests.support import ROOT

pytestmark = pytest.mark.file_store
NAMES = {"admin": "users", "Lena": "users", "Max Müller*": "users", "ERP": "applications", "Erfurt": "applications"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with users and applications, of which one is damaged."""
    for name, collection in NAMES.items():
        (tmp_path / "data" / collection).mkdir(parents=True, exist_ok=True)
        Record(tmp_path / "data", collection, name).write_text(f'{{"name": "{name}", "secret": "marked"}}')
    for number, content in enumerate(("{", "[]", '{"name": 5}', '{"name": "\\u001b[2J"}')):
        (tmp_path / "data" / "users" / f"damaged{number}.json").write_text(content)
    return tmp_path


def completed(folder: Path, line: str, **changes: str) -> list[str]:
    """Return the words that are offered for the last word of a line, split as bash splits it."""
    words = re.findall(r"=|[^\s=]+", line) + ([""] if line.endswith(" ") else [])
    environ = environment(
        folder, _DATAFOR_TOKEN_COMPLETE="bash_complete", COMP_WORDS="\n".join(words), COMP_CWORD=str(len(words) - 1),
        DATAFOR_TOKEN_STORE="", **changes,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "datafor_token"], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return [one.removeprefix("plain,") for one in done.stdout.splitlines() if one]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("datafor-token us", ["user"]),
        ("datafor-token user s", ["sessions", "set", "show"]),
        ("datafor-token user add lena --ty", ["--type"]),
        ("datafor-token user add lena --type SYS_C", ["SYS_Creator"]),
        ("datafor-token completion z", ["zsh"]),
        ("datafor-token user show ", ["Lena", "Max\\ Müller\\*", "admin"]),
        ("datafor-token user show l", ["Lena"]),
        ("datafor-token user add L", []),
        ("datafor-token application rotate E", ["ERP", "Erfurt"]),
        ("datafor-token application export ERP er", ["ERP", "Erfurt"]),
        ("datafor-token token generate er", ["ERP", "Erfurt"]),
        ("datafor-token token generate ERP --username le", ["Lena"]),
        ("datafor-token token explain --application ER", ["ERP", "Erfurt"]),
        ("datafor-token application set ERP --users ", ["any", "own"]),
        ("datafor-token application set ERP --sync r", ["roles"]),
        ("datafor-token application add New --token-type ", ["JWT", "at+jwt"]),
        ("datafor-token application set ERP --token-type A", ["at+jwt"]),
        ("datafor-token audit show --user a", ["admin"]),
        ("datafor-token user show lena ", []),
        ("datafor-token --data /nowhere user show ", []),
        ("datafor-token --data=/nowhere user show ", []),
        ("datafor-token user show --data /nowhere a", []),
        ("datafor-token user show --json a", ["admin"]),
    ],
)
def test_words(folder: Path, line: str, offered: list[str]) -> None:
    """Commands, options, choices and stored names are offered; a damaged record is left out without an error."""
    assert completed(folder, line) == offered


def test_pipes_and_endless_files(folder: Path) -> None:
    """Neither a pipe nor an endless file among the records holds up a completion: both are left out."""
    pipe = folder / "data" / "users" / "piped.json"
    os.mkfifo(pipe)
    (folder / "data" / "users" / "endless.json").symlink_to("/dev/zero")

    def write() -> None:
        # A reader that waits for this writer gets a name; the service closes the pipe at once.
        with contextlib.suppress(BrokenPipeError):
            pipe.write_text('{"name": "piped"}')

    threading.Thread(target=write, daemon=True).start()
    assert completed(folder, "datafor-token user show ") == ["Lena", "Max\\ Müller\\*", "admin"]
    (folder / "config").mkdir()
    os.mkfifo(folder / "config" / "settings.toml")
    assert completed(folder, "datafor-token user show ") == []


def test_folders_on_the_line(folder: Path) -> None:
    """Names are those of the folder on the line, else of the environment."""
    nowhere = {"DATAFOR_TOKEN_DATA_DIR": "/nowhere"}
    assert completed(folder, "datafor-token user show a", **nowhere) == []
    for line in ("--data {} user show a", "--data={} user show a", "user --data {} show a", "user show --data {} a"):
        assert completed(folder, f"datafor-token {line.format(folder / 'data')}", **nowhere) == ["admin"]


def test_it_changes_nothing(folder: Path) -> None:
    """A completion creates nothing, shows no secret, and offers nothing with wrong settings or another store."""
    before = sorted(folder.rglob("*"))
    assert "marked" not in str(completed(folder, "datafor-token application show "))
    assert completed(folder, "datafor-token user show ", DATAFOR_TOKEN_LEEWAY="x") == []
    (folder / "config").mkdir()
    (folder / "config" / "settings.toml").write_text('STORE = "sqlite:////nowhere/records.db"')
    assert completed(folder, "datafor-token user show ") == []
    assert set(folder.rglob("*")) - set(before) == {folder / "config", folder / "config" / "settings.toml"}
    environ = {"_DATAFOR_TOKEN_COMPLETE": "bash_complete", "COMP_WORDS": "datafor-token user show a", "COMP_CWORD": "3"}
    assert imported(folder, **environ) & set(HEAVY) == set()


def test_in_bash(tmp_path: Path) -> None:
    """In an interactive bash, Tab completes a command and a name with a blank, which the command then gets."""
    first_start(environment(tmp_path))
    assert run_command(tmp_path, "user", "add", "Max Mueller", put="long enough").returncode == 0
    program = tmp_path / "bin" / "datafor-token"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m datafor_token "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environ = environment(
        tmp_path, PATH=f"{program.parent}:{os.environ['PATH']}", PYTHONPATH=str(ROOT), TERM="dumb", PS1="$ "
    )
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environ)  # noqa: S606 - a test
    lines = ["source <(datafor-token completion bash)", "datafor-token us\tsh\tm\t", "exit"]
    os.write(terminal, "".join(f"{line}\n" for line in lines).encode())
    output = b""
    while True:
        try:
            output += os.read(terminal, 65536)
        except OSError:
            break
    os.waitpid(process, 0)
    os.close(terminal)
    assert re.search(r"^username +Max Mueller\r?$", output.decode(), flags=re.MULTILINE), output.decode()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(shell: str, tmp_path: Path) -> None:
    """The scripts of zsh and fish ask the command."""
    assert "_DATAFOR_TOKEN_COMPLETE" in run_command(tmp_path, "completion", shell).stdout
