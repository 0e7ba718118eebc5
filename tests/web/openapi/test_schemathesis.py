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
]
COVERAGE = ["--phases", "coverage"]
OTHER_PHASES = ["--phases", "examples,fuzzing,stateful", "--max-examples"]
# The calls that anybody may send. Others refuse a stranger before they read the body: the coverage of all its values
# would be 4,000 equal responses.
PUBLIC_CALLS = ["--include-path-regex", "^/(?!plugin/datafor-modeler/)"]


# In parts, which run beside each other.
@pytest.mark.parametrize(
    ("options", "worker"),
    [
        ([*AS_ADMINISTRATOR, *COVERAGE], ""),
        ([*AS_ADMINISTRATOR, *OTHER_PHASES, "8"], ""),
        # Our worker slows down a client that is refused all the time; gthread cannot.
        ([*PUBLIC_CALLS, *COVERAGE], "gthread"),
        # Most of its responses are equal as well.
        ([*OTHER_PHASES, "2"], "gthread"),
    ],
    ids=["administrator: coverage", "administrator", "nobody: coverage", "nobody"],
)
@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path, options: list[str], worker: str) -> None:
    """No generated request is a 500, is accepted or refused wrongly, or has an undescribed response."""
    server = Server(tmp_path, DATAFOR_TOKEN_WORKER=worker).start()
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
    assert int(tested[1]) > 25
    assert int(made[1]) > 100
