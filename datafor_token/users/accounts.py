"""Administration of users: add, change and remove them, and set passwords. One Administrator always remains.

Users change only their own profile. Administrators cannot delete or disable themselves, or change their own type.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from datafor_token.applications.rules import check_password, new_password
from datafor_token.audit.changes import recorded
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import (
    ChangedMeanwhile,
    Conflict,
    Forbidden,
    InvalidInput,
    LastAdministrator,
    NotFound,
    RecordDamaged,
    RuleError,
    WrongPassword,
    about,
)
from datafor_token.settings import Settings
from datafor_token.store.base import AlreadyExists, Document, Store
from datafor_token.store.cache import RecordIndex
from datafor_token.users import joined_roles
from datafor_token.users.users import ADMINISTRATOR, COLLECTION, FIRST_USER, PASSWORD_FILE, User, Users, event_of_new
from datafor_token.validation import files
from datafor_token.validation.names import fold, new_profile_text, new_user_role_name, user_name

_MOST_ROLES = 256  # of a user; the gate sends them in a header
# Members that users may change themselves, with the names that calls have for them.
_OWN = {"full_name": "name", "email": "email", "mobile": "mobile", "dept": "dept", "title": "title"}


class Accounts:
    """Adds, changes and removes users. ``clock`` returns seconds since 1970.

    ``cut_off`` is called with the name of a user who is being deleted, and revokes the user's tokens; ``deleted`` is
    called after the deletion. The argument ``by`` of methods is the user who acts, who obeys the rules of this module;
    commands leave it out. Every method raises ``StoreUnavailable`` in an outage.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        store: Store,
        users: Users,
        audit: Audit,
        clock: Callable[[], float],
        settings: Settings,
        cut_off: Callable[[str], object],
        deleted: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._store = store
        self._index = RecordIndex(store, COLLECTION, User.from_document)
        self._listed: tuple[int, Sequence[User], Sequence[str]] = (0, [], [])
        self._audit = audit
        self._users = users
        self._clock = clock
        self._settings = settings
        self._cut_off = cut_off
        self._deleted = deleted

    def add(self, name: str, password: str | None, **members: Any) -> User:
        """Create a user, without a password if it is None; ``members`` are those of ``User``.

        Raises ``Conflict``, and ``InvalidInput`` with all errors.
        """
        user = User(name=name, created_date=int(self._clock() * 1000), **members)
        self.check(user, password=password)
        user = dataclasses.replace(user, name=user_name(name))
        try:
            return self._users.create(user, password or "")
        except AlreadyExists:
            found = self._users.get(user.name)
            raise Conflict("name already exists as '%(value)s'", value=found.name if found else user.name) from None

    def check(self, user: User, before: User | None = None, password: str | None = None) -> None:
        """Raise ``InvalidInput`` with all rules that a new user or a changed one breaks.

        ``before`` is the stored user, and ``password`` a new password.
        """
        errors: dict[str, list[str]] = {}
        if before is None:
            _collect(errors, "username", user_name, user.name)
        with _collecting(errors):
            _check_members(user, before)
        if password is not None:
            with _collecting(errors):
                self._checked_password(user.name, password, "password")
        if errors:
            raise InvalidInput(errors)

    def all(self) -> tuple[Sequence[User], Sequence[str]]:
        """Return every user, sorted by name, and the names of the records that cannot be read."""
        version, records = self._index.all()
        listed = self._listed
        if listed[0] != version:
            users = [user for _, user in records.values() if isinstance(user, User)]
            damaged = sorted(name for name, user in records.values() if isinstance(user, RecordDamaged))
            listed = self._listed = version, sorted(users, key=lambda user: fold(user.name)), damaged
        return listed[1], listed[2]

    def get(self, name: str) -> User:
        """Return the user of that name; raise ``NotFound``."""
        user = self._users.get(name)
        if user is None:
            raise NotFound
        return user

    def save(
        self, name: str, password: str, *, by: User, roles: str | Sequence[str] | None = None, **members: Any
    ) -> User:
        """Create a user, or change the given members of the existing one, with a new password unless it is empty.

        ``name`` obeys ``names.user_name``. ``roles`` as a text are joined with ``&``. A new password ends the user's
        sessions. Raises ``InvalidInput``, ``Conflict``, and ``Forbidden`` for what ``by`` may not change.
        """
        administers = by.type == ADMINISTRATOR
        if not administers and fold(name) != fold(by.name):
            raise Forbidden
        if password and not administers:
            raise Forbidden("only an Administrator sets a password without the old one: use user/updatePassword")
        hashed = self._hashed(name, password, "password") if password else None
        with self._audit.change() as record, self._first_password_of(name, replaced=hashed is not None):

            def change(document: Document | None) -> Document:
                if document is None and not administers:
                    # Deleted since the sign-in.
                    raise Forbidden
                before = None if document is None else User.from_document(document)
                start = before or User(name=name, created_date=int(self._clock() * 1000))
                wanted = dict(members)
                if isinstance(roles, str):
                    wanted["roles"] = joined_roles.split(roles, start.roles)
                elif roles is not None:
                    wanted["roles"] = tuple(dict.fromkeys(roles))
                after = dataclasses.replace(start, **wanted, password=hashed or start.password)
                if before is None:
                    _check_members(after, None)
                    record(event_of_new(after))
                    return after.to_document()
                if not administers and any(
                    getattr(after, member) != getattr(before, member) for member in wanted if member not in _OWN
                ):
                    raise Forbidden(
                        "without being Administrator, you can change only %(fields)s", fields=", ".join(_OWN.values())
                    )
                return self._checked(before, after, by, record).to_document()

            return User.from_document(self._store.update(COLLECTION, name, change))

    def change(
        self,
        name: str,
        *,
        expected_hash: str | None = None,
        expected: User | None = None,
        by: User | None = None,
        **members: Any,
    ) -> User:
        """Change members of a user; raise ``Conflict`` if no enabled Administrator would remain.

        With ``expected_hash``, raise ``WrongPassword`` if the stored password hash is another one by now. With
        ``expected``, raise ``ChangedMeanwhile`` if one of ``members`` has another value by now than there.
        """
        with self._audit.change() as record:

            def change(document: Document | None) -> Document:
                if document is None:
                    raise NotFound
                before = User.from_document(document)
                if expected_hash is not None and before.password != expected_hash:
                    raise WrongPassword
                if expected is not None and any(getattr(before, one) != getattr(expected, one) for one in members):
                    raise ChangedMeanwhile
                return self._checked(before, dataclasses.replace(before, **members), by, record).to_document()

            return User.from_document(self._store.update(COLLECTION, name, change))

    def _checked(self, before: User, after: User, by: User | None, record: Callable[[Event], None]) -> User:
        """Return the changed user after all checks, and record the change; call it under the lock."""
        _check_members(after, before)
        # Every change of a user takes the same lock: no two changes can each rely on the other's Administrator.
        if before.administers and not after.administers and not self._has_administrator_besides(before):
            raise LastAdministrator("%(name)s is the last enabled Administrator", name=before.name)
        is_own = by is not None and fold(by.name) == fold(before.name)
        if is_own and (before.type != after.type or (before.enabled and not after.enabled)):
            raise Conflict("you cannot delete or disable yourself, or change your own type")
        changed = _change(before, after)
        if changed is not None:
            record(changed)
        if before.enabled and not after.enabled:
            # The sessions end for good: enabled again, the user must not have those that nobody used in between.
            return dataclasses.replace(after, times_disabled=before.times_disabled + 1)
        return after

    def remove(self, name: str, *, by: User | None = None) -> User:
        """Remove a user, and return the removed one; raise ``NotFound``, and ``Conflict`` as ``change`` does."""
        # Disabled first: whatever fails in between, the user can be removed again. The tokens are revoked before the
        # record is gone: none creates the user again.
        user = self.change(name, enabled=False, by=by)
        self._cut_off(user.name)
        with self._audit.change() as record:
            record(Event(kind=Kind.USER_DELETED, user=user.name))
            self._store.delete(COLLECTION, name, _check_disabled)
        self._deleted(user.name)
        return user

    def set_password(
        self, name: str, password: str, *, expected_hash: str | None = None, field: str = "password"
    ) -> None:
        """Set a new password, which ends all sessions of the user. ``expected_hash`` is as in ``change``.

        Raises ``InvalidInput``, which names ``field``, for a password that breaks the rules.
        """
        hashed = self._hashed(name, password, field)
        with self._first_password_of(name):
            self.change(name, expected_hash=expected_hash, password=hashed)

    def _hashed(self, name: str, password: str, field: str) -> str:
        return self._users.hash_password(self._checked_password(name, password, field))

    @contextlib.contextmanager
    def _first_password_of(self, name: str, *, replaced: bool = True) -> Iterator[None]:
        """Surround a change of the password; remove the file with the first password if that was the user's."""
        replaces_first = replaced and fold(name) == fold(FIRST_USER) and self._has_first_password(name)
        yield
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

    def change_own_password(self, user: User, old: str, new: str, address: str, field: str = "new") -> None:
        """Set a new password for the user who knows the old one; raise ``WrongPassword`` if ``old`` is wrong.

        ``address`` is the client's, and ``field`` as in ``set_password``.
        """
        # First, because verifying the old one takes a tenth of a second, and a wrong one is counted.
        self._checked_password(user.name, new, field)
        found = self._users.with_password(user.name, old, address, record_success=False)
        # Of two changes at once with the same old password, the second one is refused.
        self.set_password(user.name, new, expected_hash=found.password, field=field)

    def _checked_password(self, name: str, password: str, field: str) -> str:
        try:
            checked = new_password(password)
            check_password(checked, name, self._settings.min_password_length)
        except RuleError as error:
            raise InvalidInput.of(field, error.message) from None
        return checked

    def _has_administrator_besides(self, user: User) -> bool:
        # Not from the index: under the lock, the records decide.
        for _, document in self._store.documents(COLLECTION):
            with contextlib.suppress(RecordDamaged):
                other = None if isinstance(document, RecordDamaged) else User.from_document(document)
                if other is not None and other.administers and fold(other.name) != fold(user.name):
                    return True
        return False


