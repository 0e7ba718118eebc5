"""Request and response of gunicorn, without the checks whose result is known, and sent in one piece."""

import functools
import io
import time
from collections.abc import Collection

from gunicorn import util
from gunicorn.http import message, parser, wsgi

# gunicorn's own function and class, which ``install`` replaces.
_gunicorn_date, _GunicornErrors = util.http_date, wsgi.WSGIErrorsWrapper


class Request(message.Request):  # type: ignore[misc]  # gunicorn has no types
    """A request whose sender is not looked up in an empty list of proxies."""

    def _peer_is_trusted_proxy(self) -> bool:
        # gunicorn parses the address before it sees that no proxy is trusted.
        if isinstance(self.peer_addr, tuple) and not self.cfg.forwarded_allow_ips:
            return False
        return bool(super()._peer_is_trusted_proxy())


class Response(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """A response that sends its headers together with a body in one piece; gunicorn sends first one, then the other."""

    headers_sent: bool
    sent: int
    # Headers that every response of the application has. gunicorn's check of four of them takes 14 us.
    checked: Collection[tuple[str, str]] = frozenset()

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Check the headers of a response, except those in ``checked``."""
        for header in headers:
            # A list is not hashable: PEP 3333 asks for tuples, gunicorn takes either.
            if type(header) is tuple and header in self.checked:
                self.headers.append(header)
            else:
                super().process_headers((header,))

    def write(self, arg: bytes) -> None:
        """Send a part of the body, after the headers if they are not sent yet."""
        if self.headers_sent or self.chunked or self._omits_body or self.response_length != len(arg):
            super().write(arg)
            return
        lines = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers], "\r\n"]
        util.write(self.sock, "".join(lines).encode("latin-1") + arg)
        self.headers_sent = True
        self.sent = len(arg)


class Errors(io.TextIOBase):
    """``wsgi.errors``: gunicorn looks for its log's streams in each request, this class when something is written."""

    def __init__(self, cfg: object) -> None:
        self._cfg = cfg

    def write(self, text: str) -> int:
        """Write to gunicorn's error log."""
        _GunicornErrors(self._cfg).write(text)
        return len(text)


def date(timestamp: float | None = None) -> str:
    """Return a time (seconds since 1970, by default now) in the format of HTTP; each second is formatted once."""
    return _second(int(time.time() if timestamp is None else timestamp))


@functools.lru_cache(maxsize=2)
def _second(second: int) -> str:
    return str(_gunicorn_date(second))


def install(checked_headers: Collection[tuple[str, str]]) -> None:
    """Have gunicorn use these classes in this process; ``checked_headers`` need no check in each response."""
    Response.checked = frozenset(checked_headers)
    parser.RequestParser.mesg_class = Request
    wsgi.Response = Response
    wsgi.WSGIErrorsWrapper = Errors
    util.http_date = date
