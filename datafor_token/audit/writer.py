"""The file of the audit log, to which lines are only ever added. ``audit_files`` reads them again.

A look now and then tells whether the open file is still the one of that name, so that logrotate may rename
it at any time, and pack it at its next turn (``delaycompress``).
"""

import contextlib
import errno
import os
import stat
import time
import weakref
from pathlib import Path

from datafor_token.errors import AuditUnavailable, LockTimeout
from datafor_token.store.files import probing
from datafor_token.store.files.disk import match_owner
from datafor_token.store.files.locking import lock

FILE = "audit.log"
_LONGEST_WAIT = 1.0  # seconds; each writer holds the lock for some microseconds
_TRIES = 100
_LOOKS, _PAUSE = 3, 0.0005  # seconds; a line is written within microseconds
_TRUSTED_SECONDS = 0.002  # how long a file may be written to after it was renamed: in a storm, some lines for a look


class AuditLog:
    """The log in a folder. Raises ``AuditUnavailable`` where it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE
        self._open: _Open | None = None

    def append(self, line: bytes) -> None:
        """Add a line in one write, which nobody else's comes into, whole or not at all.

        Without a lock, which every request of every thread would wait for. On a disk that is full and becomes
        free within the same microseconds, a line of another process can be lost with the end of a torn one.
        """
        try:
            file = self._open
            if file is None or not file.is_trusted():
                file = self._open = self._opened()
            try:
                file.write(line)
            except _Torn as torn:
                self._clean(file, torn.written)
                raise
        except OSError as error:
            raise _unwritten(error) from error

    def append_durably(self, line: bytes) -> None:
        """The same under a lock that keeps it from being lost, and it is on the disk when this returns."""
        try:
            # Of its own: a lock belongs to an open file, and the other one is all threads' together.
            file = self._locked()
            try:
                file.write(line)
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
        """Raise ``AuditUnavailable`` where the file cannot be opened and locked, or its disk takes no more."""
        try:
            self._locked().close()
        except (OSError, LockTimeout) as error:
            raise AuditUnavailable(reason="the audit log cannot be opened") from error
        if not probing.is_writable(self.folder):
            raise AuditUnavailable(reason="the disk of the audit log cannot be written")

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
        """The file that is called ``FILE`` now, open and locked until it is let go."""
        for _ in range(_TRIES):
            file = _Open(self._path)
            lock(file.descriptor, self._path, _LONGEST_WAIT)
            # logrotate may have renamed it while the lock was waited for.
            if file.is_at(self._path):
                return file
            file.close()
        raise AuditUnavailable(reason="the audit log's file is renamed again and again")


class _Open:
    """The log's file, open in one process."""

    def __init__(self, path: Path) -> None:
        # O_NONBLOCK: opening a pipe that somebody left there would wait for its reader.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self.close = weakref.finalize(self, os.close, self.descriptor)
        # What was counted is recorded at the process's exit (``repeats``).
        self.close.atexit = False
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AuditUnavailable(reason=f"{path.name} is no regular file")
        if status.st_size == 0:
            match_owner(path)
        self.identity = status.st_dev, status.st_ino
        self._process = os.getpid()
        self._looked = time.monotonic()
        self.is_torn = self._ends_torn(status.st_size)

    def is_trusted(self) -> bool:
        """Whether it was looked at a moment ago: in the moment of a rotation the old file does as well."""
        return time.monotonic() - self._looked < _TRUSTED_SECONDS and self._process == os.getpid()

    def is_at(self, path: Path) -> bool:
        """Whether it is still the file of that name, and ends with a whole line as far as is known."""
        self._looked = time.monotonic()
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return False
        self.is_torn = self._ends_torn(found.st_size)
        return (found.st_dev, found.st_ino) == self.identity and self._process == os.getpid()

    def write(self, line: bytes) -> None:
        """Add the line, whole or not at all."""
        if self.is_torn:
            line, self.is_torn = b"\n" + line, False
        written = os.write(self.descriptor, line)
        if written < len(line):
            self.is_torn = True
            raise _Torn(written)

    def take_back(self, written: int) -> bool:
        """Remove what there was room for of a line, under the lock, unless somebody has written behind it."""
        begins = os.fstat(self.descriptor).st_size - written
        if not self._line_ends_at(begins):
            return False
        os.ftruncate(self.descriptor, begins)
        return True

    def _ends_torn(self, size: int) -> bool:
        """Whether a power cut, or a full disk, has torn the last line, which must not take the next one with it."""
        for _ in range(_LOOKS):
            if self._line_ends_at(size):
                return False
            # Another one may be in the middle of it: the system writes page by page.
            time.sleep(_PAUSE)
            size = os.fstat(self.descriptor).st_size
        return not self._line_ends_at(size)

    def _line_ends_at(self, position: int) -> bool:
        """Whether a line can begin there: at the file's beginning, or behind a whole one."""
        return position == 0 or os.pread(self.descriptor, 1, position - 1) == b"\n"


def _unwritten(error: OSError) -> AuditUnavailable:
    return AuditUnavailable(reason=f"cannot write the audit log: {os.strerror(error.errno or 0)}")


class _Torn(OSError):
    """There was room for a part of a line only."""

    def __init__(self, written: int) -> None:
        super().__init__(errno.ENOSPC, "short write")
        self.written = written
