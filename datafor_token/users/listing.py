"""Pages of the list of users: filtered, sorted, and cut."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.errors import RuleError
from datafor_token.users.users import User
from datafor_token.validation.names import fold

_KEYS: Mapping[str, Callable[[User], Any]] = {
    "username": lambda user: fold(user.name),
    "name": lambda user: (fold(user.full_name), fold(user.name)),
    "usertype": lambda user: (user.type, fold(user.name)),
    "create_time": lambda user: (user.created_date, fold(user.name)),
}
COLUMNS = tuple(_KEYS)


class Order(NamedTuple):
    """Column by which users are sorted, and direction. Users who are equal in it are sorted by user name."""

    column: str = "username"
    descending: bool = False


def order(text: str) -> Order:
    """Read an order: a column, with ``-`` in front or ``desc`` behind it for descending."""
    column, _, direction = text.removeprefix("-").partition(" ")
    if column not in _KEYS or direction.lower() not in (("",) if text.startswith("-") else ("", "asc", "desc")):
        raise RuleError("must be one of %(values)s, with '-' in front for descending", values=", ".join(COLUMNS))
    return Order(column, text.startswith("-") or direction.lower() == "desc")


def order_text(text: str) -> str:
    """Check an order, and return it unchanged."""
    order(text)
    return text


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
        text = fold("\n".join((user.name, user.full_name, user.email, *user.profile.values())))
        return all(word in text for word in self.words)


def select(users: Sequence[User], wanted: Wanted, by: Order) -> Sequence[User]:
    """Return the wanted users in an order. ``users`` are sorted by user name."""
    found = users if wanted == Wanted() else [user for user in users if wanted.matches(user)]
    return found if by == Order() else sorted(found, key=_KEYS[by.column], reverse=by.descending)
