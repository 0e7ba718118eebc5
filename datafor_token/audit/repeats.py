"""Counts of repeated refusals: the first of a kind in a minute gets a line of its own, further ones are counted."""

import atexit
import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.validation.addresses import client_of

_SECONDS = 60.0
# Limits of distinct kinds per minute and worker, so that a flood from many addresses, or with many names, cannot fill
# the disk. Each kind is at most two lines.
_MOST = 300
_MOST_OF_CLIENT = 50
# Identifiers of requests that are kept of each kind: at most 1.2 MB of memory in a worker, and 1.8 kB in a line.
_MOST_REQUESTS = 50


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Key of refusals of one kind. ``client`` is an address, or a network of IPv6."""

    event: str
    reason: str | None
    way: str | None
    target: tuple[tuple[str, str], ...] = ()
    client: str | None = None


@dataclasses.dataclass
class Repeated:
    """Count of a repeated refusal. Times are in seconds since 1970.

    ``requests`` are the identifiers of the first requests that were counted, and ``steps`` those of the first one.
    """

    refusal: Refusal
    count: int = 0
    first: float = 0.0
    last: float = 0.0
    requests: list[str] = dataclasses.field(default_factory=list)
    steps: Sequence[Mapping[str, Any]] | None = None


class Repeats:
    """The refusals of the current minute, in the memory of this process.

    ``clock`` returns seconds since 1970. ``record`` is called with the counts of a minute: at the first refusal after
    it, after a minute without a refusal, and when the process exits.
    """

    def __init__(self, clock: Callable[[], float], record: Callable[[Sequence[Repeated]], None]) -> None:
        self._clock = clock
        self._record = record
        self._lock = threading.Lock()
        self._began = 0.0
        self._found: dict[Refusal, Repeated] = {}
        self._of_client: dict[str | None, int] = {}
        self._timer: threading.Timer | None = None
        self._process = os.getpid()
        _all.add(self)

    def is_counted(
        self, refusal: Refusal, request_id: str | None = None, steps: Sequence[Mapping[str, Any]] | None = None
    ) -> bool:
        """Count the refusal and return True, unless it is the first of its kind in this minute.

        ``request_id`` and ``steps`` are those of its event.
        """
        now = self._clock()
        refusal = dataclasses.replace(refusal, client=client_of(refusal.client or ""))
        with self._lock:
            # A clock that was set back ends the minute too.
            is_over = not (self._is_mine() and 0 <= now - self._began < _SECONDS)
            counted = self._take(now) if is_over else ()
            kind = self._kind(refusal)
            found = self._found.get(kind)
            if found is None:
                self._found[kind] = Repeated(kind)
            else:
                if not found.count:
                    # A wider kind has refusals of other users, to whom these steps do not apply.
                    found.first, found.steps = now, steps if kind == refusal else None
                found.last = now
                found.count += 1
                if request_id is not None and len(found.requests) < _MOST_REQUESTS:
                    found.requests.append(request_id)
                self._start_timer()
        self._record(counted)
        return found is not None

    def finish(self) -> None:
        """Record the counts of this minute, and start a new one."""
        with self._lock:
            counted = self._take(0.0)
        self._record(counted)

    def _kind(self, refusal: Refusal) -> Refusal:
        """Return the kind of a refusal, or a wider one if its client, or this minute, has too many kinds."""
        if refusal in self._found:
            return refusal
        if len(self._found) >= _MOST:
            return dataclasses.replace(refusal, target=(), client=None)
        of_client = self._of_client.get(refusal.client, 0)
        if of_client >= _MOST_OF_CLIENT:
            return dataclasses.replace(refusal, target=())
        self._of_client[refusal.client] = of_client + 1
        return refusal

    def _take(self, now: float) -> list[Repeated]:
        """Return the counts, and start a new minute."""
        # A parent process records its own counts.
        counted = [one for one in self._found.values() if one.count] if self._is_mine() else []
        if self._timer is not None:
            self._timer.cancel()
        self._began, self._found, self._of_client, self._timer = now, {}, {}, None
        self._process = os.getpid()
        return counted

    def _is_mine(self) -> bool:
        return self._process == os.getpid()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(_SECONDS, self.finish)
            self._timer.daemon = True
            self._timer.start()


_all: "weakref.WeakSet[Repeats]" = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    for one in list(_all):
        one.finish()
