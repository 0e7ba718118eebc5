"""The audit log as an append-only file. ``reader`` reads it.

logrotate may rename the file at any time, and compress it at its next run (``delaycompress``). Therefore the open file
is compared with the file of that name every few milliseconds.
"""

import collections
import contextlib
import errno
import hashlib
import itertools
import os
import stat
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from datafor_token.audit import reader
from datafor_token.audit.reader import FILE
from datafor_token.errors import AuditUnavailable, LockTimeout, StoreUnavailable
from datafor_token.store.files import probing
from datafor_token.store.files.disk import match_owner
from datafor_token.store.files.locking import lock
from datafor_token.store.lines import Entry, Incomplete, Place, milliseconds_of, take, without_node
from datafor_token.validation import logs

_LONGEST_WAIT = 1.0  # seconds; each writer holds the lock for some microseconds
_TRIES = 100
_LOOKS, _PAUSE = 3, 0.0005  # pause in seconds; a line is written within microseconds
_TRUSTED_SECONDS = 0.002  # how long a renamed file may be written to; under load, several lines share one comparison
_ADDED = 1000  # lines that are added at once
_LONGEST_LINE = 65_536  # bytes


class AuditLog:
    """The file of the log in a folder: a ``LineLog`` (see ``store.lines``)."""

    page_lines = 200_000

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE
        self._open: _Open | None = None

    def append(self, lines: bytes) -> None:
        """Append lines in one write, completely or not at all.

        It takes no lock, as every request would wait for it. If space is freed on a full disk within microseconds,
        the removal of a torn line can also remove a line of another process.
        """
        try:
            file = self._open
            if file is None or not file.is_trusted():
                file = self._open = self._opened()
            try:
                file.write(lines)
            except _Torn as torn:
                self._clean(file, torn.written)
                raise
        except OSError as error:
            raise _unwritten(error) from error

    @contextlib.contextmanager
    def change(self) -> Iterator[Callable[[bytes], Entry]]:
        """Give the function that writes a line of a change to the disk, before the change is stored."""

        def write(line: bytes) -> Entry:
            self.append_durably(line)
            return Entry(line)

        yield write

    def append_durably(self, lines: bytes) -> None:
        """Append lines under a lock, so that they cannot be lost, and return when they are on the disk."""
        try:
            # A file of its own: a lock belongs to an open file, and all threads share the other one.
            file = self._locked()
            try:
                file.write(lines)
                os.fdatasync(file.descriptor)
            except _Torn as torn:
                file.take_back(torn.written)
                raise
            finally:
                file.close()
        except LockTimeout as error:
            raise AuditUnavailable(reason=f"the audit log is locked: {error.reason}") from None
        except OSError as error:
            raise _unwritten(error) from error

    def check(self) -> None:
        """Raise ``AuditUnavailable`` if the file cannot be opened and locked, or its disk is full."""
        try:
            self._locked().close()
        except (OSError, LockTimeout) as error:
            raise AuditUnavailable(reason="the audit log cannot be opened") from error
        try:
            probing.check(self.folder)
        except StoreUnavailable as error:
            raise AuditUnavailable(reason=f"the disk of the audit log: {error.reason}") from error

    def newest_first(
        self,
        before: Place | None = None,
        since: float | None = None,  # noqa: ARG002 - the reader of the lines ends soon after it
        until: float | None = None,
    ) -> Iterator[reader.Lines]:
        """Yield the lines in blocks. Only files that begin after ``until`` are left out."""
        return reader.newest_first(self.folder, before, None if until is None else logs.timestamp(until).encode())

    def lines_with(self, text: bytes, most: int | None = None) -> Iterator[bytes]:
        """Yield the lines that contain a text; see ``reader.lines_with``."""
        return reader.lines_with(self.folder, text, most)

    def oldest_first(self) -> Iterator[bytes]:
        """Yield all lines, oldest first; see ``reader.oldest_first``."""
        return reader.oldest_first(self.folder)

    def add_missing(self, lines: Iterable[bytes]) -> int:
        """Append the lines that no file has yet, whatever their node. The hashes of all present ones are in memory."""
        present: collections.Counter[bytes] = collections.Counter()
        with contextlib.suppress(Incomplete):
            present.update(map(_hash_without_node, self.oldest_first()))
        number = 0
        missing = (line for line in lines if not take(present, _hash_without_node(line)))
        while batch := list(itertools.islice(missing, _ADDED)):
            self.append_durably(b"".join(batch))
            number += len(batch)
        return number

    def delete_older(self, days: int) -> int:  # noqa: ARG002 - those of the protocol
        """Delete nothing: logrotate removes files."""
        return 0

    def extent(self) -> tuple[int | None, int | None]:
        """Return the size of the present file, and the time of its first line."""
        path = self.folder / FILE
        try:
            with path.open("rb") as file:
                return os.fstat(file.fileno()).st_size, milliseconds_of(file.readline(_LONGEST_LINE))
        except OSError:
            return None, None

    def _clean(self, file: "_Open", written: int) -> None:
        with contextlib.suppress(LockTimeout, AuditUnavailable, OSError):
            locked = self._locked()
            if locked.identity == file.identity:
                file.is_torn = not locked.take_back(written)
            locked.close()

    def _opened(self) -> "_Open":
        if self._open is not None and self._open.is_at(self._path):
            return self._open
        return _Open(self._path)

    def _locked(self) -> "_Open":
        """Open and lock the file that is called ``FILE`` now; closing it releases the lock."""
        for _ in range(_TRIES):
            file = _Open(self._path)
            lock(file.descriptor, self._path, _LONGEST_WAIT)
            # logrotate may have renamed it during the wait for the lock.
            if file.is_at(self._path):
                return file
            file.close()
        raise AuditUnavailable(reason="the file of the audit log is renamed too often")


