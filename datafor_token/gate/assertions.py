"""Signed identities: short-lived ES256 tokens of this service about the user of an accepted check.

An application that verifies them need not trust that every request came through the proxy.
"""

from collections.abc import Callable
from typing import NamedTuple

from datafor_token.fifo_cache import FifoCache
from datafor_token.gate.assertion_keys import ASSERTION_LIFETIME, AssertionKeys
from datafor_token.tokens.issuer import signed
from datafor_token.users.users import User
from datafor_token.validation.names import display_text

HEADER = "X-Datafor-Assertion"
REUSE = 30  # seconds for which an assertion is sent again
_MOST = 4096  # identities; 5 MB


class _Signed(NamedTuple):
    text: str
    issued: int


class Assertions:
    """Signs identities as ``issuer``, at most once per identity, audience and ``REUSE``, in each process.

    ``clock`` returns seconds since 1970.
    """

    def __init__(self, keys: AssertionKeys, issuer: str, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._signed: FifoCache[object, _Signed] = FifoCache(_MOST)

    def of(self, user: User, audience: str | None) -> str:
        """Return the assertion about a user for an audience, which is valid for 30 to 60 s.

        Raises ``StoreUnavailable`` if the key is not known now.
        """
        key, now = self._keys.signing(), self._clock()
        # All that is signed: a user who was changed gets another assertion at once.
        identity = key.kid, user.name, user.full_name, user.email, user.groups, audience
        known = self._signed.get(identity)
        if known is not None and 0 <= now - known.issued <= REUSE:
            return known.text
        issued = int(now)
        claims = {
            "iss": self._issuer,
            **({} if audience is None else {"aud": audience}),
            "sub": user.name,
            "name": display_text(user.full_name),
            "email": display_text(user.email),
            "groups": user.groups,
            "iat": issued,
            "exp": issued + ASSERTION_LIFETIME,
        }
        text = signed(key, claims)
        self._signed.put(identity, _Signed(text, issued))
        self._keys.maintain_if_due()
        return text
