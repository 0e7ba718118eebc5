"""Findings of ``application check``: what worked in the last days, and is refused by the defaults of this version."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from datafor_token.applications.record import Application
from datafor_token.audit.events import Kind
from datafor_token.settings import Settings
from datafor_token.users.users import ADMINISTRATOR, User
from datafor_token.validation.names import fold

DAYS = 30  # searched in the audit log
_MOST_AUDIENCES = 32  # as many as an application can name


class Subject(StrEnum):
    """Subject of a finding."""

    AUDIENCE = "audience"
    ADMINISTRATOR = "administrator"
    NEW_ADMINISTRATOR = "new_administrator"


@dataclass
class Finding:
    """Sign-ins that a default refuses: of one application, and for an Administrator of one ``user``.

    ``audiences`` are those of the tokens. ``last`` is the time of the last sign-in as in the audit log, ``count`` the
    number of recorded ones; a token is not recorded again while a worker has it cached. The application that would
    create Administrators has neither.
    """

    kind: Subject
    application: str
    user: str | None = None
    audiences: list[str] = field(default_factory=list)
    last: str | None = None
    count: int = 0

    def add(self, event: Mapping[str, Any]) -> None:
        """Add a sign-in; the newest comes first."""
        self.last = self.last or str(event["time"])
        self.count += 1
        for audience in _texts(event.get("audience")):
            if audience not in self.audiences and len(self.audiences) < _MOST_AUDIENCES:
                self.audiences.append(audience)


def find(
    events: Iterable[Mapping[str, Any]], applications: Iterable[Application], users: Iterable[User], settings: Settings
) -> list[Finding]:
    """Return the findings, those about audiences first, each kind in the order of the names.

    ``events`` are those of the audit log, newest first, ``applications`` and ``users`` all of the store. What no longer
    exists or was settled since, also by ``settings``, is not found.
    """
    known = {fold(one.name): one for one in applications}
    found: dict[tuple[Subject, str, str | None], Finding] = {}

    def finding(*key: Any) -> Finding:
        return found.setdefault(key, Finding(*key))

    administrators = {} if settings.tokens_may_administer else {fold(one.name): one for one in users if one.administers}
    for event in filter(_is_sign_in, events):
        application = known.get(_folded(event["target"].get("application")))
        if application is None:
            continue
        if "audience" in event and application.audience is None:
            finding(Subject.AUDIENCE, application.name, None).add(event)
        user = administrators.get(_folded(event["target"].get("user")))
        if user is not None:
            finding(Subject.ADMINISTRATOR, application.name, user.name).add(event)
    if not settings.tokens_may_administer:
        for one in known.values():
            if one.inituser and ADMINISTRATOR in one.initroles:
                finding(Subject.NEW_ADMINISTRATOR, one.name, None)
    order = list(Subject)
    return sorted(found.values(), key=lambda one: (order.index(one.kind), one.application, one.user or ""))


def _is_sign_in(event: Mapping[str, Any]) -> bool:
    """Return whether an event is a sign-in by a token or a one-time link that was stored."""
    by_token = event["event"] == Kind.SIGN_IN and event.get("way") in ("bearer", "url")
    return (by_token or event["event"] == Kind.LINK_REDEEMED) and "outcome" not in event


def _folded(name: object) -> str:
    return fold(name) if isinstance(name, str) else ""


def _texts(value: object) -> Iterator[str]:
    return (one for one in (value if isinstance(value, list) else ()) if isinstance(one, str))
