"""The former commands ``flask user ...``, which end with version 0.3.0."""

from pathlib import Path

import pytest

from tests.processes import environment, first_start, run, run_command
from tests.support import ROOT

pytestmark = pytest.mark.file_store
FLASK = ("-m", "flask", "--app", str(ROOT / "wsgi"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("user", "list", "--json"), 0),
        (("user", "show", "nobody"), 1),
        (("user", "delete", "admin", "--yes"), 1),
        (("token", "explain", "x"), 1),
        (("application", "add", "a/b", "--random-secret"), 1),
        (("user", "list", "--data", "/nowhere"), 3),
    ],
)
def test_the_same_with_a_notice(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    """A former command prints the new one in one line on standard error, and is otherwise the same."""
    environ = environment(tmp_path)
    first_start(environ)
    new = run_command(tmp_path, *arguments)
    former = run(*FLASK, *arguments, environ=environ)
    assert (former.returncode, former.stdout) == (new.returncode, new.stdout) == (code, new.stdout)
    notice, *rest = former.stderr.splitlines()
    words = " ".join(arguments[:2])
    assert notice == f"`flask {words}` ends with version 0.3.0: use `datafor-token {words}`"
    assert rest == new.stderr.splitlines()


@pytest.mark.parametrize("arguments", [("user", "list", "--colour"), ("user", "add"), ("user", "lists"), ("user",)])
def test_wrong_usage_is_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Wrong usage of a former command exits with 2."""
    assert run(*FLASK, *arguments, environ=environment(tmp_path)).returncode == 2
    assert list(tmp_path.iterdir()) == []
