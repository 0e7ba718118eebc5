"""Queue of lines on disk: all processes of a host append to it, and one of them reads it.

Lines are appended to a *segment*, a file, until it is full. The reader notes its position after each line, and removes
a segment whose lines were all read. Each line is read at least once: again, if the reader was killed before it noted
its position.
"""

import contextlib
import hashlib
import os
import secrets
import time
from pathlib import Path
from typing import NamedTuple

from datafor_token.errors import StoreUnavailable
from datafor_token.store.files.disk import create_folder, match_owner, outage
from datafor_token.store.files.locking import hold
from datafor_token.validation import strict_json

SEGMENT = 1024 * 1024  # bytes from which on a segment is full
MOST = 100  # segments
_SUFFIX = ".jsonl"
_POSITION = "position"
_TRIES, _PAUSE = 200, 0.001  # pause in seconds; the reader locks a segment for microseconds
_APPEND = os.O_WRONLY | os.O_APPEND


class Position(NamedTuple):
    """A segment, and an offset in it in bytes."""

    segment: str
    offset: int


class Entry(NamedTuple):
    """A line without its line end, and the position after it."""

    id: str  # whenever this line is read, the same; any other line, also of another queue, has another one
    line: bytes
    end: Position


class Queue:
    """The queue in a folder, which the first line creates. Methods raise ``StoreUnavailable``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._current: Path | None = None

    def append(self, line: bytes, *, durably: bool = False) -> None:
        """Append a line with its line end in one write; ``durably``: return when it is on the disk.

        Writers do not wait for each other: they share the lock that keeps the reader from removing the segment.
        """
        # A full disk can cut a line. With a line end in front, the next line is not joined to it.
        data = b"\n" + line
        with outage(f"write to the queue {self.folder.name}"):
            descriptor = self._locked()
            try:
                written = os.write(descriptor, data)
                if durably:
                    os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        if written < len(data):
            raise StoreUnavailable(reason=f"cannot write to the queue {self.folder.name}: the disk is full")

    def waiting(self) -> int:
        """Return the number of bytes that were not read yet."""
        with outage(f"read the queue {self.folder.name}"):
            position, waiting = noted_position(self.folder), 0
            for path in segments(self.folder):
                with contextlib.suppress(FileNotFoundError):
                    waiting += path.stat().st_size - (position.offset if path.name == position.segment else 0)
        return max(0, waiting)

    def _locked(self) -> int:
        """Return the descriptor of a segment that is not full, with a shared lock; closing it releases the lock."""
        for _ in range(_TRIES):
            path = self._current or self._last() or self._create(None)
            self._current = None
            with contextlib.suppress(FileNotFoundError):
                descriptor = hold(path, is_shared=True, flags=_APPEND)
                if descriptor is None:
                    time.sleep(_PAUSE)
                    continue
                status = os.fstat(descriptor)
                if status.st_nlink and status.st_size < SEGMENT:
                    self._current = path
                    return descriptor
                os.close(descriptor)
                if status.st_nlink and path == self._last():
                    self._create(path)
        raise StoreUnavailable(reason=f"the queue {self.folder.name} is locked")

    def _last(self) -> Path | None:
        return next(reversed(segments(self.folder)), None)

    def _create(self, last: Path | None) -> Path:
        """Create a segment whose name follows that of the last one."""
        create_folder(self.folder)
        if len(segments(self.folder)) >= MOST:
            raise StoreUnavailable(reason=f"the queue {self.folder.name} is full")
        # Also if the clock was set back. Two processes can create one each at a time: the reader reads both.
        number = max(time.time_ns(), 0 if last is None else int(last.name.partition("-")[0]) + 1)
        path = self.folder / f"{number:020d}-{secrets.token_hex(4)}{_SUFFIX}"
        os.close(os.open(path, _APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        match_owner(path)
        return path


class Reader:
    """Reader of the queue in a folder that exists; only one may read at a time. Methods raise ``OSError``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Written in place: a rename for each line would take longer.
        self._file = os.open(folder / _POSITION, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._position = noted_position(folder)
        path = folder / self._position.segment
        if path.is_file() and not _is_after_line(path, self._position.offset):
            # A power cut has removed lines that were read: to read others again is better than to miss new ones.
            self._position = Position("", 0)

    def close(self) -> None:
        """Close the file of the position."""
        os.close(self._file)

    def read(self) -> list[Entry]:
        """Return the next lines of a segment, the oldest first; an empty list if none is waiting."""
        found = segments(self._folder)
        for path in found:
            begin = self._position.offset if path.name == self._position.segment else 0
            entries = _entries(path, begin)
            if not entries and path != found[-1]:
                descriptor = hold(path, flags=os.O_RDWR)
                if descriptor is None:
                    return []
                try:
                    # A writer may have been faster.
                    entries = _entries(path, begin)
                    if not entries:
                        path.unlink()
                finally:
                    os.close(descriptor)
            if entries:
                return entries
        return []

    def note(self, position: Position) -> None:
        """Note the position after a line, from which on this reader and a later one read."""
        self._position = position
        os.pwrite(self._file, f"{position.segment} {position.offset:012d}\n".encode(), 0)


def segments(folder: Path) -> list[Path]:
    """Return the segments of a queue, the oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def noted_position(folder: Path) -> Position:
    """Return the position that a reader noted last."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        segment, offset = (folder / _POSITION).read_text(encoding="ascii").split()
        return Position(segment, int(offset))
    return Position("", 0)


def _is_after_line(path: Path, offset: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, offset - 1))
        return offset == 0 or file.read(1) == b"\n"


def _entries(path: Path, begin: int) -> list[Entry]:
    """Return the lines of a segment from an offset on, without a last one that is being written."""
    with path.open("rb") as file:
        file.seek(begin)
        lines = file.read().split(b"\n")[:-1]
    entries, offset = [], begin
    for line in lines:
        end = offset + len(line) + 1
        if _is_whole(line):
            digest = hashlib.sha256(f"{path.name} {offset} ".encode() + line).hexdigest()
            entries.append(Entry(digest[:32], line, Position(path.name, end)))
        offset = end
    return entries


def _is_whole(line: bytes) -> bool:
    """Return whether a line is one that was appended, and not the part of one that a full disk or a power cut left."""
    try:
        return isinstance(strict_json.loads(line), dict)
    except strict_json.JSONError:
        return False
