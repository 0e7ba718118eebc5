"""Tokens and one-time links as the audit log knows them, by their identifier."""

import dataclasses
import datetime as dt
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.applications.rules import LONGEST_TICKET, TokenStatus
from datafor_token.audit.events import Kind
from datafor_token.audit.log import Audit
from datafor_token.audit.search import Recorded
from datafor_token.store.lines import LimitReached
from datafor_token.tokens.identifiers import revocation_name
from datafor_token.tokens.issued import IssuedTokens
from datafor_token.tokens.revocations import Revocations

_MOST_READ = 1024**3  # bytes of the audit log, as for a refusal
_MOST_PARSED = 2000  # lines about one token; the line that issued it is searched for besides
_MOST_SHOWN = 10
_OF_LINKS = (Kind.LINK_MADE, Kind.LINK_REDEEMED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnownToken:
    """A token or one-time link (``is_link``) in the audit log.

    ``status`` is one of ``TokenStatus``, ``used`` for a link, or None if it is not known: the token was issued
    elsewhere, or the link may be too old. Times are in milliseconds since 1970, None if they are not known. ``events``
    are the newest about it, newest first; ``more``: there are older ones.
    """

    identifier: str
    is_link: bool
    is_personal: bool
    application: str | None
    user: str | None
    by: str | None
    issued_at: int | None
    expires_at: int | None
    status: str | None
    events: Sequence[Mapping[str, Any]]
    more: bool

    @property
    def can_be_revoked(self) -> bool:
        """True unless it is known to be refused already."""
        return self.status not in (TokenStatus.REVOKED, TokenStatus.EXPIRED)


class KnownTokens:
    """The tokens and one-time links that the audit log names. ``clock`` returns seconds since 1970."""

    def __init__(
        self, audit: Audit, issued: IssuedTokens, revocations: Revocations, clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._audit = audit
        self._issued = issued
        self._revocations = revocations

    def find(self, identifier: str) -> KnownToken | None:
        """Return the token or link with this identifier (32 hex digits), or None if no line that is read names it.

        Raises ``AuditUnavailable`` and ``StoreUnavailable``.
        """
        events, more = self._events(identifier)
        if not events:
            return None
        about: Mapping[str, Any] = next((one for one in reversed(events) if "expires" in one), events[-1])
        if "expires" not in about and len(events) == _MOST_PARSED:
            about = self._audit.about_token(identifier) or about
        time, target = _seconds(about), about["target"]
        issued = self._issued.of_event(Recorded(dict(about), time)) or {}
        is_link = any(one["event"] in _OF_LINKS for one in events)
        is_made = is_link and about["event"] == Kind.LINK_MADE
        return KnownToken(
            identifier=identifier,
            is_link=is_link,
            is_personal=issued.get("kind") == "personal",
            application=_text(target.get("application")),
            user=_text(target.get("user")),
            by=issued.get("by") or (_text(about.get("actor")) if is_made else None),
            issued_at=issued.get("issued_at") or (round(time * 1000) if is_made else None),
            expires_at=issued.get("expires_at"),
            status=issued.get("status") or self._status(identifier, events),
            events=events[:_MOST_SHOWN],
            more=more or len(events) > _MOST_SHOWN,
        )

    def _events(self, identifier: str) -> tuple[list[dict[str, Any]], bool]:
        found = (
            one for one in self._audit.events_with(identifier, _MOST_READ) if one["target"].get("token") == identifier
        )
        events: list[dict[str, Any]] = []
        try:
            events.extend(itertools.islice(found, _MOST_PARSED))
        except LimitReached:
            return events, True
        return events, len(events) == _MOST_PARSED

    def _status(self, identifier: str, events: Sequence[Mapping[str, Any]]) -> str | None:
        """Return the status of what no line issued as a token."""
        if self._revocations.find_by((revocation_name(identifier),)) is not None:
            return TokenStatus.REVOKED
        if any(one["event"] == Kind.LINK_REDEEMED and "outcome" not in one for one in events):
            return "used"
        made = events[-1]
        is_old = made["event"] == Kind.LINK_MADE and _seconds(made) + LONGEST_TICKET < self._clock()
        return TokenStatus.EXPIRED if is_old else None


def _seconds(event: Mapping[str, Any]) -> float:
    return dt.datetime.fromisoformat(event["time"]).timestamp()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
