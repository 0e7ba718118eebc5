"""The shipped systemd unit."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT


def test_the_systemd_unit(tmp_path: Path) -> None:
    """The unit is hardened, and systemd-analyze finds no fault in it, except its missing program."""
    text = (ROOT / "config" / "datafor-token.service").read_text()
    for line in ("User=datafor_token", "ProtectSystem=strict", "NoNewPrivileges=yes", "ReadWritePaths="):
        assert f"\n{line}" in text
    need_optional("systemd-analyze")
    program = "/opt/datafor_token/.venv/bin/python -m gunicorn -c config/gunicorn.conf.py wsgi:app"
    assert f"ExecStart={program}\n" in text
    unit = tmp_path / "datafor-token.service"
    unit.write_text(text.replace(program, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def need_optional(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed: not run (optional)")
