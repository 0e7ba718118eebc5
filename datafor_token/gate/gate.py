"""The gate: sessions and one-time tickets for pages behind a reverse proxy.

The token that opened a session is checked again at each use. The session ends when the token expires or is revoked,
when its application is disabled or deleted or gets another trust policy, when its key is removed from a set of keys,
and after a rotation when the grace period ends.
"""

import contextlib
import json
import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.applications.record import Application
from datafor_token.applications.signing import Signer
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import Forbidden, Message, NotFound, RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import Sweeper
from datafor_token.tokens import identifiers
from datafor_token.tokens.cut_offs import CutOffs
from datafor_token.tokens.issue_limit import IssueLimit
from datafor_token.tokens.networks import ClientSource
from datafor_token.tokens.reports import reported_of_session
from datafor_token.tokens.signin import SignIn
from datafor_token.tokens.verification import Verification
from datafor_token.tokens.verifier import VerifiedToken, failed
from datafor_token.users.sessions import LIMITS, Derived, Session, Sessions, derived_cookie, keyed_hash, record_name
from datafor_token.users.users import User
from datafor_token.validation.names import fold

TICKETS = "tickets"
# The grant of a session that a password opened, which has no application.
_BY_PASSWORD: Mapping[str, Any] = {"opened_by": "password"}


class GateSession(NamedTuple):
    """A valid gate session: its user, its application, and the identifier of its token (``None`` for a ticket).

    Application and token are ``None`` if a password opened it. ``opened`` and ``expires`` are in seconds since 1970;
    ``expires`` is the end of what opened the session, ``ends`` that of the session, unless it is idle or ended before.
    """

    user: User
    application: Application | None
    token: str | None
    opened: float
    expires: float
    ends: float

    def is_same_sign_in(self, verification: Verification) -> bool:
        """Return whether a token has the same user and application, and so meets the same requirements."""
        user, application = verification.user, verification.application
        return (
            user is not None
            and fold(self.user.name) == fold(user.name)
            and application is not None
            and self.application is not None
            and self.application.name == application.name
        )

    def is_outlived_by(self, verification: Verification) -> bool:
        """Return whether another token is valid for longer than the session, which a limit may end before its token."""
        token = verification.token
        return token is not None and token.expires > (self.expires if token.identifier == self.token else self.ends)


class NotAccepted(Exception):
    """The token of a session is refused, which ended the session, or that of a ticket; ``verification`` is why."""

    def __init__(self, verification: Verification) -> None:
        self.verification = verification
        super().__init__(verification.reason)


class NotAcceptedNow(NotAccepted):
    """The session or ticket remains valid: in another network, or when the keys can be fetched again."""


