"""Claims of a token, found by name or by JSON Pointer (RFC 6901)."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from datafor_token.errors import Message

MISSING: Final = object()  # a claim can be null
# The header of each token is Base64 of a JSON object, which begins with "{" and white space or a quote.
_TOKEN = re.compile(r"(?<![A-Za-z0-9_-])e[wy][A-Za-z0-9_-]{8}|[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{20,}")
_A_TOKEN = Message("(not shown, as it may be a token)")


def find(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim of exactly that name, else the value that the name points to, else ``MISSING``.

    A name that begins with ``/`` is a JSON Pointer, unless the token has a claim of that name.
    """
    if name in claims or not name.startswith("/"):
        return claims.get(name, MISSING)
    value: Any = claims
    for member in members(name):
        if isinstance(value, Mapping):
            value = value.get(member, MISSING)
        elif isinstance(value, list) and member.isascii() and member.isdigit() and str(int(member[:9])) == member:
            value = value[int(member)] if int(member) < len(value) else MISSING
        else:
            return MISSING
    return value


def members(pointer: str) -> list[str]:
    """Return the names and indexes in a JSON Pointer."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def outermost(name: str) -> tuple[str, ...]:
    """Return the claims of which a token must have one for ``find`` to succeed."""
    return (name, members(name)[0]) if name.startswith("/") else (name,)


def show(value: object) -> str:
    """Return a short text that shows the value of a claim, in a sentence of ``explain``, the log and the audit log."""
    text = json.dumps(value, ensure_ascii=False)
    if may_be_token(text):
        return _A_TOKEN
    return text if len(text) <= 100 else f"{text[:100]}..."


def show_text(text: str) -> str:
    """Return the begin of a text of a token, such as its type or the name of a claim, as ``show`` does for values."""
    return _A_TOKEN if may_be_token(text) else text[:64]


def may_be_token(text: str) -> bool:
    """Return whether a text may have a token or a part of one inside: then it is not stored."""
    return _TOKEN.search(text) is not None
