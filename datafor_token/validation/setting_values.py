"""Checks of the values of settings. A check raises ``RuleError`` for a value that breaks its rule."""

import base64
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datafor_token.errors import RuleError
from datafor_token.validation import addresses, files, urls


def between(low: float, high: float) -> Callable[[Any], None]:
    """Return a check for a number from ``low`` to ``high``."""

    def check(value: Any) -> None:
        if not low <= value <= high:
            raise RuleError("must be from %(low)s to %(high)s", low=low, high=high)

    return check


def one_of(*choices: str) -> Callable[[Any], None]:
    """Return a check for one of the ``choices``."""

    def check(value: Any) -> None:
        if value not in choices:
            raise RuleError("must be one of %(values)s", values=", ".join(choices))

    return check


def check_url_prefix(value: Any) -> None:
    """Check a prefix of paths."""
    if value and not re.fullmatch(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", value):
        raise RuleError("must be empty or a path such as /datafor, without a slash at the end")


def check_public_url(value: Any) -> None:
    """Check the scheme and host of a URL."""
    if value and not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", value):
        raise RuleError("must be empty or a scheme and host such as https://intra.example, without a path")


def check_page_url(value: Any) -> None:
    """Check the URL of a page, or its path on this host."""
    # No blanks, quotes, backslashes or angle brackets (RFC 3986): it is used in a Location header and in pages.
    plain = r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]*"
    if value and not re.fullmatch(rf"(https?://[A-Za-z0-9.-]+(:[0-9]{{1,5}})?(?=[/?#]|$)|/(?!/)){plain}", value):
        raise RuleError(
            "must be empty, a URL such as https://portal.example/sign-in, or a path such as /sign-in, without blanks"
        )


def check_store(value: Any) -> None:
    """Check for the word file or the scheme of a database's URL; its driver checks the rest."""
    if value != "file" and not re.fullmatch(r"(postgresql(\+psycopg)?|sqlite)://\S+", value):
        raise RuleError(
            "must be file, or the URL of a database such as postgresql+psycopg://user:password@host/database"
        )


def check_redis_uri(value: Any) -> None:
    """Check the scheme of a Redis URI; its client checks the rest."""
    if value and not re.fullmatch(r"(rediss?|redis\+unix)://\S+", value):
        raise RuleError("must be empty or a URI such as redis://:password@host:6379/0")


def check_hosts(value: Any) -> None:
    """Check host names without a port; a name that starts with a dot matches its subdomains."""
    for host in value:
        if not isinstance(host, str) or not re.fullmatch(r"\.?[a-z0-9-]+(\.[a-z0-9-]+)*", host):
            raise RuleError("must be a list of host names such as intra.example, in lower case and without a port")


def check_cookie_domain(value: Any) -> None:
    """Check the domain of a cookie (RFC 6265 section 5.2.3). Browsers refuse public suffixes, such as co.uk."""
    label = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
    if value and not re.fullmatch(rf"{label}(?:\.{label})*\.[a-z](?:[a-z0-9-]*[a-z0-9])?", value):
        raise RuleError("must be empty or a domain with a dot in it, such as intra.example, in lower case")


def check_networks(value: Any) -> None:
    """Check networks in CIDR notation, or addresses."""
    for network in value:
        addresses.parse_network(network if isinstance(network, str) else "")


def check_node(value: Any) -> None:
    """Check the name of a node: letters, digits, and between them dots, hyphens and underscores; or empty."""
    if value and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value):
        raise RuleError("must be at most 63 letters, digits, dots, hyphens and underscores, such as node-a")


def check_ca_file(value: Any) -> None:
    """Check the absolute path of a readable PEM file with certificates."""
    if not value:
        return
    if not value.startswith("/"):
        raise RuleError("must be empty or an absolute path such as /etc/ssl/private-ca.pem")
    try:
        # First, since OpenSSL would wait for a pipe.
        files.read(Path(value), 16 * files.LARGEST)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=value)
    except ssl.SSLError:
        raise RuleError("names a file that has no certificate in PEM") from None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not a path"
        raise RuleError("names a file that cannot be read: %(cause)s", cause=cause) from None


def check_http_hosts(value: Any) -> None:
    """Check host names or IPv4 addresses without a port."""
    for host in value:
        if not isinstance(host, str) or not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", host):
            raise RuleError("must be a list of host names such as idp.intra.example, in lower case and without a port")


def check_audit_sinks(value: Any) -> None:
    """Check the names of sinks, and the URL of a webhook."""
    webhooks = [sink for sink in value if sink not in ("syslog", "stdout")]
    if len(webhooks) > 1 or not all(map(_is_webhook, webhooks)) or len(set(value)) < len(value):
        raise RuleError(
            "must be a list of syslog, stdout and one URL such as https://siem.example/events, each at most once,"
            " without user information; http is for this host only"
        )


def _is_webhook(value: Any) -> bool:
    try:
        urls.parse(value if isinstance(value, str) else "", ())
    except RuleError:
        return False
    return True


def check_webhook_secret(value: Any) -> None:
    """Check secrets of a webhook, separated by blanks."""
    for secret in value.split():
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if not secret.startswith("whsec_") or not 24 <= size <= 64:
            raise RuleError(
                "must be empty, or whsec_ and Base64 of 24 to 64 random bytes, or several with blanks between"
            )