class Gate:
    """Opens and finds gate sessions; creates and redeems tickets. ``clock`` returns seconds since 1970.

    The cookies of token sessions are derived under the first of ``keys``, which must not be in the store; the others
    are those of former keys and of other nodes during a key change. Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        store: Store,
        sessions: Sessions,
        signin: SignIn,
        cut_offs: CutOffs,
        audit: Audit,
        clock: Callable[[], float],
        keys: Sequence[bytes],
        limit: IssueLimit,
    ) -> None:
        self._limit = limit
        self._audit = audit
        self._store = store
        self._sessions = sessions
        self._signin = signin
        self._cut_offs = cut_offs
        self._clock = clock
        self._keys = keys
        self._sweeper = Sweeper(store, TICKETS, clock, self._is_over)

    def open(self, verification: Verification, address: str, *, again: bool) -> str | None:
        """Return the cookie of the session for an accepted token; ``address`` is the client's.

        The same token always has the same session: it is opened once, and nothing is written again. If the session was
        left or ended, open another one if ``again``, else return ``None``. No other session ends.
        """
        user, token = _accepted(verification)
        key, credential, known = self._derived(user, token)
        if known.left and not again:
            return None
        if known.nonce is not None and not known.left:
            cookie = derived_cookie(key, credential, known.nonce)
            # The network was checked with the token.
            with contextlib.suppress(NotAccepted):
                if self.find(cookie, None) is not None:
                    return cookie
            # ``find`` may have removed the record, or another process changed it.
            known = self._sessions.derived(key, credential)
        return self._sessions.open_derived(key, credential, known, user, address, **_grant(token))

    def _derived(self, user: User, token: VerifiedToken) -> tuple[bytes, str, Derived]:
        """Return the key and the credential of the session of a token, and its state.

        A session that was opened or left under another key is the token's still: a sign-out must hold on a node that
        has another key first.
        """
        every = [token.identifier] if token.digest is None else self._signin.identifiers.every(token.digest)
        # Identifiers of removed keys come last, and have no key here.
        ways = [
            (key, json.dumps([token.application.name, fold(user.name), identifier]))
            for key, identifier in zip(self._keys, every, strict=False)
        ]
        states = [(key, credential, self._sessions.derived(key, credential)) for key, credential in ways]
        return next((state for state in states if state[2].nonce is not None), states[0])

    def open_by_password(self, user: User, address: str, instead_of: Iterable[str] = ()) -> str:
        """Return the cookie of a new session of a user whose password was verified; ``address`` is the client's.

        ``instead_of`` are the cookies that the browser had before. Of their sessions, those that a password opened
        end: no other browser has them, unlike the session of a token.
        """
        cookie = self._sessions.open(user, address, **_BY_PASSWORD)
        for before in instead_of:
            session = self._sessions.find(before)
            if session is not None and session.grant == _BY_PASSWORD:
                self._sessions.end(before)
        return cookie

    def leave(self, cookie: str) -> None:
        """End the session; its token opens another one only with ``open(again=True)``."""
        if self._sessions.find(cookie) is not None:
            self._sessions.leave(cookie)

    def find(self, cookie: str, client: ClientSource | None) -> GateSession | None:
        """Return the session of the cookie, or ``None`` if it is over; raise ``NotAccepted``.

        ``client`` is the client that sent the cookie; ``None``: its network is not checked.
        """
        session = self._sessions.find(cookie)
        if session is None:
            return None
        if session.grant == _BY_PASSWORD:
            return GateSession(session.user, None, None, session.opened, math.inf, session.ends)
        verification = self._verification(session, client, cookie)
        if verification is None or verification.token is None:
            self._sessions.end(cookie)
            if verification is None:
                return None
            raise NotAccepted(verification)
        token = verification.token
        ends = min(token.expires, session.ends)
        return GateSession(session.user, token.application, token.identifier, session.opened, token.expires, ends)

    def accepts(self, session: Session) -> bool:
        """Return whether a session is valid, or refused for now, as far as its record tells without the cookie.

        It does not tell that the key of its token was replaced or removed.
        """
        if session.grant == _BY_PASSWORD:
            return True
        try:
            verification = self._verification(session, None)
        except (NotAcceptedNow, RecordDamaged):
            return True
        return verification is not None and verification.reason is None

    def _verification(
        self, session: Session, client: ClientSource | None, cookie: str | None = None
    ) -> Verification | None:
        """Verify the token of a session again, or return ``None`` if it is not granted any more.

        Raise ``NotAcceptedNow``.
        """
        token = self._granted(cookie, session.grant, session.user.name, session.grant.get("expires"))
        if token is None or not _has_policy_of(token.application, session.grant):
            return None
        application = token.application
        if application.disabled_since(session.opened):
            detail = Message("%(name)s was disabled after the session was opened", name=application.name)
            steps = [failed("application", lambda: detail)]
            return Verification(
                "disabled_application", steps, application, username=token.username, identifier=token.identifier
            )
        verification = self._signin.authenticate(token, client=client, create=False, user=session.user)
        _raise_if_not_now(verification)
        return verification

    def make_ticket(self, application: Application, claims: Mapping[str, Any], next_path: str, ttl: int) -> str:
        """Return a random text that signs in once, within ``ttl`` seconds, the user whom ``claims`` name.

        Only its SHA-256 is stored. Raises ``Forbidden``, ``JustRevoked`` and ``TooManyTokens``.
        """
        # Stored apart from the claims: the field map may be another one when the ticket is redeemed.
        username = claims[application.fieldmap.username]
        if not application.enable:
            raise Forbidden("application %(name)s is not enabled", name=application.name)
        signer = self._signer(application)
        # Redeemed, it would be refused if it were from the second of a cut-off.
        self._cut_offs.new_iat(username, application.name, self._clock())
        ticket = secrets.token_urlsafe(32)
        document = {
            "format": 1,
            "name": record_name(ticket),
            "application": application.name,
            "secret_sealed": keyed_hash(ticket, signer.name),
            "username": username,
            "claims": dict(claims),
            "next": next_path,
            "made": self._clock(),
            "expires": self._clock() + ttl,
        }
        # It stands for a token.
        self._limit.count(application)
        with self._audit.change() as record:
            record(self._event(Kind.LINK_MADE, application, username, ticket))
            self._store.create(TICKETS, document)
        self._sweeper.sweep_if_due()
        return ticket

    def refusal_of_ticket(self, application: Application, claims: Mapping[str, Any]) -> Message | None:
        """Return why a ticket with these claims would be refused if it were redeemed now, or ``None``."""
        username, expires = claims[application.fieldmap.username], self._clock() + application.expire
        token = VerifiedToken(application, username, expires, claims, self._signer(application), None, self._clock())
        verification = self._signin.authenticate(token, client=None, create=False)
        return None if verification.reason is None else verification.steps[-1].detail

    def expiry_of_ticket(self, ticket: str) -> float | None:
        """Return until when a ticket can be redeemed, in seconds since 1970; ``None`` if it is unknown or used."""
        name = record_name(ticket)
        document = None if name is None else self._store.get(TICKETS, name)
        return None if document is None or self._is_over(document) else float(document["expires"])

    def redeem(self, ticket: str, client: ClientSource) -> tuple[str, str] | None:
        """Sign in with a ticket, once in all workers. Return the new cookie and the path to go to.

        ``None`` if the ticket is unknown, expired or used, or its application was deleted or disabled; raise
        ``NotAccepted`` if its token or user is refused, which leaves the ticket unused.
        """
        name = record_name(ticket)
        document = None if name is None else self._store.get(TICKETS, name)
        if name is None or document is None or self._is_over(document):
            return None
        username, target, made = document.get("username"), document.get("next"), document.get("made")
        if not isinstance(username, str) or not isinstance(target, str) or not isinstance(made, int | float):
            return None
        # The session is valid for as long as a token that is issued now.
        # Under former keys too: the node that created the ticket, and where it was revoked, may have had another key.
        shown_as = self._signin.identifiers.every_of_text(ticket)
        grant = {**document, "issued": made, "revocation_names": list(map(identifiers.revocation_name, shown_as))}
        token = self._granted(ticket, grant, username, None)
        if token is None or token.application.disabled_since(made):
            return None
        # Without the rules about claims: the service itself made the ticket.
        verification = self._signin.authenticate(token, client=client)
        if verification.reason is not None:
            raise NotAccepted(verification)
        with contextlib.suppress(_Redeemed), self._audit.change() as record:
            record(self._event(Kind.LINK_REDEEMED, token.application, username, ticket))
            return self._spend(name, verification, client().address), target
        return None

    def sweep(self) -> None:
        """Remove the tickets that were not redeemed in time."""
        self._sweeper.sweep()

    def _spend(self, name: str, verification: Verification, address: str) -> str:
        """Return the cookie of a new session in exchange for a ticket; raise ``_Redeemed`` if it is used already."""
        user, token = _accepted(verification)
        cookie = self._sessions.open(user, address, **_grant(token))
        try:
            # Last, so that no outage before it loses the ticket. Of two requests at once, only one removes the record.
            if not self._store.delete(TICKETS, name):
                raise _Redeemed
        except (StoreUnavailable, _Redeemed):
            self._sessions.end(cookie)
            raise
        return cookie

    def _signer(self, application: Application) -> Signer:
        signer = next(application.accepted_signers(self._clock()), None)
        if signer is None:
            raise Forbidden("application %(name)s has no keys now", name=application.name)
        return signer

    def _granted(
        self, random_text: str | None, grant: Mapping[str, Any], username: str, expires: object
    ) -> VerifiedToken | None:
        """Return the token for which a session or ticket was created, if its application and key still exist.

        Without ``random_text``, the cookie or ticket, any key of the application is taken for that of the token.
        ``expires`` is in seconds since 1970; ``None`` for a session that begins now. Return ``None`` after that time,
        and for a record that was damaged by hand. Raise ``NotAcceptedNow`` while the keys of a provider are unknown.
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
        for signer in application.accepted_signers(now):
            if random_text is None or keyed_hash(random_text, signer.name) == sealed:
                # A session that an earlier version opened has the digest instead of the identifier.
                digest, names = None, () if token is None else identifiers.revocation_names(token)
                if token is not None and identifiers.is_unkeyed(token):
                    digest, names = token, self._signin.identifiers.all_revocation_names(token)
                claims = claims if isinstance(claims, dict) else {}
                issued, further = grant.get("issued"), grant.get("revocation_names")
                return VerifiedToken(
                    application,
                    username,
                    expires,
                    claims,
                    signer,
                    token,
                    issued if isinstance(issued, int | float) else None,
                    (*names, *(further if isinstance(further, list) else ())),
                    digest,
                    reported=reported_of_session(application, grant.get("reported")),
                )
        if application.jwks_uri and not application.key.all():
            detail = Message("the keys of %(name)s are not known now", name=application.name)
            step = failed("signature", lambda: detail)
            raise NotAcceptedNow(
                Verification("keys_unavailable", [step], application, username=username, identifier=token)
            )
        return None

    def _is_over(self, document: Document) -> bool:
        expires = document.get("expires")
        return not isinstance(expires, int | float) or self._clock() >= expires

    def _event(self, kind: Kind, application: Application, username: str, ticket: str) -> Event:
        name = self._signin.identifiers.of_text(ticket)
        return Event(kind=kind, application=application.name, user=username, token=name)


