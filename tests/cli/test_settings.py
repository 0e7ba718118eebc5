"""``datafor-token settings``."""

import json
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.processes import run_command


def test_settings(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting is shown with its value and origin; secrets as stars."""
    monkeypatch.setenv("DATAFOR_TOKEN_SECRET_KEY", "marked-key")
    monkeypatch.setenv("DATAFOR_TOKEN_BIND", "127.0.0.1:1")
    rows = {row["name"]: row for row in json.loads(shell.done("settings", "show", "--json"))}
    assert rows["LOCK_TIMEOUT"]["from"] == "default"
    assert rows["SECRET_KEY"]["value"] == "************"
    assert rows["BIND"]["value"] == "127.0.0.1:1"
    assert "marked" not in shell.done("settings", "show")
    assert "are valid" in shell.done("settings", "check")


def test_settings_are_escaped(tmp_path: Path) -> None:
    """Control characters in the name of an unknown setting are escaped."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.toml").write_text('"\\u001b[2J\\u009b" = 1\n')
    done = run_command(tmp_path, "settings", "check")
    assert (done.returncode, "\\x1b[2J\\x9b" in done.stderr, "\x1b" in done.stderr) == (1, True, False)


def test_settings_check_of_a_missing_folder(tmp_path: Path) -> None:
    """A missing folder, such as a mistyped one, is a warning of its own; one without the file causes none."""
    done = run_command(tmp_path, "settings", "check")
    assert done.stderr == f"warning: the folder {tmp_path / 'config'} does not exist\n"
    assert (done.returncode, str(tmp_path) in done.stdout) == (0, False)
    assert json.loads(run_command(tmp_path, "settings", "check", "--json").stdout)["warnings"] != []
    (tmp_path / "config").mkdir()
    done = run_command(tmp_path, "settings", "check")
    assert (done.stderr, done.stdout) == ("", f"The settings in {tmp_path / 'config'} are valid\n")


def test_settings_check_covers_the_address(tmp_path: Path) -> None:
    """An address with which gunicorn would not start is reported."""
    done = run_command(tmp_path, "settings", "check", DATAFOR_TOKEN_BIND="nowhere")
    assert (done.returncode, "DATAFOR_TOKEN_BIND" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
