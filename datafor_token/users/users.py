"""Users: their records, sign-in by password, and the administrator of the first start."""

import contextlib
import dataclasses
import functools
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datafor_token import blocking
from datafor_token.applications import rules
from datafor_token.audit.changes import recorded
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import (
    Message,
    Overloaded,
    RecordDamaged,
    RuleError,
    StartError,
    TooManyAttempts,
    WrongPassword,
    about,
)
from datafor_token.store.base import AlreadyExists, Document, Store
from datafor_token.store.cache import RecordCache
from datafor_token.store.files.disk import sync
from datafor_token.users.passwords import Passwords
from datafor_token.users.throttle import Throttle
from datafor_token.validation import logs, names

log = logging.getLogger(__name__)

COLLECTION = "users"
FORMAT = 1
ADMINISTRATOR = "Administrator"
FIRST_USER = "admin"
_PROFILE = ("mobile", "dept", "title")
_PAUSE = 1.0  # seconds before a refusal without a hash, when there are many
PASSWORD_FILE = "initial_admin_password"  # noqa: S105 - a file's name


@dataclasses.dataclass(frozen=True, kw_only=True)
class User:
    """One user. ``password`` is the argon2id hash, empty for a user without a password.

    ``application`` is the one to which the user belongs: its token created the user, or an administrator said so.
    Empty: none. ``synced`` is the ``iat`` of the token that created or changed the user last, in seconds since 1970.
    ``mobile``, ``dept`` and ``title`` are any text. ``created_date`` is in milliseconds since 1970, 0 if it is not
    known. ``times_disabled`` is how often the user was disabled: a session from before is over. ``format`` and
    ``extra`` are written back unchanged for other versions of this service, as in ``Application``.
    """

    name: str
    full_name: str = ""
    email: str = ""
    type: str = names.DEFAULT_USER_TYPE
    roles: tuple[str, ...] = ()
    enabled: bool = True
    password: str = dataclasses.field(default="", repr=False)
    application: str = ""
    synced: float | None = None
    mobile: str = ""
    dept: str = ""
    title: str = ""
    created_date: int = 0
    times_disabled: int = 0
    format: int = FORMAT
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def administers(self) -> bool:
        """True for an enabled Administrator; there must always be one."""
        return self.enabled and self.type == ADMINISTRATOR

    @functools.cached_property
    def groups(self) -> tuple[str, ...]:
        """Type and roles as the application behind the gate receives them."""
        return names.groups(self.type, self.roles)

    @functools.cached_property
    def rule_violations(self) -> Sequence[str]:
        """A sentence about the first stored role that breaks a rule for new roles, if there is one."""
        for role in self.roles:
            try:
                names.user_role_name(role)
            except RuleError as error:
                sentence = about("roles", error.message)
                return [
                    Message(
                        "%(sentence)s; the stored value stays, and the gate leaves it out where it misleads",
                        sentence=sentence,
                    )
                ]
        return []

    def to_response(self) -> dict[str, Any]:
        """Return the members that calls and commands show, without the password."""
        return {
            "username": self.name,
            "name": self.full_name,
            "email": self.email,
            "type": self.type,
            "roles": list(self.roles),
            "enabled": self.enabled,
        }

    @property
    def profile(self) -> dict[str, str]:
        """Return the further texts about the user, which may be empty."""
        return {member: getattr(self, member) for member in _PROFILE}

    def belongs_to(self, application: str) -> bool:
        """Return whether the application is the user's."""
        return bool(self.application) and names.fold(self.application) == names.fold(application)

    def is_enabled_since(self, time: float) -> bool:
        """Return whether the user is enabled, and existed already at ``time`` (seconds since 1970)."""
        return self.enabled and self.created_date <= time * 1000

    def to_document(self) -> Document:
        """Return the record, in a stable order, unknown members last."""
        known = dataclasses.asdict(self)
        del known["extra"]
        for member in ("application", "synced", *_PROFILE):
            if known[member] in ("", None):
                del known[member]
        if not self.times_disabled:
            del known["times_disabled"]
        extra = {member: value for member, value in self.extra.items() if member not in known}
        return {"format": known.pop("format"), **known, "roles": list(self.roles), **extra}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "User":
        """Read a record, which may have been edited by hand; raise ``RecordDamaged``, which names the wrong member."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.name != "extra" and field.name in document:
                value = document[field.name]
                if field.name in _PROFILE and not isinstance(value, str):
                    # For earlier versions, they were unknown members of any type.
                    continue
                values[field.name] = tuple(value) if field.name == "roles" and isinstance(value, list) else value
        extra = {name: value for name, value in document.items() if name not in values}
        if type(values.get("format")) is int and values["format"] > FORMAT:
            raise RecordDamaged(reason=f"user {values.get('name')!r}: a newer version of this service wrote the record")
        user = cls(**values, extra=extra)
        wrong = next(user._wrong_members(), None)
        if wrong is not None:
            raise RecordDamaged(reason=f"user {user.name!r}: {wrong} has an invalid value")
        return user

    def _wrong_members(self) -> Iterator[str]:
        # A record edited by hand can hold anything, in spite of the annotations.
        members: dict[str, Any] = vars(self)
        try:
            names.user_name(members["name"])
        except RuleError:
            yield "name"
        yield from (
            member
            for member in ("full_name", "email", "password", "application")
            if not isinstance(members[member], str)
        )
        if members["type"] not in names.USER_TYPES:
            yield "type"
        if not isinstance(members["roles"], tuple) or not all(isinstance(role, str) for role in members["roles"]):
            yield "roles"
        if not isinstance(members["enabled"], bool):
            yield "enabled"
        if type(members["synced"]) not in (int, float, type(None)):
            yield "synced"
        yield from (
            member for member in ("format", "created_date", "times_disabled") if type(members[member]) is not int
        )


class Users:
    """The users in the store, and their sign-in by password. Raises ``StoreUnavailable`` in an outage."""

    def __init__(self, store: Store, passwords: Passwords, throttle: Throttle, audit: Audit) -> None:
        self._store = store
        self._cache = RecordCache(store, COLLECTION, self._read)
        self._logged: set[tuple[str, str]] = set()
        self._audit = audit
        self._passwords = passwords
        self._throttle = throttle

    def _read(self, document: Document) -> User:
        """Return the user of a record; log once each rule that a stored value breaks."""
        user = User.from_document(document)
        for violation in user.rule_violations:
            if (user.name, violation) not in self._logged:
                self._logged.add((user.name, violation))
                log.warning(logs.event("stored value breaks a rule", user=user.name, reason=violation))
        return user

    def get(self, name: str) -> User | None:
        """Return the user of that name in any case, or ``None``."""
        return self._cache.get(name)

    def with_password(self, name: str, password: str, address: str, *, record_success: bool = True) -> User:
        """Return the enabled user with this name and password; ``address`` is the client's.

        Raises ``WrongPassword``; unknown name, wrong password and disabled user cost the same: one hash. Raises
        ``TooManyAttempts``, without a hash, when this name failed too often from this address, and ``Overloaded`` when
        too many passwords wait for one. A refusal is recorded, and so is a sign-in for which a password was hashed,
        unless ``record_success`` is false: then the caller records it, with the session that it opens.
        """
        try:
            user = self.get(names.user_name(name))
        except RuleError:
            user = None
        stored = user.password if user is not None and user.enabled else ""
        if user is not None and self._passwords.is_cached(stored, password):
            return user
        try:
            right = self._is_right(stored, password, name, address)
        except (TooManyAttempts, Overloaded) as error:
            error.reason = "throttled" if isinstance(error, TooManyAttempts) else "overloaded"
            self._audit.record(_refusal(error.reason, user, name))
            # Guesses that cost no hash are repeated at once. Without a pause they displaced 0.8 of the requests of
            # signed-in users.
            blocking.slow_down(_PAUSE)
            raise
        if user is None or not right:
            reason = _refusal_reason(user)
            self._audit.record(_refusal(reason, user, name))
            raise WrongPassword(reason=reason)
        if record_success:
            self._audit.record(Event(kind=Kind.SIGN_IN, user=user.name))
        return user

    def _is_right(self, stored: str, password: str, name: str, address: str) -> bool:
        self._throttle.check(name, address)
        with self._passwords.queue.turn():
            # Of several calls that waited here with the same password, the first one hashed it for all.
            if self._passwords.is_cached(stored, password):
                return True
            attempt = self._throttle.reserve(name, address)
            right = self._passwords.verify(stored, password)
            self._throttle.settle(attempt, right=right)
        return right

    def hash_password(self, password: str) -> str:
        """Return the hash of a new password."""
        return self._passwords.hash(password)

    def is_password(self, user: User, password: str) -> bool:
        """Return whether a password is the user's, without counting an attempt; false for a damaged hash."""
        if not user.password:
            return False
        try:
            with self._passwords.queue.turn():
                return self._passwords.verify(user.password, password)
        except RecordDamaged:
            return False

    def create(
        self, user: User, password: str, application: str | None = None, check: Callable[[], object] = lambda: None
    ) -> User:
        """Store a new user, with a password unless it is empty; raise ``AlreadyExists`` if the name is taken.

        ``application`` is the one whose token creates the user. ``check`` is called under the lock of the users, and
        may raise an error: then nothing is stored.
        """
        if password:
            user = dataclasses.replace(user, password=self._passwords.hash(password))
        with self._audit.change() as record:

            def change(document: Document | None) -> Document:
                if document is not None:
                    raise AlreadyExists
                check()
                record(event_of_new(user, application))
                return user.to_document()

            self._store.update(COLLECTION, user.name, change)
        return user

    def sync(
        self, name: str, follow: Callable[[User], User | None], application: str, token: str | None
    ) -> User | None:
        """Store what ``follow`` makes of the user, unless it returns ``None``; return the user as it is stored then.

        ``follow`` takes the user as it is stored under the lock: of several sign-ins at once, only one writes.
        ``application`` and ``token``, an identifier, are for the audit log. Returns ``None`` if no such user exists.
        """
        with self._audit.change() as record:

            def change(document: Document | None) -> Document:
                before = None if document is None else User.from_document(document)
                after = None if before is None else follow(before)
                if before is None or after is None:
                    raise _Unchanged(before)
                record(_synced(before, after, application, token))
                return after.to_document()

            try:
                return User.from_document(self._store.update(COLLECTION, name, change))
            except _Unchanged as unchanged:
                return unchanged.user

    def create_first(self, config_dir: Path, password: str | None, min_length: int) -> str | None:
        """Create the first administrator if there are no users; return the password if it was generated here.

        ``password`` is the configured one; raises ``StartError`` where it breaks the rules for a new one, whose
        ``min_length`` is in characters. A generated password is stored in ``PASSWORD_FILE`` of ``config_dir`` before
        the user exists: whatever fails in between, it can still be read.
        """
        if self._store.names(COLLECTION):
            return None
        if password is not None:
            try:
                rules.check_password(rules.new_password(password), FIRST_USER, min_length)
            except RuleError as error:
                raise StartError(f"DATAFOR_TOKEN_ADMIN_PASSWORD {error}") from None
        generated = secrets.token_urlsafe(18) if password is None else None
        with contextlib.suppress(_UserExists), self._audit.change() as record:

            def change(document: Document | None) -> Document:
                if document is not None:
                    raise _UserExists
                if generated is not None:
                    _store_password(config_dir / PASSWORD_FILE, generated)
                hashed = self._passwords.hash(generated or password or "")
                user = User(name=FIRST_USER, type=ADMINISTRATOR, password=hashed)
                record(event_of_new(user))
                return user.to_document()

            # Under the lock of the record: of two services that start at once, one creates the user.
            self._store.update(COLLECTION, FIRST_USER, change)
            return generated
        return None


