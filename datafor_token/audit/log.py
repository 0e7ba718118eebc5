"""Who did what, when, from where: typed events, one JSON line each, in ``data/audit.log``.

A change of the store is recorded before it is made, and refused where it cannot be recorded; when the
store then fails, a second line with an ``outcome`` says so. So no change is without its line, whatever
breaks. Issuer and checking go on without a line; that is logged and counted.
No event holds a secret, a password or a token: a token appears by its keyed identifier (``identifiers``).
"""

import contextlib
import dataclasses
import datetime as dt
import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any, Protocol

from datafor_token.audit.events import Event, Kind, Origin
from datafor_token.audit.reader import Place, newest_first
from datafor_token.audit.repeats import Refusal, Repeated, Repeats
from datafor_token.audit.writer import AuditLog
from datafor_token.errors import AuditUnavailable, InvalidInput, MaybeStored, StoreUnavailable
from datafor_token.validation import logs, strict_json
from datafor_token.validation.names import fold
from datafor_token.validation.times import parse_time

log = logging.getLogger(__name__)

_MOST_LINES = 200_000  # looked at for one page
_CLOCK_STEPS = 3600  # seconds that a clock may have been set back: a line older than that is really older


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """Which events are wanted; times in seconds since 1970. A user is found as the actor and as the target."""

    since: float | None = None
    until: float | None = None
    event: str | None = None
    user: str | None = None
    application: str | None = None

    @classmethod
    def of(cls, wanted: Mapping[str, Any], now: float) -> "Filter":
        """What ``schemas.AuditSchema`` makes of a request; ``now`` is in seconds since 1970."""
        known = {field.name for field in dataclasses.fields(cls)}
        members = {name: value for name, value in wanted.items() if name in known}
        members |= {name: parse_time(members[name], now) for name in ("since", "until") if name in members}
        return cls(**members)


@dataclasses.dataclass(frozen=True)
class Page:
    """Events, newest first, and what asks for the ones before them; ``None`` where there are no more."""

    events: Sequence[dict[str, Any]]
    next: str | None


class AuditMetrics(Protocol):
    """Who counts what happens."""

    def audit_event(self, event: Event, way: str | None) -> None:
        """Something was noted, by somebody who signed in, or tried to, in this way."""

    def audit_unrecorded(self) -> None:
        """An event could not be written."""


