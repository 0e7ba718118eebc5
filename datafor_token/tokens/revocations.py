"""Revoked tokens (RFC 7009), stored until a day after they would have expired."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from datafor_token.applications.rules import LONGEST_EXPIRE
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import MaybeStored, Message, RecordDamaged, StoreUnavailable
from datafor_token.fifo_cache import FifoCache
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import LATER, Sweeper
from datafor_token.tokens.identifiers import Identifiers, is_short, is_unkeyed, jti_name, revocation_name, short
from datafor_token.tokens.verifier import VerifiedToken
from datafor_token.validation import times

COLLECTION = "revocations"
_MOST_ABSENT = 4096  # identifiers


class Revocation(NamedTuple):
    """When a token was revoked (milliseconds since 1970; None: not known), and by whom (empty: not known)."""

    date: int | None
    by: str

    def describe(self) -> Message:
        """Return the sentence about the revoked token."""
        if self.date is None:
            return Message("the token was revoked")
        time = times.show(self.date / 1000)
        if not self.by:
            return Message("the token was revoked on %(time)s", time=time)
        return Message("the token was revoked on %(time)s by %(actor)s", time=time, actor=self.by)


class Revocations:
    """The revoked tokens: one record each. The token itself is not stored.

    A record is named by the token's keyed identifier, whole or as the audit log shows it, or by its ``jti`` claim.
    Records of early versions, named by the token's ``identifiers.digest``, still revoke it. ``clock`` returns seconds
    since 1970; ``leeway`` is in seconds. Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self, store: Store, audit: Audit, clock: Callable[[], float], leeway: float, identifiers: Identifiers
    ) -> None:
        self.identifiers = identifiers
        self._store = store
        # Names that had no record, with the stamp of the collection: no record is added without a new stamp.
        self._absent: FifoCache[tuple[str, ...], Hashable] = FifoCache(_MOST_ABSENT)
        self._audit = audit
        self._clock = clock
        self._leeway = leeway
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def find(self, token: VerifiedToken) -> Revocation | None:
        """Return the revocation of a token, or None."""
        return self.find_by(token.revocation_names if token.digest is None else (*token.revocation_names, token.digest))

    def find_by(self, names: tuple[str, ...]) -> Revocation | None:
        """Return the revocation of the token that each of these records would revoke (see ``identifiers``), or None."""
        if not names:
            return None
        stamp = self._store.stamp(COLLECTION)
        if self._absent.get(names) == stamp:
            return None
        for name in names:
            document = self._store.get(COLLECTION, name)
            if document is not None:
                date, by = document.get("revokedDate"), document.get("revokedBy")
                return Revocation(date if isinstance(date, int) else None, by if isinstance(by, str) else "")
        self._absent.put(names, stamp)
        return None

    def names(self) -> set[str]:
        """Return the names of all records, to look up many tokens."""
        return set(self._store.names(COLLECTION))

    def add(self, token: VerifiedToken) -> None:
        """Revoke a token. As soon as this returns, no process accepts it."""
        if token.digest is None or token.identifier is None:
            raise ValueError("only a token whose text is known can be revoked")
        # Under former keys too: older sessions, and processes not restarted since a key change, know only those.
        names = self.identifiers.every(token.digest)
        self._add(names, token.expires, token.application.name, token.username, token=short(token.identifier))

    def add_identifier(
        self, identifier: str, expires: float | None = None, application: str | None = None, username: str | None = None
    ) -> None:
        """Revoke the token with this keyed identifier, or which the audit log shows under it.

        ``expires`` is in seconds since 1970.
        """
        # Under the whole identifier where it is known: earlier versions do not know the short one.
        name = revocation_name(identifier) if is_short(identifier) else identifier
        self._add([name], expires, application, username, token=short(identifier))

    def add_jti(self, application: str, jti: str, expires: float | None = None, username: str | None = None) -> None:
        """Revoke the tokens of an application with this ``jti`` claim."""
        self._add([jti_name(application, jti)], expires, application, username, jti=jti)

    def _add(
        self,
        names: Sequence[str],
        expires: float | None,
        application: str | None,
        username: str | None,
        **named: Any,
    ) -> None:
        """Store a record with each of these names; ``named`` are the members of the event that name the token."""
        now = self._clock()
        document = {
            "expires": now + LONGEST_EXPIRE if expires is None else expires,
            "application": application,
            "username": username,
            "revokedDate": int(now * 1000),
            "revokedBy": self._audit.actor,
        }
        with self._audit.change() as record:
            record(Event(kind=Kind.TOKEN_REVOKED, application=application, user=username, **named))
            for number, name in enumerate(names):
                try:
                    self._store.put(COLLECTION, {"format": 1, "name": name, **document})
                except StoreUnavailable as error:
                    if number:
                        raise MaybeStored(reason=error.reason) from error
                    raise
        self._sweeper.sweep_if_due()

    def rename_unkeyed(self) -> None:
        """Rename the records of early versions, whose names allow offline guessing of the tokens' secrets."""
        for name, document in list(self._store.documents(COLLECTION)):
            if is_unkeyed(name) and not isinstance(document, RecordDamaged):
                # The new record first, so that the token is revoked at all times.
                self._store.put(COLLECTION, {**document, "name": self.identifiers.present(name)})
                self._store.delete(COLLECTION, name)

    def sweep(self) -> None:
        """Remove the revocations of tokens that expired a day ago."""
        self._sweeper.sweep()

    def _is_over(self, document: Document) -> bool:
        expires = document.get("expires")
        # A record damaged by hand still revokes its token.
        return isinstance(expires, int | float) and self._clock() >= expires + self._leeway + LATER
