"""What administrators do with users: add, change and remove them, set passwords; an Administrator is always left."""

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
from datafor_token.validation.names import fold, has_control_characters, user_name, user_role_name


class Accounts:
    """The users, as administrators look after them. ``clock`` answers seconds since 1970.

    Every method raises ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self, store: Store, users: Users, audit: Audit, clock: Callable[[], float], settings: Settings
    ) -> None:
        self._store = store
        self._audit = audit
        self._users = users
        self._clock = clock
        self._settings = settings

    def add(self, name: str, password: str, **members: Any) -> User:
        """Make a user; ``members`` are those of ``User``. Raises ``Conflict``, and ``InvalidInput`` for a bad name."""
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
        """Every user, sorted by name, and the names of the records that cannot be read."""
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
        """The user of that name; raises ``NotFound``."""
        user = self._users.get(name)
        if user is None:
            raise NotFound
        return user

    def change(self, name: str, *, judged: str | None = None, **members: Any) -> User:
        """Change members of a user; refused where no enabled Administrator would be left.

        ``judged``: the hash that a password was right for; raises ``WrongPassword`` where there is another one by now.
        """

        def change(document: Document | None) -> Document:
            if document is None:
                raise NotFound
            before = User.from_document(document)
            if judged is not None and before.password != judged:
                raise WrongPassword
            after = dataclasses.replace(before, **members)
            _check_members(after, before)
            # Under the lock that every change of a user takes: no two can each think that the other one stays.
            if before.administers and not after.administers and not self._another_than(before):
                raise Forbidden("%(name)s is the last enabled Administrator", name=before.name)
            fields = _changed(before, after)
            if fields:
                record(Event(kind=Kind.USER_CHANGED, user=after.name, fields=fields))
            return after.to_document()

        with self._audit.change() as record:
            return User.from_document(self._store.update(COLLECTION, name, change))

    def remove(self, name: str) -> None:
        """Remove a user for good; the last enabled Administrator cannot be."""
        # Disabled first: whatever happens between, what is left is a user that can be removed again.
        user = self.change(name, enabled=False)
        with self._audit.change() as record:
            record(Event(kind=Kind.USER_DELETED, user=user.name))
            self._store.delete(COLLECTION, name)

    def set_password(self, name: str, password: str, *, judged: str | None = None, field: str = "password") -> None:
        """Give a user a new password; all of their sessions end. ``judged`` is as ``change`` has it.

        Raises ``InvalidInput``, which names ``field``, for a password that breaks the rules.
        """
        hashed = self._users.hash_password(self._checked_password(name, password, field))
        replaces_first = fold(name) == fold(FIRST_USER) and self._has_first_password(name)
        self.change(name, judged=judged, password=hashed)
        if replaces_first:
            with contextlib.suppress(OSError):
                (self._settings.config_dir / PASSWORD_FILE).unlink(missing_ok=True)

    def _has_first_password(self, name: str) -> bool:
        """Return whether the file with the first password is about this store's user, not about another store's."""
        try:
            text = (self._settings.config_dir / PASSWORD_FILE).read_text("utf-8").strip()
        except (OSError, ValueError):
            return False
        user = self._users.get(name)
        return user is not None and self._users.is_password(user, text)

    def change_own_password(self, user: User, old: str, new: str, address: str) -> None:
        """The same by the user; raises ``WrongPassword`` when ``old`` is not the present one."""
        # First, as a sign-in takes a tenth of a second, and a wrong one counts.
        self._checked_password(user.name, new, "new")
        found = self._users.with_password(user.name, old, address, record_success=False)
        if found is None:
            raise WrongPassword
        # Of two who change it at once with the same old one, the second is wrong by then.
        self.set_password(user.name, new, judged=found.password, field="new")

    def _checked_password(self, name: str, password: str, field: str) -> str:
        try:
            checked = new_password(password)
            check_password(checked, name, self._settings.min_password_length)
        except RuleError as error:
            raise InvalidInput.of(field, error.message) from None
        return checked

    def _another_than(self, user: User) -> bool:
        return any(other.administers and fold(other.name) != fold(user.name) for other in self.all()[0])


def _changed(before: User, after: User) -> list[str]:
    """The names of the members that differ, as answers have them where they do: never their values."""
    old, new = ({**user.to_response(), "password": user.password} for user in (before, after))
    return [name for name in old if old[name] != new[name]]


def _check_members(user: User, before: User | None) -> None:
    """Check the members that are new: a stored one that breaks a later rule keeps nobody from changing another."""
    for role in user.roles:
        try:
            if before is None or role not in before.roles:
                user_role_name(role)
        except RuleError as error:
            raise InvalidInput.of("roles", error.message) from None
    # They go into headers at the gate, and onto terminals.
    for field, member in (("full-name", "full_name"), ("email", "email")):
        text = getattr(user, member)
        if text != getattr(before, member, None) and has_control_characters(text):
            raise InvalidInput.of(field, "has control characters")
