"""The gate: sessions and one-time tickets for pages behind a reverse proxy, each as good as the token it stands for.

What opened a session is asked again at each use: it ends with the token's ``exp``, with its
revocation, with its application, and after a rotation with the grace time.
"""

import contextlib
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from datafor_token.applications.record import Application
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import Forbidden, NotFound, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import Sweeper
from datafor_token.tokens.identifiers import is_unkeyed
from datafor_token.tokens.signin import SignIn, Verification
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.users.sessions import Sessions, derived_cookie, keyed_hash, record_name
from datafor_token.users.users import User
from datafor_token.validation.names import fold

TICKETS = "tickets"


class GateSession(NamedTuple):
    """Whom the gate lets through, by which application, by which token (``None``: a ticket), until when (seconds)."""

    user: User
    application: Application
    token: str | None
    expires: float


class Gate:
    """Opens and asks gate sessions; makes and redeems tickets. ``clock`` answers seconds since 1970.

    ``key`` names the sessions of tokens; it must not be in the store.

    Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each of them is a part of its own
        self,
        store: Store,
        sessions: Sessions,
        signin: SignIn,
        audit: Audit,
        clock: Callable[[], float],
        key: bytes,
    ) -> None:
        self._audit = audit
        self._store = store
        self._sessions = sessions
        self._signin = signin
        self._clock = clock
        self._key = key
        self._sweeper = Sweeper(store, TICKETS, clock, self._is_over)

    def open(self, verdict: Verification, *, anew: bool) -> str | None:
        """Return the cookie of the session for an accepted token.

        All who present the same token share one session: it is opened once, and nothing is written again.
        ``None`` where its user left that session, unless ``anew`` says to open another one. No other session ends.
        """
        if verdict.user is None or verdict.token is None:
            raise ValueError("only an accepted token opens a session")
        verified = verdict.token
        credential = json.dumps([verified.application.name, fold(verdict.user.name), verified.identifier])
        known = self._sessions.derived(self._key, credential)
        if known.left and not anew:
            return None
        if known.nonce is not None and not known.left:
            cookie = derived_cookie(self._key, credential, known.nonce)
            if self.find(cookie) is not None:
                return cookie
            known = self._sessions.derived(self._key, credential)
        return self._sessions.open_derived(self._key, credential, known, verdict.user, **_grant(verified))

    def leave(self, cookie: str) -> None:
        """End the session; the token that opened it opens another one only where ``open`` is told to."""
        session = self._sessions.find(cookie)
        if session is None:
            return
        expires = session.grant.get("expires")
        self._sessions.leave(cookie, expires if isinstance(expires, int | float) else 0)

    def find(self, cookie: str) -> GateSession | None:
        """Who the cookie lets through now, else ``None``."""
        session = self._sessions.find(cookie)
        if session is None:
            return None
        verified = self._vouched(cookie, session.grant, session.user.name, session.grant.get("expires"))
        if verified is not None and verified.application.disabled_since(session.opened):
            verified = None
        if verified is None or self._signin.authenticate(verified, create=False, user=session.user).reason is not None:
            self._sessions.end(cookie)
            return None
        return GateSession(session.user, verified.application, verified.identifier, verified.expires)

    def make_ticket(self, application: Application, claims: Mapping[str, Any], next_path: str, ttl: int) -> str:
        """A random text that signs in once, within ``ttl`` seconds, whom ``claims`` name. Only its SHA-256 is kept."""
        # RecordCache apart from the claims: the field map may be another one when the ticket is used.
        username = claims[application.fieldmap.username]
        if not application.enable:
            raise Forbidden("application %(name)s is not enabled", name=application.name)
        ticket = secrets.token_urlsafe(32)
        document = {
            "format": 1,
            "name": record_name(ticket),
            "application": application.name,
            "secret_sealed": keyed_hash(ticket, application.secret),
            "username": username,
            "claims": dict(claims),
            "next": next_path,
            "made": self._clock(),
            "expires": self._clock() + ttl,
        }
        with self._audit.change() as record:
            record(self._about(Kind.LINK_MADE, application, username, ticket))
            self._store.create(TICKETS, document)
        self._sweeper.sweep_if_due()
        return ticket

    def redeem(self, ticket: str) -> tuple[str, str] | None:
        """Sign in with a ticket, once in all workers: the new cookie, and where to go. ``None``: it counts no more."""
        name = record_name(ticket)
        document = None if name is None else self._store.get(TICKETS, name)
        if name is None or document is None or self._is_over(document):
            return None
        username, target, made = document.get("username"), document.get("next"), document.get("made")
        if not isinstance(username, str) or not isinstance(target, str) or not isinstance(made, int | float):
            return None
        # As long as a token that was issued now would last.
        verified = self._vouched(ticket, document, username, None)
        if verified is None or verified.application.disabled_since(made):
            return None
        verdict = self._signin.authenticate(verified)
        if verdict.reason is not None:
            return None
        with contextlib.suppress(_Redeemed), self._audit.change() as record:
            record(self._about(Kind.LINK_REDEEMED, verified.application, username, ticket))
            return self._spend(name, verdict), target
        return None

    def sweep(self) -> None:
        """Remove the tickets that nobody redeemed in time."""
        self._sweeper.sweep()

    def _spend(self, name: str, verdict: Verification) -> str:
        """The cookie that a ticket becomes; ``_Redeemed`` where another one was faster."""
        if verdict.user is None or verdict.token is None:
            raise ValueError("only an accepted ticket opens a session")
        cookie = self._sessions.open(verdict.user, **_grant(verdict.token))
        try:
            # Last, so that an outage before it loses no ticket. Of two that come at once, only one removes the record.
            if not self._store.delete(TICKETS, name):
                raise _Redeemed
        except (StoreUnavailable, _Redeemed):
            self._sessions.end(cookie)
            raise
        return cookie

    def _vouched(
        self, random_text: str, grant: Mapping[str, Any], username: str, expires: object
    ) -> VerifiedToken | None:
        """What a session or ticket was made for, if its application and secret are still there and its time runs.

        ``expires`` is in seconds since 1970; ``None`` for what begins now. A record that was edited by
        hand into something else vouches for nobody.
        """
        now = self._clock()
        name, sealed = grant.get("application"), grant.get("secret_sealed")
        token, claims = grant.get("token"), grant.get("claims")
        if not isinstance(name, str) or not (token is None or isinstance(token, str)):
            return None
        try:
            application = self._signin.registry.get(name)
        except NotFound:
            return None
        if expires is None:
            expires = now + application.expire
        if not isinstance(expires, int | float) or now >= expires:
            return None
        for secret in (application.secret, application.previous_secret(now)):
            if secret is not None and keyed_hash(random_text, secret) == sealed:
                # A session that an earlier version opened has the digest itself.
                digest = token if is_unkeyed(token) else None
                claims = claims if isinstance(claims, dict) else {}
                return VerifiedToken(application, username, expires, claims, secret, token, digest)
        return None

    def _is_over(self, document: Document) -> bool:
        expires = document.get("expires")
        return not isinstance(expires, int | float) or self._clock() >= expires

    def _about(self, kind: Kind, application: Application, username: str, ticket: str) -> Event:
        name = self._signin.identifiers.of_text(ticket)
        return Event(kind=kind, application=application.name, user=username, token=name)


def _grant(verified: VerifiedToken) -> dict[str, Any]:
    return {
        "application": verified.application.name,
        "token": verified.identifier,
        "expires": verified.expires,
        "secret_sealed": verified.secret,
    }


class _Redeemed(Exception):
    """Another request redeemed the ticket in the meantime."""
