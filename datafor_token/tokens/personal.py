"""Personal tokens: users issue them for themselves, list them, and revoke them without having them in hand.

One record for each user has their tokens: identifiers and times, never a token. Whether a token is revoked is not in
the record: the revocations and cut-offs are asked, so that a list says what a sign-in would find.
"""

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from datafor_token.applications.record import Application
from datafor_token.applications.rules import TokenStatus
from datafor_token.audit.events import Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import Conflict, InvalidInput, Message, NotFound, RecordDamaged
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import Sweeper
from datafor_token.tokens.cut_offs import CutOffs
from datafor_token.tokens.identifiers import jti_name, revocation_names
from datafor_token.tokens.issue_limit import IssueLimit
from datafor_token.tokens.issuer import Issuer, claims_for
from datafor_token.tokens.revocations import Revocations
from datafor_token.tokens.uses import SECONDS, Use, Uses

COLLECTION = "personal_tokens"
FORMAT = 1
MOST_ACTIVE = 50
_MOST = 200  # tokens of a record
_KEPT = 30 * 86_400_000  # milliseconds after its expiry for which a token is listed
_RANDOM_BYTES = 16  # of a ``jti``: as base64url 22 characters, see ``uses.JTI_LENGTH``
_WAIT = 0.2  # seconds that a write in the background waits for other writers


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonalToken:
    """An issued personal token. ``issued``, ``expires`` and the last use are in milliseconds since 1970.

    ``identifier`` is its keyed identifier. ``extra`` has the members that this version does not know.
    """

    jti: str
    label: str
    application: str
    issued: int
    expires: int
    identifier: str
    used: int | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def is_over(self, now: float) -> bool:
        """Return whether it has expired; ``now`` is in seconds since 1970."""
        return now * 1000 >= self.expires

    def with_uses(self, uses: Sequence[Use]) -> "PersonalToken":
        """Return the token with its last use, unless the stored one is less than ``SECONDS`` older."""
        last = max((use.time for use in uses if self.identifier in use.token.revocation_names), default=None)
        if last is None or (self.used is not None and last * 1000 - self.used < SECONDS * 1000):
            return self
        return dataclasses.replace(self, used=int(last * 1000))

    def to_document(self) -> dict[str, Any]:
        """Return the entry of the record, unknown members last."""
        known = {name: getattr(self, name) for name in _TYPES}
        return {**known, **self.extra}

    @classmethod
    def from_document(cls, entry: object) -> "PersonalToken":
        """Read an entry of a record, which may have been edited by hand; raise ``ValueError`` for a wrong one."""
        if not isinstance(entry, dict):
            raise ValueError("a token is not an object")  # noqa: TRY004 - of a record, not of a caller
        for member, kinds in _TYPES.items():
            if type(entry.get(member)) not in kinds:
                raise ValueError(f"{member} of a token has an invalid value")
        extra = {member: value for member, value in entry.items() if member not in _TYPES}
        return cls(**{member: entry[member] for member in _TYPES if member in entry}, extra=extra)


_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("jti", "label", "application", "identifier"), (str,)),
    **dict.fromkeys(("issued", "expires"), (int,)),
    "used": (int, type(None)),
}


def tokens_of(document: Document | None) -> tuple[PersonalToken, ...]:
    """Return the tokens of a user's record, in the order in which they were issued; raise ``RecordDamaged``."""
    if document is None:
        return ()
    name = document["name"]
    if type(document.get("format")) is not int or document["format"] > FORMAT:
        raise RecordDamaged(reason=f"personal tokens of {name!r}: a newer version of this service wrote the record")
    entries = document.get("tokens")
    if not isinstance(entries, list):
        raise RecordDamaged(reason=f"personal tokens of {name!r}: tokens is not a list")
    try:
        return tuple(PersonalToken.from_document(entry) for entry in entries)
    except ValueError as error:
        raise RecordDamaged(reason=f"personal tokens of {name!r}: {error}") from None


