"""Impact of a change that ends what works now: the sessions and tokens of an application or a user."""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from datafor_token.errors import AuditUnavailable
from datafor_token.tokens.identifiers import short
from datafor_token.tokens.issued import IssuedFilter, IssuedTokens
from datafor_token.users.session_list import SessionList
from datafor_token.users.users import Users
from datafor_token.validation import logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

# A question need not know more than that there are many. A session takes as long as ten tokens.
MOST_SESSIONS, MOST_TOKENS = 250, 1000
SECONDS = 24 * 3600  # since when counted tokens were issued


class Impact(NamedTuple):
    """Numbers of valid sessions, and of tokens that were issued in the last 24 hours and are still active.

    They are at most ``MOST_SESSIONS`` and ``MOST_TOKENS``; ``more``: there may be more than were counted. ``tokens``
    are those of the audit log, ``None`` if it cannot be read.
    """

    sessions: int
    tokens: int | None
    more: bool


class Impacts:
    """The impact on applications and users. ``clock`` returns seconds since 1970.

    Methods raise ``StoreUnavailable`` in an outage of the store, and ``RecordDamaged`` where a damaged cut-off may
    concern a token.
    """

    def __init__(
        self, users: Users, session_list: SessionList, issued: IssuedTokens, clock: Callable[[], float]
    ) -> None:
        self._users = users
        self._session_list = session_list
        self._issued = issued
        self._clock = clock

    def of_application(self, name: str) -> Impact:
        """Return the impact of an application: the gate sessions that its tokens and links opened, and its tokens."""
        sessions = self._session_list.count_of_application(name, MOST_SESSIONS + 1)
        return self._impact(sessions, IssuedFilter(application=name, since=self._clock() - SECONDS))

    def of_user(self, name: str) -> Impact:
        """Return the impact of a user: their sessions of all kinds, and the tokens that are theirs."""
        user = self._users.get(name)
        sessions = 0 if user is None else self._session_list.count_of_users([user], MOST_SESSIONS + 1)
        return self._impact(sessions, IssuedFilter(user=name, since=self._clock() - SECONDS))

    def of_users(self, names: Collection[str]) -> Impact:
        """Return the impact of several users together, with one search."""
        found = [user for name in names if (user := self._users.get(name)) is not None]
        sessions = self._session_list.count_of_users(found, MOST_SESSIONS + 1)
        wanted = frozenset(map(fold, names))
        return self._impact(sessions, IssuedFilter(users=wanted, since=self._clock() - SECONDS))

    def of_token(self, user: str, identifier: str) -> int:
        """Return the number of valid sessions that a token or one-time link of a user opened.

        ``identifier`` is the one in the audit log.
        """
        found = self._users.get(user)
        return 0 if found is None else self._session_list.count(found, lambda grant: identifier in _tokens_of(grant))

    def _impact(self, sessions: int, wanted: IssuedFilter) -> Impact:
        tokens: int | None
        try:
            tokens, more = self._issued.count_active(wanted, MOST_TOKENS)
        except AuditUnavailable as error:
            log.warning(logs.event("issued tokens not counted", reason=error.reason))
            tokens, more = None, False
        return Impact(min(sessions, MOST_SESSIONS), tokens, more or sessions > MOST_SESSIONS)


def _tokens_of(grant: Mapping[str, Any]) -> set[str]:
    """Return the identifiers, as the audit log shows them, of what opened a session."""
    further = grant.get("revocation_names")
    names = [grant.get("token"), *(further if isinstance(further, list) else ())]
    return {short(name) for name in names if isinstance(name, str)}
