"""Rules for URLs to send requests to: ``https``, or ``http`` where it is allowed, and nothing that hides a place."""

import re
from collections.abc import Collection
from typing import NamedTuple

from datafor_token.errors import RuleError
from datafor_token.validation import addresses

MAX_LENGTH = 2048  # characters
# Unlike ``urlsplit``, nothing is tolerated: RFC 3986 characters only, no user information, no fragment.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[A-Za-z0-9._~:/@!$&'()*+,;=%-]*)?(?P<query>\?[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*)?"
)


class URL(NamedTuple):
    """A URL that requests may be sent to. ``host`` has no brackets, and ``target`` is the path with the query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The host and, if it is not the usual one, the port: the value of the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """Return the URL without its query, which may have a secret: for messages and the log."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"


_PORTS = {"https": 443, "http": 80}


def parse(text: str, http_hosts: Collection[str] | None = None) -> URL:
    """Return the parts of a URL of keys; raise ``RuleError`` if it is not acceptable.

    ``http_hosts`` are those of the setting ``JWKS_HTTP_HOSTS``; without them, ``http`` is accepted for any host. Names
    are not resolved here.
    """
    if len(text) > MAX_LENGTH:
        raise RuleError("must be at most %(number)s characters long", number=MAX_LENGTH)
    # Scheme and host are not case-sensitive (RFC 3986 section 6.2.2.1).
    begin = re.match(r"[A-Za-z]+://[^/?#]*", text)
    found = _URL.fullmatch(begin.group().lower() + text[begin.end() :] if begin else text)
    port = int(found["port"] or _PORTS[found["scheme"]]) if found else 0
    host = found["host"].strip("[]") if found else ""
    if found is None or not 1 <= port <= 65535 or (":" in host and addresses.parse(host) is None):
        raise RuleError("must be a URL such as https://idp.example/jwks, without user information and fragment")
    url = URL(found["scheme"], host, port, (found["path"] or "/") + (found["query"] or ""))
    if http_hosts is not None and url.scheme == "http" and not is_loopback_name(host) and host not in http_hosts:
        raise RuleError("must begin with https://; http is for this host and those of the setting JWKS_HTTP_HOSTS")
    return url


def is_loopback_name(host: str) -> bool:
    """Return whether a host of a URL is this one by its name or address; the resolved address is checked too."""
    address = addresses.parse(host)
    return host == "localhost" if address is None else address.is_loopback
