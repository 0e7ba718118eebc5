"""gunicorn's requests and answers, with what is the same in most of them found out once and sent in one piece."""

import functools
import io
import time

from gunicorn import util
from gunicorn.http import message, parser, wsgi

JSON = ("Content-Type", "application/json")
COMMON = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
_CHECKED = frozenset((JSON, *COMMON))
_http_date, _Errors = util.http_date, wsgi.WSGIErrorsWrapper  # gunicorn's own


class Request(message.Request):  # type: ignore[misc]  # gunicorn has no types
    """A request whose sender is not looked up in an empty list."""

    def _peer_is_trusted_proxy(self) -> bool:
        # gunicorn takes the address apart before it sees that nobody is believed.
        if isinstance(self.peer_addr, tuple) and not self.cfg.forwarded_allow_ips:
            return False
        return bool(super()._peer_is_trusted_proxy())


class Response(wsgi.Response):  # type: ignore[misc]  # the same
    """Sends headers and body at once where the body is in one piece, which gunicorn sends one after the other."""

    headers_sent: bool
    sent: int

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Look an answer's headers through, but for those that the service itself puts into each."""
        for header in headers:
            # No list is: PEP 3333 asks for tuples, gunicorn takes either.
            if type(header) is tuple and header in _CHECKED:
                self.headers.append(header)
            else:
                super().process_headers((header,))

    def write(self, arg: bytes) -> None:
        """Send a part of the body, and the headers where they were not yet sent."""
        if self.headers_sent or self.chunked or self._omits_body or self.response_length != len(arg):
            super().write(arg)
            return
        lines = [*self.default_headers(), *[f"{name}: {value}\r\n" for name, value in self.headers], "\r\n"]
        util.write(self.sock, "".join(lines).encode("latin-1") + arg)
        self.headers_sent = True
        self.sent = len(arg)


class Errors(io.TextIOBase):
    """``wsgi.errors``: gunicorn looks for its log's streams in each request, this where something is written."""

    def __init__(self, cfg: object) -> None:
        self._cfg = cfg

    def write(self, text: str) -> int:
        """Write to gunicorn's error log."""
        _Errors(self._cfg).write(text)
        return len(text)


def date(timestamp: float | None = None) -> str:
    """A time as HTTP has it; each second is put into words once."""
    return _second(int(time.time() if timestamp is None else timestamp))


@functools.lru_cache(maxsize=2)
def _second(second: int) -> str:
    return str(_http_date(second))


def install() -> None:
    """Have gunicorn use them, in this process; these are the places where it looks for its own."""
    parser.RequestParser.mesg_class = Request
    wsgi.Response = Response
    wsgi.WSGIErrorsWrapper = Errors
    util.http_date = date
