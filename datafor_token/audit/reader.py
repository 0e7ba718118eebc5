"""Reader of the audit log: its lines, newest first, also of rotated and compressed files."""

import contextlib
import errno
import hashlib
import logging
import os
import re
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from datafor_token.errors import AuditUnavailable, StoreUnavailable
from datafor_token.store.files.disk import outage
from datafor_token.store.lines import Incomplete, LimitReached, Place, time_of
from datafor_token.validation import logs

log = logging.getLogger(__name__)

FILE = "audit.log"
_BLOCK = 64 * 1024  # bytes read at once, from the end of a file
_PARTS, _SMALLEST = 8, 1024  # of lines; the latter in bytes
_SEARCHED = 1024 * 1024  # bytes searched at once
_TRIES, _PAUSE = 100, 0.002  # pause in seconds
# Names that logrotate gives to the file, with and without its options dateext and compress.
_ROTATED = re.compile(re.escape(FILE) + r"([.-][0-9-]+)?(\.gz)?")


class Lines(NamedTuple):
    """Consecutive complete lines of the log, each with its line end; ``place`` is that of the first, the oldest."""

    place: Place
    text: bytes

    def parts(self) -> list["Lines"]:
        """Return these lines in parts, oldest first: in about ``_PARTS`` parts, or one by one if they are few."""
        size = len(self.text) // _PARTS
        found = self._split(size) if size >= _SMALLEST else []
        # A line may be longer than a part.
        return found if len(found) > 1 else self._split(0)

    def _split(self, size: int) -> list["Lines"]:
        """Split into parts of at least ``size`` bytes."""
        (file, offset), text = self.place, self.text
        parts, begin = [], 0
        while begin < len(text):
            end = text.find(b"\n", begin + size) + 1 or len(text)
            parts.append(Lines(Place(file, offset + begin), text[begin:end]))
            begin = end
        return parts


def newest_first(folder: Path, before: Place | None = None, until: bytes | None = None) -> Iterator[Lines]:
    """Yield all complete lines in blocks, the newest block first, or only the lines before ``before``.

    Files that begin after the time ``until``, as lines have it, are passed over. Raises ``LookupError`` if the file of
    ``before`` no longer exists.
    """
    with _reading(), _opened(folder) as files:
        if before is not None:
            names = [file.name for file in files]
            if before.file not in names:
                raise LookupError(before.file)
            del files[: names.index(before.file)]
        for number, file in enumerate(files):
            if until is not None and file.times and file.times[0] > until:
                continue
            end = before.offset if before is not None and number == 0 else None
            with file.plain() as plain:
                for offset, text in _backwards(plain, end):
                    yield Lines(Place(file.name, offset), text)


def lines_with(folder: Path, text: bytes, most: int | None = None) -> Iterator[bytes]:
    """Yield the complete lines that contain a text, newest first, without parsing the others.

    For 1,000,000 lines (250 MB) it takes 0.25 s of processor time, compressed 1 s; ``newest_first`` takes 1.1 s. Only
    the newest ``most`` bytes are read (of a compressed file, which has no end to start from, the oldest of it): raises
    ``LimitReached`` after their lines if there are more.
    """
    left = most
    with _reading(), _opened(folder) as files:
        for file in files:
            found: list[bytes] = []
            read, rest = 0, b""
            for piece in file.blocks(left):
                read += len(piece)
                end = piece.rfind(b"\n") + 1
                if end:
                    found += _lines_of(rest + piece[:end], text)
                    rest = piece[end:]
                elif len(rest) < _SEARCHED:
                    # What is longer is no event, and not worth the memory.
                    rest += piece
            yield from reversed(found)
            if left is not None:
                left -= read
                if left < 0:
                    raise LimitReached


def oldest_first(folder: Path) -> Iterator[bytes]:
    """Yield all complete lines with their ends, oldest first.

    Raises ``Incomplete`` after them if a file is damaged or cannot be read, as one that is compressed in another way.
    """
    unread: set[str] = set()
    with _reading(), _opened(folder, unread) as files:
        unread.update(path.name for path in folder.glob(f"{FILE}?*") if not _ROTATED.fullmatch(path.name))
        for file in reversed(files):
            rest = b""
            for piece in file.blocks(None):
                *lines, rest = (rest + piece).split(b"\n")
                yield from (line + b"\n" for line in lines)
    if unread:
        raise Incomplete(sorted(unread))


def _lines_of(block: bytes, text: bytes) -> Iterator[bytes]:
    place = block.find(text)
    while place >= 0:
        end = block.index(b"\n", place)
        yield block[block.rfind(b"\n", 0, place) + 1 : end]
        place = block.find(text, end)


