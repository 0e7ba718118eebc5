"""A portal with its own sign-in, and the protected application, each with the pages that the journeys need."""

import base64
import hashlib
import html
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable
from email.parser import BytesParser
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.handmade_tokens import token
from tests.support import STRONG_SECRET

PAGE = """<!doctype html><title>{user}</title><h1>{user}</h1>
<img src="/part.png" alt=""><iframe name="part" src="/part.html"></iframe>
<form method="post" action="/save?a=1" enctype="multipart/form-data">
<textarea name="text"></textarea><input name="file" type="file"><button>Save</button></form>
<pre>{saved}</pre>
<a href="/datafor/auth/leave">Leave</a>
"""
SIGN_IN = """<!doctype html><title>Portal</title><h1>Portal</h1>
<form method="post" action="?{query}"><input name="user" aria-label="Name"><button>Enter</button></form>
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Requests of the portal and of the application."""

    server: Any
    protocol_version = "HTTP/1.1"
    # Head and body in one packet.
    wbufsize = 65536

    def do_GET(self) -> None:
        """Respond to a request of any method."""
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        parts = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.respond(self, parts.path)

    do_POST = do_OPTIONS = do_PUT = do_GET  # noqa: N815 - the names of http.server

    def send(self, body: str = "", status: int = 200, kind: str = "text/html", **headers: str) -> None:
        """Send a response; ``headers`` have ``_`` for ``-``."""
        content = body.encode()
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Type": f"{kind}; charset=utf-8", "Cache-Control": "no-store", **named}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class Listening(http.server.ThreadingHTTPServer):
    """A server on a free port, in a thread."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Ignore connections that a browser or proxy drops."""


class Portal(Listening):
    """The portal, over https. It knows its users by a cookie, and signs their tokens.

    ``hosts`` has the host of each application by the name in ``app``; ``page`` is the start page; ``lifetime`` (s) is
    that of tokens; ``signed_out`` is called with the name of a user who signs out, and then ``leave`` is the next page.
    """

    def __init__(self, folder: Path, hosts: dict[str, str]) -> None:
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(folder / "crt", folder / "key")
        self.hosts = hosts
        self.reset()
        super().__init__()

    def reset(self) -> None:
        """Make everything as it was at first."""
        self.page, self.lifetime, self.issued = "<!doctype html><h1>Portal</h1>", 3600, 0
        self.asked: list[str] = []
        self.leave = ""
        self.signed_out: Callable[[str], None] = lambda _: None

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; the handshake is in the thread of its requests."""
        connection, address = super().get_request()
        return self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def token(self, user: str) -> str:
        """Return a token for a user."""
        self.issued += 1
        return token({"loginname": user, "exp": int(time.time()) + self.lifetime, "n": self.issued}, STRONG_SECRET)

    def respond(self, handler: Handler, path: str) -> None:
        """Sign in and out, redirect to the gate, issue tokens, or show the start page."""
        cookie = SimpleCookie(handler.headers.get("Cookie", "")).get("portal")
        user = cookie.value if cookie else ""
        if path == "/sign-in":
            if handler.command == "POST":
                user = parse_qs(handler.body.decode())["user"][0]
                mine = f"portal={user}; Path=/; Secure; HttpOnly; SameSite=Lax"
                handler.send(status=303, Location=handler.path, Set_Cookie=mine)
            elif not user or handler.query.get("prompt") == "login":
                self.asked.append(handler.path)
                # Back from the form, nobody is asked again.
                query = urlsplit(handler.path).query.replace("&prompt=login", "")
                handler.send(SIGN_IN.format(query=html.escape(query)))
            else:
                query = urlencode({"token": self.token(user), "next": handler.query.get("next", "/")})
                host = self.hosts[handler.query["app"]]
                handler.send(status=303, Location=f"https://{host}/datafor/auth/enter?{query}")
        elif path == "/sign-out":
            self.signed_out(user)
            gone = "portal=; Path=/; Max-Age=0"
            if self.leave:
                handler.send(status=303, Location=self.leave, Set_Cookie=gone)
            else:
                handler.send("<!doctype html><h1>Bye</h1>", Set_Cookie=gone)
        elif path == "/token":
            handler.send(json.dumps({"token": self.token(user)}), kind="application/json")
        else:
            handler.send(self.page)


class Application(Listening):
    """The application. ``seen`` has method, target and user of each request, ``headers`` all headers that came."""

    def __init__(self) -> None:
        self.reset()
        super().__init__()

    def reset(self) -> None:
        """Forget the requests."""
        self.seen: list[tuple[str, str, str]] = []
        self.text = ""

    def respond(self, handler: Handler, path: str) -> None:
        """Show the user, on a page or otherwise."""
        user = handler.headers.get("Remote-User", "")
        self.seen.append((handler.command, handler.path, user))
        self.text += f"{handler.requestline}\n{handler.headers}"
        if handler.headers.get("Upgrade"):
            self._upgrade(handler, user)
        elif path == "/events":
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.send_header("Connection", "close")
            handler.end_headers()
            handler.wfile.write(f"data: {user}\n\n".encode())
            handler.wfile.flush()
            handler.close_connection = True
            # Open until the browser closes it.
            handler.connection.recv(1)
        elif path.startswith("/api/"):
            origin = handler.headers.get("Origin", "")
            handler.send(
                json.dumps({"user": user, "body": handler.body.decode()}),
                kind="application/json",
                Access_Control_Allow_Origin=origin,
                Access_Control_Allow_Credentials="true",
                Access_Control_Allow_Headers="X-Mine, Authorization, Content-Type",
                Access_Control_Allow_Methods="PUT",
            )
        elif path.startswith("/part"):
            handler.send(user)
        else:
            saved = html.escape(_sent(handler)) if handler.command == "POST" else ""
            handler.send(PAGE.format(user=html.escape(user), saved=saved))

    def _upgrade(self, handler: Handler, user: str) -> None:
        """Speak a WebSocket: send the user, then return one short message (RFC 6455)."""
        key = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest()).decode()
        handler.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            + b"\x81"
            + bytes([len(user)])
            + user.encode()
        )
        handler.wfile.flush()
        _, length = handler.rfile.read(2)
        mask, text = handler.rfile.read(4), handler.rfile.read(length & 127)
        content = bytes(one ^ mask[number % 4] for number, one in enumerate(text))
        handler.wfile.write(b"\x81" + bytes([len(content)]) + content)
        handler.wfile.flush()
        handler.close_connection = True


def _sent(handler: Handler) -> str:
    """Return the fields of a form: its text, and the size of its file."""
    head = f"Content-Type: {handler.headers['Content-Type']}\r\n\r\n".encode()
    text, file = (
        part.get_payload(decode=True)
        for part in BytesParser().parsebytes(head + handler.body).walk()
        if not part.is_multipart()
    )
    assert isinstance(text, bytes)
    assert isinstance(file, bytes)
    return f"{text.decode()} {len(file)}"
