"""Tokens that count no longer although their signature fits (RFC 7009), until they would have expired anyway."""

from collections.abc import Callable, Hashable, Iterable

from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import Sweeper
from datafor_token.tokens.identifiers import Identifiers, is_unkeyed, short
from datafor_token.tokens.verifier import VerifiedToken

COLLECTION = "revocations"
_MOST_ABSENT = 4096


class Revocations:
    """The revoked tokens, each a record named by the token's keyed identifier: the token itself is not stored.

    Records of earlier versions are named by the token's ``identifiers.digest`` and still revoke it. ``clock`` returns
    seconds since 1970; ``leeway`` is in seconds. Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self, store: Store, audit: Audit, clock: Callable[[], float], leeway: float, identifiers: Identifiers
    ) -> None:
        self.identifiers = identifiers
        self._store = store
        self._absent: dict[str, Hashable] = {}
        self._audit = audit
        self._clock = clock
        self._leeway = leeway
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def __contains__(self, verified: VerifiedToken) -> bool:
        identifier = verified.identifier
        if identifier is None:
            return False
        # Right, since no record comes without a new stamp: until then, what was not there is not there.
        stamp = self._store.stamp(COLLECTION)
        if self._absent.get(identifier) == stamp:
            return False
        if any(self._store.get(COLLECTION, name) is not None for name in self._names(verified)):
            return True
        if len(self._absent) >= _MOST_ABSENT:
            self._absent.clear()
        self._absent[identifier] = stamp
        return False

    def add(self, verified: VerifiedToken) -> None:
        """Revoke a token; once this returns, no process accepts it."""
        if verified.digest is None or verified.identifier is None:
            raise ValueError("only a token that was read can be revoked")
        application, username = verified.application.name, verified.username
        about = {"application": application, "user": username, "token": short(verified.identifier)}
        document = {
            "expires": verified.expires,
            "application": application,
            "username": username,
            "revokedDate": int(self._clock() * 1000),
        }
        with self._audit.change() as record:
            record(Event(kind=Kind.TOKEN_REVOKED, **about))
            # Under former keys too: sessions from before a key change, and processes not yet restarted, have no other.
            for number, name in enumerate(self.identifiers.every(verified.digest)):
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
                # The new record first: the token is revoked at every moment.
                self._store.put(COLLECTION, {**document, "name": self.identifiers.present(name)})
                self._store.delete(COLLECTION, name)

    def _names(self, verified: VerifiedToken) -> Iterable[str]:
        """Return the names of all records that would revoke the token."""
        if verified.digest is None:
            return [verified.identifier] if verified.identifier is not None else []
        return [*self.identifiers.every(verified.digest), verified.digest]

    def sweep(self) -> None:
        """Forget the revocations of tokens that have expired."""
        self._sweeper.sweep()

    def _is_over(self, document: Document) -> bool:
        expires = document.get("expires")
        # What was mutilated by hand still revokes.
        return isinstance(expires, int | float) and self._clock() >= expires + self._leeway
