"""The shipped systemd units."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datafor_token.errors import StartError
from datafor_token.settings_sources import load_settings
from tests.docs import pages
from tests.processes import environment, first_start
from tests.server import system_calls
from tests.support import ROOT, Server, gunicorn_settings

CONFIG = ROOT / "config"
UNIT = CONFIG / "datafor-token.service"
UNITS = sorted([*CONFIG.glob("*.service"), *CONFIG.glob("*.timer")])
PROGRAM = "/opt/datafor_token/bin/datafor-token"


def need_optional(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed: not run (optional)")


def lines(unit: Path, name: str) -> list[str]:
    """Return the values of a setting of a unit."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)


def test_the_units_are_valid(tmp_path: Path) -> None:
    """systemd-analyze finds no fault in the units, except that their program is not installed here."""
    need_optional("systemd-analyze")
    assert PROGRAM in UNIT.read_text()
    for unit in UNITS:
        text = unit.read_text().replace(PROGRAM, "/bin/true")
        (tmp_path / unit.name).write_text(text.replace("ReadWritePaths=/", "ReadWritePaths=-/"))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: unit.name)
def test_the_units_are_hardened(unit: Path) -> None:
    """The services run as their own user, and systemd-analyze rates their exposure at 1.4 at most."""
    assert lines(unit, "User") == ["datafor_token"]
    need_optional("systemd-analyze")
    # The threshold is in tenths.
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=14", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_folders() -> None:
    """The unit lets systemd create the folder in which the service runs and writes, for its user only."""
    assert lines(UNIT, "StateDirectory") == ["datafor_token"]
    assert lines(UNIT, "StateDirectoryMode") == ["0700"]
    assert lines(UNIT, "WorkingDirectory") == ["%S/datafor_token"]
    assert lines(UNIT, "Environment") == ["DATAFOR_TOKEN_METRICS_DIR=%t/datafor_token"]
    assert lines(UNIT, "ExecStart") == [f"{PROGRAM} serve"]


def test_the_time_for_a_stop() -> None:
    """systemd waits longer for a stop than the longest drain and gunicorn's wait for the last responses take."""
    assert int(lines(UNIT, "TimeoutStopSec")[0]) > 120 + gunicorn_settings()["graceful_timeout"]
    with pytest.raises(StartError, match="DRAIN_SECONDS"):
        load_settings(None, {"DATAFOR_TOKEN_DRAIN_SECONDS": "121"})


def test_the_system_calls(tmp_path: Path) -> None:
    """Under the filter of the unit, first start, sign-in and stop work, and each worker stays on a core of its own."""
    need_optional("systemd-analyze")
    server = Server(tmp_path)
    serve = [sys.executable, "-m", "gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:app"]
    server.command = [sys.executable, "-m", system_calls.__name__, UNIT, *serve]
    server.start()
    workers = server.both_workers()
    assert server.request("GET", "/plugin/datafor-modeler/api/user/detail").status == 200
    if len(os.sched_getaffinity(0)) > 1:
        assert [len(os.sched_getaffinity(worker)) for worker in workers] == [1, 1]
    assert server.stop() == 0


def test_the_backup(tmp_path: Path) -> None:
    """The unit of the backup writes one file a day, and keeps the newest 14; if a backup fails, it removes nothing."""
    unit, folder = CONFIG / "datafor-token-backup.service", tmp_path / "backups"
    assert lines(unit, "ReadWritePaths") == ["/var/backups/datafor_token"]
    folder.mkdir()
    old = [f"2026-01-{day:02}.gz" for day in range(1, 20)]
    for name in [*old, "mine.gz"]:
        (folder / name).touch()
    environ = {"DATAFOR_TOKEN_CONFIG_DIR": str(tmp_path / "config"), "DATAFOR_TOKEN_DATA_DIR": str(tmp_path / "data")}
    backup, sweep = (
        line.replace("/var/backups/datafor_token", str(folder)).replace(PROGRAM, "datafor-token").replace("%%", "%")
        for name in ("ExecStart", "ExecStartPost")
        for line in lines(unit, name)
    )
    # systemd runs ExecStartPost only after this one succeeded.
    assert pages.shell(backup, tmp_path, environ).returncode == 3
    first_start(environment(tmp_path, **environ))
    for line in (backup, sweep):
        done = pages.shell(line, tmp_path, environ)
        assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in folder.iterdir())
    assert (left[:13], len(left), left[-1]) == (old[-13:], 15, "mine.gz")
    done = pages.shell(f"datafor-token store restore --dry-run {folder / left[13]}", tmp_path, environ)
    assert done.returncode == 0, done.stderr
