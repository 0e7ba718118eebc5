"""Issued tokens, as the audit log names them, with their present status."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.applications.rules import TokenStatus
from datafor_token.audit.events import Kind
from datafor_token.audit.log import Audit
from datafor_token.audit.search import BaseFilter, Page, Recorded, as_written, folded, may_name
from datafor_token.tokens.cut_offs import CutOff, CutOffs
from datafor_token.tokens.identifiers import is_short, jti_name, short
from datafor_token.tokens.revocations import Revocations
from datafor_token.validation.names import fold

_KINDS: Mapping[str, str] = {Kind.TOKEN_GENERATED: "generated", Kind.TOKEN_PERSONAL: "personal"}
_TOKEN_EVENT = b'"event":"token_'


@dataclasses.dataclass(frozen=True, kw_only=True)
class IssuedFilter(BaseFilter):
    """Filter for issued tokens, with the fields of ``schemas.IssuedSchema``. Times are those of issuing.

    ``users``, unless None, are the folded names of several users.
    """

    status: str | None = None
    users: frozenset[str] | None = None
    id: str | None = None


class IssuedTokens:
    """The tokens that were issued: the lines of the audit log, with the revocations and cut-offs.

    ``clock`` returns seconds since 1970.
    """

    def __init__(self, audit: Audit, revocations: Revocations, cut_offs: CutOffs, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._revocations = revocations
        self._cut_offs = cut_offs
        self._clock = clock

    def page(self, wanted: IssuedFilter, limit: int = 100, page: str | None = None) -> Page:
        """Return at most ``limit`` tokens, newest first, with the errors of ``Audit.page`` and of the store.

        Lines of earlier versions are left out: they have no expiry, and too short an identifier.
        """
        return self._audit.search(_Search(wanted, self._statuses()), limit, page)

    def of_event(self, event: Recorded) -> dict[str, Any] | None:
        """Return the token that an event of the log issued, as ``page`` does, or None if it issued none."""
        token = _token_of(event.members)
        return None if token is None else _shown(event, token, self._statuses())

    def count_active(self, wanted: IssuedFilter, most: int) -> tuple[int, bool]:
        """Return the number of active tokens, at most ``most``, and whether there may be more.

        There may be more too if the log has more lines than one search reads. Raises the errors of ``page``.
        """
        found = self.page(dataclasses.replace(wanted, status=TokenStatus.ACTIVE), most + 1)
        return min(len(found.events), most), len(found.events) > most or found.next is not None

    def _statuses(self) -> "_Statuses":
        return _Statuses(self._revocations.names(), self._cut_offs, self._clock())


class _Token(NamedTuple):
    """An issued token, as far as its status depends on it. Times are in seconds since 1970."""

    application: str
    user: str
    identifier: str
    expires: int
    issued: int | None
    jti: str | None


class _Statuses:
    """The status of tokens at one time, in seconds since 1970. ``revoked`` has the names of all revocations."""

    def __init__(self, revoked: set[str], cut_offs: CutOffs, now: float) -> None:
        self._revoked = {short(name) for name in revoked} | revoked
        self._cut_offs = cut_offs
        self._now = now
        self._concerning: dict[tuple[str, str], Sequence[CutOff]] = {}

    def of(self, token: _Token) -> TokenStatus:
        if token.expires <= self._now:
            return TokenStatus.EXPIRED
        if token.identifier in self._revoked or (
            token.jti is not None and jti_name(token.application, token.jti) in self._revoked
        ):
            return TokenStatus.REVOKED
        place = token.user, token.application
        cut_offs = self._concerning.get(place)
        if cut_offs is None:
            cut_offs = self._concerning[place] = self._cut_offs.concerning(*place)
        for one in cut_offs:
            if one.refuses(token.issued, self._now):
                return TokenStatus.REVOKED
        return TokenStatus.ACTIVE


class _Search:
    """Search for the tokens of a filter."""

    def __init__(self, wanted: IssuedFilter, statuses: _Statuses) -> None:
        self.since, self.until = wanted.since, wanted.until
        self._wanted = wanted
        self._statuses = statuses
        self._user, self._application = folded(wanted.user), folded(wanted.application)
        one_name = [(name,) for name in (self._user, self._application, wanted.id) if name is not None]
        several = [tuple(wanted.users)] if wanted.users is not None else []
        self._names = [tuple(map(as_written, names)) for names in (*one_name, *several)]

    def may_fit(self, lines: bytes) -> bool:
        return _TOKEN_EVENT in lines and all(may_name(lines, name) for name in self._names)

    def shown(self, event: Recorded) -> dict[str, Any] | None:
        wanted, token = self._wanted, _token_of(event.members)
        if token is None or not wanted.includes(event.time) or not self._fits(token):
            return None
        return _shown(event, token, self._statuses)

    def _fits(self, token: _Token) -> bool:
        user, application, status, wanted_id = self._user, self._application, self._wanted.status, self._wanted.id
        return (
            (user is None or fold(token.user) == user)
            and (self._wanted.users is None or fold(token.user) in self._wanted.users)
            and (application is None or fold(token.application) == application)
            and (wanted_id is None or token.identifier == wanted_id)
            and (status is None or self._statuses.of(token) == status)
        )


def _shown(event: Recorded, token: _Token, statuses: _Statuses) -> dict[str, Any]:
    return {
        "id": token.identifier,
        "kind": _KINDS[event.members["event"]],
        "user": token.user,
        "application": token.application,
        "issued_at": round(event.time * 1000),
        "expires_at": token.expires * 1000,
        "by": event.members.get("actor"),
        "status": statuses.of(token),
    }


def _token_of(members: Mapping[str, Any]) -> _Token | None:
    """Return the token of an event, or None if it is about no token, or was written by an earlier version."""
    target = members["target"]
    application, user, identifier = (target.get(name) for name in ("application", "user", "token"))
    expires, issued, jti = (members.get(name) for name in ("expires", "iat", "jti"))
    if (
        members["event"] not in _KINDS
        or type(expires) is not int
        or type(issued) not in (int, type(None))
        or not isinstance(jti, str | None)
        or not all(isinstance(text, str) for text in (application, user, identifier))
        or not is_short(identifier)
    ):
        return None
    return _Token(application, user, identifier, expires, issued, jti)
