"""The Cookie request header (RFC 6265 section 4.2), whose cookies are separated by ``;`` alone.

A comma is part of a value: gunicorn joins several Cookie headers with commas, but no browser sends several.
"""

import functools
import hashlib
import re
from collections.abc import Collection, Sequence

# Characters that gunicorn refuses in the value of a response header.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_HALF = 43  # characters: 32 bytes as base64url; a cookie of ours has one or two of these, behind its mark if any
# 32 random bytes, encoded by secrets.token_urlsafe. Tomcat's session cookies have 32 characters, Undertow's 40.
_OURS = re.compile(r"\"?[A-Za-z0-9_-]{43}\"?")


def values_of(header: str, name: str) -> list[str]:
    """Return the values of all cookies of that name that can be ours, in their order.

    Names are case-sensitive. Our values consist of ``A-Z a-z 0-9 _ -``, with or without quotes; other values, such as
    a JSESSIONID of a Java application, are skipped.
    """
    return [match[1] or match[2] for match in _pattern(name).finditer(header)]


def without(header: str, names: Collection[str], shared: Collection[str] = ()) -> str:
    """Return the header without the cookies of these names; all others stay as they are, byte for byte.

    ``shared`` are names that other programs use too, such as the JSESSIONID of a Java application: of these, only
    values of our own form are removed. Cookies with control characters are dropped too: gunicorn cannot send them.
    """
    kept = []
    for cookie in header.split(";"):
        name, _, value = cookie.strip(" \t").partition("=")
        name = name.rstrip(" \t")
        ours = name in names or (name in shared and _OURS.fullmatch(value))
        if not ours and not _CONTROL.search(cookie):
            kept.append(cookie)
    return ";".join(kept).strip(" \t")


def domain_for(host: str, domain: str) -> str | None:
    """Return the domain if a browser accepts a cookie for it from this host (RFC 6265 section 5.1.3), else ``None``."""
    name = host.partition(":")[0].lower()
    return domain if name == domain or name.endswith(f".{domain}") else None


def marked(cookie: str, domain: str | None) -> str:
    """Return the value of a cookie for a domain, or for one host only (``None``).

    Browsers send cookies of one name for a host and for its domain side by side, and do not say which one is which. So
    the value of one for a domain has a mark in front, by which ``unmarked`` skips those of another setting.
    """
    return cookie if domain is None else _mark(domain) + cookie


def unmarked(values: list[str], domain: str | None) -> list[str]:
    """Return the cookies whose values ``marked`` returned for the same domain."""
    if domain is None:
        # Those with a mark are too long to name a session.
        return values
    mark = _mark(domain)
    return [value.removeprefix(mark) for value in values if value.startswith(mark)]


def without_marks(values: Sequence[str]) -> list[str]:
    """Return the cookies among these values, of whatever domain."""
    return [value[len(value) % _HALF :] for value in values]


@functools.cache
def _mark(domain: str) -> str:
    return hashlib.sha256(domain.encode()).hexdigest()[:8]


@functools.cache
def _pattern(name: str) -> re.Pattern[str]:
    # A search is faster than parsing all cookies, most of which belong to other applications.
    return re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}=(?:([A-Za-z0-9_-]+)|\"([A-Za-z0-9_-]+)\")[ \t]*(?=;|$)")
