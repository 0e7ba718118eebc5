"""Readiness of the store and the audit log, probed at most once a second in a worker."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

from datafor_token.audit.log import Audit
from datafor_token.errors import AuditUnavailable, StoreUnavailable
from datafor_token.store.base import Store

_INTERVAL = 1.0  # seconds for which a result is shared
LONGEST = 0.5  # seconds that a response waits for a probe; a load balancer often waits for one second


class NotReady(StoreUnavailable):
    """503 of ``/readyz``. The reason is public there: it names no record, no address and nothing of the settings."""

    def __init__(self, cause: StoreUnavailable, *, readable: bool) -> None:
        super().__init__(reason=cause.reason, log_detail=cause.log_detail)
        self.message = cause.message
        self.is_of_audit = isinstance(cause, AuditUnavailable)
        self.public_reason = cause.reason or cause.message
        self.members = {"readable": readable, "writable": False, "reason": self.public_reason}


class Readiness:
    """Shared results of the probes: any number of load balancers cause one of each kind a second.

    ``clock`` returns seconds since 1970. Each probe has a thread of its own, since a disk or a database that hangs may
    hold it for any time. Until it ends, there is no other one.
    """

    def __init__(self, store: Store, audit: Audit, clock: Callable[[], float]) -> None:
        def write() -> None:
            store.check_writable()
            audit.check_writable()

        self._reading = _Probe(store.check_readable, "a read", clock)
        self._writing = _Probe(write, "a write", clock)

    def unwritable(self) -> NotReady | None:
        """Return the reason why a change could not be stored and recorded now, or None if it could.

        Raise ``NotReady`` if the store cannot be read either. Takes ``LONGEST`` seconds at most.
        """
        reading, writing = self._reading.run(), self._writing.run()
        ends = time.monotonic() + LONGEST
        error = reading.error_by(ends)
        if error is not None:
            raise NotReady(error, readable=False)
        error = writing.error_by(ends)
        return None if error is None else NotReady(error, readable=True)


class _Probe:
    """Work that raises ``StoreUnavailable`` in an outage. ``what`` is its subject in a message."""

    def __init__(self, work: Callable[[], None], what: str, clock: Callable[[], float]) -> None:
        self._work, self._what, self._clock = work, what, clock
        self._lock = threading.Lock()
        self._last: _Run | None = None

    def run(self) -> "_Run":
        """Return the run that has not ended or whose result is still valid, or else begin one."""
        with self._lock:
            if self._last is None or not self._last.is_valid(self._clock()):
                self._last = _Run(self._work, self._what, self._clock)
            return self._last


class _Run:
    """One run of a probe, in a thread."""

    def __init__(self, work: Callable[[], None], what: str, clock: Callable[[], float]) -> None:
        self._work, self._what, self._clock = work, what, clock
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        self._done = threading.Event()
        self._begun, self._ended = time.monotonic(), 0.0
        threading.Thread(target=self._run, name="probe", daemon=True).start()

    def is_valid(self, now: float) -> bool:
        """Return whether it has not ended, or ended less than ``_INTERVAL`` ago."""
        # A clock that was set back must not make an old result valid.
        return not self._done.is_set() or 0 <= now - self._ended < _INTERVAL

    def error_by(self, ends: float) -> StoreUnavailable | None:
        """Return the outage that it found, or None; a run that takes too long is an outage. Raise any other error.

        ``ends`` is a time of the monotonic clock. A run that has taken ``LONGEST`` seconds is not waited for.
        """
        if not self._done.wait(max(0.0, min(ends, self._begun + LONGEST) - time.monotonic())):
            return StoreUnavailable(reason=f"{self._what} takes longer than {LONGEST:g} s")
        if self._error is None or isinstance(self._error, StoreUnavailable):
            return self._error
        # With its first traceback: an exception that is raised again would collect the stack frames of each request.
        raise self._error.with_traceback(self._traceback)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - raised by ``error_by``
            self._error, self._traceback = error, error.__traceback__
        finally:
            self._ended = self._clock()
            self._done.set()
