"""Roles of a user as one text, joined with ``&``, as calls about users show and take them.

A new role has no ``&``. A stored one may have some, and a text that was listed must give the stored roles again.
"""

from collections.abc import Sequence

_SEPARATOR = "&"


def join(roles: Sequence[str]) -> str:
    """Return the roles as one text."""
    return _SEPARATOR.join(roles)


def split(text: str, stored: Sequence[str]) -> tuple[str, ...]:
    """Return the roles in a text; ``stored`` are the present roles of the user.

    Parts that make up a stored role with ``&`` are that role, each stored one at most once, the longest first.
    """
    if text == join(stored):
        return tuple(stored)
    parts = text.split(_SEPARATOR) if text else []
    joined = sorted((role.split(_SEPARATOR) for role in stored if _SEPARATOR in role), key=len, reverse=True)
    found: list[str] = []
    start = 0
    while start < len(parts):
        role = next((one for one in joined if parts[start : start + len(one)] == one), None)
        if role is None:
            role = parts[start : start + 1]
        else:
            joined.remove(role)
        found.append(join(role))
        start += len(role)
    return tuple(dict.fromkeys(found))
