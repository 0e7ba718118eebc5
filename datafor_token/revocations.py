"""Tokens that count no longer although their signature fits (RFC 7009), until they would have expired anyway."""

from collections.abc import Callable

from datafor_token.errors import StoreUnavailable
from datafor_token.store.base import Store
from datafor_token.verifier import Token

COLLECTION = "revocations"
_SWEEP_SECONDS = 3600


class Revocations:
    """The revoked tokens, each a record under the SHA-256 of its signed part: the token itself is not kept.

    ``clock`` answers seconds since 1970; ``leeway`` is in seconds. Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(self, store: Store, clock: Callable[[], float], leeway: float) -> None:
        self._store = store
        self._clock = clock
        self._leeway = leeway
        self._swept = 0.0

    def __contains__(self, token: Token) -> bool:
        return self._store.get(COLLECTION, token.identifier) is not None

    def add(self, token: Token, expires: float, application: str, username: str) -> None:
        """Revoke a token whose ``exp`` is ``expires``; from the return on it counts in no process."""
        self._store.put(
            COLLECTION,
            {
                "format": 1,
                "name": token.identifier,
                "expires": expires,
                "application": application,
                "username": username,
                "revokedDate": int(self._clock() * 1000),
            },
        )
        if self._clock() - self._swept >= _SWEEP_SECONDS:
            self.sweep()

    def sweep(self) -> None:
        """Forget the revocations of tokens that have expired; a record that cannot be read stays."""
        self._swept = now = self._clock()
        for name in self._store.names(COLLECTION):
            try:
                document = self._store.get(COLLECTION, name)
                if document is not None and now >= document["expires"] + self._leeway:
                    self._store.delete(COLLECTION, name)
            except (StoreUnavailable, KeyError, TypeError):
                continue
