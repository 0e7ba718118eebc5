"""Tokens that were accepted already: to read one strictly and verify its signature is done once.

Right because nothing that may change is remembered. What a token says is fixed by its text, of which the
key is a keyed hash; what is asked each time is the time, and by the caller the revocation, the application
and the user. A token belongs to the first application by name that accepts it: it is forgotten as soon as
any application changes, since the answer holds for one listing alone.
"""

import secrets
import threading
from collections.abc import Callable

from datafor_token.applications.index import ApplicationIndex
from datafor_token.crypto.keys import SharedKey
from datafor_token.tokens.verifier import Instant, VerifiedToken

_MOST = 4096  # tokens, each of one or two kilobytes


class VerifiedTokens:
    """What was found out about tokens; ``looked_up`` is told whether a token was among them."""

    def __init__(self) -> None:
        self.looked_up: Callable[[bool], None] = lambda _: None
        self._key = SharedKey("HS256", secrets.token_bytes(32))
        self._kept: dict[bytes, tuple[ApplicationIndex, VerifiedToken]] = {}
        self._lock = threading.Lock()

    def get(self, text: str, listing: ApplicationIndex, moment: Instant) -> VerifiedToken | None:
        """Who is verified for, if this listing accepted the token, and its time goes on."""
        mark = self._mark(text)
        kept = self._kept.get(mark)
        if kept is not None and (kept[0] is not listing or not kept[1].is_valid_at(moment)):
            self._kept.pop(mark, None)
            kept = None
        self.looked_up(kept is not None)
        return None if kept is None else kept[1]

    def keep(self, text: str, listing: ApplicationIndex, verified: VerifiedToken) -> None:
        """Remember what the listing accepted."""
        with self._lock:
            while len(self._kept) >= _MOST:
                self._kept.pop(next(iter(self._kept)), None)
            self._kept[self._mark(text)] = listing, verified

    def _mark(self, text: str) -> bytes:
        return self._key.sign(text.encode("utf-8", "surrogatepass"))
