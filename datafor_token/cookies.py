"""The Cookie request header (RFC 6265 section 4.2), whose cookies are separated by ``;`` alone.

A comma is part of a value: gunicorn joins several Cookie headers with commas, but no browser sends several.
"""

import functools
import re
from collections.abc import Collection

# Characters that gunicorn refuses in the value of a response header.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def values_of(header: str, name: str) -> list[str]:
    """Return the values of all cookies of that name that can be ours, in their order.

    Names are compared as a whole and with their case. Our values consist of ``A-Z a-z 0-9 _ -``, with or
    without quotes; other values, such as a JSESSIONID of a Java application, are passed over.
    """
    return [match[1] or match[2] for match in _pattern(name).finditer(header)]


def without(header: str, names: Collection[str]) -> str:
    """Return the header without the cookies of these names; all others stay as they are, byte for byte.

    Cookies with control characters are dropped too: gunicorn cannot send them.
    """
    kept = [
        cookie
        for cookie in header.split(";")
        if cookie.partition("=")[0].strip(" \t") not in names and not _CONTROL.search(cookie)
    ]
    return ";".join(kept).strip(" \t")


@functools.cache
def _pattern(name: str) -> re.Pattern[str]:
    # Not all cookies are taken apart to find one: most of them belong to other applications.
    return re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}=(?:([A-Za-z0-9_-]+)|\"([A-Za-z0-9_-]+)\")[ \t]*(?=;|$)")
