"""Search in the audit log: pages of what its lines show, newest first."""

import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from datafor_token.errors import InvalidInput
from datafor_token.store.lines import Block, LineLog, Place, time_of
from datafor_token.validation import logs, strict_json
from datafor_token.validation.names import fold
from datafor_token.validation.times import parse_time

_MOST_LINES = 200_000  # read for one page
_MOST_PARSED = 10_000  # lines, which take most of the time: 0.2 s
_PAGE = 1000  # events
CLOCK_STEPS = 3600  # seconds by which a clock may have been set back
# Lines in a row that are older than the start of a search by more than that, before it ends: a host whose clock is
# wrong after its start writes some lines with wrong times.
_PAST = 1000
# The escape sequences of U+4000 to U+9FFF, which folding leaves as they are.
_IDEOGRAPHS = re.compile(rb"\\u[4-9][0-9a-f]{3}")


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A parsed line. ``time`` is in seconds since 1970."""

    members: dict[str, Any]
    time: float


@dataclasses.dataclass(frozen=True)
class Page:
    """Events, newest first. ``next`` identifies the page of older events; it is None on the last page.

    ``looked_back_to`` is the time of the oldest line that was read for it, as lines have it; None on the last page.
    """

    events: Sequence[dict[str, Any]]
    next: str | None
    looked_back_to: str | None = None

    @property
    def members(self) -> dict[str, Any]:
        """The members of a response beside ``data``."""
        members = {"next": self.next, "looked_back_to": self.looked_back_to}
        return {name: value for name, value in members.items() if value is not None}


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
    """The events that a search is for.

    It passes over events from ``until`` on, and ends at events from before ``since`` (seconds since 1970), where set.
    """

    since: float | None
    until: float | None

    def may_fit(self, lines: bytes) -> bool:
        """Return whether one of these lines, which were not parsed yet, can fit: parsing takes longer than reading."""

    def shown(self, event: Recorded) -> dict[str, Any] | None:
        """Return the members that a page shows of an event, or None if it does not fit."""


def find(log: LineLog, search: Search, limit: int, page: str | None) -> Page:
    """Return at most ``limit`` events, newest first; ``page`` is the ``next`` of an earlier page.

    A page can have fewer although more exist, since a search reads a limited number of lines. Raises
    ``InvalidInput`` for a ``page`` that is not or no longer valid, and ``AuditUnavailable``.
    """
    events: list[dict[str, Any]] = []
    most = min(_MOST_LINES, log.page_lines)
    reading = Reading(log, search, None if page is None else _place(page), most)
    try:
        for shown in reading:
            if shown is not None:
                events.append(shown)
            if len(events) == limit or reading.read >= most or reading.parsed >= _MOST_PARSED:
                return Page(events, f"{reading.place.file}-{reading.place.offset}", reading.time)
    except LookupError:
        raise _no_page() from None
    return Page(events, None)


class Reading:
    """A search in progress: an iterator that yields each event that fits, and None after other lines.

    ``read`` and ``parsed`` count lines. ``place`` and ``time`` are those of the last line that was read; its time is
    that of an earlier line if it is not an event. Lines that cannot fit are passed over many at once, but never beyond
    line number ``most``. Raises ``LookupError`` if the file of the place ``before``, where it begins, no longer exists.
    """

    def __init__(self, log: LineLog, search: Search, before: Place | None = None, most: int | None = None) -> None:
        self.read = self.parsed = 0
        self.place = before or Place("", 0)
        self._time = b""
        self._search = search
        self._most = most
        # Compared with the times of lines as texts, without parsing: all have one form.
        self._since = b"" if search.since is None else _line_time(search.since, -1)
        self._until = b"\xff" if search.until is None else _line_time(search.until)
        self._past = 0  # lines in a row that are older than ``since``
        since = None if search.since is None else search.since - CLOCK_STEPS
        until = None if search.until is None else search.until + CLOCK_STEPS
        self._blocks = log.newest_first(before, since, until)

    @property
    def time(self) -> str | None:
        """The time of the last line that was read."""
        try:
            dt.datetime.fromisoformat(self._time.decode())
        except ValueError:
            return None
        return self._time.decode()

    def __iter__(self) -> Iterator[dict[str, Any] | None]:
        """Yield what fits."""
        for block in self._blocks:
            left: list[Block] = [block]
            while left:
                lines = left.pop()
                number = lines.text.count(b"\n")
                may_fit = not self._are_later(lines.text) and self._search.may_fit(lines.text)
                is_beyond = self._most is not None and self.read < self._most < self.read + number
                if number > 1 and (may_fit or is_beyond):
                    left += lines.parts()
                    continue
                self._count(lines, number)
                if self._past >= _PAST:
                    return
                if not may_fit:
                    yield None
                    continue
                self.parsed += 1
                event = parse(lines.text)
                yield None if event is None else self._search.shown(event)

    def _are_later(self, text: bytes) -> bool:
        """Return whether all lines are later than ``until``."""
        until, oldest = self._until, time_of(text)
        if oldest is None or oldest <= until:
            return False
        return all(time is not None and time > until for time in _times(text))

    def _count(self, lines: Block, number: int) -> None:
        """Count lines that were read, all at once."""
        self.read += number
        self.place = lines.place
        oldest = time_of(lines.text) or next(filter(None, _times(lines.text)), None)
        if oldest is None:
            return
        self._time = oldest
        since, until = self._since, self._until
        if since <= oldest <= until and self._past + number < _PAST:
            # Whatever the times of the others are, they are too few to end the search.
            self._past = 0
            return
        for time in reversed(list(_times(lines.text))):
            if time is not None and time <= until:
                self._past = self._past + 1 if time < since else 0
                if self._past == _PAST:
                    return


def _times(lines: bytes) -> Iterator[bytes | None]:
    return map(time_of, lines[:-1].split(b"\n"))


def _line_time(time: float, steps: int = 0) -> bytes:
    """Return a time in seconds since 1970 as lines have it, with ``steps`` of the clock added."""
    return logs.timestamp(time + steps * CLOCK_STEPS).encode()


def newest(page: Callable[[int, str | None], Page], limit: int) -> Page:
    """Return at most ``limit`` events of any number of pages; ``page`` has the arguments of ``find``.

    It reads any number of lines: not for a request.
    """
    events: list[dict[str, Any]] = []
    following, found = None, Page((), None)
    while len(events) < limit:
        found = page(min(_PAGE, limit - len(events)), following)
        events += found.events
        following = found.next
        if following is None:
            break
    return dataclasses.replace(found, events=events)


def parse(line: bytes) -> Recorded | None:
    """Parse a line; return None if it is not an event."""
    try:
        members = strict_json.loads(line)
        seconds = dt.datetime.fromisoformat(members["time"]).timestamp()
        known = isinstance(members["target"], dict) and isinstance(members["event"], str)
    except (strict_json.JSONError, KeyError, TypeError, ValueError):
        return None
    return Recorded(members, seconds) if known else None


def as_written(name: str) -> bytes:
    """Return a folded name for ``may_name``: as lines have it, in lower case."""
    return strict_json.compact(name)[1:-1].encode()


def may_name(lines: bytes, names: Iterable[bytes]) -> bool:
    """Return whether lines that were not parsed yet can have one of these names, each from ``as_written``."""
    # Lines are JSON in ASCII. Without an escape sequence all names in them are plain ASCII, and ideographs are written
    # in one way only; any other character may be folded to those of the name.
    if not lines.isascii() or (b"\\" in lines and lines.count(b"\\") != len(_IDEOGRAPHS.findall(lines))):
        return True
    text = lines.lower()
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
