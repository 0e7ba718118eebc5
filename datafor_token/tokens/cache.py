"""Cache of verified tokens: strict parsing and signature check are done once per token.

An entry holds nothing that can change while it is valid. The text of a token determines its claims, and the key of an
entry is a keyed hash of that text. Times are checked at each look-up; the caller checks revocation, application and
user. A token belongs to the first application by name that accepts it, so an entry is valid only as long as no
application changes: for one version of the listing. It holds the token as each of these applications verified it, up to
the one that accepted it: an earlier one may accept it for another client, or when the user has changed.
"""

import secrets
from collections.abc import Callable, Sequence

from datafor_token.crypto.keys import SharedKey
from datafor_token.fifo_cache import FifoCache
from datafor_token.tokens.verifier import Instant, VerifiedToken

_MOST = 4096  # tokens, each of one or two kilobytes


class VerifiedTokens:
    """Verified tokens by their text. ``looked_up`` is called with whether a token was found."""

    def __init__(self, looked_up: Callable[[bool], None]) -> None:
        self._looked_up = looked_up
        self._key = SharedKey("HS256", secrets.token_bytes(32))
        self._tokens: FifoCache[bytes, tuple[int, Sequence[VerifiedToken]]] = FifoCache(_MOST)

    def get(self, text: str, version: int, instant: Instant) -> Sequence[VerifiedToken]:
        """Return the token for each application that verified it, in the order in which they are asked.

        Empty unless it was accepted with this version of the listing and is still within its times for all of them.
        """
        found = self._tokens.get(self._hash(text))
        is_valid = found is not None and found[0] == version and all(one.is_valid_at(instant) for one in found[1])
        self._looked_up(is_valid)
        return found[1] if found is not None and is_valid else ()

    def put(self, text: str, version: int, tokens: Sequence[VerifiedToken]) -> None:
        """Cache a token that was accepted with this version of the listing, for each application that verified it."""
        self._tokens.put(self._hash(text), (version, tokens))

    def _hash(self, text: str) -> bytes:
        return self._key.sign(text.encode("utf-8", "surrogatepass"))
