"""Parameters of the check's own URL, which a proxy's configuration has: requirements, and options."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from datafor_token.validation.names import USER_TYPES, fold, has_control_characters

REQUIREMENTS = ("role", "type", "application")
SWITCHES = ("redirect", "cookies", "ignore_authorization", "refused")
LONGEST_AUDIENCE = 512  # characters
PERCENT = "percent"
# A header that a proxy, a browser or this service itself sets cannot hold a visitor's token.
_HEADER = re.compile(
    r"X-(?!.*(?:forwarded|original-|client-ip))(?!datafor-)"
    r"(?!(?:real-ip|request-id|requested-with|purpose|moz|envoy-external-address|proxyuser-ip)$)"
    r"[a-z0-9][a-z0-9-]{0,61}",
    re.IGNORECASE | re.ASCII,
)
# Shorter than a ticket, and without the dots of a token.
_HARMLESS_NAME = re.compile(r"[A-Za-z0-9_\[\]-]{1,32}")


class CheckOptions(NamedTuple):
    """The parameters of one check.

    Of each requirement any value is enough: ``roles`` (a user type counts as a role), ``types``, and ``applications``
    (case folded). An empty set requires nothing. ``header`` is the name of the header that has a token, as in WSGI.
    ``audience`` is that of the signed identity. ``unknown`` are the names of parameters that do not exist, or that have
    an invalid value or two different ones: a check with one of them refuses everybody.
    """

    roles: frozenset[str]
    types: frozenset[str]
    applications: frozenset[str]
    redirect: bool
    cookies: bool
    ignore_authorization: bool
    refused: bool
    header: str | None
    percent: bool
    audience: str | None
    unknown: tuple[str, ...]


@functools.lru_cache(maxsize=256)
def parse(query: str) -> CheckOptions:
    """Return the parameters of a query, as it is in WSGI: bytes decoded as Latin-1 (PEP 3333).

    Cached, since each proxy sends the same query again and again.
    """
    if not query.isascii():
        # Our gunicorn refuses such a query; other servers pass on UTF-8 without percent-encoding.
        query = query.encode("latin-1", "replace").decode("utf-8", "replace")
    values: dict[str, set[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        values.setdefault(name, set()).add(value)
    header, audience = (next(iter(values.get(name, ())), None) for name in ("header", "aud"))
    return CheckOptions(
        roles=frozenset(values.get("role", ())),
        types=frozenset(values.get("type", ())),
        applications=frozenset(map(fold, values.get("application", ()))),
        **{name: values.get(name) == {"1"} for name in SWITCHES},
        header=None if header is None else f"HTTP_{header.upper().replace('-', '_')}",
        percent=values.get("headers") == {PERCENT},
        audience=audience,
        unknown=tuple(name for name, sent in values.items() if not _is_valid(name, sent)),
    )


def _is_valid(name: str, values: set[str]) -> bool:
    """Return whether the parameter exists and may have these values; only requirements have more than one."""
    rule = _RULES.get(name)
    return rule is not None and all(map(rule, values)) and (name in REQUIREMENTS or len(values) == 1)


def describe(names: Sequence[str]) -> str:
    """Describe unknown parameters for the log by their names, but no values, and no names that may be tokens.

    A proxy that passes on the visitor's query turns its parameters into requirements.
    """
    harmless = [name for name in names if _HARMLESS_NAME.fullmatch(name)]
    listed = ", ".join(harmless[:5] + ["..."] * (len(harmless) > 5)) or "(too long, or not plain text)"
    known = (*REQUIREMENTS, *(f"{name}=1" for name in SWITCHES), "header=X-...", f"headers={PERCENT}", "aud")
    invalid = ", ".join(f"the value of {name}" for name in names if name in _RULES)
    return f"{listed}; known: {', '.join(known)}" + (f"; not valid: {invalid}" if invalid else "")


def _is_audience(text: str) -> bool:
    return len(text) <= LONGEST_AUDIENCE and text.strip() != "" and not has_control_characters(text)


_RULES: Mapping[str, Callable[[str], object]] = {
    # An empty value, such as that of a variable that is not set, must not look like a requirement that users fail.
    **dict.fromkeys(("role", "application"), str.strip),
    "type": USER_TYPES.__contains__,
    **dict.fromkeys(SWITCHES, ("0", "1").__contains__),
    "header": _HEADER.fullmatch,
    "headers": PERCENT.__eq__,
    "aud": _is_audience,
}
