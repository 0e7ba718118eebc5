"""The file of the audit log, to which lines are only ever added. ``audit_files`` reads them again.

Before each line a look tells whether the open file is still the one of that name, so that logrotate may
rename it at any time and no process goes on writing into the old one for longer than a line takes.
"""

import contextlib
import logging
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from datafor_token.errors import AuditUnavailable, LockTimeout, StoreUnavailable
from datafor_token.store.disk import hand_over, outage
from datafor_token.store.locking import lock, unlock

log = logging.getLogger(__name__)

FILE = "audit.log"
_LONGEST_WAIT = 1.0  # seconds; each writer holds the lock for some microseconds
_TRIES, _PAUSE = 100, 0.002  # seconds


class AuditLog:
    """The log in a folder. Raises ``AuditUnavailable`` where it cannot be written, or not be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / FILE
        self._mine = threading.Lock()
        self._open: _Open | None = None

    def append(self, make_line: Callable[[], bytes], *, durable: bool) -> None:
        """Add a line, whole or not at all; ``durable``: it is on the disk when this returns.

        ``make_line`` is called when it is this line's turn, so that times stand in their order.
        """
        with _writing():
            self._append(make_line, durable=durable)

    def _append(self, make_line: Callable[[], bytes], *, durable: bool) -> None:
        # Threads queue here, which costs less than trying the file's lock again and again.
        if not self._mine.acquire(timeout=_LONGEST_WAIT):
            raise LockTimeout(reason=f"waited {_LONGEST_WAIT} s for another thread")
        try:
            file = self._locked()
            try:
                file.write(make_line())
            finally:
                unlock(file.descriptor)
            # One of its own: the other may be closed while this waits for the disk.
            synced = os.dup(file.descriptor) if durable else -1
        finally:
            self._mine.release()
        if durable:
            try:
                os.fdatasync(synced)
            finally:
                os.close(synced)

    def check(self) -> None:
        """Raise ``AuditUnavailable`` where the file cannot even be opened and locked."""
        with _writing(), self._mine:
            unlock(self._locked().descriptor)

    def _locked(self) -> "_Open":
        """The file that is called ``FILE`` now, open and locked."""
        for _ in range(_TRIES):
            file = self._open
            # A fork shares its parent's lock, and would have to be told from it.
            if file is None or file.process != os.getpid():
                file = self._open = _Open(self._path)
            lock(file.descriptor, self._path, _LONGEST_WAIT, pause=0.0001)
            # logrotate may have renamed it, before the lock or while it was waited for.
            if file.is_at(self._path):
                return file
            unlock(file.descriptor)
            self._open = None
        raise AuditUnavailable(reason="the audit log's file is renamed again and again")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        with outage("write the audit log"):
            yield
    except LockTimeout as error:
        raise AuditUnavailable(reason=f"the audit log is locked: {error.reason}") from None
    except StoreUnavailable as error:
        raise AuditUnavailable(reason=error.reason) from error.__cause__


class _Open:
    """The log's file, kept open by one process: to open it anew for each line costs more than the line."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        # O_NONBLOCK: opening a pipe that somebody left there would wait for its reader.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        weakref.finalize(self, os.close, self.descriptor)
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AuditUnavailable(reason=f"{path.name} is no regular file")
        if status.st_size == 0:
            hand_over(path)
        self._identity = status.st_dev, status.st_ino

        self._size, self._end = 0, -1

    def is_at(self, path: Path) -> bool:
        """Whether it is still the file of that name."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return False
        self._size = found.st_size
        return (found.st_dev, found.st_ino) == self._identity

    def write(self, line: bytes) -> None:
        """Add the line, under the lock, after ``is_at``: whole or not at all."""
        if self._size not in (0, self._end) and os.pread(self.descriptor, 1, self._size - 1) != b"\n":
            # A power cut tore the line before, which must not take this one with it.
            line = b"\n" + line
        written = 0
        try:
            while written < len(line):
                written += os.write(self.descriptor, line[written:])
        except OSError:
            # Nobody has written behind it: what did not fit must not stand before the next line.
            if written:
                os.ftruncate(self.descriptor, self._size)
            raise
        self._end = self._size + written
