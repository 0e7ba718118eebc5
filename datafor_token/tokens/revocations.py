"""Revoked tokens (RFC 7009), stored until they would have expired."""

from collections.abc import Callable, Hashable, Iterable

from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.fifo_cache import FifoCache
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import Sweeper
from datafor_token.tokens.identifiers import Identifiers, is_unkeyed, short
from datafor_token.tokens.verifier import VerifiedToken

COLLECTION = "revocations"
_MOST_ABSENT = 4096  # identifiers


class Revocations:
    """The revoked tokens: one record each, named by the token's keyed identifier. The token itself is not stored.

    Records of earlier versions, named by the token's ``identifiers.digest``, still revoke it. ``clock`` returns
    seconds since 1970; ``leeway`` is in seconds. Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self, store: Store, audit: Audit, clock: Callable[[], float], leeway: float, identifiers: Identifiers
    ) -> None:
        self.identifiers = identifiers
        self._store = store
        # Identifiers that had no record, with the stamp of the collection: no record is added without a new stamp.
        self._absent: FifoCache[str, Hashable] = FifoCache(_MOST_ABSENT)
        self._audit = audit
        self._clock = clock
        self._leeway = leeway
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def __contains__(self, token: VerifiedToken) -> bool:
        identifier = token.identifier
        if identifier is None:
            return False
        stamp = self._store.stamp(COLLECTION)
        if self._absent.get(identifier) == stamp:
            return False
        if any(self._store.get(COLLECTION, name) is not None for name in self._names(token)):
            return True
        self._absent.put(identifier, stamp)
        return False

    def add(self, token: VerifiedToken) -> None:
        """Revoke a token. As soon as this returns, no process accepts it."""
        if token.digest is None or token.identifier is None:
            raise ValueError("only a token whose text is known can be revoked")
        application, username = token.application.name, token.username
        identifier = short(token.identifier)
        document = {
            "expires": token.expires,
            "application": application,
            "username": username,
            "revokedDate": int(self._clock() * 1000),
        }
        with self._audit.change() as record:
            record(Event(kind=Kind.TOKEN_REVOKED, application=application, user=username, token=identifier))
            # Under former keys too: older sessions, and processes not restarted since a key change, know only those.
            for number, name in enumerate(self.identifiers.every(token.digest)):
                try:
                    self._store.put(COLLECTION, {"format": 1, "name": name, **document})
                except StoreUnavailable as error:
                    if number:
                        raise MaybeStored(reason=error.reason) from error
                    raise
        self._sweeper.sweep_if_due()

    def rename_unkeyed(self) -> None:
        """Rename the records of earlier versions, whose names allow offline guessing of the tokens' secrets."""
        for name, document in list(self._store.documents(COLLECTION)):
            if is_unkeyed(name) and not isinstance(document, RecordDamaged):
                # The new record first, so that the token is revoked at all times.
                self._store.put(COLLECTION, {**document, "name": self.identifiers.present(name)})
                self._store.delete(COLLECTION, name)

    def _names(self, token: VerifiedToken) -> Iterable[str]:
        """Return the names of all records that would revoke the token."""
        if token.digest is None:
            return [token.identifier] if token.identifier is not None else []
        return [*self.identifiers.every(token.digest), token.digest]

    def sweep(self) -> None:
        """Remove the revocations of tokens that have expired."""
        self._sweeper.sweep()

    def _is_over(self, document: Document) -> bool:
        expires = document.get("expires")
        # A record damaged by hand still revokes its token.
        return isinstance(expires, int | float) and self._clock() >= expires + self._leeway
