"""Sender of the lines of a queue to its sink, in a thread of one process of this host."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Protocol

from datafor_token.sinks.outputs import Sink, SinkError
from datafor_token.sinks.queue import Entry, Queue, Reader
from datafor_token.store.files.locking import hold
from datafor_token.validation import logs

log = logging.getLogger(__name__)

# In seconds.
_LOOK = 0.5  # between two looks for lines of other processes
_TAKE_OVER = 2.0  # between two looks whether the process that sends has ended
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 300.0  # after an attempt that failed; each is twice as long as the one before
_LOCK = "sender.lock"


class SinkMetrics(Protocol):
    """Metrics of sinks; ``sink`` is the name of one."""

    def sink_sent(self, sink: str) -> None:
        """Count an event that was sent."""

    def sink_failed(self, sink: str) -> None:
        """Count an attempt that failed."""

    def sink_lost(self, sink: str) -> None:
        """Count an event that will not be sent."""


class Sender:
    """Sends the lines of a queue, in their order and each until it has arrived.

    The threads of all processes of this host exclude each other: when the process that sends ends, another one
    continues. ``opened`` opens the sink in that process.
    """

    def __init__(self, queue: Queue, opened: Callable[[], Sink], metrics: SinkMetrics) -> None:
        self._queue = queue
        self._name = queue.folder.name
        self._opened = opened
        self._metrics = metrics
        self._thread: tuple[int, threading.Thread] | None = None
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread of this process, unless it runs. It ends with the process, which does not wait for it."""
        if self._thread is not None and self._thread[0] == os.getpid():
            return
        with self._lock:
            if self._thread is None or self._thread[0] != os.getpid():
                # A fork takes over the attributes, but no thread.
                self._woken, self._stopped = threading.Event(), threading.Event()
                thread = threading.Thread(target=self._run, name=f"sink {self._name}", daemon=True)
                # At the exit of the process, no thread can start.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = os.getpid(), thread

    def wake(self) -> None:
        """Look for lines now."""
        self._woken.set()

    def stop(self) -> None:
        """Stop after the line that is being sent; further lines remain in the queue."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None and self._thread[0] == os.getpid():
            self._thread[1].join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._queue.folder.is_dir():
                    self._send_alone()
            except OSError as error:
                log.warning(
                    logs.event("audit queue not read", sink=self._name, reason=os.strerror(error.errno or 0)),
                )
            except Exception:
                # The thread must live: nothing else sends the lines.
                log.exception(logs.event("sending audit events failed", sink=self._name))
            self._wait(_TAKE_OVER)

    def _send_alone(self) -> None:
        """Send lines until the sender is stopped, unless another process does."""
        held = hold(self._queue.folder / _LOCK)
        if held is None:
            return
        try:
            with contextlib.closing(Reader(self._queue.folder)) as reader, contextlib.closing(self._opened()) as sink:
                while not self._stopped.is_set():
                    entries = reader.read()
                    for entry in entries:
                        if not self._is_done(sink, entry):
                            return
                        reader.note(entry.end)
                    if not entries:
                        self._wait(_LOOK)
        finally:
            os.close(held)

    def _is_done(self, sink: Sink, entry: Entry) -> bool:
        """Send a line, and try again until it has arrived; return False if the sender was stopped before."""
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            try:
                sink.send(entry)
            except SinkError as error:
                self._metrics.sink_failed(self._name)
                if error.forever:
                    self._metrics.sink_lost(self._name)
                    log.warning(logs.event("audit event lost", sink=self._name, reason=str(error)))
                    return True
                log.warning(logs.event("audit event not sent", sink=self._name, reason=str(error), retry=int(pause)))
                self._stopped.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._metrics.sink_sent(self._name)
                if pause > _FIRST_PAUSE:
                    log.info(logs.event("audit events are sent again", sink=self._name))
                return True
        return False

    def _wait(self, seconds: float) -> None:
        """Wait until the sender is woken or stopped, for at most ``seconds``."""
        if not self._stopped.is_set():
            self._woken.wait(seconds)
            self._woken.clear()
