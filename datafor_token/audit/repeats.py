"""Counts of repeated refusals: the first of a kind in a minute gets a line of its own, further ones are counted."""

import atexit
import collections
import dataclasses
import os
import secrets
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.audit.events import Event, Origin
from datafor_token.validation.addresses import client_of

_SECONDS = 60.0
# Limits of distinct kinds per minute and worker, so that a flood from many addresses, or with many names, cannot fill
# the disk. Each kind is at most two lines. Those of tokens that a key signed are apart: nobody else can use them up. A
# single reason can use up a part of a limit only.
_MOST = 300
_MOST_OF_CLIENT = 50
_MOST_OF_REASON = 100
_MOST_IN_ALL = 1000  # above which tokens that no key signed have no variants
# Requests of each kind that keep their identifier: at most 4 MB of memory in a worker, and 1.8 kB in a line.
_MOST_REQUESTS = 50
# Digits with which the identifiers of further ones begin, of 32. They are random, and different for each kind.
PREFIX = 12


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Key of refusals of one kind. ``client`` is an address, or a network of IPv6.

    ``variant`` is that of the explanation. ``is_proven``: a key signed the token, or the user is signed in.
    """

    event: str
    reason: str | None
    way: str | None
    target: tuple[tuple[str, str], ...] = ()
    client: str | None = None
    variant: str | None = None
    is_proven: bool = False


@dataclasses.dataclass
class Repeated:
    """Count of a repeated refusal. Times are in seconds since 1970.

    ``token`` is that of the first refusal, as long as the others are of the same; ``closer`` what was found for it.
    ``text_hash`` is that of the first, None once a refusal of another token follows. ``requests`` are the identifiers
    of the first requests that were counted; those of the others begin with ``prefix``. ``common`` are the steps of the
    first one that was counted, None if the others may have different ones.
    """

    refusal: Refusal
    token: str | None = None
    closer: Sequence[Mapping[str, Any]] | None = None
    text_hash: int | None = None
    count: int = 0
    first: float = 0.0
    last: float = 0.0
    requests: list[str] = dataclasses.field(default_factory=list)
    prefix: str | None = None
    common: Sequence[Mapping[str, Any]] | None = None

    @property
    def steps(self) -> Sequence[Mapping[str, Any]] | None:
        """The steps of all of them, those of the first one that was counted; None if they have different ones."""
        return self.common if self.text_hash is None else self.closer or self.common

    def add(self, now: float, event: Event, origin: Origin, *, is_same: bool) -> None:
        """Count a further refusal; ``is_same``: its steps are those of the others."""
        if not self.count:
            self.first = now
            self.common = event.explanation.steps() if is_same and event.explanation is not None else None
        self.last = now
        self.count += 1
        if self.token != event.token:
            self.token = None
        if event.explanation is None or event.explanation.text_hash != self.text_hash:
            self.text_hash = None
        if origin.request_id is None:
            return
        if len(self.requests) < _MOST_REQUESTS:
            self.requests.append(origin.request_id)
            return
        # Of a flood, not even the identifiers can be kept: the request gets one by which its kind is found.
        self.prefix = self.prefix or secrets.token_hex(PREFIX // 2)
        origin.refer(self.prefix + origin.request_id[PREFIX:])


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
        self._numbers: collections.Counter[tuple[object, ...]] = collections.Counter()
        self._timer: threading.Timer | None = None
        self._process = os.getpid()
        _all.add(self)

    def count(self, refusal: Refusal, event: Event, origin: Origin) -> Repeated | None:
        """Count the refusal and return None, unless it is the first of its kind in this minute.

        ``refusal`` has no variant yet. For a first one, return the count of those that follow.
        """
        now = self._clock()
        why = event.explanation
        refusal = dataclasses.replace(
            refusal,
            client=client_of(refusal.client or ""),
            variant=None if why is None else why.variant,
            is_proven=why is not None and why.closer is None,
        )
        with self._lock:
            # A clock that was set back ends the minute too.
            is_over = not (self._is_mine() and 0 <= now - self._began < _SECONDS)
            counted = self._take(now) if is_over else ()
            kind = self._kind(refusal)
            found = self._found.get(kind)
            if found is None:
                first = self._found[kind] = Repeated(
                    kind, event.token, text_hash=None if why is None else why.text_hash
                )
            else:
                first = None
                # A wider kind without a variant has refusals of other users, to whom these steps do not apply.
                found.add(now, event, origin, is_same=kind == refusal or kind.variant is not None)
                self._start_timer()
        self._record(counted)
        return first

    def finish(self) -> None:
        """Record the counts of this minute, and start a new one."""
        with self._lock:
            counted = self._take(0.0)
        self._record(counted)

    def _kind(self, refusal: Refusal) -> Refusal:
        """Return the kind of a refusal, or a wider one if its client, reason or this minute has too many kinds."""
        if refusal in self._found:
            return refusal
        # Of tokens that no key signed there are few variants, as nothing is recorded of what they contain.
        variant = None if refusal.is_proven or len(self._found) >= _MOST_IN_ALL else refusal.variant
        numbers, proven = self._numbers, refusal.is_proven
        of_reason = proven, refusal.event, refusal.reason, refusal.way
        if numbers[(proven,)] >= _MOST or numbers[of_reason] >= _MOST_OF_REASON:
            return dataclasses.replace(refusal, target=(), client=None, variant=variant)
        if numbers[proven, refusal.client] >= _MOST_OF_CLIENT:
            return dataclasses.replace(refusal, target=(), variant=variant)
        numbers.update([(proven,), of_reason, (proven, refusal.client)])
        return refusal

    def _take(self, now: float) -> list[Repeated]:
        """Return the counts, and start a new minute."""
        # A parent process records its own counts.
        counted = [one for one in self._found.values() if one.count] if self._is_mine() else []
        if self._timer is not None:
            self._timer.cancel()
        self._began, self._found, self._timer = now, {}, None
        self._numbers.clear()
        self._process = os.getpid()
        return counted

    def _is_mine(self) -> bool:
        return self._process == os.getpid()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(_SECONDS, self.finish)
            self._timer.name, self._timer.daemon = "repeated refusals", True
            self._timer.start()


_all: "weakref.WeakSet[Repeats]" = weakref.WeakSet()


@atexit.register
def _finish() -> None:
    for one in list(_all):
        one.finish()
