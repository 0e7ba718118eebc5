"""Receiver of a webhook for tests, a server on loopback."""

import contextlib
import queue
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # that of the specification's examples


class Received(NamedTuple):
    """A request: its headers with names in lower case, its body, and the client's port."""

    headers: dict[str, str]
    body: bytes
    port: int


class Receiver(ThreadingHTTPServer):
    """Responds with ``status``, and puts each request into ``requests``; ``bodies`` are those of status 200."""

    daemon_threads = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._connections: list[socket.socket] = []
        self.status = 200
        self.requests: queue.Queue[Received] = queue.Queue()
        self.bodies: list[bytes] = []
        self.location = ""
        self.may_respond = threading.Event()
        self.may_respond.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/events?key=of-the-url"

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and remember it."""
        connection, address = super().get_request()
        self._connections.append(connection)
        return connection, address

    def end(self) -> None:
        """Accept no further connections, and end those that are open."""
        self.shutdown()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def next(self) -> Received:
        """Return the next request; wait for it."""
        return self.requests.get(timeout=60)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.requests.put(Received(headers, body, self.client_address[1]))
        receiver.may_respond.wait()
        status = receiver.status
        if status == 200:
            receiver.bodies.append(body)
        self.send_response(status)
        if receiver.location:
            self.send_header("Location", receiver.location)
        self.send_header("Content-Length", "0")
        with contextlib.suppress(OSError):
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextlib.contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """Return a receiver that is stopped at the end."""
    with Receiver(port) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.end()
            thread.join()
