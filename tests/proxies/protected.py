"""The application behind the proxies: it returns what it received, as it came on the wire."""

import base64
import hashlib
import http.server
import json
import threading
from typing import Any


class Echo(http.server.BaseHTTPRequestHandler):
    """Returns path, headers and length of the body of each request; speaks a WebSocket's first words."""

    protocol_version = "HTTP/1.1"
    # Head and body in one packet: in two, the second waits 40 ms for the acknowledgement of the first.
    wbufsize = 65536

    def respond(self) -> None:
        """Respond to a request of any method."""
        if self.path.startswith("/drop"):
            self.close_connection = True
            return
        if self.headers.get("Upgrade"):
            self._upgrade()
            return
        left = length = int(self.headers.get("Content-Length") or 0)
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)):
            length += size
            self.rfile.read(size + 2)
        pairs = [(name, value.encode("latin-1").decode("utf-8", "replace")) for name, value in self.headers.items()]
        seen = {"method": self.command, "path": self.path, "headers": pairs, "length": length}
        body = json.dumps(seen).encode()
        self.send_response(401 if self.path.startswith("/its-own-401") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Referrer-Policy", "same-origin")
        self.send_header("Set-Cookie", "sid=8; Path=/")
        if self.path.startswith("/x-accel"):
            self.send_header("X-Accel-Redirect", "/_datafor_check")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_OPTIONS = do_HEAD = respond  # noqa: N815 - the names of http.server

    def _upgrade(self) -> None:
        user, key = self.headers.get("Remote-User", ""), self.headers.get("Sec-WebSocket-Key", "")
        # HAProxy compares it with the key (RFC 6455 section 4.1).
        digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n"
            f"Upgrade: {', '.join(self.headers.get_all('Upgrade', []))}\r\n\r\nhello {user}\n".encode()
        )
        self.wfile.flush()
        self.wfile.write(self.rfile.readline())
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class Application(http.server.ThreadingHTTPServer):
    """The application on a free port; it ignores connections that a proxy drops."""

    @classmethod
    def start(cls) -> "Application":
        """Serve in a thread until ``stop``."""
        application = cls(("127.0.0.1", 0), Echo)
        threading.Thread(target=application.serve_forever, daemon=True).start()
        return application

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Log nothing."""
