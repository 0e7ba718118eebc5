"""The audit log: one JSON line per event (who did what, when, from where).

It is a file, ``data/audit.log``, or a table of the database that has the records. In a file, a change of the store is
recorded before it is stored; in a database, in the same transaction. It is refused if it cannot be recorded. If the
store then fails, a further line with an ``outcome`` states so: every change has its line, whatever fails. Issuing and
checking tokens continue without a line; that is logged and counted.
No event holds a secret, a password or a token; a token appears as its keyed identifier (``tokens.identifiers``).
"""

import contextlib
import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from datafor_token.audit.events import REFUSALS, Event, Kind, Origin
from datafor_token.audit.filters import Filter, FilteredEvents
from datafor_token.audit.repeats import Refusal, Repeated, Repeats
from datafor_token.audit.search import Page, Reading, Recorded, Search, find, parse
from datafor_token.errors import AuditUnavailable, MaybeStored, StoreUnavailable
from datafor_token.store.lines import Entry, LineLog
from datafor_token.validation import logs, strict_json
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)


class AuditMetrics(Protocol):
    """Metrics of the audit log."""

    def audit_event(self, event: Event, way: str | None) -> None:
        """Count an event; ``way`` is how its actor signed in, or tried to."""

    def changed(self, event: Event) -> None:
        """Count a change that was stored."""

    def audit_unrecorded(self) -> None:
        """Count an event that could not be written."""


