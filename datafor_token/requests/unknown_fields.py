"""Sentences about fields that a call does not have, which never repeat what may be part of a secret.

The rest of a secret with an unescaped ``&`` arrives as the name of a field. So a name is repeated only where it
resembles a field of the call, which everybody knows; else the sentence says where in the request it stands.
"""

import difflib
import re
from collections.abc import Collection, Iterable

_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_ALIKE = 0.8  # of 1; "usrename" and "username" have 0.875
BEGINNING = "request"


def resembled(name: str, known: Collection[str]) -> str | None:
    """Return the field of the call that a name is a misspelling of; ``None``: there is none."""
    if not _PLAIN.fullmatch(name):
        return None
    spellings = {_reduced(field): field for field in known}
    found = difflib.get_close_matches(_reduced(name), spellings, n=1, cutoff=_ALIKE)
    return spellings[found[0]] if found else None


def sentences(
    sent: Iterable[str], known: Collection[str], *, parent: str = "", is_form: bool = False
) -> dict[str, list[str]]:
    """Describe the unknown ones among the fields of a request, by field; ``sent`` are all names in their order.

    ``parent`` is the path of the object that holds them. One that is not named is described under the known field
    before it, or under ``BEGINNING``.
    """
    found: dict[str, list[str]] = {}
    before = None
    for name in sent:
        if name in known:
            before = name
            continue
        meant = resembled(name, known)
        if meant is not None:
            path = f"{parent}{name}"
            found[path] = [f"{path} is not a field of this call; did you mean '{parent}{meant}'?"]
        else:
            path, sentence = _place(before, parent)
            found[path] = [f"{sentence}; send & as %26" if is_form else sentence]
    return found


def _place(before: str | None, parent: str) -> tuple[str, str]:
    if before is not None:
        return f"{parent}{before}", f"an unknown field after {parent}{before}"
    if parent:
        return parent[:-1], f"an unknown field at the beginning of {parent[:-1]}"
    return BEGINNING, "an unknown field at the beginning of the request"


def _reduced(name: str) -> str:
    return re.sub("[_.-]", "", name).casefold()
