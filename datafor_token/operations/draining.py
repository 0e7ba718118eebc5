"""Draining of a node: it still serves every call, while load balancers learn to send it no more."""

import logging
import mmap
import os
import threading
import time
from pathlib import Path

from datafor_token.store.files import disk
from datafor_token.validation import logs

log = logging.getLogger(__name__)
_FILE = ".draining"  # in the data folder, created by the command
_INTERVAL = 0.2  # seconds for which a worker remembers whether the file exists


class Draining:
    """State that all workers of a node share: set by the command with a file, and at a stop in shared memory.

    ``folder`` is the data folder. The memory is shared with the processes that are forked later.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self._stopping = mmap.mmap(-1, 1)
        self._looking = threading.Lock()
        self._looked, self._found, self._logged = float("-inf"), False, False

    def begin(self) -> None:
        """Drain until ``end``, or until the next start. Raise ``OSError`` if the data folder cannot be written."""
        # Not through a link, by which the user of the service could have root create a file anywhere.
        os.close(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        disk.match_owner(self._file)

    def end(self) -> None:
        """End what ``begin`` began. Raise ``OSError`` if the data folder cannot be written."""
        self._file.unlink(missing_ok=True)

    def begin_stop(self) -> None:
        """Drain until this server has stopped. Safe in a signal handler."""
        self._stopping[0] = 1

    def is_on(self) -> bool:
        """Return whether this node drains. It may be found out up to 0.2 seconds late."""
        is_stopping = bool(self._stopping[0])
        now = time.monotonic()
        # One thread looks. On a disk that hangs, the others use the last result.
        if not is_stopping and now - self._looked >= _INTERVAL and self._looking.acquire(blocking=False):
            try:
                # False where the folder cannot be read.
                self._found, self._looked = os.path.exists(self._file), now  # noqa: PTH110
            finally:
                self._looking.release()
        is_on = is_stopping or self._found
        if is_on is not self._logged:
            self._logged = is_on
            by = "stop" if is_stopping else "command"
            logs.write(log, logging.INFO, logs.event("draining", by=by) if is_on else logs.event("draining ended"))
        return is_on
