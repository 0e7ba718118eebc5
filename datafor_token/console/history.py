"""Extracts of the audit log for the pages of one application or user."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from flask import g

from datafor_token.audit.events import Kind
from datafor_token.audit.filters import Filter
from datafor_token.audit.search import Page
from datafor_token.errors import AuditUnavailable
from datafor_token.validation.names import fold
from datafor_token.web.services import services

Event = Mapping[str, Any]


def newest(wanted: Filter, most: int) -> Page:
    """Return the newest events; if the log cannot be read, the page says so and shows everything else.

    It is one search, of a limited number of lines.
    """
    try:
        return services().audit.page(wanted, most)
    except AuditUnavailable:
        g.audit_unreadable = True
        return Page((), None)


def creation_of_user(name: str) -> Event | None:
    """Return the event of a user's creation, or None if it is not among the newest that were searched."""
    found = newest(Filter(event=Kind.USER_MADE, user=name), most=1000).events
    # The filter also finds those whom this user has created.
    return next((one for one in found if fold(str(one["target"].get("user", ""))) == fold(name)), None)


def event_count(event: Event) -> int:
    """Return the number of events that the line of the log includes."""
    count = event.get("count", 1)
    return count if type(count) is int else 1


def milliseconds(event: Event) -> float:
    """Return the time of the event in milliseconds since 1970."""
    return dt.datetime.fromisoformat(str(event["time"])).timestamp() * 1000
