"""The application behind the proxies: it returns what it received, as it came on the wire."""

import base64
import hashlib
import http.server
import json
import threading
from typing import Any


class Echo(http.server.BaseHTTPRequestHandler):
    """Returns path, headers and length of the body of each request; sends events; speaks a WebSocket's first words."""

    server: "Application"

    protocol_version = "HTTP/1.1"
    # Head and body in one packet: in two, the second waits 40 ms for the acknowledgement of the first.
    wbufsize = 65536

    def respond(self) -> None:
        """Respond to a request of any method."""
        self.server.served += 1
        if self.path.startswith("/drop"):
            self.close_connection = True
            return
        if self.headers.get("Upgrade"):
            self._upgrade()
            return
        length = self._read_body()
        pairs = [(name, value.encode("latin-1").decode("utf-8", "replace")) for name, value in self.headers.items()]
        seen = {"method": self.command, "path": self.path, "headers": pairs, "length": length}
        body = json.dumps(seen).encode()
        if self.path.startswith("/events"):
            self._send_events()
            return
        if self.path.startswith("/download"):
            self._send_large()
            return
        self.send_response(401 if self.path.startswith("/its-own-401") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Referrer-Policy", "same-origin")
        self.send_header("Set-Cookie", "sid=8; Path=/")
        if self.path.startswith("/x-accel"):
            self.send_header("X-Accel-Redirect", "/_datafor_check")
        if self.path.startswith("/own-policy"):
            self.send_header("Content-Security-Policy", "script-src 'self'")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_OPTIONS = do_HEAD = respond  # noqa: N815 - the names of http.server

    def _read_body(self) -> int:
        """Read the whole body, or the next request of this connection would begin with the rest; return its length."""
        left = length = int(self.headers.get("Content-Length") or 0)
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                length += size
                self.rfile.read(size + 2)
            self.rfile.readline()
        return length

    def _send_events(self) -> None:
        """Send one event, and the next one when a request for ``/goes-on`` arrives; chunked if the path asks for it."""
        chunked = self.path.startswith("/events-chunked")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked") if chunked else self.send_header("Connection", "close")
        if self.path.startswith("/events-accel"):
            self.send_header("X-Accel-Buffering", "no")
        self.end_headers()
        self.wfile.flush()
        for number in range(3):
            event = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event) if chunked else event)
            self.wfile.flush()
            self.server.received.acquire()
        self.wfile.write(b"0\r\n\r\n" if chunked else b"")
        self.close_connection = not chunked

    def _send_large(self) -> None:
        """Send as many MiB as the path says."""
        number = int(self.path.rpartition("/")[2])
        self.send_response(200)
        self.send_header("Content-Length", str(number << 20))
        self.end_headers()
        for _ in range(number):
            self.wfile.write(b"x" * (1 << 20))

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
    """The application on a free port; it ignores connections that a proxy drops.

    A test releases ``received`` when it has received an event.
    """

    received: threading.Semaphore
    served = 0

    @classmethod
    def start(cls) -> "Application":
        """Serve in a thread until ``stop``."""
        application = cls(("127.0.0.1", 0), Echo)
        application.received = threading.Semaphore(0)
        threading.Thread(target=application.serve_forever, daemon=True).start()
        return application

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Log nothing."""
