"""Cache of verified tokens: strict parsing and signature check are done once per token.

An entry holds nothing that can change while it is valid. The text of a token determines its claims, and the key of an
entry is a keyed hash of that text. Times are checked at each look-up; the caller checks revocation, application and
user. A token belongs to the first application by name that accepts it, so an entry is valid only as long as no
application changes: for one version of the listing.
"""

import secrets
from collections.abc import Callable

from datafor_token.crypto.keys import SharedKey
from datafor_token.fifo_cache import FifoCache
from datafor_token.tokens.verifier import Instant, VerifiedToken

_MOST = 4096  # tokens, each of one or two kilobytes


class VerifiedTokens:
    """Verified tokens by their text. ``looked_up`` is called with whether a token was found."""

    def __init__(self, looked_up: Callable[[bool], None]) -> None:
        self._looked_up = looked_up
        self._key = SharedKey("HS256", secrets.token_bytes(32))
        self._tokens: FifoCache[bytes, tuple[int, VerifiedToken]] = FifoCache(_MOST)

    def get(self, text: str, version: int, instant: Instant) -> VerifiedToken | None:
        """Return the token if it was accepted with this version of the listing and is still within its times."""
        found = self._tokens.get(self._hash(text))
        token = found[1] if found is not None and found[0] == version and found[1].is_valid_at(instant) else None
        self._looked_up(token is not None)
        return token

    def put(self, text: str, version: int, token: VerifiedToken) -> None:
        """Cache a token that was accepted with this version of the listing."""
        self._tokens.put(self._hash(text), (version, token))

    def _hash(self, text: str) -> bytes:
        return self._key.sign(text.encode("utf-8", "surrogatepass"))
