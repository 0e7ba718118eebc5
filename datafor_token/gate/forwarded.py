"""The original request behind a check: what a reverse proxy passes on of the request that it asks about."""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

from datafor_token.applications.rules import next_path
from datafor_token.errors import RuleError

# In this order: nginx sets the first or the second, Traefik and Caddy the third.
_URI_HEADERS = ("HTTP_X_ORIGINAL_URI", "HTTP_X_ORIGINAL_URL", "HTTP_X_FORWARDED_URI")
# Traefik and Caddy set the first, nginx configurations the second: nginx asks with GET, whatever the request was.
_METHOD_HEADERS = ("HTTP_X_FORWARDED_METHOD", "HTTP_X_ORIGINAL_METHOD")
_PURPOSE_HEADERS = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_MOZ", "HTTP_X_PURPOSE")
# A JWS begins with a JSON object; what is damaged in a link is rather its name, or what is in front of it.
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.")


def query_pairs(environ: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the parameters in the URL of the original request.

    Decodes leniently: what cannot be read is a parameter of another application, not a token.
    """
    return parse_qsl(_split(_uri(environ))[1], keep_blank_values=True, errors="replace")


def is_navigation(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser sent the original request to show a page, rather than as a part of one.

    Browsers say so in ``Sec-Fetch-Mode`` (Fetch Metadata), but over plain http, and in old versions, they send no
    such header. There, a navigation is a GET request that accepts HTML by name; images and scripts do not.
    """
    method = next((environ[name] for name in _METHOD_HEADERS if environ.get(name)), environ["REQUEST_METHOD"])
    return shows_page(environ) and bool(method == "GET" or environ.get("HTTP_SEC_FETCH_MODE", "").strip())


def shows_page(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser shows the response as a page: a navigation, or any form over plain http."""
    mode = environ.get("HTTP_SEC_FETCH_MODE", "").strip()
    if mode:
        return bool(mode == "navigate")
    return accepts_html(environ) and environ.get("HTTP_X_REQUESTED_WITH", "").lower() != "xmlhttprequest"


def is_prefetch(environ: Mapping[str, Any]) -> bool:
    """Return whether a browser asks ahead of a click, or for a preview: nobody sees the page yet, if ever."""
    purposes = " ".join(environ.get(name, "") for name in _PURPOSE_HEADERS).lower()
    return any(word in purposes for word in ("prefetch", "prerender", "preview"))


def accepts_html(environ: Mapping[str, Any]) -> bool:
    """Return whether ``Accept`` names ``text/html``, as only the headers of navigations do."""
    ranges = environ.get("HTTP_ACCEPT", "").lower().split(",")
    return any(one.partition(";")[0].strip() == "text/html" for one in ranges)


def way_back(environ: Mapping[str, Any], secrets: Collection[str]) -> str | None:
    """Return path and query of the original request, without the parameters named in ``secrets``.

    Without the whole query where it still has what looks like a token, under a name that was damaged on its way.
    ``None`` where they are not known, or would lead to another host.
    """
    path, query = _split(_uri(environ))
    kept = "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in secrets)
    if _TOKEN.search(unquote(kept)):
        kept = ""
    if _TOKEN.search(unquote(path)):
        return None
    try:
        # WSGI has the bytes of headers as Latin-1 (PEP 3333).
        return next_path((f"{path}?{kept}" if kept else path).encode("latin-1").decode("utf-8"))
    except (RuleError, UnicodeDecodeError):
        return None


def is_request_for(environ: Mapping[str, Any], url: str, hosts: Collection[str]) -> bool:
    """Return whether the original request is for the page at ``url``; ``hosts`` are the names of its own host.

    A request for the same path that already has a way back counts too: the proxy may not pass the host on.
    """
    wanted = urlsplit(url)
    path, query = _split(_uri(environ))
    if unquote(path) != (unquote(wanted.path) or "/"):
        return False
    here = not wanted.netloc or wanted.netloc.lower() in {host.lower() for host in hosts}
    return here or any(name == "next" for name, _ in parse_qsl(query, keep_blank_values=True, errors="replace"))


def with_next(url: str, target: str | None) -> str:
    """Return ``url`` with the parameter ``next``, beside the parameters that it may have."""
    if target is None:
        return url
    address, mark, fragment = url.partition("#")
    separator = "&" if "?" in address else "?"
    return f"{address}{separator}next={quote(target, safe='')}{mark}{fragment}"


def _uri(environ: Mapping[str, Any]) -> str:
    return str(next((environ[name] for name in _URI_HEADERS if name in environ), ""))


def _split(uri: str) -> tuple[str, str]:
    """Return path and query of a URI that is whole, or begins with its path, as proxies have it."""
    rest = uri.partition("#")[0]
    path, _, query = rest.partition("?")
    scheme, colon, behind = path.partition("://")
    if colon and scheme.isalpha():
        slash = behind.find("/")
        path = behind[slash:] if slash >= 0 else "/"
    return path, query
