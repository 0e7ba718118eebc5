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
# The coverage of all values of a body would be 4,000 requests that are refused before their body is read.
AS_NOBODY = ["--phases", "examples,fuzzing,stateful", "--max-examples", "8"]
# The calls that anybody may send; the others have a path of the API.
PUBLIC_CALLS = ["--phases", "coverage", "--include-path-regex", "^/(?!plugin/datafor-modeler/)"]


@pytest.mark.parametrize(
    ("options", "worker"),
    # The service slows down a client that is refused all the time, with gthread it does not.
    [(AS_ADMINISTRATOR, ""), (AS_NOBODY, "gthread"), (PUBLIC_CALLS, "gthread")],
    ids=["administrator", "nobody", "public calls"],
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
