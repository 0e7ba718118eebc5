"""The command itself: folders, version, help, and the modules that it imports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import datafor_token
from tests.commands import invoke
from tests.processes import environment, first_start, run
from tests.support import ROOT

HEAVY = ("flask", "werkzeug", "marshmallow", "sqlalchemy", "gunicorn", "jwt", "cryptography", "argon2", "urllib3")


def imported(folder: Path, *arguments: str, **environ: str) -> set[str]:
    """Return those of the heavy libraries that a command imports, in an interpreter of its own."""
    script = (
        "import sys, atexit, json; from datafor_token.cli.main import main"
        f"; atexit.register(lambda: sys.stderr.write(json.dumps([one for one in {HEAVY!r} if one in sys.modules])))"
        f"; sys.argv[1:] = {list(arguments)!r}; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env=environment(folder, **environ), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.file_store
def test_a_command_imports_only_what_it_needs(tmp_path: Path) -> None:
    """Help and completion import no large library; other commands import no web framework."""
    first_start(environment(tmp_path))
    assert imported(tmp_path, "--help") == set()
    assert imported(tmp_path, "user", "--help") == set()
    completion = {"_DATAFOR_TOKEN_COMPLETE": "bash_complete", "COMP_WORDS": "datafor-token us", "COMP_CWORD": "1"}
    assert imported(tmp_path, **completion) == set()
    for group in ("user", "application"):
        found = imported(tmp_path, group, "list")
        assert not found & {"flask", "werkzeug", "marshmallow", "sqlalchemy", "urllib3"}


@pytest.mark.file_store
@pytest.mark.parametrize("place", ["before", "after", "environment", "current folder"])
def test_the_folders(tmp_path: Path, place: str) -> None:
    """Folders are given before or after the command, or in the environment; by default they are in the current one."""
    first_start(environment(tmp_path))
    folders = [f"--config={tmp_path / 'config'}", f"--data={tmp_path / 'data'}"]
    command = {"before": [*folders, "user", "list"], "after": ["user", "list", *folders]}.get(place, ["user", "list"])
    environ = environment(
        tmp_path, DATAFOR_TOKEN_CONFIG_DIR="", DATAFOR_TOKEN_DATA_DIR="", DATAFOR_TOKEN_STORE="", PYTHONPATH=str(ROOT)
    )
    if place == "environment":
        environ = environment(tmp_path, PYTHONPATH=str(ROOT))
    # An installed package is not in a checkout.
    script = (
        "import sys; from pathlib import Path; from datafor_token import settings; settings._CHECKOUT = Path('/')"
        f"; from datafor_token.cli.main import main; sys.argv[1:] = {command!r}; main()"
    )
    done = run("-c", script, environ=environ, folder=tmp_path if place == "current folder" else Path("/"))
    assert (done.returncode, "admin" in done.stdout) == (0, True), done.stderr


def test_a_folder_after_the_command_overrides_the_one_before(tmp_path: Path) -> None:
    """Of two folders, the last one that is given is used."""
    done = invoke(None, ["--config", "/nothing", "settings", "check", "--config", str(tmp_path)])
    assert str(tmp_path) in done.output


def test_the_version() -> None:
    """``--version`` prints the version of the package."""
    assert invoke(None, ["--version"]).output == f"datafor-token, version {datafor_token.__version__}\n"


def test_the_help() -> None:
    """The help lists the commands of this service and nothing else."""
    text = invoke(None, ["--help"]).output
    listed = [line.split()[0] for line in text.split("Commands:\n")[1].splitlines()]
    assert listed == [
        "serve",
        "drain",
        "user",
        "application",
        "token",
        "gate",
        "store",
        "audit",
        "settings",
        "completion",
    ]
