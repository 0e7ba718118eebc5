"""Sessions of signed-in browsers: one record each, named by a cookie, which every worker reads at each request.

The cookie is a random text, and the name of the record is its SHA-256. A value that ends the session when it changes
is stored as an HMAC under the cookie. With a copy of the store, nobody can open a session or read a secret.

The cookie of a derived session is computed from a credential under a key that is not in the store, so that
presenting the credential again finds the session instead of opening another one. The first half of the cookie names
the record. The second half changes whenever the session is opened again, and the record has only a hash of it.
"""

import base64
import contextlib
import hashlib
import hmac
import logging
import math
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache
from datafor_token.store.sweeping import LATER, Sweeper
from datafor_token.users.users import User, Users
from datafor_token.validation import logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

COLLECTION = "sessions"
_HALF = 43  # characters: 32 bytes as base64url
_RANDOM_TEXT = re.compile(rf"[A-Za-z0-9_-]{{{_HALF}}}")
_COOKIE = re.compile(rf"[A-Za-z0-9_-]{{{_HALF}}}(?:[A-Za-z0-9_-]{{{_HALF}}})?")
_TOUCH_SECONDS = 60  # the last use is stored at most so often, because each time is a write
_TOUCH_WAIT = 0.05  # seconds; a stuck writer must not delay signed-in users
_HASHED_SUFFIX = "_sealed"  # of the members that are stored as a hash; existing records have this name
_NUMBERS = frozenset({int, float})  # not bool, which is an int
# Members of a grant, in seconds, that replace the lifetime and the idle time of the kind.
LIMITS = ("session_max", "session_idle")
CONSOLE = "console"  # where a session of kind ``api`` was opened, if not by a call


def record_name(random_text: str) -> str | None:
    """Return the name of the record of a cookie or ticket, or ``None`` for a text that cannot be one."""
    return hashlib.sha256(random_text.encode()).hexdigest() if _RANDOM_TEXT.fullmatch(random_text) else None


def keyed_hash(random_text: str, value: str) -> str:
    """Return an HMAC of ``value``, which nobody can compute without the cookie or ticket ``random_text``."""
    return hmac.digest(random_text.encode(), value.encode(), hashlib.sha256).hex()


def derived_cookie(key: bytes, credential: str, nonce: str) -> str:
    """Return the cookie of a derived session; its first half does not depend on ``nonce``."""
    return _keyed(key, f"name\0{credential}") + _keyed(key, f"proof\0{nonce}\0{credential}")