class Audit:
    """Records events and finds them again.

    ``clock`` answers seconds since 1970, ``origin`` who is acting now; ``metrics`` counts; ``key`` is this
    installation's own.
    """

    def __init__(
        self,
        log: AuditLog,
        clock: Callable[[], float],
        origin: Callable[[], Origin],
        metrics: AuditMetrics,
        key: bytes,
    ) -> None:
        self._log = log
        self._clock = clock
        self._origin = origin
        self._metrics = metrics
        self._key = key
        self._repeats = Repeats(clock, self._record_repeated)

    def record(self, event: Event, outcome: str | None = None) -> bool:
        """Record what changes nothing in the store; what cannot be recorded is logged and counted.

        Returns False for a refusal that was only counted: the same was refused a moment ago (see ``repeats``).
        """
        origin = self._origin()
        self._metrics.audit_event(event, origin.way)
        target = self._target(event)
        if event.kind is Kind.SIGN_IN_REFUSED and self._repeats.is_counted(
            Refusal(event.kind, event.reason, origin.way, target, origin.address)
        ):
            return False
        self._append(self._line(event, target, origin, outcome), event.kind)
        return True

    def _append(self, line: bytes, kind: str) -> None:
        try:
            self._log.append(line)
        except StoreUnavailable as error:
            self._metrics.audit_unrecorded()
            log.warning(logs.event(event="not recorded in the audit log", kind=kind, reason=error.reason))

    def _record_repeated(self, repeated: Sequence[Repeated]) -> None:
        for one in repeated:
            kind, first = one.refusal, logs.timestamp(one.first)
            line = (
                f'{{"time":"{logs.timestamp(one.last)}","event":"{kind.event}","actor":null,"way":{_text(kind.way)}'
                f',"address":{_text(kind.client or None)},"request_id":null,"target":{{{kind.target}}}'
                f'{_member("reason", kind.reason)},"count":{one.count},"first":"{first}"}}\n'
            )
            self._append(line.encode(), kind.event)
            log.warning(
                logs.event(
                    event="refused again",
                    reason=kind.reason,
                    way=kind.way,
                    address=kind.client,
                    count=one.count,
                    since=first,
                )
            )

    @contextlib.contextmanager
    def change(self) -> Iterator[Callable[[Event], None]]:
        """Around a change of the store: gives what records its event, to be called before anything is stored.

        That raises ``AuditUnavailable``, and nothing is changed. When the change fails afterwards, the
        log says of each of its events that it was not stored.
        """
        events: list[Event] = []

        def record(event: Event) -> None:
            events.append(event)
            self._log.append_for_sure(self._line(event, self._target(event), self._origin()))

        try:
            yield record
        except BaseException as error:
            outcome = "may or may not have been stored" if isinstance(error, MaybeStored) else "not stored"
            for event in events if not isinstance(error, AuditUnavailable) else ():
                self.record(event, outcome)
            raise

    def writable(self) -> bool:
        """Whether a change could be recorded now, as far as that can be told without writing."""
        try:
            self._log.check()
        except AuditUnavailable:
            return False
        return True

    def page(self, wanted: Filter, limit: int = 100, page: str | None = None) -> Page:
        """At most ``limit`` events, newest first; ``page`` is a former answer's ``next``.

        There may be fewer although there are more: a search ends somewhere. Raises ``InvalidInput`` for
        a ``page`` that is none (any more), and ``AuditUnavailable``.
        """
        events: list[dict[str, Any]] = []
        place = None if page is None else _place(page)
        # Most lines need not be read.
        kind = b"" if wanted.event is None else f'"event":"{wanted.event}"'.encode()
        try:
            for looked_at, (here, line) in enumerate(newest_first(self._log.folder, place), start=1):
                event = _read(line) if kind in line else None
                if event is not None:
                    if wanted.since is not None and event.moment < wanted.since - _CLOCK_STEPS:
                        return Page(events, None)
                    if self._fits(event, wanted):
                        events.append(event.members)
                if len(events) == limit or looked_at == _MOST_LINES:
                    return Page(events, f"{here.file}-{here.offset}")
        except LookupError:
            raise _no_page() from None
        return Page(events, None)

    def _target(self, event: Event) -> str:
        """Return the members of the target, without the token."""
        unknown = None if event.unknown_user is None else self._hashed(event.unknown_user)
        target = _member("application", event.application) + _member("user", event.user)
        return (target + _member("unknown_user", unknown))[1:]

    def _line(self, event: Event, target: str, origin: Origin, outcome: str | None = None) -> bytes:
        if origin.actor is None and event.kind is not Kind.SIGN_IN_REFUSED:
            # Whoever signs in acts for themselves.
            origin = origin._replace(actor=event.user)
        token = _member("token", event.token)
        target += token if target else token[1:]
        fields = "" if event.fields is None else f',"fields":{json.dumps(list(event.fields))}'
        # Put together here: an encoder for any object costs more than all the rest of a line.
        return (
            f'{{"time":"{logs.timestamp(self._clock())}","event":"{event.kind}"'
            f',"actor":{_text(origin.actor)},"way":{_text(origin.way)},"address":{_text(origin.address)}'
            f',"request_id":{_text(origin.request_id)},"target":{{{target}}}{fields}'
            f"{_member('reason', event.reason)}{_member('outcome', outcome)}}}\n"
        ).encode()

    def _hashed(self, name: str) -> str:
        text = fold(name[:2048]).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256).hex()[:12]

    def _fits(self, event: "_Read", wanted: Filter) -> bool:
        members, target = event.members, event.members["target"]
        users = {fold(name) for name in (members.get("actor"), target.get("user")) if isinstance(name, str)}
        return (
            (wanted.since is None or event.moment >= wanted.since)
            and (wanted.until is None or event.moment < wanted.until)
            and (wanted.event is None or members["event"] == wanted.event)
            and (wanted.application is None or _folded(target.get("application")) == fold(wanted.application))
            and (
                wanted.user is None
                or fold(wanted.user) in users
                or target.get("unknown_user") == self._hashed(wanted.user)
            )
        )


def _text(value: str | None) -> str:
    """A text as JSON has it."""
    return "null" if value is None else encode_basestring_ascii(value)


def _member(name: str, value: str | None) -> str:
    """A further member of a JSON object, where there is one."""
    return "" if value is None else f',"{name}":{encode_basestring_ascii(value)}'


def _folded(name: object) -> str | None:
    return fold(name) if isinstance(name, str) else None


@dataclasses.dataclass(frozen=True)
class _Read:
    """A line that was read again, and its time in seconds since 1970."""

    members: dict[str, Any]
    moment: float


def _read(line: bytes) -> _Read | None:
    """The event of a line; ``None`` for what somebody else wrote into the file."""
    try:
        members = strict_json.loads(line)
        seconds = dt.datetime.fromisoformat(members["time"]).timestamp()
        known = isinstance(members["target"], dict) and isinstance(members["event"], str)
    except (strict_json.JSONError, KeyError, TypeError, ValueError):
        return None
    return _Read(members, seconds) if known else None


def _place(page: str) -> Place:
    file, _, offset = page.partition("-")
    if not offset.isdecimal() or not offset.isascii() or len(offset) > 18:
        raise _no_page()
    return Place(file, int(offset))


def _no_page() -> InvalidInput:
    return InvalidInput.of("page", "is not what an answer before gave as next, or its part of the log is gone")
