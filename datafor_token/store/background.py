"""Writes in the background, of what a process has noted in memory: no request waits for them."""

import abc
import atexit
import os
import threading
import time
import weakref

_LONGEST_EXIT = 2.0  # seconds that the writes at the exit of the process may take


class BackgroundWriter(abc.ABC):
    """Stores what was noted: in a thread of its own, ``seconds`` after the first note, and when the process exits."""

    seconds = 30.0

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        WRITERS.add(self)
        # For each, not once for all: exit handlers run in reverse order, and the writes need what is older than this.
        atexit.register(_finish, weakref.ref(self))

    @abc.abstractmethod
    def store_noted(self, ends: float | None) -> bool:
        """Store what was noted, best effort, and return False if an outage leaves something for the next attempt.

        With ``ends``, a time of ``time.monotonic``, no write begins later, and there is no further attempt.
        """

    @abc.abstractmethod
    def forget_noted(self) -> None:
        """Forget what was noted."""

    def wake(self) -> None:
        """Start the time until the next write. Call it after each note: it costs next to nothing."""
        if self._timer is None:
            with self._lock:
                if self._timer is None:
                    # Without a reference to this object, which would keep the store alive.
                    self._timer = threading.Timer(self.seconds, _flush, [weakref.ref(self)])
                    self._timer.daemon = True
                    self._timer.start()

    def flush(self, seconds: float | None = None) -> None:
        """Store what was noted, best effort; what cannot be stored now is tried again, unless ``seconds`` are given.

        They limit the time of all writes.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        with self._lock:
            # Before the notes are taken: a later one starts the next timer.
            self._timer = None
        if not self.store_noted(ends) and ends is None:
            self.wake()

    def stop(self) -> None:
        """Forget what was noted, and store nothing until the next note."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
        self.forget_noted()

    def forget_parent(self) -> None:
        """Forget everything in a forked process: its parent stores its own notes, and its threads do not exist here."""
        self._timer, self._lock = None, threading.Lock()
        self.forget_noted()


# Those of this process.
WRITERS: "weakref.WeakSet[BackgroundWriter]" = weakref.WeakSet()


def _flush(writer: "weakref.ref[BackgroundWriter]") -> None:
    found = writer()
    if found is not None:
        threading.current_thread().name = "background write"
        found.flush()


def _forget_parent() -> None:
    for one in list(WRITERS):
        one.forget_parent()


def _finish(writer: "weakref.ref[BackgroundWriter]") -> None:
    found = writer()
    if found is not None:
        found.flush(_LONGEST_EXIT)


os.register_at_fork(after_in_child=_forget_parent)
