"""Strict JSON for request bodies, records and tokens: a parser that accepts only unambiguous JSON, and two writers.

Also refused: repeated members, NaN and infinities, integers over 64 bits, lone surrogates, nesting deeper than 32
levels, and bytes that are not UTF-8 (RFC 8259, RFC 7493).
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from datafor_token.errors import RuleError

MAX_DEPTH = 32
# 64 bits, signed or unsigned: other JSON libraries either represent such integers exactly or refuse them.
_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1


class JSONError(RuleError):
    """The text is refused. The message is a predicate ("is not valid JSON") that repeats nothing of the text."""


class NotJSON(JSONError):
    """The text is not JSON at all."""


def loads(text: str | bytes) -> Any:
    """Parse a JSON text; raise ``JSONError`` if it is refused."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise JSONError("is not UTF-8 text") from None
    try:
        value = _DECODER.decode(text)
    except JSONError:
        raise
    except RecursionError:
        raise JSONError("is nested deeper than %(number)s levels", number=MAX_DEPTH) from None
    except ValueError:
        # The decoder's message repeats the text, which may contain a secret.
        raise NotJSON("is not valid JSON") from None
    # Most texts have fewer brackets than the allowed levels, and need no walk.
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    # UTF-8 has no surrogates: only an escape sequence can produce one.
    if "\\u" in text:
        _check_surrogates(value)
    return value


def compact(value: Any) -> str:
    """Return a value as JSON without spaces, in ASCII."""
    return _COMPACT.encode(value)


def readable(value: Any) -> str:
    """Return a value as JSON with spaces and Unicode characters, on one line."""
    return _READABLE.encode(value)


def _object(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members = list(members)
    value = dict(members)
    if len(value) != len(members):
        raise JSONError("has a member that is given twice")
    return value


def _integer(digits: str) -> int:
    # The length first: converting thousands of digits is slow, and Python refuses it.
    if len(digits) <= 20 and _SMALLEST_INTEGER <= (value := int(digits)) <= _LARGEST_INTEGER:
        return value
    raise JSONError("has an integer of more than 64 bits")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JSONError("has a number that is too large")
    return value


def _constant(_: str) -> NoReturn:
    raise JSONError("has a number that JSON does not know (NaN or Infinity)")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    raise JSONError("is nested deeper than %(number)s levels", number=MAX_DEPTH)


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise JSONError("has half of a surrogate pair, which is no character") from None


_COMPACT = json.JSONEncoder(separators=(",", ":"))
_READABLE = json.JSONEncoder(ensure_ascii=False)
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
