"""Schemathesis makes requests of its own from the API description, right and wrong ones, and judges the answers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ADMIN_PASSWORD, ROOT, Server

# Its wrong passwords are counted against the one who calls, and would lock the rest of the run out.
AS_ADMINISTRATOR = [
    "--auth",
    f"admin:{ADMIN_PASSWORD}",
    "--exclude-operation-id",
    "change_password",
    "--max-examples",
    "8",
]
AS_NOBODY = ["--max-examples", "4"]


@pytest.mark.parametrize("options", [AS_ADMINISTRATOR, AS_NOBODY], ids=["administrator", "nobody"])
@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path, options: list[str]) -> None:
    """Of thousands of requests none is a 500, is taken or refused wrongly, or has an answer that is not described."""
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
    # Not a run that found nothing because it asked nothing.
    assert int(tested[1]) > 30
    assert int(made[1]) > 100
