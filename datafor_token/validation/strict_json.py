"""JSON that can be read in one way only, for request bodies, records and tokens; and how they are written.

Refused beside what is no JSON: members given twice, NaN and infinities, integers over 64 bits,
lone surrogates, nesting deeper than 32, and bytes that are not UTF-8 (RFC 8259, RFC 7493).
"""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from datafor_token.errors import RuleError

MAX_DEPTH = 32
# 64 bits, signed or not: what every JSON library in use keeps exact or refuses.
_SMALLEST_INTEGER, _LARGEST_INTEGER = -(2**63), 2**64 - 1


class JSONError(RuleError):
    """The text is refused. Its words are a predicate ("is not valid JSON") without any of the text."""


class NotJSON(JSONError):
    """It is refused because it is not JSON at all."""


def loads(text: str | bytes) -> Any:
    """Read one JSON text; raise ``JSONError`` for whatever is refused."""
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
        # The decoder's own words repeat the text, which may hold a secret.
        raise NotJSON("is not valid JSON") from None
    # Fewer brackets than levels: most texts need no walk.
    if text.count("{") + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    # In UTF-8 a surrogate can only come from an escape.
    if "\\u" in text:
        _check_surrogates(value)
    return value


def compact(value: Any) -> str:
    """JSON of a value without spaces, all of it ASCII."""
    return _COMPACT.encode(value)


def readable(value: Any) -> str:
    """JSON of a value with spaces, and with letters as they are."""
    return _READABLE.encode(value)


def _object(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members = list(members)
    value = dict(members)
    if len(value) != len(members):
        raise JSONError("has a member that is given twice")
    return value


def _integer(digits: str) -> int:
    # The length first: turning thousands of digits into a number is slow, and Python refuses it.
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