class _Open:
    """The file of the log, open in one process."""

    def __init__(self, path: Path) -> None:
        # O_NONBLOCK: opening a pipe in its place would wait for a reader.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self.close = weakref.finalize(self, os.close, self.descriptor)
        # Open until the very end: ``repeats`` records its counts when the process exits.
        self.close.atexit = False
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AuditUnavailable(reason=f"{path.name} is not a regular file")
        if status.st_size == 0:
            match_owner(path)
        self.identity = status.st_dev, status.st_ino
        self._process = os.getpid()
        self._looked = time.monotonic()
        self.is_torn = self._ends_torn(status.st_size)

    def is_trusted(self) -> bool:
        """Return whether it was compared just now; for so short a time, writing to a renamed file is harmless."""
        return time.monotonic() - self._looked < _TRUSTED_SECONDS and self._process == os.getpid()

    def is_at(self, path: Path) -> bool:
        """Return whether it is still the file at ``path``; also check whether its last line is torn."""
        self._looked = time.monotonic()
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return False
        self.is_torn = self._ends_torn(found.st_size)
        return (found.st_dev, found.st_ino) == self.identity and self._process == os.getpid()

    def write(self, line: bytes) -> None:
        """Append the line; raise ``_Torn`` if only a part was written."""
        if self.is_torn:
            line, self.is_torn = b"\n" + line, False
        written = os.write(self.descriptor, line)
        if written < len(line):
            self.is_torn = True
            raise _Torn(written)

    def take_back(self, written: int) -> bool:
        """Remove the written part of a torn line, under the lock, unless another line follows it."""
        begins = os.fstat(self.descriptor).st_size - written
        if not self._line_ends_at(begins):
            return False
        os.ftruncate(self.descriptor, begins)
        return True

    def _ends_torn(self, size: int) -> bool:
        """Return whether a power cut or a full disk has torn the last line; the next one must not be joined to it."""
        for _ in range(_LOOKS):
            if self._line_ends_at(size):
                return False
            # Another process may be writing it: the system writes page by page.
            time.sleep(_PAUSE)
            size = os.fstat(self.descriptor).st_size
        return not self._line_ends_at(size)

    def _line_ends_at(self, position: int) -> bool:
        """Return whether a line can start there: at the start of the file, or after a complete line."""
        return position == 0 or os.pread(self.descriptor, 1, position - 1) == b"\n"


def _hash_without_node(line: bytes) -> bytes:
    """Return the hash of a line without its node, which lines of early versions lack."""
    return hashlib.blake2b(without_node(line), digest_size=12).digest()


def _unwritten(error: OSError) -> AuditUnavailable:
    return AuditUnavailable(reason=f"cannot write the audit log: {os.strerror(error.errno or 0)}")


class _Torn(OSError):
    """Error for a line of which only a part was written."""

    def __init__(self, written: int) -> None:
        super().__init__(errno.ENOSPC, "short write")
        self.written = written
