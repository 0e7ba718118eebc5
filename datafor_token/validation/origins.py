"""Origins of pages: scheme, host and port, as browsers send them (RFC 6454 section 6.2).

They are compared with the header ``Origin`` as text, and are sent to browsers in ``frame-ancestors``. So another
spelling of the same origin would have no effect, and is refused with what to write instead.
"""

import re
from collections.abc import Callable, Iterable

from datafor_token.errors import Message, RuleError

_LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_ORIGIN = re.compile(rf"https?://{_LABEL}(\.{_LABEL})*(:(?P<port>[1-9][0-9]{{0,4}}))?")
_LOOPBACK = re.compile(r"http://(localhost|127\.[0-9.]+)(:[0-9]+)?")
# The first that matches is the fault.
_FAULTS: tuple[tuple[Callable[[str], object], Message], ...] = (
    (
        lambda text: "*" in text or text == "null",
        Message("stands for pages of any site: name each origin"),
    ),
    (
        lambda text: not re.match("https?://", text, re.IGNORECASE),
        Message("has no scheme: begin with https://"),
    ),
    (
        lambda text: not text.isascii(),
        Message("has letters that are not ASCII: write the xn-- form, which location.origin shows in a browser"),
    ),
    (
        lambda text: "@" in text,
        Message("has a user name: leave it out"),
    ),
    (
        lambda text: re.search("://.*[/?#]", text),
        Message("has a path or a slash at its end: leave out what follows the host and port"),
    ),
    (
        lambda text: "[" in text,
        Message("has an IPv6 address: write a host name"),
    ),
    (
        lambda text: text != text.lower(),
        Message("has capital letters: write lower case"),
    ),
    (
        lambda text: re.fullmatch("http://.*:80|https://.*:443", text),
        Message("has the default port, which browsers leave out: leave it out too"),
    ),
)
_NO_ORIGIN = Message("is not a scheme, a host and perhaps a port")


def check_origins(values: Iterable[object]) -> None:
    """Check a list of origins; raise ``RuleError``, which names the first wrong one by its number."""
    for number, value in enumerate(values, start=1):
        fault = _fault_of(value) if isinstance(value, str) else _NO_ORIGIN
        if fault is not None:
            raise RuleError(
                "must be a list of origins such as https://portal.example: number %(number)s %(fault)s",
                number=number,
                fault=fault,
            )


def _fault_of(text: str) -> Message | None:
    """Return the fault of an origin as a predicate, or None."""
    for is_wrong, fault in _FAULTS:
        if is_wrong(text):
            return fault
    found = _ORIGIN.fullmatch(text)
    return None if found is not None and int(found["port"] or 0) <= 65535 else _NO_ORIGIN


def is_plain_http(origin: str) -> bool:
    """Return whether the pages of an origin reach the browser over an unprotected network."""
    return origin.startswith("http:") and not _LOOPBACK.fullmatch(origin)
