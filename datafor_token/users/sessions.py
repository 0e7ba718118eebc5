"""Sessions: a signed-in browser's cookie, as a record that every worker sees and that ends at once when it must.

The cookie is a random text; the record's name is its SHA-256, and what must not have changed since
is kept as an HMAC under the cookie: a copy of the store opens no session and shows no secret.

The cookie of a derived session is computed from a credential under a key that is not in the store, so that
presenting the credential again finds the session instead of opening another one. Its first half names the
record; its second half changes whenever the session is opened anew, and the record has only a hash of it.
"""

import base64
import contextlib
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache
from datafor_token.store.sweeping import Sweeper
from datafor_token.users.users import User, Users
from datafor_token.validation import logs

log = logging.getLogger(__name__)

COLLECTION = "sessions"
_HALF = 43  # characters: 32 bytes as base64url
_RANDOM_TEXT = re.compile(rf"[A-Za-z0-9_-]{{{_HALF}}}")
_COOKIE = re.compile(rf"[A-Za-z0-9_-]{{{_HALF}}}(?:[A-Za-z0-9_-]{{{_HALF}}})?")
_TOUCH_SECONDS = 60  # how exactly the last use is kept at most; each is a write
_TOUCH_WAIT = 0.05  # seconds; a stuck writer must not hold up who is signed in


def record_name(random_text: str) -> str | None:
    """The record's name for a cookie or a ticket; ``None`` for what can be neither."""
    return hashlib.sha256(random_text.encode()).hexdigest() if _RANDOM_TEXT.fullmatch(random_text) else None


def keyed_hash(random_text: str, value: str) -> str:
    """Differs whenever ``value`` was changed, and shows nothing of it to who has not the cookie or ticket."""
    return hmac.digest(random_text.encode(), value.encode(), hashlib.sha256).hex()


def derived_cookie(key: bytes, credential: str, nonce: str) -> str:
    """Return the cookie of a derived session, which can be found again by ``derived_cookie(key, credential, "")``."""
    return _keyed(key, f"name\0{credential}") + _keyed(key, f"proof\0{nonce}\0{credential}")


def _keyed(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Derived(NamedTuple):
    """The record of a derived session: its ``nonce`` (``None``: no record), and whether its user left it."""

    nonce: str | None
    left: bool


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
        self._kept: RecordCache[Document] = RecordCache(store, COLLECTION, lambda document: document)
        self._users = users
        self._clock = clock
        self._lifetime, self._idle = lifetime_and_idle
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def open(self, user: User, **grant: Any) -> str:
        """A new session of the user, always under a new cookie; answer the cookie's value.

        A member of ``grant`` whose name ends in ``_sealed`` is kept as a seal of its value.
        """
        cookie = secrets.token_urlsafe(32)
        self._store.create(COLLECTION, self._document(cookie, user, grant))
        self._sweeper.sweep_if_due()
        return cookie

    def derived(self, key: bytes, credential: str) -> Derived:
        """Return what is known of the session that a credential opened; it may be over."""
        name = _name_of_cookie(derived_cookie(key, credential, ""))
        return _derived(None if name is None else self._read(name))

    def open_derived(self, key: bytes, credential: str, instead_of: Derived, user: User, **grant: Any) -> str | None:
        """Open the one session of a credential in place of ``instead_of``; return its cookie.

        Where another process opened it in the meantime, that session's cookie is returned; ``None`` where it was left.
        """
        nonce = secrets.token_urlsafe(16)
        cookie = derived_cookie(key, credential, nonce)
        document = self._document(cookie, user, grant)
        document |= {"nonce": nonce, "cookie_sha256": hashlib.sha256(cookie.encode()).hexdigest()}

        def change(present: Document | None) -> Document:
            if present is not None and _derived(present) != instead_of:
                raise _Changed(_derived(present))
            return document

        try:
            self._store.update(COLLECTION, document["name"], change)
        except _Changed as other:
            return None if other.now.left else derived_cookie(key, credential, other.now.nonce or "")
        self._sweeper.sweep_if_due()
        return cookie

    def _document(self, cookie: str, user: User, grant: Mapping[str, Any]) -> Document:
        now = self._clock()
        kept = {name: keyed_hash(cookie, value) if name.endswith("_sealed") else value for name, value in grant.items()}
        return {
            "format": 1,
            "name": _name_of_cookie(cookie),
            "kind": self._kind,
            "user": user.name,
            "password_sealed": keyed_hash(cookie, user.password),
            "opened": now,
            "used": now,
            "grant": kept,
        }

    def find(self, cookie: str) -> Session | None:
        """The live session of the cookie, else ``None``.

        A session ends with its time, with a logout, and with its user's disabling, deletion or
        changed password, at once and for every process.
        """
        document = self._of(cookie)
        if document is None or self._is_over(document) or document["kind"] != self._kind:
            return None
        user = self._users.get(document["user"])
        if (
            user is None
            or not user.is_enabled_since(document["opened"])
            or keyed_hash(cookie, user.password) != document["password_sealed"]
        ):
            self.end(cookie)
            return None
        if self._clock() - document["used"] >= min(_TOUCH_SECONDS, self._idle / 10):
            self._touch(document["name"])
        return Session(user, document["opened"], document["grant"])

    def close(self, cookie: str) -> None:
        """End the session, if there is one."""
        document = self._of(cookie)
        if document is not None:
            self._store.delete(COLLECTION, document["name"])

    def leave(self, cookie: str, until: float) -> None:
        """End the session, and remember until then (seconds since 1970) that its user left it.

        Only a derived session is remembered: nothing opens another one again.
        """
        document = self._of(cookie)
        if document is None:
            return
        if "nonce" not in document:
            self._store.delete(COLLECTION, document["name"])
            return
        members = {name: document[name] for name in ("format", "name", "kind", "user", "nonce")}

        def change(present: Document | None) -> Document:
            # Ended, or opened anew by another request: that is another session.
            if present is None or present.get("nonce") != document["nonce"]:
                raise _Closed
            return {**members, "left": self._clock(), "until": until}

        with contextlib.suppress(_Closed):
            self._store.update(COLLECTION, document["name"], change)

    def end(self, cookie: str) -> None:
        """Let a session that was found dead stay dead: whatever comes back must not bring back a stolen cookie."""
        with contextlib.suppress(StoreUnavailable):
            self.close(cookie)

    def _of(self, cookie: str) -> Document | None:
        """Return the record of the cookie, unless the session was left."""
        name = _name_of_cookie(cookie)
        document = None if name is None else self._read(name)
        if document is None or "left" in document:
            return None
        proof = document.get("cookie_sha256")
        if proof is None:
            return document if len(cookie) == _HALF else None
        # The name alone, as in a copy of the store, neither opens nor ends the session.
        return document if hashlib.sha256(cookie.encode()).hexdigest() == proof else None

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
        if "left" in document:
            until = document.get("until")
            return not isinstance(until, int | float) or self._clock() >= until
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


def _name_of_cookie(cookie: str) -> str | None:
    return record_name(cookie[:_HALF]) if _COOKIE.fullmatch(cookie) else None


def _derived(document: Document | None) -> Derived:
    nonce = None if document is None else document.get("nonce")
    return Derived(nonce if isinstance(nonce, str) else None, document is not None and "left" in document)


class _Changed(Exception):
    """Another process opened or left the session in the meantime."""

    def __init__(self, now: Derived) -> None:
        self.now = now
        super().__init__()


class _Closed(Exception):
    """The session was closed by another process."""
