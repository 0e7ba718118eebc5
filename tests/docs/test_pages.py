"""The helpers that read and run the documentation."""

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