class _File:
    """A file of the log, compressed or not; decompressed when it is read.

    Its name is added to ``unread`` if it turns out to be damaged.
    """

    def __init__(self, path: Path, unread: set[str]) -> None:
        self._path = path
        self._unread = unread
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        self._raw: IO[bytes] = os.fdopen(descriptor, "rb")
        self.inode = status.st_ino
        head = self._head()
        self.first_line = head.partition(b"\n")[0]
        # The first line never changes once it is complete.
        self.name = hashlib.sha256(self.first_line).hexdigest()[:12]
        # The times of its first lines, of which some may come from a clock that was wrong.
        self.times = sorted(time for time in map(time_of, head.split(b"\n")) if time is not None)

    @property
    def order(self) -> tuple[bool, bytes, bytes]:
        """The key by which files are sorted."""
        middle = self.times[len(self.times) // 2] if self.times else b""
        return self._path.name == FILE, middle, self.first_line

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def _head(self) -> bytes:
        """Return the begin of the file with its first line, decompressed only so far: a file may have 100 MB."""
        head = b""
        for piece in self._pieces() if self._is_compressed() else iter(lambda: self._raw.read(_BLOCK), b""):
            head += piece
            if b"\n" in piece:
                break
        return head

    def _is_compressed(self) -> bool:
        return self._path.suffix == ".gz"

    def plain(self) -> IO[bytes]:
        """Return the decompressed content as a seekable file, which the caller closes."""
        if not self._is_compressed():
            return os.fdopen(os.dup(self._raw.fileno()), "rb")
        plain = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        plain.writelines(self._pieces())
        return plain

    def blocks(self, most: int | None) -> Iterator[bytes]:
        """Yield the decompressed content in large blocks; more than ``most`` bytes, but not all, if it has more.

        A plain file then begins later, maybe within a line, and a compressed one ends earlier.
        """
        if not self._is_compressed():
            size = os.fstat(self._raw.fileno()).st_size
            self._raw.seek(0 if most is None else max(0, size - most - 1))
            while block := self._raw.read(_SEARCHED):
                yield block
            return
        read = 0
        for piece in self._pieces(_SEARCHED):
            yield piece
            read += len(piece)
            if most is not None and read > most:
                return

    def _pieces(self, size: int = _BLOCK) -> Iterator[bytes]:
        """Decompress the file, as far as that is possible if it was cut off."""
        self._raw.seek(0)
        unpacking = zlib.decompressobj(wbits=31)
        while data := unpacking.unconsumed_tail or unpacking.unused_data or self._raw.read(_BLOCK):
            if unpacking.eof:
                # Compressed files that were joined are a compressed file (RFC 1952, 2.2).
                unpacking = zlib.decompressobj(wbits=31)
            try:
                yield unpacking.decompress(data, size)
            except zlib.error:
                break
        if not unpacking.eof:
            self._unread.add(self._path.name)
            log.warning(logs.event("a file of the audit log is damaged", file=self._path.name))


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        with outage("read the audit log"):
            yield
    except StoreUnavailable as error:
        raise AuditUnavailable("storage is unavailable", reason=error.reason) from error.__cause__


@contextlib.contextmanager
def _opened(folder: Path, unread: set[str] | None = None) -> Iterator[list[_File]]:
    """Open the files of the log, newest first; list them again if one was renamed meanwhile and could be missed.

    Names of files that are damaged or cannot be read are added to ``unread``.
    """
    unread = set() if unread is None else unread
    for turn in range(_TRIES):
        time.sleep(_PAUSE if turn else 0)
        unread.clear()
        before = _listed(folder)
        with contextlib.ExitStack() as stack:
            try:
                files = [_file(folder / name, before[name], stack, unread) for name in before]
            except FileNotFoundError:
                continue
            if _listed(folder) == before:
                lines = [file for file in files if file is not None and file.first_line]
                yield sorted(lines, key=lambda file: file.order, reverse=True)
                return
    raise AuditUnavailable("storage is unavailable", reason="the files of the audit log are renamed too often")


def _file(path: Path, inode: int, stack: contextlib.ExitStack, unread: set[str]) -> _File | None:
    """Open a file on the stack; return None if it cannot be read, so that the other files still can.

    Raises ``FileNotFoundError`` if it is no longer the file that was listed.
    """
    try:
        file = stack.enter_context(_File(path, unread))
    except FileNotFoundError:
        raise
    except OSError as error:
        if path.name == FILE:
            raise
        unread.add(path.name)
        log.warning(logs.event("a file of the audit log cannot be read", file=path.name, reason=error.strerror))
        return None
    if file.inode != inode:
        raise FileNotFoundError
    return file


def _listed(folder: Path) -> dict[str, int]:
    found = {entry.name: entry.inode() for entry in os.scandir(folder) if _ROTATED.fullmatch(entry.name)}
    # While logrotate compresses a file, both the plain and the compressed file exist.
    return {name: inode for name, inode in found.items() if name.removesuffix(".gz") not in found.keys() - {name}}


def _backwards(file: IO[bytes], end: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the complete lines of a file up to ``end`` in blocks, the last one first, each with its offset."""
    position = file.seek(0, os.SEEK_END) if end is None else end
    # A last line without a line end is still being written.
    rest, complete = b"", False
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        text = file.read(size) + rest
        if not complete:
            text = text[: text.rfind(b"\n") + 1]
            complete = bool(text)
        begin = text.find(b"\n") + 1 if position > 0 else 0
        rest = text[:begin]
        if begin < len(text):
            yield position + begin, text[begin:]