def _accepted(verification: Verification) -> tuple[User, VerifiedToken]:
    if verification.user is None or verification.token is None:
        raise ValueError("only an accepted token or ticket opens a session")
    return verification.user, verification.token


def expires_after(verification: Verification, time: float) -> bool:
    """Return whether a token expires after a time (s since 1970). Within the leeway, an expired one is accepted."""
    return verification.token is not None and verification.token.expires > time


def _raise_if_not_now(verification: Verification) -> None:
    if verification.reason == "network":
        raise NotAcceptedNow(verification)


def _has_policy_of(application: Application, grant: Mapping[str, Any]) -> bool:
    """Return whether a session was opened under the policy that the application has now."""
    policy = grant.get("policy")
    return application.has_no_rules if policy is None else bool(policy == application.policy_digest)


def _grant(token: VerifiedToken) -> dict[str, Any]:
    application = token.application
    limits = {name: getattr(application, name) for name in LIMITS if getattr(application, name) is not None}
    derived = () if token.identifier is None else identifiers.revocation_names(token.identifier)
    further = [name for name in token.revocation_names if name not in derived]
    return {
        "application": application.name,
        "token": token.identifier,
        "expires": token.expires,
        "secret_sealed": token.signer.name,
        "policy": application.policy_digest,
        "issued": token.issued,
        **({"revocation_names": further} if further else {}),
        **({"reported": [step.reported for step in token.reported]} if token.reported else {}),
        **limits,
    }


class _Redeemed(Exception):
    """Another request redeemed the ticket in the meantime."""
