"""Activity of the service: what requests and events note, and the writer that stores it in the background."""

import time
from collections.abc import Callable

from datafor_token.activity import hours, last_uses
from datafor_token.activity.hours import Hours
from datafor_token.activity.last_uses import APPLICATIONS, USERS, LastUses
from datafor_token.audit.events import Event, Kind
from datafor_token.store.background import BackgroundWriter
from datafor_token.store.base import Document, Store

_COUNTED = {
    Kind.TOKEN_GENERATED: hours.ISSUED,
    Kind.TOKEN_PERSONAL: hours.ISSUED,
    Kind.SIGN_IN: hours.ACCEPTED,
    Kind.LINK_REDEEMED: hours.ACCEPTED,
    Kind.SIGN_IN_REFUSED: hours.REFUSED,
}
# Events that are a use of their application, and those that are one of their user. Who issues a token for a user does
# not sign that user in.
_OF_APPLICATIONS = frozenset(
    {Kind.TOKEN_GENERATED, Kind.TOKEN_PERSONAL, Kind.SIGN_IN, Kind.LINK_MADE, Kind.LINK_REDEEMED}
)
_OF_USERS = frozenset({Kind.SIGN_IN, Kind.LINK_REDEEMED})


class Activity(BackgroundWriter):
    """Notes of this process. ``clock`` returns seconds since 1970."""

    seconds = 60.0

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        super().__init__()
        self.last_uses = LastUses(store, clock)
        self.hours = Hours(store, clock)

    def accepted(self, user: str, application: str | None) -> None:
        """Note that a request of this user was accepted, and whose token signed it in, if one did."""
        self.last_uses.note(USERS, user)
        if application is not None:
            self.last_uses.note(APPLICATIONS, application)
        self.wake()

    def happened(self, event: Event) -> None:
        """Note an event that was recorded, or only counted; of a change, after it was stored."""
        kind, application, user = event.kind, event.application, event.user
        counted = _COUNTED.get(kind)
        if counted is not None:
            self.hours.count(counted)
            self.wake()
        if application is not None and kind in _OF_APPLICATIONS:
            self.last_uses.note(APPLICATIONS, application)
            self.wake()
        if user is not None and kind in _OF_USERS:
            self.last_uses.note(USERS, user)
        if user is not None and kind is Kind.USER_DELETED:
            self.last_uses.remove(USERS, user)
        elif user is not None and kind is Kind.USER_MADE:
            self.last_uses.begin_of(USERS, user)
        elif application is not None and kind is Kind.APPLICATION_DELETED:
            self.last_uses.remove(APPLICATIONS, application)
        elif application is not None and kind is Kind.APPLICATION_ADDED:
            self.last_uses.begin_of(APPLICATIONS, application)

    def store_noted(self, ends: float | None) -> bool:
        """Store the uses and counts in memory."""
        # All of them, also after an outage of one.
        done = self.last_uses.store_noted(ends)
        return (ends is not None and time.monotonic() >= ends) or (self.hours.store_noted() and done)

    def forget_noted(self) -> None:
        """Forget the uses and counts in memory."""
        self.last_uses.forget_noted()
        self.hours.forget_noted()


def check(document: Document) -> None:
    """Check a record of the collection; raise ``RecordDamaged``."""
    if document["name"] == hours.RECORD:
        hours.hours_of(document)
    else:
        last_uses.check(document)
