"""Reading of small files from outside."""

import errno
import os
from pathlib import Path

import pytest

from datafor_token.validation import files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_regular_file(file: Path, tmp_path: Path) -> None:
    """A regular file is read, also through a link, up to the largest size."""
    file.write_bytes(b"x" * files.LARGEST)
    (tmp_path / "link").symlink_to(file)
    assert files.read(file) == files.read(tmp_path / "link") == file.read_bytes()
    # The status of such a file has the size 0.
    assert files.read(Path("/proc/self/status")) != b""


@pytest.mark.parametrize(
    ("kind", "error"),
    [("pipe", errno.EINVAL), ("device", errno.EINVAL), ("folder", errno.EISDIR), ("missing", errno.ENOENT)],
)
def test_other_files(file: Path, kind: str, error: int) -> None:
    """Anything else is an error at once: a pipe without a writer, an endless device, a folder, no file."""
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "folder":
        file.mkdir()
    with pytest.raises(OSError, match=rf"^\[Errno {error}\]"):
        files.read(file)


def test_the_largest_size(file: Path) -> None:
    """A larger file is an error that names the size, also if it has no end."""
    file.write_bytes(b"x" * (files.LARGEST + 1))
    for path, waits in ((file, False), (Path("/dev/zero"), True)):
        with pytest.raises(OSError, match="it is larger than 1 MiB"):
            files.read(path, waits=waits)


def test_a_pipe_that_a_user_names() -> None:
    """With ``waits``, a pipe is read to its end."""
    reader, writer = os.pipe()
    os.write(writer, b"text")
    os.close(writer)
    assert files.read(Path(f"/dev/fd/{reader}"), waits=True) == b"text"
    os.close(reader)
