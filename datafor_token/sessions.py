"""Sessions: a signed-in browser's cookie, as a record that every worker sees and that ends at once when it must.

The cookie is a random text; the record's name is its SHA-256, so that a copy of the store opens no session.
"""

import hashlib
import re
import secrets
from collections.abc import Callable

from datafor_token.errors import StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.users import User, Users

COLLECTION = "sessions"
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_SWEEP_SECONDS = 3600
_TOUCH_SECONDS = 60  # how exactly the last use is kept at most; each is a write


class Sessions:
    """The open sessions. ``clock`` answers seconds since 1970; ``lifetime`` and ``idle`` are in seconds.

    Raises ``StoreUnavailable`` in an outage.
    """

    def __init__(self, store: Store, users: Users, clock: Callable[[], float], *, lifetime: float, idle: float) -> None:
        self._store = store
        self._users = users
        self._clock = clock
        self._lifetime = lifetime
        self._idle = idle
        self._swept = 0.0

    def open(self, user: User) -> str:
        """A new session of the user, always under a new cookie; answer the cookie's value."""
        cookie = secrets.token_urlsafe(32)
        now = self._clock()
        self._store.create(
            COLLECTION,
            {
                "format": 1,
                "name": _name(cookie),
                "user": user.name,
                "password": _fingerprint(user),
                "opened": now,
                "used": now,
            },
        )
        if now - self._swept >= _SWEEP_SECONDS:
            self.sweep()
        return cookie

    def user_of(self, cookie: str) -> User | None:
        """The user whose live session the cookie is, else ``None``.

        A session ends with its time, with a logout, and with its user's disabling, deletion or
        changed password, at once and for every process.
        """
        document = self._store.get(COLLECTION, _name(cookie)) if _COOKIE.fullmatch(cookie) else None
        if document is None or not self._is_live(document):
            return None
        user = self._users.get(document["user"])
        if user is None or not user.enabled or _fingerprint(user) != document["password"]:
            return None
        if self._clock() - document["used"] >= min(_TOUCH_SECONDS, self._idle / 10):
            self._touch(document["name"])
        return user

    def close(self, cookie: str) -> None:
        """End the session, if there is one."""
        if _COOKIE.fullmatch(cookie):
            self._store.delete(COLLECTION, _name(cookie))

    def sweep(self) -> None:
        """Remove the sessions whose time is over; a record that cannot be read stays."""
        self._swept = self._clock()
        for name in self._store.names(COLLECTION):
            try:
                document = self._store.get(COLLECTION, name)
                if document is not None and not self._is_live(document):
                    self._store.delete(COLLECTION, name)
            except StoreUnavailable:
                continue

    def _is_live(self, document: Document) -> bool:
        # A record edited by hand into something else is no session.
        if not all(isinstance(document.get(member), str) for member in ("user", "password")):
            return False
        if not all(type(document.get(member)) in (int, float) for member in ("opened", "used")):
            return False
        now = self._clock()
        return bool(now < document["opened"] + self._lifetime and now < document["used"] + self._idle)

    def _touch(self, name: str) -> None:
        def change(document: Document | None) -> Document:
            # Closed in the meantime: a last use must not bring a session back.
            if document is None:
                raise _Closed
            return {**document, "used": self._clock()}

        try:
            self._store.update(COLLECTION, name, change)
        except (_Closed, StoreUnavailable):
            # On a disk that cannot be written, sessions last as long as their last kept use allows.
            return


class _Closed(Exception):
    """The session was closed by another process."""


def _name(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()


def _fingerprint(user: User) -> str:
    """Differs whenever the password was changed, and shows nothing of its hash."""
    return hashlib.sha256(user.password.encode()).hexdigest()
