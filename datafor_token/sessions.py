"""Sessions: a signed-in browser's cookie, as a record that every worker sees and that ends at once when it must.

The cookie is a random text; the record's name is its SHA-256, and what must not have changed since
is kept as an HMAC under the cookie: a copy of the store opens no session and shows no secret.
"""

import contextlib
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from datafor_token import logs
from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.kept import Kept
from datafor_token.store.sweeping import Sweeper
from datafor_token.users import User, Users

log = logging.getLogger(__name__)

COLLECTION = "sessions"
_RANDOM_TEXT = re.compile(r"[A-Za-z0-9_-]{43}")
_TOUCH_SECONDS = 60  # how exactly the last use is kept at most; each is a write
_TOUCH_WAIT = 0.05  # seconds; a stuck writer must not hold up who is signed in


def name_of(random_text: str) -> str | None:
    """The record's name for a cookie or a ticket; ``None`` for what can be neither."""
    return hashlib.sha256(random_text.encode()).hexdigest() if _RANDOM_TEXT.fullmatch(random_text) else None


def seal(random_text: str, value: str) -> str:
    """Differs whenever ``value`` was changed, and shows nothing of it to who has not the cookie or ticket."""
    return hmac.digest(random_text.encode(), value.encode(), hashlib.sha256).hex()


class Session(NamedTuple):
    """A live session: whose it is, when it was opened (seconds since 1970), and the ``grant`` it was opened with."""

    user: User
    opened: float
    grant: Mapping[str, Any]


class Sessions:
    """The open sessions of one ``kind``, such as those of the API; a cookie of another kind opens none.

    ``clock`` answers seconds since 1970; ``lifetime`` and ``idle`` are in seconds. Raises
    ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self, kind: str, store: Store, users: Users, clock: Callable[[], float], lifetime_and_idle: tuple[float, float]
    ) -> None:
        self._kind = kind
        self._store = store
        self._kept: Kept[Document] = Kept(store, COLLECTION, lambda document: document)
        self._users = users
        self._clock = clock
        self._lifetime, self._idle = lifetime_and_idle
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def open(self, user: User, **grant: Any) -> str:
        """A new session of the user, always under a new cookie; answer the cookie's value.

        A member of ``grant`` whose name ends in ``_sealed`` is kept as a seal of its value.
        """
        cookie = secrets.token_urlsafe(32)
        now = self._clock()
        kept = {name: seal(cookie, value) if name.endswith("_sealed") else value for name, value in grant.items()}
        self._store.create(
            COLLECTION,
            {
                "format": 1,
                "name": name_of(cookie),
                "kind": self._kind,
                "user": user.name,
                "password_sealed": seal(cookie, user.password),
                "opened": now,
                "used": now,
                "grant": kept,
            },
        )
        self._sweeper.sweep_now_and_then()
        return cookie

    def find(self, cookie: str) -> Session | None:
        """The live session of the cookie, else ``None``.

        A session ends with its time, with a logout, and with its user's disabling, deletion or
        changed password, at once and for every process.
        """
        name = name_of(cookie)
        document = None if name is None else self._read(name)
        if document is None or self._is_over(document) or document["kind"] != self._kind:
            return None
        user = self._users.get(document["user"])
        if (
            user is None
            or not user.is_since(document["opened"])
            or seal(cookie, user.password) != document["password_sealed"]
        ):
            self.end(cookie)
            return None
        if self._clock() - document["used"] >= min(_TOUCH_SECONDS, self._idle / 10):
            self._touch(document["name"])
        return Session(user, document["opened"], document["grant"])

    def close(self, cookie: str) -> None:
        """End the session, if there is one."""
        name = name_of(cookie)
        if name is not None and self._read(name) is not None:
            self._store.delete(COLLECTION, name)

    def end(self, cookie: str) -> None:
        """Let a session that was found dead stay dead: whatever comes back must not bring back a stolen cookie."""
        with contextlib.suppress(StoreUnavailable):
            self.close(cookie)

    def _read(self, name: str) -> Document | None:
        try:
            return self._kept.get(name)
        except RecordDamaged as error:
            # It opens nothing, and must not keep its browser from signing in anew.
            log.warning(logs.event(event="record damaged", reason=error.reason))
            return None

    def sweep(self) -> None:
        """Remove the sessions whose time is over."""
        self._sweeper.sweep()

    def _is_over(self, document: Document) -> bool:
        # A record edited by hand into something else is no session.
        if not all(isinstance(document.get(member), str) for member in ("kind", "user", "password_sealed")):
            return True
        if not all(type(document.get(member)) in (int, float) for member in ("opened", "used")):
            return True
        if not isinstance(document.get("grant"), dict):
            return True
        now = self._clock()
        return bool(now >= document["opened"] + self._lifetime or now >= document["used"] + self._idle)

    def _touch(self, name: str) -> None:
        def change(document: Document | None) -> Document:
            # Closed in the meantime: a last use must not bring a session back.
            if document is None:
                raise _Closed
            return {**document, "used": self._clock()}

        try:
            self._store.update(COLLECTION, name, change, wait=_TOUCH_WAIT)
        except (_Closed, StoreUnavailable):
            # On a disk that cannot be written, sessions last as long as their last kept use allows.
            return


class _Closed(Exception):
    """The session was closed by another process."""