def _keyed(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Derived(NamedTuple):
    """State of a derived session: its ``nonce`` (``None`` without a record), and whether its user left it."""

    nonce: str | None
    left: bool


class Session(NamedTuple):
    """A valid session: its user, when it was opened, the ``grant`` it was opened with, and the limit of its lifetime.

    The times are in seconds since 1970.
    """

    user: User
    opened: float
    grant: Mapping[str, Any]
    ends: float = math.inf


class Sessions:
    """The sessions of one ``kind``, such as those of the API. A cookie of another kind is not found.

    ``clock`` returns seconds since 1970; the lifetime and the idle time are in seconds, and hold for a session whose
    grant has no ``LIMITS`` of its own. ``opened`` is called after a session was opened. Raises ``StoreUnavailable`` in
    an outage.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        kind: str,
        store: Store,
        users: Users,
        clock: Callable[[], float],
        lifetime_and_idle: tuple[float, float],
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        self._opened = opened
        self._kind = kind
        self._store = store
        self._cache: RecordCache[Document] = RecordCache(store, COLLECTION, lambda document: document)
        self._users = users
        self._clock = clock
        self._lifetime, self._idle = lifetime_and_idle
        self._sweeper = Sweeper(store, COLLECTION, clock, self.is_over)

    def open(self, user: User, address: str = "", opened_in: str | None = None, **grant: Any) -> str:
        """Open a session of the user under a new cookie, and return the cookie.

        ``address`` is the client's; ``opened_in`` is ``CONSOLE`` or nothing. A member of ``grant`` whose name ends in
        ``_sealed`` is stored as a hash of its value.
        """
        cookie = secrets.token_urlsafe(32)
        document = self._document(cookie, user, address, grant)
        self._store.create(COLLECTION, document if opened_in is None else {**document, "opened_in": opened_in})
        self._opened()
        self._sweeper.sweep_if_due()
        return cookie

    def derived(self, key: bytes, credential: str) -> Derived:
        """Return the state of the session that a credential opened, which may be over."""
        name = name_of_cookie(derived_cookie(key, credential, ""))
        return _derived(None if name is None else self._read(name))

    def open_derived(
        self, key: bytes, credential: str, instead_of: Derived, user: User, address: str = "", **grant: Any
    ) -> str | None:
        """Open the only session of a credential in place of ``instead_of``, and return its cookie.

        If another process opened it in the meantime, return the cookie of that session; ``None`` if its user left it.
        """
        nonce = secrets.token_urlsafe(16)
        cookie = derived_cookie(key, credential, nonce)
        document = self._document(cookie, user, address, grant)
        document |= {"nonce": nonce, "cookie_sha256": hashlib.sha256(cookie.encode()).hexdigest()}

        def change(present: Document | None) -> Document:
            if present is not None and _derived(present) != instead_of:
                raise _Changed(_derived(present))
            return document

        try:
            self._store.update(COLLECTION, document["name"], change)
        except _Changed as other:
            return None if other.state.left else derived_cookie(key, credential, other.state.nonce or "")
        self._opened()
        self._sweeper.sweep_if_due()
        return cookie

    def _document(self, cookie: str, user: User, address: str, grant: Mapping[str, Any]) -> Document:
        now = self._clock()
        stored = {
            name: keyed_hash(cookie, value) if name.endswith(_HASHED_SUFFIX) else value for name, value in grant.items()
        }
        return {
            "format": 1,
            "name": name_of_cookie(cookie),
            "kind": self._kind,
            "user": user.name,
            "password_sealed": keyed_hash(cookie, user.password),
            "password_hash_sha256": _digest(user.password),
            "times_disabled": user.times_disabled,
            "opened": now,
            "used": now,
            "address": address,
            "grant": stored,
        }

    def find(self, cookie: str) -> Session | None:
        """Return the session of the cookie, or ``None`` if it is over.

        A session ends when its time is over, at logout, and when its user is disabled, deleted or given another
        password: at once, and for every process.
        """
        document = self._find_record(cookie)
        if document is None or self.is_over(document) or document["kind"] != self._kind:
            return None
        user = self._users.get(document["user"])
        if (
            user is None
            or not _is_enabled_since(user, document)
            or keyed_hash(cookie, user.password) != document["password_sealed"]
        ):
            self.end(cookie)
            return None
        lifetime, idle = self._limits(document["grant"])
        if self._clock() - document["used"] >= min(_TOUCH_SECONDS, idle / 10):
            self._touch(document["name"])
        return Session(user, document["opened"], document["grant"], document["opened"] + lifetime)

    def close(self, cookie: str) -> None:
        """End the session of the cookie, if there is one."""
        document = self._find_record(cookie)
        if document is not None:
            self._store.delete(COLLECTION, document["name"])

    def leave(self, cookie: str) -> None:
        """End the session of the cookie, if there is one, as ``end_for_good`` does."""
        document = self._find_record(cookie)
        if document is not None:
            self.end_for_good(document)

    def end_for_good(self, document: Document) -> None:
        """End the session of a valid record.

        For a derived one, store that it was left, until a day after its credential expires. Other sessions cannot be
        opened again.
        """
        if "nonce" not in document:
            self._store.delete(COLLECTION, document["name"])
            return
        members = {name: document[name] for name in ("format", "name", "kind", "user", "nonce")}
        until = document["grant"].get("expires", 0)

        def change(present: Document | None) -> Document:
            # Another request ended it, or opened another session in its place.
            if present is None or present.get("nonce") != document["nonce"]:
                raise _Closed
            return {**members, "left": self._clock(), "until": until}

        with contextlib.suppress(_Closed):
            self._store.update(COLLECTION, document["name"], change)

    def end(self, cookie: str) -> None:
        """End a session that was found to be over, best effort.

        If, for example, its user is enabled again later, a stolen cookie must not become valid again.
        """
        with contextlib.suppress(StoreUnavailable):
            self.close(cookie)

    def _find_record(self, cookie: str) -> Document | None:
        """Return the record of the cookie, unless the session was left."""
        name = name_of_cookie(cookie)
        document = None if name is None else self._read(name)
        if document is None or "left" in document:
            return None
        proof = document.get("cookie_sha256")
        if proof is None:
            return document if len(cookie) == _HALF else None
        # The first half alone, which a copy of the store gives away, neither opens nor ends the session.
        return document if hashlib.sha256(cookie.encode()).hexdigest() == proof else None

    def _read(self, name: str) -> Document | None:
        try:
            return self._cache.get(name)
        except RecordDamaged as error:
            # Its browser must be able to sign in again.
            log.warning(logs.event("record damaged", reason=error.reason))
            return None

    def sweep(self) -> None:
        """Remove the records of sessions whose time is over."""
        self._sweeper.sweep()

    def is_over(self, document: Document) -> bool:
        """Return whether the time of a record is over, or the record was damaged by hand."""
        if "left" in document:
            until = document.get("until")
            return not isinstance(until, int | float) or self._clock() >= until + LATER
        # A record edited by hand may have any members.
        if not all(isinstance(document.get(member), str) for member in ("kind", "user", "password_sealed")):
            return True
        grant = document.get("grant")
        if not isinstance(grant, dict):
            return True
        lifetime, idle = self._limits(grant)
        opened: Any = document.get("opened")
        used: Any = document.get("used")
        if not _NUMBERS.issuperset(map(type, (opened, used, lifetime, idle))):
            return True
        return bool(self._clock() >= min(opened + lifetime, used + idle))

    def _limits(self, grant: Mapping[str, Any]) -> tuple[float, float]:
        """Return the lifetime and the idle time of a session, in seconds: those of its grant, or those of the kind."""
        return grant.get("session_max", self._lifetime), grant.get("session_idle", self._idle)

    def may_be_of(self, document: Document, user: User) -> bool:
        """Return whether a record can be that of a valid session of the user, as far as it tells without the cookie.

        A session that an earlier version opened does not tell that the password was changed.
        """
        return (
            "left" not in document
            and not self.is_over(document)
            and fold(document["user"]) == fold(user.name)
            and _is_enabled_since(user, document)
            and document.get("password_hash_sha256") in (None, _digest(user.password))
        )

    def _touch(self, name: str) -> None:
        def change(document: Document | None) -> Document:
            # It was closed in the meantime.
            if document is None:
                raise _Closed
            return {**document, "used": self._clock()}

        try:
            self._store.update(COLLECTION, name, change, wait=_TOUCH_WAIT)
        except (_Closed, StoreUnavailable):
            # On a disk that cannot be written, sessions last as long as their last stored use allows.
            return


def name_of_cookie(cookie: str) -> str | None:
    """Return the name of the record of a cookie, or ``None`` for a text that cannot be one."""
    return record_name(cookie[:_HALF]) if _COOKIE.fullmatch(cookie) else None


def _is_enabled_since(user: User, document: Document) -> bool:
    """Return whether the user existed when the session of the record was opened, and was never disabled since."""
    # A count, not a time: it holds for a session that was being opened meanwhile, and whatever a clock says. A session
    # that an earlier version opened has none.
    return user.is_enabled_since(document["opened"]) and document.get("times_disabled", 0) == user.times_disabled


def _digest(password_hash: str) -> str:
    """Return a digest of an argon2id hash, whose random salt makes it useless for guesses at the password."""
    return hashlib.sha256(password_hash.encode()).hexdigest()


def _derived(document: Document | None) -> Derived:
    nonce = None if document is None else document.get("nonce")
    return Derived(nonce if isinstance(nonce, str) else None, document is not None and "left" in document)


class _Changed(Exception):
    """Another process opened or left the session in the meantime."""

    def __init__(self, state: Derived) -> None:
        self.state = state
        super().__init__()


class _Closed(Exception):
    """The session was closed by another process."""
