"""Schemathesis: requests generated from the OpenAPI document, valid and invalid ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ADMIN_PASSWORD, ROOT, Server

# Its wrong passwords would lock out the user of the run.
AS_ADMINISTRATOR = [
    "--auth",
    f"admin:{ADMIN_PASSWORD}",
    "--exclude-operation-id",
    "change_password",
    "--exclude-operation-id",
    "update_password",
    "--max-examples",
    "8",
]
AS_NOBODY = ["--max-examples", "4"]


@pytest.mark.parametrize("options", [AS_ADMINISTRATOR, AS_NOBODY], ids=["administrator", "nobody"])
@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path, options: list[str]) -> None:
    """No generated request is a 500, is accepted or refused wrongly, or has an undescribed response."""
    server = Server(tmp_path).start()
    program = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(ROOT / "schemathesis.toml")]
    url = f"http://127.0.0.1:{server.port}/openapi.json"
    done = subprocess.run(
        [*program, "run", url, "--seed", "7", "--no-color", *options],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    server.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    tested = re.search(r"Tested: (\d+)", done.stdout)
    made = re.search(r"(\d+) generated", done.stdout)
    assert tested is not None
    assert made is not None
    # The run must have tested something.
    assert int(tested[1]) > 30
    assert int(made[1]) > 100