def event_of_new(user: User, application: str | None = None) -> Event:
    """Return the event of a new user with type and roles, which decide what the user may do."""
    after = recorded(("type", "roles"), user.to_response())
    return Event(kind=Kind.USER_MADE, user=user.name, application=application, after=after)


def _refusal(reason: str, user: User | None, name: str) -> Event:
    if user is None:
        return Event(kind=Kind.SIGN_IN_REFUSED, unknown_user=name, reason=reason)
    return Event(kind=Kind.SIGN_IN_REFUSED, user=user.name, reason=reason)


def _refusal_reason(user: User | None) -> str:
    if user is None:
        return "unknown_user"
    return "wrong_password" if user.enabled else "disabled_user"


def _synced(before: User, after: User, application: str, token: str | None) -> Event:
    old, new = before.to_response(), after.to_response()
    fields = [member for member in old if old[member] != new[member]]
    return Event(
        kind=Kind.USER_SYNCED,
        application=application,
        user=after.name,
        token=token,
        fields=fields,
        before=recorded(fields, old),
        after=recorded(fields, new),
    )


class _Unchanged(Exception):
    """The user, which may not exist any more, need not be written."""

    def __init__(self, user: User | None) -> None:
        self.user = user
        super().__init__()


class _UserExists(Exception):
    """Another process created the first user in the meantime."""


def _store_password(path: Path, password: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(password + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync(path.parent)
    except OSError as error:
        raise StartError(
            f"{path} cannot be written ({error.strerror}); make its folder"
            " writable for this first start, or set a password in DATAFOR_TOKEN_ADMIN_PASSWORD"
        ) from None