def _change(before: User, after: User) -> Event | None:
    """Return the event of the members that differ, with their names and values as in responses and commands.

    A password is only named.
    """
    old, new = ({**user.to_response(), **user.profile, "application": user.application} for user in (before, after))
    fields = [name for name in old if old[name] != new[name]]
    named = [*fields, *(["password"] if before.password != after.password else [])]
    if not named:
        return None
    return Event(
        kind=Kind.USER_CHANGED,
        user=after.name,
        fields=named,
        before=recorded(fields, old),
        after=recorded(fields, new),
    )


def _check_members(user: User, before: User | None) -> None:
    """Check the new and changed members: a stored one that breaks a later rule does not prevent other changes."""
    present = () if before is None else before.roles
    if user.roles != present and len(user.roles) > _MOST_ROLES:
        raise InvalidInput.of("roles", "can be at most %(number)s", number=_MOST_ROLES)
    errors: dict[str, list[str]] = {}
    for role in user.roles:
        if role not in present:
            _collect(errors, "roles", new_user_role_name, role)
    for member, field in _OWN.items():
        if getattr(user, member) != getattr(before, member, ""):
            _collect(errors, field, new_profile_text, getattr(user, member))
    if errors:
        raise InvalidInput(errors)


def _collect(errors: dict[str, list[str]], field: str, rule: Callable[[str], object], text: str) -> None:
    """Add the error of a text that breaks a rule, unless the field has one already."""
    try:
        rule(text)
    except RuleError as error:
        errors.setdefault(field, [about(field, error.message)])


@contextlib.contextmanager
def _collecting(errors: dict[str, list[str]]) -> Iterator[None]:
    """Add the errors of a check."""
    try:
        yield
    except InvalidInput as error:
        errors.update(error.errors)


def _check_disabled(document: Document) -> None:
    # Otherwise the last enabled Administrator might be deleted.
    if User.from_document(document).enabled:
        raise Conflict("%(name)s was enabled again meanwhile: try again", name=document["name"])
