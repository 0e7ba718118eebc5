"""Administration of users: add, change and remove them, and set passwords. One Administrator always remains."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

from datafor_token.applications.rules import check_password, new_password
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import Conflict, Forbidden, InvalidInput, NotFound, RecordDamaged, RuleError, WrongPassword
from datafor_token.settings import Settings
from datafor_token.store.base import AlreadyExists, Document, Store
from datafor_token.users.users import COLLECTION, FIRST_USER, PASSWORD_FILE, User, Users
from datafor_token.validation import files
from datafor_token.validation.names import fold, has_control_characters, user_name, user_role_name


class Accounts:
    """Adds, changes and removes users. ``clock`` returns seconds since 1970.

    ``cut_off`` is called with the name of a user who is being deleted, and revokes the user's tokens. Every method
    raises ``StoreUnavailable`` in an outage.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        store: Store,
        users: Users,
        audit: Audit,
        clock: Callable[[], float],
        settings: Settings,
        cut_off: Callable[[str], object],
    ) -> None:
        self._store = store
        self._audit = audit
        self._users = users
        self._clock = clock
        self._settings = settings
        self._cut_off = cut_off

    def add(self, name: str, password: str, **members: Any) -> User:
        """Create a user; ``members`` are those of ``User``. Raises ``Conflict`` and ``InvalidInput``."""
        try:
            user = User(name=user_name(name), created_date=int(self._clock() * 1000), **members)
        except RuleError as error:
            raise InvalidInput.of("username", error.message) from None
        _check_members(user, None)
        try:
            return self._users.create(user, self._checked_password(user.name, password, "password"))
        except AlreadyExists:
            found = self._users.get(user.name)
            raise Conflict("name already exists as '%(value)s'", value=found.name if found else user.name) from None

    def all(self) -> tuple[list[User], list[str]]:
        """Return every user, sorted by name, and the names of the records that cannot be read."""
        users, damaged = [], []
        for name, found in self._store.documents(COLLECTION):
            try:
                if isinstance(found, RecordDamaged):
                    raise found
                users.append(User.from_document(found))
            except RecordDamaged:
                damaged.append(name)
        return sorted(users, key=lambda user: fold(user.name)), sorted(damaged)

    def get(self, name: str) -> User:
        """Return the user of that name; raise ``NotFound``."""
        user = self._users.get(name)
        if user is None:
            raise NotFound
        return user

    def change(self, name: str, *, expected_hash: str | None = None, **members: Any) -> User:
        """Change members of a user; raise ``Forbidden`` if no enabled Administrator would remain.

        With ``expected_hash``, raise ``WrongPassword`` if the stored password hash is another one by now.
        """
        with self._audit.change() as record:

            def change(document: Document | None) -> Document:
                if document is None:
                    raise NotFound
                before = User.from_document(document)
                if expected_hash is not None and before.password != expected_hash:
                    raise WrongPassword
                after = dataclasses.replace(before, **members)
                _check_members(after, before)
                # Every change of a user takes the same lock: no two changes can each rely on the other's Administrator.
                if before.administers and not after.administers and not self._has_administrator_besides(before):
                    raise Forbidden("%(name)s is the last enabled Administrator", name=before.name)
                fields = _changed(before, after)
                if fields:
                    record(Event(kind=Kind.USER_CHANGED, user=after.name, fields=fields))
                return after.to_document()

            return User.from_document(self._store.update(COLLECTION, name, change))

    def remove(self, name: str) -> None:
        """Remove a user; raise ``Forbidden`` for the last enabled Administrator."""
        # Disabled first: whatever fails in between, the user can be removed again.
        user = self.change(name, enabled=False)
        self._cut_off(user.name)
        with self._audit.change() as record:
            record(Event(kind=Kind.USER_DELETED, user=user.name))
            self._store.delete(COLLECTION, name)

    def set_password(
        self, name: str, password: str, *, expected_hash: str | None = None, field: str = "password"
    ) -> None:
        """Set a new password, which ends all sessions of the user. ``expected_hash`` is as in ``change``.

        Raises ``InvalidInput``, which names ``field``, for a password that breaks the rules.
        """
        hashed = self._users.hash_password(self._checked_password(name, password, field))
        replaces_first = fold(name) == fold(FIRST_USER) and self._has_first_password(name)
        self.change(name, expected_hash=expected_hash, password=hashed)
        if replaces_first:
            with contextlib.suppress(OSError):
                (self._settings.config_dir / PASSWORD_FILE).unlink(missing_ok=True)

    def _has_first_password(self, name: str) -> bool:
        """Return whether the file with the first password belongs to this user, and not to one of another store."""
        try:
            text = files.read(self._settings.config_dir / PASSWORD_FILE).decode().strip()
        except (OSError, ValueError):
            return False
        user = self._users.get(name)
        return user is not None and self._users.is_password(user, text)

    def change_own_password(self, user: User, old: str, new: str, address: str) -> None:
        """Set a new password for the user who knows the old one; raise ``WrongPassword`` if ``old`` is wrong.

        ``address`` is the client's.
        """
        # First, because verifying the old one takes a tenth of a second, and a wrong one is counted.
        self._checked_password(user.name, new, "new")
        found = self._users.with_password(user.name, old, address, record_success=False)
        # Of two changes at once with the same old password, the second one is refused.
        self.set_password(user.name, new, expected_hash=found.password, field="new")

    def _checked_password(self, name: str, password: str, field: str) -> str:
        try:
            checked = new_password(password)
            check_password(checked, name, self._settings.min_password_length)
        except RuleError as error:
            raise InvalidInput.of(field, error.message) from None
        return checked

    def _has_administrator_besides(self, user: User) -> bool:
        return any(other.administers and fold(other.name) != fold(user.name) for other in self.all()[0])


def _changed(before: User, after: User) -> list[str]:
    """Return the names of the members that differ, as in responses and commands; never their values."""
    old, new = (
        {**user.to_response(), "application": user.application, "password": user.password} for user in (before, after)
    )
    return [name for name in old if old[name] != new[name]]


def _check_members(user: User, before: User | None) -> None:
    """Check the new and changed members: a stored one that breaks a later rule does not prevent other changes."""
    for role in user.roles:
        try:
            if before is None or role not in before.roles:
                user_role_name(role)
        except RuleError as error:
            raise InvalidInput.of("roles", error.message) from None
    # They are sent in headers by the gate, and printed on terminals.
    for field, member in (("full-name", "full_name"), ("email", "email")):
        text = getattr(user, member)
        if text != getattr(before, member, None) and has_control_characters(text):
            raise InvalidInput.of(field, "has control characters")
