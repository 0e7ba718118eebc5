"""What the values of settings must keep; each raises ``RuleError`` with a predicate."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

from datafor_token.errors import RuleError


def between(low: float, high: float) -> Callable[[Any], None]:
    """A number within two others."""

    def check(value: Any) -> None:
        if not low <= value <= high:
            raise RuleError(f"must be from {low} to {high}")

    return check


def one_of(*choices: str) -> Callable[[Any], None]:
    """One of some words."""

    def check(value: Any) -> None:
        if value not in choices:
            raise RuleError(f"must be one of {', '.join(choices)}")

    return check


def url_prefix(value: Any) -> None:
    """What can stand before every path."""
    if value and not re.fullmatch(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", value):
        raise RuleError("must be empty or a path such as /datafor, without a slash at its end")


def public_url(value: Any) -> None:
    """What a link can begin with."""
    if value and not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", value):
        raise RuleError("must be empty or a scheme and host such as https://intra.example, without a path")


def page_url(value: Any) -> None:
    """The address of a page: of any host, or of the host itself."""
    # No blanks, quotes, backslashes or angle brackets (RFC 3986): it goes into a Location header and into pages.
    plain = r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]*"
    if value and not re.fullmatch(rf"(https?://[A-Za-z0-9.-]+(:[0-9]{{1,5}})?(?=[/?#]|$)|/(?!/)){plain}", value):
        raise RuleError("must be empty, a URL such as https://portal.example/sign-in, or a path such as /sign-in")


def store(value: Any) -> None:
    """The file store, or what may be the URL of a database; the rest is for its driver to say."""
    if value != "file" and not re.fullmatch(r"(postgresql(\+psycopg)?|sqlite)://\S+", value):
        raise RuleError("must be file, or a database's URL such as postgresql+psycopg://user:password@host/database")


def shared_counts(value: Any) -> None:
    """Where counts can be kept together; the rest is for its client to say."""
    if value and not re.fullmatch(r"(rediss?|redis\+unix)://\S+", value):
        raise RuleError("must be empty or a URI such as redis://:password@host:6379/0")


def origins(value: Any) -> None:
    """Origins as browsers send them (RFC 6454 section 6.2)."""
    for origin in value:
        if not isinstance(origin, str) or not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin):
            raise RuleError(
                "must be a list of origins such as https://portal.example, in lower case and without a path"
            )


def hosts(value: Any) -> None:
    """Host names without a port; one that begins with a dot stands for all within it."""
    for host in value:
        if not isinstance(host, str) or not re.fullmatch(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*", host):
            raise RuleError("must be host names such as intra.example, in lower case and without a port")


def networks(value: Any) -> None:
    """Networks in CIDR notation, or addresses."""
    for network in value:
        try:
            ipaddress.ip_network(network if isinstance(network, str) else "")
        except ValueError:
            raise RuleError("must be networks such as 10.0.0.0/8 or ::1/128, with no bit set behind the mask") from None