def merged(present: Document, restored: Document) -> Document:
    """Return a record of a backup with the tokens that the present record has besides, since they are still valid.

    A present record that is damaged has none.
    """
    by_jti = {one.jti: one for one in tokens_of(restored)}
    with contextlib.suppress(RecordDamaged):
        by_jti |= {one.jti: one for one in tokens_of(present)}
    return _document(restored, restored["name"], sorted(by_jti.values(), key=lambda one: one.issued))


def _document(stored: Document | None, username: str, tokens: Sequence[PersonalToken]) -> Document:
    entries = [one.to_document() for one in tokens]
    return {"format": FORMAT, "name": username, **(stored or {}), "tokens": entries}


class PersonalTokens:
    """The personal tokens of all users. ``clock`` returns seconds since 1970.

    Every method raises ``StoreUnavailable`` in an outage, and ``RecordDamaged`` if the user's record is damaged.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        store: Store,
        issuer: Issuer,
        revocations: Revocations,
        cut_offs: CutOffs,
        audit: Audit,
        clock: Callable[[], float],
        limit: IssueLimit,
    ) -> None:
        self._limit = limit
        self.uses = Uses(clock, self._store_uses)
        self._store = store
        self._issuer = issuer
        self._revocations = revocations
        self._cut_offs = cut_offs
        self._audit = audit
        self._clock = clock
        self._sweeper = Sweeper(store, COLLECTION, clock, self._has_old, self._prune)

    def issue(
        self, application: Application, username: str, label: str = "", expire: int | None = None
    ) -> tuple[str, PersonalToken]:
        """Issue a token for ``expire`` seconds (None: the application's), and return it with its entry.

        It is recorded before it is returned. Raises ``InvalidInput`` for an ``expire`` above the
        application's, ``Conflict`` if the user has as many active tokens as allowed, ``TooManyTokens``, and the errors
        of ``Issuer.sign``.
        """
        lifetime = application.expire if expire is None else expire
        if lifetime > application.expire:
            raise InvalidInput.of(
                "expire",
                "must be at most %(number)s seconds, as the tokens of %(name)s",
                number=application.expire,
                name=application.name,
            )
        claims = claims_for(application.fieldmap, username, {})
        now, jti = int(self._clock()), secrets.token_urlsafe(_RANDOM_BYTES)
        further = {"jti": jti, "iat": now, "exp": now + lifetime}
        issued = self._issuer.sign(application, None, claims, further)
        entry = PersonalToken(
            jti=jti,
            label=label,
            application=application.name,
            issued=(issued.issued or now) * 1000,
            expires=issued.expires * 1000,
            identifier=self._revocations.identifiers.present(issued.digest),
        )
        self._add(username, entry, application)
        self._audit.record(self._issuer.event(Kind.TOKEN_PERSONAL, application, claims, issued))
        self._sweeper.sweep_if_due()
        return issued.token, entry

    def _add(self, username: str, entry: PersonalToken, application: Application) -> None:
        now = self._clock()
        live = [one for one in self._read(username) if not one.is_over(now)]
        # Only near the limit: each takes a look at the revocations.
        refused = {one.jti for one in live if self._is_revoked(username, one)} if len(live) >= MOST_ACTIVE else set()
        # Before the token is counted, or a user who has enough tokens could use up the rate of all others.
        _check_number(username, len(live) - len(refused))
        self._limit.count(application)

        def change(document: Document | None) -> Document:
            tokens = _kept(tokens_of(document), now)
            active = [one for one in tokens if not one.is_over(now) and one.jti not in refused]
            _check_number(username, len(active))
            # The oldest go first that are over, then the oldest that are revoked.
            ended = [one for one in tokens if one.is_over(now)] + [one for one in tokens if one.jti in refused]
            surplus = {one.jti for one in ended[: max(0, len(tokens) + 1 - _MOST)]}
            return _document(document, username, [*(one for one in tokens if one.jti not in surplus), entry])

        with _named(username):
            self._store.update(COLLECTION, username, change)

    def listed(self, username: str) -> list[dict[str, Any]]:
        """Return the tokens of a user as calls and commands show them, newest first."""
        return [
            {
                "jti": one.jti,
                "label": one.label,
                "name": one.application,
                "issued_at": one.issued,
                "expires_at": one.expires,
                "last_used_at": one.used,
                "status": self._status(username, one),
            }
            for one in reversed(_kept(self._read(username), self._clock()))
        ]

    def revoke(self, username: str, jti: str) -> None:
        """Revoke a token of the user; raise ``NotFound`` if they have none with this ``jti``.

        As soon as this returns, no process accepts it.
        """
        found = next((one for one in self._read(username) if one.jti == jti), None)
        if found is None:
            raise NotFound("token not found")
        if not found.is_over(self._clock()) and self._revocations.find_by(_revocation_names(found)) is None:
            self._revocations.add_identifier(found.identifier, found.expires / 1000, found.application, username)

    def remove_all(self, username: str) -> None:
        """Remove the record of a deleted user, whose tokens a cut-off refuses. A damaged record stays."""
        with contextlib.suppress(RecordDamaged):
            self._store.delete(COLLECTION, username)

    def sweep(self) -> None:
        """Remove the tokens that expired 30 days ago."""
        self._sweeper.sweep()

    def _read(self, username: str) -> Sequence[PersonalToken]:
        with _named(username):
            return tokens_of(self._store.get(COLLECTION, username))

    def _status(self, username: str, token: PersonalToken) -> TokenStatus:
        if token.is_over(self._clock()):
            return TokenStatus.EXPIRED
        return TokenStatus.REVOKED if self._is_revoked(username, token) else TokenStatus.ACTIVE

    def _is_revoked(self, username: str, token: PersonalToken) -> bool:
        return (
            self._revocations.find_by(_revocation_names(token)) is not None
            or self._cut_offs.refusing(username, token.application, token.issued / 1000) is not None
        )

    def _store_uses(self, username: str, uses: Sequence[Use]) -> None:
        """Store the last uses of a user's tokens, unless they are known already."""

        def change(document: Document | None) -> Document:
            before = tokens_of(document)
            after = tuple(one.with_uses(uses) for one in before)
            if document is None or after == before:
                raise _Unchanged
            return _document(document, username, after)

        with contextlib.suppress(_Unchanged):
            # First without the lock: another worker may have stored a use just now, or the token is not a personal one.
            change(self._store.get(COLLECTION, username))
            self._store.update(COLLECTION, username, change, wait=_WAIT)

    def _has_old(self, document: Document) -> bool:
        tokens = tokens_of(document)
        return len(_kept(tokens, self._clock())) < len(tokens)

    def _prune(self, name: str) -> None:
        def change(document: Document | None) -> Document:
            # A record without tokens stays: to delete it could delete a token that is recorded at this moment.
            if document is None:
                raise _Unchanged
            return _document(document, name, _kept(tokens_of(document), self._clock()))

        with contextlib.suppress(_Unchanged):
            self._store.update(COLLECTION, name, change)


def _kept(tokens: Sequence[PersonalToken], now: float) -> list[PersonalToken]:
    """Return the tokens that did not expire more than 30 days ago."""
    return [one for one in tokens if now * 1000 < one.expires + _KEPT]


def _check_number(username: str, active: int) -> None:
    if active >= MOST_ACTIVE:
        raise Conflict(
            "%(user)s has %(number)s active personal tokens, and more are not allowed: revoke one first",
            user=username,
            number=active,
        )


def _revocation_names(token: PersonalToken) -> tuple[str, ...]:
    return (*revocation_names(token.identifier), jti_name(token.application, token.jti))


@contextlib.contextmanager
def _named(username: str) -> Iterator[None]:
    """Name the record in the error about a damaged one."""
    try:
        yield
    except RecordDamaged as error:
        message = Message(
            "storage is unavailable: the record of the personal tokens of %(user)s is damaged", user=username
        )
        raise RecordDamaged(message, reason=error.reason) from error


class _Unchanged(Exception):
    """Nothing needs to be written."""
