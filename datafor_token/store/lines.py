"""Logs of lines, which the audit log is stored in: a file, or a table of a database.

A line is JSON in ASCII, begins with its time, and ends with a line feed.
"""

import collections
import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

_BEGIN, _TIME_END = b'{"time":"', b'Z"'  # of the time in a line, which has the form of ``logs.timestamp``
# The name of the node in a line, behind the target.
_NODE = re.compile(rb'(?<=}),"node":"[^"]*"')


def time_of(line: bytes) -> bytes | None:
    """Return the time of a line as it is written there, without parsing the line; None if it has another form."""
    return line[9:33] if line.startswith(_BEGIN) and line[32:34] == _TIME_END else None


def take(present: collections.Counter[Any], line: Hashable) -> bool:
    """Return whether a line, in any form, is among those that are present, and take it out."""
    if not present[line]:
        return False
    present[line] -= 1
    return True


def milliseconds_of(line: bytes) -> int | None:
    """Return the time of a line in milliseconds since 1970; None if it has another form."""
    time = time_of(line)
    try:
        return None if time is None else round(dt.datetime.fromisoformat(time.decode()).timestamp() * 1000)
    except ValueError:
        return None


def without_node(line: bytes) -> bytes:
    """Return a line without the name of its node, which lines of early versions lack."""
    return _NODE.sub(b"", line, 1)


class Place(NamedTuple):
    """Position of a line.

    In a file: the hash of the file's first line, and the offset in bytes. In a table: its time, and its number.
    """

    file: str
    offset: int


class Block(Protocol):
    """Consecutive complete lines, each with its line end; ``place`` is that of the first, the oldest."""

    @property
    def place(self) -> Place:
        """The place of the oldest line."""

    @property
    def text(self) -> bytes:
        """The lines, oldest first."""

    def parts(self) -> Sequence["Block"]:
        """Return these lines in parts, oldest first; one by one if they are few."""


class LimitReached(Exception):
    """The log has more bytes than a search may read."""


class Incomplete(Exception):
    """Lines are missing, since some ``files`` of the log are damaged or cannot be read."""

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files
        super().__init__(", ".join(files))


@dataclasses.dataclass(eq=False)
class Entry:
    """A line of a change. One that ``is_dropped`` was replaced when a transaction was tried again."""

    line: bytes
    is_dropped: bool = False


class LineLog(Protocol):
    """A log of lines. Methods raise ``AuditUnavailable`` if it cannot be written or read."""

    @property
    def page_lines(self) -> int:
        """The number of lines that a search may read for one page."""

    def append(self, lines: bytes) -> None:
        """Append lines, completely or not at all. A power cut may lose them."""

    def change(self) -> AbstractContextManager[Callable[[bytes], Entry]]:
        """Surround a change of the store; the context gives the function that records a line of it.

        If the change is stored, so is the line, and it cannot be lost: it is on the disk before the change is, or in
        the same transaction. If an error leaves the context, the line may be missing.
        """

    def check(self) -> None:
        """Raise ``AuditUnavailable`` if a line could not be written now, as far as can be seen without writing."""

    def newest_first(
        self, before: Place | None = None, since: float | None = None, until: float | None = None
    ) -> Iterator[Block]:
        """Yield all complete lines in blocks, the newest block first, or only the lines before ``before``.

        Lines from before ``since`` and from after ``until`` (seconds since 1970) may be left out. Raises
        ``LookupError`` for a place of another log, or of a part that no longer exists.
        """

    def lines_with(self, text: bytes, most: int | None = None) -> Iterator[bytes]:
        """Yield the lines that contain a text, newest first, without their ends.

        About the newest ``most`` bytes are read: raises ``LimitReached`` after their lines if there are more.
        """

    def oldest_first(self) -> Iterator[bytes]:
        """Yield all complete lines, oldest first.

        Raises ``Incomplete`` after them if a part of the log cannot be read.
        """

    def add_missing(self, lines: Iterable[bytes]) -> int:
        """Add the lines that the log does not have yet, whatever their node, and return their number.

        All must have a time. A copy gives a node to a line that has none, and NODE may have changed since another copy.
        """

    def delete_older(self, days: int) -> int:
        """Delete some lines that are older than a number of days, and return how many.

        Returns 0 while another process deletes, and for a file, which logrotate rotates and removes.
        """

    def extent(self) -> tuple[int | None, int | None]:
        """Return the size in bytes and the time of the oldest line in milliseconds since 1970, where known.

        Of a file that is rotated, both are of the present file.
        """


@runtime_checkable
class HasLineLog(Protocol):
    """A store that has a log of lines of its own."""

    @property
    def line_log(self) -> LineLog:
        """The log."""
