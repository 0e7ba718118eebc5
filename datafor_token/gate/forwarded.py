"""The original request behind a check, from the headers that a reverse proxy passes on."""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

from datafor_token.applications.rules import next_path
from datafor_token.errors import RuleError

# In this order: nginx sets the first or the second, Traefik and Caddy the third.
_URI_HEADERS = ("HTTP_X_ORIGINAL_URI", "HTTP_X_ORIGINAL_URL", "HTTP_X_FORWARDED_URI")
# Traefik and Caddy set the first, nginx configurations the second: the check of nginx is always a GET request.
_METHOD_HEADERS = ("HTTP_X_FORWARDED_METHOD", "HTTP_X_ORIGINAL_METHOD")
_PURPOSE_HEADERS = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_MOZ", "HTTP_X_PURPOSE")
_FRAMES = ("iframe", "frame", "embed", "object", "fencedframe")
# A JWS begins with a JSON object. A damaged link more often has a wrong parameter name, or wrong text before the token.
# The group is what shows a token. Without it the pattern matches too, so that no text is looked at twice: anybody can
# send a long URL of beginnings.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]++(\.[A-Za-z0-9_-]++\.)?")


def query_pairs(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters in the URL of the original request.

    Decodes leniently: a parameter that cannot be read belongs to the application behind the gate, and is not a token.
    """
    return parse_qsl(_split(_uri(environ))[1], keep_blank_values=True, errors="replace")


def is_navigation(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser sent the original request to show a page, rather than for a part of one.

    ``Sec-Fetch-Mode`` (Fetch Metadata) states it, but browsers do not send it over plain http, nor do old versions.
    Without it, a navigation is a GET request that accepts HTML by name, as requests for images and scripts do not.
    """
    return shows_page(environ) and bool(method(environ) == "GET" or environ.get("HTTP_SEC_FETCH_MODE", "").strip())


def method(environ: Mapping[str, Any]) -> str:
    """Return the method of the original request, or that of this one if the proxy does not pass it on."""
    return str(next((environ[name] for name in _METHOD_HEADERS if environ.get(name)), environ["REQUEST_METHOD"]))


def is_in_frame(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser states that it shows the response in a frame. Over plain http it does not tell."""
    return environ.get("HTTP_SEC_FETCH_DEST", "").strip().lower() in _FRAMES


def shows_page(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser shows the response as a page: a navigation, or any form over plain http."""
    mode = environ.get("HTTP_SEC_FETCH_MODE", "").strip()
    if mode:
        return bool(mode == "navigate")
    return accepts_html(environ) and environ.get("HTTP_X_REQUESTED_WITH", "").lower() != "xmlhttprequest"


def is_prefetch(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser sent the request before a click, or for a preview, without showing the page."""
    purposes = " ".join(environ.get(name, "") for name in _PURPOSE_HEADERS).lower()
    return any(word in purposes for word in ("prefetch", "prerender", "preview"))


def accepts_html(environ: Mapping[str, Any]) -> bool:
    """Return whether ``Accept`` names ``text/html``, as only the headers of navigations do."""
    ranges = environ.get("HTTP_ACCEPT", "").lower().split(",")
    return any(one.partition(";")[0].strip() == "text/html" for one in ranges)


def way_back(environ: Mapping[str, Any], secrets: Collection[str]) -> str | None:
    """Return path and query of the original request, without the parameters named in ``secrets``.

    ``None`` if the proxy does not pass the URL on, or if it leads to another host.
    """
    path, query = _split(_uri(environ))
    try:
        # WSGI decodes the bytes of headers as Latin-1 (PEP 3333).
        target = (f"{path}?{query}" if query else path).encode("latin-1").decode("utf-8")
        # Checked without the token, whose length may exceed that of a target.
        found = without_secrets(target, secrets)
        return None if found is None else next_path(found)
    except (RuleError, UnicodeDecodeError):
        return None


def without_secrets(target: str, secrets: Collection[str]) -> str | None:
    """Return a path with its query and fragment, without the parameters named in ``secrets``.

    A query or fragment that still seems to have a token is left out as a whole; ``None`` if the path has one.
    """
    address, _, fragment = target.partition("#")
    path, _, query = address.partition("?")
    if _has_token(path):
        return None
    rest = "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in secrets)
    kept = path
    for mark, text in (("?", rest), ("#", fragment)):
        if text and not _has_token(text):
            kept += mark + text
    return kept


def _has_token(text: str) -> bool:
    return any(match[1] for match in _TOKEN.finditer(unquote(text)))


def is_request_for(
    environ: Mapping[str, Any], url: str, hosts: Collection[str], *, hosts_are_known: bool = False
) -> bool:
    """Return whether the original request is for the page at ``url``; ``hosts`` are the names of the request's host.

    Unless ``hosts_are_known``, the proxy may not pass the host on: then a request for the same path that already has
    the parameter ``next`` is one too.
    """
    wanted = urlsplit(url)
    path, query = _split(_uri(environ))
    if unquote(path) != (unquote(wanted.path) or "/"):
        return False
    here = not wanted.netloc or wanted.netloc.lower() in {host.lower() for host in hosts}
    if here or hosts_are_known:
        return here
    return any(name == "next" for name, _ in parse_qsl(query, keep_blank_values=True, errors="replace"))


def with_next(url: str, target: str | None) -> str:
    """Return ``url`` with the parameter ``next`` added, unless ``target`` is ``None``."""
    return url if target is None else with_parameter(url, "next", target)


def with_parameter(url: str, name: str, value: str) -> str:
    """Return ``url`` with a parameter added, before its fragment."""
    address, mark, fragment = url.partition("#")
    separator = "" if address.endswith(("?", "&")) else "&" if "?" in address else "?"
    return f"{address}{separator}{name}={quote(value, safe='')}{mark}{fragment}"


def _uri(environ: Mapping[str, Any]) -> str:
    return str(next((environ[name] for name in _URI_HEADERS if name in environ), ""))


def _split(uri: str) -> tuple[str, str]:
    """Return path and query of a URI that is absolute or begins with its path; proxies send both."""
    rest = uri.partition("#")[0]
    path, _, query = rest.partition("?")
    scheme, colon, host_and_path = path.partition("://")
    if colon and scheme.isalpha():
        slash = host_and_path.find("/")
        path = host_and_path[slash:] if slash >= 0 else "/"
    return path, query
