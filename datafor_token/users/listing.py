"""Pages of the list of users: filtered and sorted."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.users.users import User
from datafor_token.validation.names import fold

# By the columns of ``user_schemas.COLUMNS``. Users who are equal in one are sorted by user name.
_KEYS: Mapping[str, Callable[[User], Any]] = {
    "username": lambda user: fold(user.name),
    "name": lambda user: (fold(user.full_name), fold(user.name)),
    "usertype": lambda user: (user.type, fold(user.name)),
    "create_time": lambda user: (user.created_date, fold(user.name)),
}


class Wanted(NamedTuple):
    """Filter of a list of users. ``role`` is a role or user type; each of ``words`` must occur in a text."""

    role: str | None = None
    enabled: bool | None = None
    words: Sequence[str] = ()

    def matches(self, user: User) -> bool:
        """Return whether a user is wanted."""
        if self.role is not None and self.role != user.type and self.role not in user.roles:
            return False
        if self.enabled is not None and self.enabled != user.enabled:
            return False
        if not self.words:
            return True
        text = fold(f"{user.name}\n{user.full_name}\n{user.email}\n{user.mobile}\n{user.dept}\n{user.title}")
        return all(word in text for word in self.words)


def select(users: Sequence[User], wanted: Wanted, column: str, *, descending: bool) -> Sequence[User]:
    """Return the wanted users, sorted by a column. ``users`` are sorted by user name."""
    found = users if wanted == Wanted() else [user for user in users if wanted.matches(user)]
    if column == "username" and not descending:
        return found
    return sorted(found, key=_KEYS[column], reverse=descending)
