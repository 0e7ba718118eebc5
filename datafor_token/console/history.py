"""What the audit log tells the pages: last changes, last uses, how users came in, and the last day's hours."""

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from flask import g

from datafor_token.audit.log import Filter
from datafor_token.console.language import N_
from datafor_token.errors import AuditUnavailable
from datafor_token.validation.names import fold
from datafor_token.web.services import services

Event = Mapping[str, Any]

# A list looks back so many events; what was longer ago is said to be so. One page of the log is 1,000 of them.
LOOKED_AT = 5000
_AT_ONCE = 1000
# One day of a busy service is more than a page should read: beyond it the chart says that it is not whole.
_MOST_OF_A_DAY = 50_000
USES = ("token_generated", "token_personal", "sign_in", "link_made", "link_redeemed")
CHANGES = ("application_added", "application_changed", "application_rotated")
ISSUED = ("token_generated", "token_personal")

# What each kind of event is called.
EVENTS = {
    "application_added": N_("application added"),
    "application_changed": N_("application changed"),
    "application_rotated": N_("secret rotated"),
    "application_deleted": N_("application deleted"),
    "token_generated": N_("token issued"),
    "token_personal": N_("personal token issued"),
    "token_revoked": N_("token revoked"),
    "link_made": N_("one-time link made"),
    "link_redeemed": N_("one-time link used"),
    "sign_in": N_("signed in"),
    "sign_in_refused": N_("sign-in refused"),
    "user_made": N_("user made"),
    "user_changed": N_("user changed"),
    "user_deleted": N_("user deleted"),
    "store_restored": N_("store restored"),
    "store_repaired": N_("damaged records moved aside"),
    "store_rekeyed": N_("secrets encrypted anew"),
}


@dataclasses.dataclass
class Traces:
    """The last event of each kind of interest about one thing; ``None``: not among the events looked at."""

    changed: Event | None = None
    used: Event | None = None
    made: Event | None = None


@dataclasses.dataclass(frozen=True)
class Hour:
    """One hour: when it began (milliseconds since 1970), tokens issued, sign-ins refused."""

    begins: int
    issued: int
    refused: int


@dataclasses.dataclass(frozen=True)
class Day:
    """The last 24 hours, oldest first; ``whole`` is false where there were too many events to count them all."""

    hours: list[Hour]
    whole: bool


def of_applications() -> dict[str, Traces]:
    """The traces of applications, by folded name."""
    found: dict[str, Traces] = {}
    for event in _as_far_as_read(Filter(), LOOKED_AT):
        name = event["target"].get("application")
        if isinstance(name, str):
            traces = found.setdefault(fold(name), Traces())
            if event["event"] in CHANGES:
                traces.changed = traces.changed or event
            elif event["event"] in USES:
                traces.used = traces.used or event
    return found


def of_users() -> dict[str, Traces]:
    """The traces of users, by folded name: who or what made them, and their last sign-in."""
    found: dict[str, Traces] = {}
    for event in _as_far_as_read(Filter(), LOOKED_AT):
        name = event["target"].get("user")
        if isinstance(name, str):
            traces = found.setdefault(fold(name), Traces())
            if event["event"] == "user_made":
                traces.made = traces.made or event
            elif event["event"] == "sign_in":
                traces.used = traces.used or event
    return found


def last_day() -> Day:
    """Tokens issued and sign-ins refused in each of the last 24 hours."""
    now = services().clock()
    first = int(now // 3600 - 23) * 3600
    issued, refused, seen = [0] * 24, [0] * 24, 0
    for event in _newest(Filter(since=float(first)), _MOST_OF_A_DAY):
        seen += 1
        hour = int(milliseconds(event) / 1000 - first) // 3600
        if 0 <= hour < 24:
            issued[hour] += event["event"] in ISSUED
            if event["event"] == "sign_in_refused":
                refused[hour] += number_of(event)
    hours = [Hour((first + number * 3600) * 1000, issued[number], refused[number]) for number in range(24)]
    return Day(hours, whole=seen < _MOST_OF_A_DAY)


def about_application(name: str, most: int = 10) -> list[Event]:
    """The last events about one application."""
    return list(_as_far_as_read(Filter(application=name), most))


def about_user(name: str, most: int = 10) -> list[Event]:
    """The last events by or about one user."""
    return list(_as_far_as_read(Filter(user=name), most))


def number_of(event: Event) -> int:
    """Return how many events the line stands for."""
    count = event.get("count", 1)
    return count if type(count) is int else 1


def milliseconds(event: Event) -> float:
    """When the event was, in milliseconds since 1970."""
    return dt.datetime.fromisoformat(str(event["time"])).timestamp() * 1000


def _as_far_as_read(wanted: Filter, most: int) -> Iterator[Event]:
    """The same; where the log cannot be read, the page says so and shows all the rest."""
    try:
        yield from _newest(wanted, most)
    except AuditUnavailable:
        g.audit_unreadable = True


def _newest(wanted: Filter, most: int) -> Iterator[Event]:
    page: str | None = None
    left = most
    while left > 0:
        found = services().audit.page(wanted, limit=min(left, _AT_ONCE), page=page)
        yield from found.events
        left -= max(len(found.events), 1)
        page = found.next
        if page is None:
            return
