"""Extracts of the audit log for the pages: the last events of each application and user."""

import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import g

from datafor_token.audit.filters import Filter
from datafor_token.console.language import N_
from datafor_token.errors import AuditUnavailable
from datafor_token.validation.names import fold
from datafor_token.web.services import services

Event = Mapping[str, Any]

# Number of events that a list reads, newest first, in pages of 1,000.
LOOKED_AT = 5000
_PAGE = 1000
USES = ("token_generated", "token_personal", "sign_in", "link_made", "link_redeemed")
CHANGES = ("application_added", "application_changed", "application_rotated")

EVENTS = {
    "application_added": N_("application added"),
    "application_changed": N_("application changed"),
    "application_rotated": N_("secret rotated"),
    "application_deleted": N_("application deleted"),
    "token_generated": N_("token issued"),
    "token_personal": N_("personal token issued"),
    "token_revoked": N_("token revoked"),
    "tokens_cut_off": N_("all earlier tokens revoked"),
    "link_made": N_("one-time link created"),
    "link_redeemed": N_("one-time link used"),
    "sign_in": N_("signed in"),
    "sign_in_refused": N_("sign-in refused"),
    "access_refused": N_("access refused"),
    "user_made": N_("user created"),
    "user_changed": N_("user changed"),
    "user_synced": N_("user changed by a token"),
    "user_deleted": N_("user deleted"),
    "session_ended": N_("session ended"),
    "gate_key_rotated": N_("new key of signed identities"),
    "store_restored": N_("store restored"),
    "store_repaired": N_("damaged records moved aside"),
    "store_rekeyed": N_("secrets encrypted with a new key"),
}
# By the outcome in the log, which only events that failed or may have failed have.
OUTCOMES = {
    "not stored": N_("not stored"),
    "may or may not have been stored": N_("may or may not have been stored"),
}


@dataclasses.dataclass
class Activity:
    """The last event of each kind about one application or user; ``None``: not among the events that were read."""

    changed: Event | None = None
    used: Event | None = None
    created: Event | None = None


class Recent(dict[str, Activity]):
    """The activity among the last events, by folded name.

    ``since`` is the time of the oldest event read (milliseconds since 1970) if the log has older ones, else None.
    """

    since: float | None = None

    def of(self, name: str) -> Activity:
        """Return the activity of one application or user."""
        return self.get(fold(name), Activity())


def of_applications() -> Recent:
    """Return the last change and the last use of each application."""
    recent = Recent()
    for activity, event in _activities("application", recent):
        if event["event"] in CHANGES:
            activity.changed = activity.changed or event
        elif event["event"] in USES:
            activity.used = activity.used or event
    return recent


def of_users() -> Recent:
    """Return how each user was created, and their last sign-in."""
    recent = Recent()
    for activity, event in _activities("user", recent):
        _add_of_user(activity, event)
    return recent


def of_user(name: str, most: int = 10) -> tuple[Recent, list[Event]]:
    """Return the same of one user, and the last events by or about them, with one search of the log.

    With 20,000 events, reading the newest ones of all users besides takes as long as the rest of the page.
    """
    recent = Recent()
    try:
        found = services().audit.page(Filter(user=name), _PAGE)
    except AuditUnavailable:
        g.audit_unreadable = True
        return recent, []
    for event in found.events:
        if fold(str(event["target"].get("user", ""))) == fold(name):
            _add_of_user(recent.setdefault(fold(name), Activity()), event)
    if found.next is not None:
        recent.since = milliseconds(found.events[-1]) if found.events else of_users().since
    return recent, list(found.events[:most])


def _add_of_user(activity: Activity, event: Event) -> None:
    if event["event"] == "user_made":
        activity.created = activity.created or event
    elif event["event"] == "sign_in":
        activity.used = activity.used or event


def _activities(kind: str, recent: Recent) -> Iterator[tuple[Activity, Event]]:
    """Yield the last events about applications or users, newest first, each with the activity that it belongs to."""
    count, event = 0, None
    for event in _readable(Filter(), LOOKED_AT):
        count += 1
        name = event["target"].get(kind)
        if isinstance(name, str):
            yield recent.setdefault(fold(name), Activity()), event
    if event is not None and count == LOOKED_AT:
        recent.since = milliseconds(event)


def about_application(name: str, most: int = 10) -> list[Event]:
    """Return the last events about one application."""
    return list(_readable(Filter(application=name), most))


def event_count(event: Event) -> int:
    """Return the number of events that the line of the log includes."""
    count = event.get("count", 1)
    return count if type(count) is int else 1


def milliseconds(event: Event) -> float:
    """Return the time of the event in milliseconds since 1970."""
    return dt.datetime.fromisoformat(str(event["time"])).timestamp() * 1000


def _readable(wanted: Filter, most: int) -> Iterable[Event]:
    """Yield the newest events; if the log cannot be read, the page states so and shows everything else."""
    try:
        yield from _newest(wanted, most)
    except AuditUnavailable:
        g.audit_unreadable = True


def _newest(wanted: Filter, most: int) -> Iterator[Event]:
    page: str | None = None
    left = most
    while left > 0:
        found = services().audit.page(wanted, limit=min(left, _PAGE), page=page)
        yield from found.events
        left -= max(len(found.events), 1)
        page = found.next
        if page is None:
            return
