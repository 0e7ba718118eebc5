"""Parameters of the check's own URL, which a proxy's configuration has: requirements, and options."""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from datafor_token.validation.names import fold, has_control_characters

REQUIREMENTS = ("role", "type", "application")
SWITCHES = ("redirect", "cookies", "ignore_authorization")
LONGEST_AUDIENCE = 512  # characters
PERCENT = "percent"
# A header that a proxy sets itself could never hold a visitor's token.
_HEADER = re.compile(r"X-(?!Forwarded-|Original-|Real-Ip$|Requested-With$)[A-Za-z0-9-]{1,62}", re.IGNORECASE)
# Shorter than a ticket, and without the dots of a token.
_HARMLESS_NAME = re.compile(r"[A-Za-z0-9_\[\]-]{1,32}")


class CheckOptions(NamedTuple):
    """The parameters of one check.

    Of each requirement any value is enough: ``roles`` (a user type counts as a role), ``types``, and ``applications``
    (case folded). An empty set requires nothing. ``header`` is the name of the header that has a token, as in WSGI.
    ``audience`` is that of the signed identity. ``unknown`` are names of parameters that are not known, or whose value
    is not.
    """

    roles: frozenset[str]
    types: frozenset[str]
    applications: frozenset[str]
    redirect: bool
    cookies: bool
    ignore_authorization: bool
    header: str | None
    percent: bool
    audience: str | None
    unknown: tuple[str, ...]


@functools.lru_cache(maxsize=256)
def parse(query: str) -> CheckOptions:
    """Return the parameters of a query. Cached, since each proxy sends the same ones again and again."""
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        values.setdefault(name, []).append(value)
    found = {name: values.pop(name, []) for name in REQUIREMENTS}
    switches = {name: values.pop(name, []) for name in SWITCHES}
    header, headers, audience = (values.pop(name, []) for name in ("header", "headers", "aud"))
    unknown = [
        *values,
        *(name for name, sent in switches.items() if not set(sent) <= {"0", "1"}),
        *(["header"] if header and not (len(header) == 1 and _HEADER.fullmatch(header[0])) else []),
        *(["headers"] if headers not in ([], [PERCENT]) else []),
        *(["aud"] if audience and not (len(audience) == 1 and _is_audience(audience[0])) else []),
    ]
    return CheckOptions(
        roles=frozenset(found["role"]),
        types=frozenset(found["type"]),
        applications=frozenset(fold(name) for name in found["application"]),
        redirect=switches["redirect"] == ["1"],
        cookies=switches["cookies"] == ["1"],
        ignore_authorization=switches["ignore_authorization"] == ["1"],
        header=f"HTTP_{header[0].upper().replace('-', '_')}" if header and "header" not in unknown else None,
        percent=headers == [PERCENT],
        audience=audience[0] if audience and "aud" not in unknown else None,
        unknown=tuple(unknown),
    )


def describe(names: Sequence[str]) -> str:
    """Describe unknown parameters for the log by their names, but no values, and no names that may be tokens.

    A proxy that passes on the visitor's query turns its parameters into requirements.
    """
    harmless = [name for name in names if _HARMLESS_NAME.fullmatch(name)]
    listed = ", ".join(harmless[:5] + ["..."] * (len(harmless) > 5)) or "(too long, or not plain text)"
    known = (*REQUIREMENTS, *(f"{name}=1" for name in SWITCHES), "header=X-...", f"headers={PERCENT}", "aud")
    return f"{listed}; known: {', '.join(known)}"


def _is_audience(text: str) -> bool:
    return 1 <= len(text) <= LONGEST_AUDIENCE and not has_control_characters(text)
