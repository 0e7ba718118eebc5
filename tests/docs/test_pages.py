"""The helpers that read and run the documentation."""

import re
from pathlib import Path

import pytest

from tests.docs import pages


def test_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks have the asked language, and lose the indent of a list."""
    (tmp_path / "page.md").write_text(
        "```sh\necho 1\n```\n1. In a list:\n\n   ```sh\n   echo 2\n     echo 3\n   ```\n```\nplain\n```\n"
    )
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    assert pages.blocks("page.md", "sh") == ["echo 1\n", "echo 2\n  echo 3\n"]
    assert pages.blocks("page.md", "") == ["plain\n"]


def test_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block runs in its folder, stops at its first error, and finds the command but no settings of the tests."""
    monkeypatch.setenv("DATAFOR_TOKEN_DATA_DIR", "/nowhere")
    block = (
        "echo ${DATAFOR_TOKEN_DATA_DIR-unset} $COLOUR http://host >file\ncommand -v datafor-token\nfalse\ntouch late\n"
    )
    done = pages.shell(block, tmp_path, {"COLOUR": "blue"}, {"http://host": "http://127.0.0.1:1"})
    assert (done.returncode, done.stdout.endswith("/datafor-token\n")) == (1, True)
    assert (tmp_path / "file").read_text() == "unset blue http://127.0.0.1:1\n"
    assert not (tmp_path / "late").exists()
    with pytest.raises(AssertionError, match="is not in the block"):
        pages.shell("true", tmp_path, replace={"gone": ""})


@pytest.mark.parametrize("page", pages.all_pages())
def test_rows_have_the_cells_of_their_heading(page: str) -> None:
    """Each row of a table has as many cells as its heading: it is in the table to which it belongs."""
    tables = re.findall(r"(?:^\|.*\n)+", pages.without_code(page), re.MULTILINE)
    wrong = []
    for heading, *rows in map(str.splitlines, tables):
        # A pipe in a cell is escaped.
        wrong += [row for row in rows if row.count("|") - row.count(r"\|") != heading.count("|")]
    assert wrong == []
