"""Search in the audit log: pages of what its lines show, newest first."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from datafor_token.audit.reader import Place, newest_first
from datafor_token.errors import InvalidInput
from datafor_token.validation import strict_json
from datafor_token.validation.names import fold
from datafor_token.validation.times import parse_time

_MOST_LINES = 200_000  # read for one page
_PAGE = 1000  # events
_LOOK_EVERY = 100  # lines
CLOCK_STEPS = 3600  # seconds by which a clock may have been set back: an event older than that ends a search


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A parsed line. ``time`` is in seconds since 1970."""

    members: dict[str, Any]
    time: float


@dataclasses.dataclass(frozen=True)
class Page:
    """Events, newest first. ``next`` identifies the page of older events; it is None on the last page."""

    events: Sequence[dict[str, Any]]
    next: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseFilter:
    """Filter for events by their time, in seconds since 1970, and by a user and an application."""

    since: float | None = None
    until: float | None = None
    user: str | None = None
    application: str | None = None

    @classmethod
    def of(cls, wanted: Mapping[str, Any], now: float) -> Self:
        """Create the filter from the checked fields of a request; ``now`` is in seconds since 1970."""
        known = {field.name for field in dataclasses.fields(cls)}
        members = {name: value for name, value in wanted.items() if name in known}
        members |= {name: parse_time(members[name], now) for name in ("since", "until") if name in members}
        return cls(**members)

    def includes(self, time: float) -> bool:
        """Return whether events of this time are wanted."""
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


class Search(Protocol):
    """The events that a search is for. It ends at events from before ``since`` (seconds since 1970), if that is set."""

    since: float | None

    def may_fit(self, line: bytes) -> bool:
        """Return whether a line that was not parsed yet can fit: parsing takes longer than reading."""

    def shown(self, event: Recorded) -> dict[str, Any] | None:
        """Return the members that a page shows of an event, or None if it does not fit."""


def find(folder: Path, search: Search, limit: int, page: str | None) -> Page:
    """Return at most ``limit`` events, newest first; ``page`` is the ``next`` of an earlier page.

    A page can have fewer although more exist, since a search reads a limited number of lines. Raises
    ``InvalidInput`` for a ``page`` that is not or no longer valid, and ``AuditUnavailable``.
    """
    events: list[dict[str, Any]] = []
    place = None if page is None else _place(page)
    try:
        for read, (here, line) in enumerate(newest_first(folder, place), start=1):
            # Some lines that do not fit are parsed too: the search ends at their time.
            event = parse(line) if search.may_fit(line) or read % _LOOK_EVERY == 0 else None
            if event is not None:
                if search.since is not None and event.time < search.since - CLOCK_STEPS:
                    return Page(events, None)
                shown = search.shown(event)
                if shown is not None:
                    events.append(shown)
            if len(events) == limit or read == _MOST_LINES:
                return Page(events, f"{here.file}-{here.offset}")
    except LookupError:
        raise _no_page() from None
    return Page(events, None)


def newest(page: Callable[[int, str | None], Page], limit: int) -> list[dict[str, Any]]:
    """Return at most ``limit`` events of any number of pages; ``page`` has the arguments of ``find``.

    It reads any number of lines: not for a request.
    """
    events: list[dict[str, Any]] = []
    following = None
    while len(events) < limit:
        found = page(min(_PAGE, limit - len(events)), following)
        events += found.events
        following = found.next
        if following is None:
            break
    return events


def parse(line: bytes) -> Recorded | None:
    """Parse a line; return None if it is not an event."""
    try:
        members = strict_json.loads(line)
        seconds = dt.datetime.fromisoformat(members["time"]).timestamp()
        known = isinstance(members["target"], dict) and isinstance(members["event"], str)
    except (strict_json.JSONError, KeyError, TypeError, ValueError):
        return None
    return Recorded(members, seconds) if known else None


def may_name(line: bytes, names: Iterable[bytes]) -> bool:
    """Return whether a line that was not parsed yet can have one of these names, folded and in UTF-8."""
    # Lines are JSON in ASCII: without an escape sequence, all names in it are plain ASCII.
    if b"\\" in line or not line.isascii():
        return True
    text = line.lower()
    for name in names:  # noqa: SIM110 - three times as fast as any()
        if name in text:
            return True
    return False


def folded(name: object) -> str | None:
    """Return a name of an event folded for comparison; None if it is not text."""
    return fold(name) if isinstance(name, str) else None


def _place(page: str) -> Place:
    file, _, offset = page.partition("-")
    if not offset.isdecimal() or not offset.isascii() or len(offset) > 18:
        raise _no_page()
    return Place(file, int(offset))


def _no_page() -> InvalidInput:
    return InvalidInput.of("page", "is not the next of an earlier response, or its part of the log was removed")
