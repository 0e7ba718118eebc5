"""A stand-in for the service: it responds as a test says, and keeps what it was asked."""

import http.server
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple


class Asked(NamedTuple):
    """A request that reached the stub; ``headers`` have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    server: "Stub"

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append(Asked(self.command, self.path, headers, body))
        status, pairs, content = self.server.response
        self.send_response(status)
        for name, value in [*pairs, ("Content-Length", str(len(content)))]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_HEAD = do_OPTIONS = respond  # noqa: N815 - the names of http.server

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class Stub(http.server.ThreadingHTTPServer):
    """The stub on a free port. It refuses each request until a test sets ``response``: status, headers and body."""

    @classmethod
    def start(cls) -> "Stub":
        """Serve in a thread until ``stop``."""
        stub = cls(("127.0.0.1", 0), _Handler)
        stub.asked = []
        stub.reset()
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        return stub

    asked: list[Asked]
    response: tuple[int, Sequence[tuple[str, str]], bytes]

    def reset(self, status: int = 401, *headers: tuple[str, str], body: bytes = b"") -> None:
        """Respond with this from now on, and forget what was asked."""
        self.response = status, headers, body
        self.asked.clear()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Log nothing."""
