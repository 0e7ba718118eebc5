"""Compressed pages: what browsers load of the console, the guide and the API's page, as gzip where they accept it.

The length of a compressed response tells something about its content (BREACH): a text that an attacker adds to a page
makes it grow less where the page has the same text. So a page with a secret stays as it is (``leave_plain``), and so
does a response to a POST or to a request from another site. The token of a page's forms changes every second.
"""

import functools
import gzip

from flask import Blueprint, Response, g

from datafor_token.web.current import current

_TYPES = frozenset({"text/html", "text/css", "text/javascript", "image/svg+xml", "application/json"})
_SMALLEST = 1024  # bytes; a smaller response fits into one packet anyway
_LEVEL = 5  # a page of 100 kB takes 1 ms, with level 9 three times as long, and is 2 % smaller then
_MOST_FILES = 64


def init_blueprint(blueprint: Blueprint) -> None:
    """Compress the responses of a blueprint."""
    blueprint.after_request(_compressed)


def leave_plain() -> None:
    """Do not compress the response to the current request, since it shows a secret."""
    g.leave_plain = True


def _compressed(response: Response) -> Response:
    request = current()
    if response.mimetype not in _TYPES or "Content-Encoding" in response.headers:
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"] <= 0:
        return response
    etag, _ = response.get_etag()
    if etag is not None:
        # Plain and compressed are the same to those who ask whether theirs is still valid (RFC 9110 section 8.8.1).
        response.set_etag(etag, weak=True)
    if (
        request.method not in ("GET", "HEAD")
        or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")
        or "leave_plain" in g
        or response.direct_passthrough
        # A download of any size, which would be in memory as a whole.
        or response.is_streamed
        or len(content := response.get_data()) < _SMALLEST
    ):
        return response
    # What has an ETag is the same for everybody.
    response.set_data(_gzip(content) if etag is None else _gzip_once(content))
    response.headers["Content-Encoding"] = "gzip"
    return response


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, _LEVEL, mtime=0)


_gzip_once = functools.lru_cache(_MOST_FILES)(_gzip)
