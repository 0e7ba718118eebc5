"""Messages about fields that a call does not have. They never repeat what may be part of a secret.

The rest of a secret with an unescaped ``&`` arrives as the name of a field. Therefore a message has the name only if it
resembles a field of the call, which is public; otherwise it states the position in the request.
"""

import difflib
import re
from collections.abc import Collection, Iterable

from datafor_token.errors import Message

_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SIMILARITY = 0.8  # of 1; "usrename" and "username" have 0.875
# Fields of some calls that have another name in others. They are public, so a message may repeat them.
_SYNONYMS = {"username": "user", "user": "username", "name": "application", "application": "name", "department": "dept"}
_REQUEST = "request"  # the key of messages that belong to no field


def resembled(name: str, known: Collection[str]) -> str | None:
    """Return the known field of which a name is a misspelling or a synonym, or ``None``."""
    if not _PLAIN.fullmatch(name):
        return None
    spellings = {_reduced(field): field for field in known}
    found = difflib.get_close_matches(_reduced(name), spellings, n=1, cutoff=_SIMILARITY)
    if found:
        return spellings[found[0]]
    meant = _SYNONYMS.get(name)
    return meant if meant in known else None


def messages(
    sent: Iterable[str], known: Collection[str], *, parent: str = "", is_form: bool = False
) -> dict[str, list[str]]:
    """Return messages about the unknown fields of a request, by field.

    ``sent`` are the names of all fields in the order of the request, ``parent`` is the path of the object that has
    them, with a dot at its end. A message without the name is under the known field before it, or under ``request``.
    """
    found: dict[str, list[str]] = {}
    before = None
    for name in sent:
        if name in known:
            before = name
            continue
        meant = resembled(name, known)
        if meant is not None:
            field = f"{parent}{name}"
            message = Message(
                "%(field)s is not a field of this call; did you mean '%(meant)s'?",
                field=field,
                meant=f"{parent}{meant}",
            )
        else:
            field, message = _position(before, parent)
            if is_form:
                message = Message("%(message)s; send & as %%26", message=message)
        found[field] = [message]
    return found


def _position(before: str | None, parent: str) -> tuple[str, Message]:
    if before is not None:
        field = f"{parent}{before}"
        return field, Message("an unknown field after %(field)s", field=field)
    if parent:
        field = parent.removesuffix(".")
        return field, Message("an unknown field at the beginning of %(field)s", field=field)
    return _REQUEST, Message("an unknown field at the beginning of the request")


def _reduced(name: str) -> str:
    return re.sub("[_.-]", "", name).casefold()
