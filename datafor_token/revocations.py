"""Tokens that count no longer although their signature fits (RFC 7009), until they would have expired anyway."""

from collections.abc import Callable, Hashable

from datafor_token.audit import Audit
from datafor_token.events import Event, Kind, fingerprint
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import Sweeper
from datafor_token.verifier import Vouched

COLLECTION = "revocations"
_MOST_ABSENT = 4096


class Revocations:
    """The revoked tokens, each a record under the SHA-256 of its signed part: the token itself is not kept.

    ``clock`` answers seconds since 1970; ``leeway`` is in seconds. Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(self, store: Store, audit: Audit, clock: Callable[[], float], leeway: float) -> None:
        self._store = store
        self._absent: dict[str, Hashable] = {}
        self._audit = audit
        self._clock = clock
        self._leeway = leeway
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def __contains__(self, identifier: str) -> bool:
        # Right, since no record comes without a new stamp: until then, what was not there is not there.
        stamp = self._store.stamp(COLLECTION)
        if self._absent.get(identifier) == stamp:
            return False
        if self._store.get(COLLECTION, identifier) is not None:
            return True
        if len(self._absent) >= _MOST_ABSENT:
            self._absent.clear()
        self._absent[identifier] = stamp
        return False

    def add(self, identifier: str, vouched: Vouched, token: str) -> None:
        """Revoke a token; from the return on it counts in no process."""
        application, username = vouched.application.name, vouched.username
        document = {
            "format": 1,
            "name": identifier,
            "expires": vouched.expires,
            "application": application,
            "username": username,
            "revokedDate": int(self._clock() * 1000),
        }
        with self._audit.change() as record:
            about = {"application": application, "user": username, "token": fingerprint(token)}
            record(Event(kind=Kind.TOKEN_REVOKED, **about))
            self._store.put(COLLECTION, document)
        self._sweeper.sweep_now_and_then()

    def sweep(self) -> None:
        """Forget the revocations of tokens that have expired."""
        self._sweeper.sweep()

    def _is_over(self, document: Document) -> bool:
        expires = document.get("expires")
        # What was mutilated by hand still revokes.
        return isinstance(expires, int | float) and self._clock() >= expires + self._leeway
