"""Readiness of the store and the audit log, probed at most once a second in a worker."""

import threading
from collections.abc import Callable

from datafor_token.audit.log import Audit
from datafor_token.errors import StoreUnavailable
from datafor_token.store.base import Store

_INTERVAL = 1.0  # seconds for which a result is shared
_LONGEST_WAIT = 2.0  # seconds that a request waits for the probe of another one


class Readiness:
    """Cached result of the probes: any number of load balancers cause one probe a second.

    ``clock`` returns seconds since 1970.
    """

    def __init__(self, store: Store, audit: Audit, clock: Callable[[], float]) -> None:
        self._store, self._audit, self._clock = store, audit, clock
        self._lock = threading.Lock()
        self._found: tuple[float, bool | StoreUnavailable] | None = None

    def writable(self) -> bool:
        """Return whether a change could be stored and recorded now.

        Raises ``StoreUnavailable`` when the store cannot even be read, or when a probe does not end.
        """
        # On a disk that hangs, the probes must not block one thread after the other.
        if not self._lock.acquire(timeout=_LONGEST_WAIT):
            raise StoreUnavailable(reason="the probe of the store does not end")
        try:
            # A clock that was set back must not make an old result valid.
            if self._found is None or not 0 <= self._clock() - self._found[0] < _INTERVAL:
                probed = self._probe()
                self._found = self._clock(), probed
            result = self._found[1]
        finally:
            self._lock.release()
        if isinstance(result, StoreUnavailable):
            # An exception that is raised again would collect the stack frames of each request.
            raise result.with_traceback(None)
        return result

    def _probe(self) -> bool | StoreUnavailable:
        """Return whether both can be written, or the error of reading the store."""
        try:
            return self._store.writable() and self._audit.writable()
        except StoreUnavailable as error:
            return error