class Audit:
    """The audit log, to record events and to search them.

    ``clock`` returns seconds since 1970, ``origin`` returns who is acting now. ``key`` is the key of this
    installation for hashes of unknown names, ``node`` the name of this node. ``happened`` is called with each event,
    also one that is only counted; with that of a change after the change was stored. ``recorded`` is called with each
    line, also one that could not be written, and with ``durably``: whether a power cut must not lose it. That of a
    change is not stored yet then.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        log: LineLog,
        clock: Callable[[], float],
        origin: Callable[[], Origin],
        metrics: AuditMetrics,
        key: bytes,
        happened: Callable[[Event], None] = lambda _: None,
        node: str = "",
        recorded: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        self._log = log
        self._clock = clock
        self._origin = origin
        self._metrics = metrics
        self._key = key
        self._happened = happened
        self._node = node
        self._recorded = recorded
        self._repeats = Repeats(clock, self._record_repeated)

    @property
    def actor(self) -> str | None:
        """The user who acts now, or None before a sign-in."""
        return self._origin().actor

    def record(self, event: Event, outcome: str | None = None) -> bool:
        """Record an event that changes nothing in the store, best effort: a failure is logged and counted.

        Returns False for a refusal that was only counted, because the same one was recorded within a minute (see
        ``repeats``).
        """
        origin = self._origin()
        self._metrics.audit_event(event, origin.way)
        if outcome is None:
            self._happened(event)
        target = self._target(event)
        first = None
        if event.kind in REFUSALS:
            refusal = Refusal(event.kind, event.reason, origin.way, tuple(target.items()), origin.address)
            first = self._repeats.count(refusal, event, origin)
            if first is None:
                return False
        self._append([self._line(event, target, origin, outcome, _steps(event, first))], event.kind)
        return True

    def _append(self, lines: Sequence[bytes], kind: str) -> None:
        """Write lines, best effort: a failure is logged and counted."""
        try:
            self._log.append(b"".join(lines))
        except StoreUnavailable as error:
            for _ in lines:
                self._metrics.audit_unrecorded()
            log.warning(logs.event("not recorded in the audit log", kind=kind, reason=error.reason))
        for line in lines:
            self._recorded(line, durably=False)

    def _record_repeated(self, repeated: Sequence[Repeated]) -> None:
        # Those of a kind together: in an outage at the exit of the process, no further attempt is waited for.
        for kind in dict.fromkeys(one.refusal.event for one in repeated):
            self._append([self._repeated_line(one) for one in repeated if one.refusal.event == kind], kind)

    def _repeated_line(self, one: Repeated) -> bytes:
        refusal = one.refusal
        return self._line_of(
            one.last,
            refusal.event,
            Origin(None, refusal.way, refusal.client or None, None),
            dict(refusal.target) | _present(token=one.token),
            reason=refusal.reason,
            count=one.count,
            first=logs.timestamp(one.first),
            steps=one.steps,
            request_ids=one.requests or None,
            request_prefix=one.prefix,
        )

    @contextlib.contextmanager
    def change(self) -> Iterator[Callable[[Event], None]]:
        """Surround a change of the store; yield the function that records an event before the change is stored.

        If that function raises ``AuditUnavailable``, the change must not be stored. If the change fails afterwards, a
        line for each of its events states that it was not stored.
        """
        recorded: list[tuple[Event, Entry]] = []
        try:
            with self._log.change() as write:

                def record(event: Event) -> None:
                    line = self._line(event, self._target(event), self._origin())
                    recorded.append((event, write(line)))
                    self._recorded(line, durably=True)

                yield record
        except BaseException as error:
            outcome = "may or may not have been stored" if isinstance(error, MaybeStored) else "not stored"
            if not isinstance(error, AuditUnavailable):
                for event in _events(recorded):
                    self.record(event, outcome)
            raise
        for event in _events(recorded):
            self._metrics.changed(event)
            self._happened(event)

    def finish(self) -> None:
        """Record the refusals that were only counted, before their minute is over."""
        self._repeats.finish()

    def check_writable(self) -> None:
        """Raise ``AuditUnavailable`` if no change could be recorded now, as far as can be seen without writing."""
        self._log.check()

    def extent(self) -> tuple[int | None, int | None]:
        """Return the size in bytes and the time of the first line in milliseconds since 1970, where known.

        Raises ``AuditUnavailable``.
        """
        return self._log.extent()

    def page(self, wanted: Filter, limit: int = 100, page: str | None = None) -> Page:
        """Return at most ``limit`` events, newest first; ``page`` is the ``next`` of an earlier page.

        A page can have fewer although more exist, since a search reads a limited number of lines. Raises
        ``InvalidInput`` for a ``page`` that is not or no longer valid, and ``AuditUnavailable``.
        """
        return self.search(FilteredEvents(wanted, self._hashed), limit, page)

    def search(self, search: Search, limit: int, page: str | None = None) -> Page:
        """Return at most ``limit`` events of any search, as ``page`` does."""
        return find(self._log, search, limit, page)

    def about_token(self, identifier: str) -> dict[str, Any] | None:
        """Return the event that issued the token with this identifier, else the newest about it, or None.

        Reads a limited number of lines, as ``page`` does. Raises ``AuditUnavailable``.
        """
        issued = self.search(_AboutToken(identifier, issued=True), 1).events
        return next(iter(issued or self.search(_AboutToken(identifier), 1).events), None)

    def events_with(self, identifier: str, most: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the events whose lines contain an identifier of a request, token or ticket, or its start, newest first.

        At most ``most`` bytes are read: raises ``LimitReached`` if there are more, and ``AuditUnavailable``.
        """
        for line in self._log.lines_with(identifier.encode(), most):
            event = parse(line)
            if event is not None:
                yield event.members

    def every(self, wanted: Filter) -> Reading:
        """Return a search for all events of a filter, newest first; it raises ``AuditUnavailable``."""
        return Reading(self._log, FilteredEvents(wanted, self._hashed))

    def since(self, time: float) -> Iterator[dict[str, Any]]:
        """Yield every event since ``time`` (seconds since 1970), newest first; raise ``AuditUnavailable``.

        Unlike ``page``, it reads any number of lines: not for a request.
        """
        return (event for event in self.every(Filter(since=time)) if event is not None)

    def _target(self, event: Event) -> dict[str, str]:
        """Return the members of the target, without the token."""
        unknown = None if event.unknown_user is None else self._hashed(event.unknown_user)
        return _present(application=event.application, user=event.user, unknown_user=unknown)

    def _line(
        self,
        event: Event,
        target: dict[str, str],
        origin: Origin,
        outcome: str | None = None,
        steps: Sequence[Mapping[str, Any]] | None = None,
    ) -> bytes:
        if origin.actor is None and event.kind is not Kind.SIGN_IN_REFUSED:
            # A user who signs in is the actor.
            origin = origin._replace(actor=event.user)
        return self._line_of(
            self._clock(),
            event.kind,
            origin,
            target | _present(token=event.token),
            fields=event.fields,
            before=event.before,
            after=event.after,
            reason=event.reason,
            audience=event.audience,
            tokens_before=event.tokens_before,
            expires=event.expires,
            iat=event.iat,
            jti=event.jti,
            outcome=outcome,
            steps=steps,
            rule=event.rule,
        )

    def _line_of(self, time: float, kind: str, origin: Origin, target: dict[str, str], **details: Any) -> bytes:
        """Return the line of an event; ``details`` that are None are left out."""
        members = {
            "time": logs.timestamp(time),
            "event": kind,
            "actor": origin.actor,
            "way": origin.way,
            "address": origin.address,
            "request_id": origin.request_id,
            "target": target,
            "node": self._node,
            **_present(**details),
        }
        return f"{strict_json.compact(members)}\n".encode()

    def _hashed(self, name: str) -> str:
        text = fold(name[:2048]).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, text, hashlib.sha256).hex()[:12]


def _events(recorded: Sequence[tuple[Event, Entry]]) -> Iterator[Event]:
    return (event for event, entry in recorded if not entry.is_dropped)


def _steps(event: Event, first: Repeated | None) -> Sequence[Mapping[str, Any]] | None:
    """Return the steps for a line; for the first refusal of its kind, after the search for the cause, if any."""
    why = event.explanation
    if why is None:
        return None
    closer = None if why.closer is None else why.closer()
    if first is not None:
        first.closer = closer
    return closer or why.steps()


class _AboutToken:
    """Search for the events about a token; with ``issued``, for the one that issued it."""

    since: float | None = None
    until: float | None = None

    def __init__(self, identifier: str, *, issued: bool = False) -> None:
        self._identifier = identifier
        self._issued = issued

    def may_fit(self, lines: bytes) -> bool:
        return self._identifier.encode() in lines

    def shown(self, event: Recorded) -> dict[str, Any] | None:
        fits = event.members["target"].get("token") == self._identifier
        return event.members if fits and ("expires" in event.members or not self._issued) else None


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
