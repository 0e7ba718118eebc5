"""The file of the audit log: lines are only ever added, and read again newest first, also across rotated files.

The file is opened anew for each line, so that logrotate may rename it at any time and no process goes
on writing into the old one for longer than a line takes.
"""

import contextlib
import gzip
import hashlib
import logging
import os
import re
import shutil
import stat
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from datafor_token import logs
from datafor_token.errors import AuditUnavailable, LockTimeout, StoreUnavailable
from datafor_token.store.disk import hand_over, outage
from datafor_token.store.locking import exclusive

log = logging.getLogger(__name__)

FILE = "audit.log"
_LOCK = "audit.lock"
_LONGEST_WAIT = 1.0  # seconds; each writer holds the lock for some microseconds
_BLOCK = 64 * 1024  # bytes read at once, from the end of a file
_TRIES, _PAUSE = 100, 0.002  # seconds
# What logrotate makes of the file's name, with and without its options dateext and compress.
_ROTATED = re.compile(re.escape(FILE) + r"([.-][0-9-]+)?(\.gz)?")


@dataclass(frozen=True)
class Place:
    """Where a line begins: in which file, known by the hash of its first line, and at which byte."""

    file: str
    offset: int


class AuditLog:
    """The log in a folder. Raises ``AuditUnavailable`` where it cannot be written, or not be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine = threading.Lock()

    def append(self, make_line: Callable[[], bytes], *, durable: bool) -> None:
        """Add a line, whole or not at all; ``durable``: it is on the disk when this returns.

        ``make_line`` is called when it is this line's turn, so that times stand in their order.
        """
        try:
            with outage("write the audit log"):
                self._append(make_line, durable=durable)
        except LockTimeout as error:
            raise AuditUnavailable(reason=f"the audit log is locked: {error.reason}") from None
        except StoreUnavailable as error:
            raise AuditUnavailable(reason=error.reason) from error.__cause__

    def _append(self, make_line: Callable[[], bytes], *, durable: bool) -> None:
        path = self._folder / FILE
        with contextlib.ExitStack() as stack:
            with self._turn():
                # O_NONBLOCK: opening a pipe that somebody left there would wait for its reader.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(path, flags, 0o600)
                stack.callback(os.close, descriptor)
                _write_whole(descriptor, path, make_line())
            if durable:
                os.fdatasync(descriptor)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        # Threads queue here, which costs less than trying the file's lock again and again.
        if not self._mine.acquire(timeout=_LONGEST_WAIT):
            raise LockTimeout(reason=f"waited {_LONGEST_WAIT} s for another thread")
        try:
            with exclusive(self._folder / _LOCK, _LONGEST_WAIT):
                yield
        finally:
            self._mine.release()

    def newest_first(self, before: Place | None = None) -> Iterator[tuple[Place, bytes]]:
        """The lines, newest first, each with its place; from ``before`` on backwards.

        Raises ``LookupError`` where the file of ``before`` is no longer there.
        """
        with _reading(), _opened(self._folder) as files:
            if before is not None:
                names = [file.name for file in files]
                if before.file not in names:
                    raise LookupError(before.file)
                del files[: names.index(before.file)]
            for number, file in enumerate(files):
                end = before.offset if before is not None and number == 0 else None
                with file.plain() as plain:
                    for offset, line in _backwards(plain, end):
                        yield Place(file.name, offset), line


class _File:
    """One of the log's files, packed or not; what is in it is unpacked only when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._raw = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        self.inode = os.fstat(self._raw.fileno()).st_ino
        self._packed = path.suffix == ".gz"
        # It begins with the time, so that files can be put in order by it; a whole one never changes.
        self.first_line = self._first_line(path)
        self.name = hashlib.sha256(self.first_line).hexdigest()[:12]

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def _first_line(self, path: Path) -> bytes:
        try:
            return gzip.GzipFile(fileobj=self._raw).readline() if self._packed else self._raw.readline()
        except (OSError, EOFError, zlib.error):
            # The others can tell what they have.
            log.warning(logs.event(event="a file of the audit log cannot be read", file=path.name))
            return b""

    def plain(self) -> IO[bytes]:
        """The lines, to be read from anywhere; to be closed."""
        self._raw.seek(0)
        if not self._packed:
            return os.fdopen(os.dup(self._raw.fileno()), "rb")
        plain = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        # Cut short: what can be had of it is better than nothing, in small pieces, since the last one is lost.
        with contextlib.suppress(EOFError, zlib.error):
            shutil.copyfileobj(gzip.GzipFile(fileobj=self._raw), plain, 4096)
        return plain


def _write_whole(descriptor: int, path: Path, line: bytes) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise AuditUnavailable(reason=f"{path.name} is no regular file")
    if status.st_size == 0:
        hand_over(path)
    written = 0
    try:
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        # Under the lock nobody has written behind it: what did not fit must not stand before the next line.
        if written:
            os.ftruncate(descriptor, status.st_size)
        raise


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    try:
        with outage("read the audit log"):
            yield
    except StoreUnavailable as error:
        raise AuditUnavailable("storage is unavailable", reason=error.reason) from error.__cause__


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[list[_File]]:
    """The log's files, newest first. Renamed meanwhile, they are looked for again, or one would be missed."""
    for _ in range(_TRIES):
        before = _listed(folder)
        with contextlib.ExitStack() as stack:
            try:
                files = [stack.enter_context(_File(folder / name)) for name in before]
            except FileNotFoundError:
                files = []
            # One of the same name may have come in between.
            if {file.inode for file in files} == set(before.values()) and _listed(folder) == before:
                found = (file for file in files if file.first_line)
                yield sorted(found, key=lambda file: file.first_line, reverse=True)
                return
        time.sleep(_PAUSE)
    raise AuditUnavailable("storage is unavailable", reason="the audit log's files are renamed again and again")


def _listed(folder: Path) -> dict[str, int]:
    found = {entry.name: entry.inode() for entry in os.scandir(folder) if _ROTATED.fullmatch(entry.name)}
    # Both are there while one is being made of the other.
    return {name: inode for name, inode in found.items() if name.removesuffix(".gz") not in found.keys() - {name}}


def _backwards(file: IO[bytes], end: int | None) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file that end at ``end`` or before, the last one first, each with where it begins."""
    position = file.seek(0, os.SEEK_END) if end is None else end
    # A last line without an end is being written at this moment.
    tail, complete = b"", False
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        lines = (file.read(size) + tail).split(b"\n")
        tail = lines[0]
        place = position + len(tail) + 1
        starts = []
        for line in lines[1:]:
            starts.append((place, line))
            place += len(line) + 1
        for start, line in reversed(starts):
            if complete and line:
                yield start, line
            complete = True
    if complete and tail:
        yield 0, tail
