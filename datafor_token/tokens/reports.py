"""Rules that an application only reports: what they would have refused is counted, and recorded once a day.

The metric counts every use. The audit log has one event for each user, application, rule and day (UTC), over all
workers, and with the setting ``RATELIMIT_STORAGE_URI`` over all nodes that share the Redis.
"""

import json
from collections.abc import Callable, Mapping

from datafor_token.applications.record import Application
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import Message
from datafor_token.limits.keyed_counts import KeyedCounts
from datafor_token.tokens import identifiers
from datafor_token.tokens.recorded_steps import explanation
from datafor_token.tokens.verification import Verification
from datafor_token.tokens.verifier import Step, only_reported
from datafor_token.validation.names import fold

_DAY = 86400
# Events of today that this process knows: at most 15 MB of memory. Further ones are only counted in the metric, as each
# use would be recorded again. The shared counts have 32,000: of further ones, each process records one.
_MOST = 200_000
# The step and the reason of the refusals by the claims of a token.
_OF_CLAIMS: Mapping[str, tuple[str, str]] = {
    "token_types": ("header", "header"),
    "audience": ("audience", "audience"),
    "issuer": ("issuer", "issuer"),
    "require": ("claims", "claim"),
    "max_lifetime": ("lifetime", "too_long_lived"),
}


class Reports:
    """Counts and records the would-be refusals of accepted tokens. ``clock`` returns seconds since 1970.

    ``counts`` are those of recorded events: without their storages, events are recorded possibly several times a day.
    ``count`` is called with the application and the rule of each would-be refusal.
    """

    def __init__(
        self, counts: KeyedCounts, clock: Callable[[], float], audit: Audit, count: Callable[[str, str], None]
    ) -> None:
        self._counts = counts
        self._clock = clock
        self._audit = audit
        self._count = count
        self._day = 0
        self._known: set[int] = set()

    def note(self, verification: Verification) -> None:
        """Count the would-be refusals of an accepted token, and record those that are the first of the day."""
        application = verification.application
        if application is None or verification.username is None:
            return
        for step in verification.reported:
            rule = str(step.reported)
            self._count(application.name, rule)
            if self._is_first(fold(application.name), rule, fold(verification.username)):
                self._audit.record(_event(application, step, verification))

    def _is_first(self, application: str, rule: str, user: str) -> bool:
        """Return whether this is the first of the day for a user, application and rule."""
        day = int(self._clock()) // _DAY
        if day != self._day:
            self._day, self._known = day, set()
        of = application, rule, user
        # A hash of 64 bits, of which nobody outside of this process knows the key.
        known = hash(of)
        if known in self._known or len(self._known) >= _MOST:
            return False
        self._known.add(known)
        return self._counts.add(json.dumps([day, *of]), 1, _DAY) is None


def _event(application: Application, step: Step, verification: Verification) -> Event:
    token = verification.identifier
    return Event(
        Kind.RULE_REPORTED,
        application.name,
        verification.username,
        # A session of an early version has a digest instead, which must not be shown.
        token=None if token is None or identifiers.is_unkeyed(token) else identifiers.short(token),
        reason=step.reason,
        rule=step.reported,
        explanation=explanation([step], ""),
    )


def reported_of_session(application: Application, fields: object) -> tuple[Step, ...]:
    """Return the steps of the rules that would have refused the token which opened a session.

    ``fields`` are those in its record, which may have been edited by hand.
    """
    return tuple(
        only_reported(
            field,
            *_OF_CLAIMS[field],
            Message("the token that opened the session breaks the rule; the event of its sign-in has the details"),
        )
        for field in (fields if isinstance(fields, list) else ())
        if field in _OF_CLAIMS and application.reports(field)
    )
