"""A portal and a protected application on two sites, over https, behind nginx with the shipped file."""

import datetime as dt
import http.client
import http.server
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.handmade_tokens import token
from tests.support import API, ROOT, STRONG_SECRET, Server, application, basic, free_port, need, wait_for

# Three registrable domains, so that the browser takes them for three sites.
PORTAL, REPORTS, EVIL = "portal.example.test", "reports.example.org", "evil.example.net"
CONSOLE = "datafor.example.org"
SETTINGS = {
    "DATAFOR_TOKEN_URL_PREFIX": "/datafor",
    "DATAFOR_TOKEN_TRUSTED_PROXIES": "1",
    "DATAFOR_TOKEN_TRUSTED_HOSTS": f"{CONSOLE},{REPORTS}",
    "DATAFOR_TOKEN_PUBLIC_URL": f"https://{REPORTS}",
    "DATAFOR_TOKEN_GATE_SAMESITE": "None",
}
LEAVE = "/datafor/auth/leave"


class Seen(NamedTuple):
    """One request that reached a server."""

    method: str
    path: str
    headers: dict[str, str]


class Served(http.server.ThreadingHTTPServer):
    """A server whose responses are of the function ``respond``; ``seen`` has its requests."""

    daemon_threads = True

    def __init__(self, respond: Callable[["Handler"], tuple[int, str, str]]) -> None:
        self.respond = respond
        self.cookies: Callable[[], list[str]] = list
        self.seen: list[Seen] = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    """Responds to each request as the server says."""

    server: Served

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # Of a form over http, the referrer; names in lower case.
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append(Seen(self.command, self.path, headers))
        status, kind, body = self.server.respond(self)
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        for cookie in self.server.cookies():
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class Sites:
    """The running sites. ``embedded`` has the service, ``portal`` and ``reports`` the two applications.

    ``lifetime`` (s), ``user`` and ``broken`` decide the tokens of the portal: ``broken`` is the number of calls for a
    token that fail before the next one succeeds.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        need("nginx")
        self.service = Server(folder, **{**SETTINGS, **settings}).start()
        self.portal = Served(self._portal)
        self.reports = Served(self._report)
        self.reports.cookies = lambda: self.more_cookies
        self.port = free_port()
        # Where a test starts the portals of the documentation.
        self.documented = {f"{name}.example.test": free_port() for name in ("flask", "express", "php")}
        self.folder = folder
        certificate(folder)
        self._start()
        self.reset()

    def reset(self) -> None:
        """Make everything as it was at first."""
        self.lifetime, self.user, self.broken, self.secret = 3600, "lena", 0, STRONG_SECRET
        self.page, self.tokens, self.more_cookies = "", 0, list[str]()
        self.update(origins=[f"https://{PORTAL}"])
        self.portal.seen.clear()
        self.reports.seen.clear()
        self.enable("lena", "1")

    def enable(self, name: str, enabled: str) -> None:
        """Enable or disable a user."""
        user = {"username": name, "enabled": enabled, "usertype": "SYS_Reader", "name": "", "email": ""}
        self.call("/plugin/datafor-modeler/api/user/insertOrUpdate", user)

    def end_sessions(self, name: str) -> None:
        """End all sessions of a user."""
        self.call("/plugin/datafor-modeler/api/user/sessions/end", {"username": name})

    def update(self, **changes: Any) -> None:
        """Create or change the application ERP."""
        host = {**basic(), "Host": CONSOLE}
        body = application(secret=STRONG_SECRET, **changes)
        response = self.service.request("POST", f"/datafor{API}/update", body, host)
        assert response.status == 200, response.json

    def call(self, path: str, body: dict[str, Any]) -> Any:
        """Send a call as the administrator."""
        response = self.service.request("POST", f"/datafor{path}", body, {**basic(), "Host": CONSOLE})
        assert response.status == 200, response.json
        return response.json

    def status(self, host: str, method: str, path: str, body: str = "", **headers: str) -> int:
        """Return the status of a request that no browser sends; ``headers`` have ``_`` for ``-``."""
        tls = ssl.create_default_context(cafile=str(self.folder / "crt"))
        tls.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=tls)
        try:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"Host": host, **sent})
            return connection.getresponse().status
        finally:
            connection.close()

    def token(self) -> str:
        """Return a token of the portal's user."""
        return token({"loginname": self.user, "exp": int(time.time()) + self.lifetime, "n": self.tokens}, self.secret)

    def visits(self, path: str) -> list[str]:
        """Return the users of the requests for a path that reached the application."""
        return [one.headers["remote-user"] for one in self.reports.seen if urlsplit(one.path).path == path]

    def stop(self) -> None:
        """Stop everything."""
        self._nginx.terminate()
        self._nginx.wait(30)
        for one in (self.portal, self.reports):
            one.shutdown()
            one.server_close()
        self.service.stop()

    def _portal(self, handler: Handler) -> tuple[int, str, str]:
        path = urlsplit(handler.path).path
        if path == "/token":
            self.tokens += 1
            if self.broken:
                self.broken -= 1
                return 500, "text/plain", "broken"
            return 200, "application/json", json.dumps({"token": self.token()})
        return 200, "text/html; charset=utf-8", self.page

    def _report(self, handler: Handler) -> tuple[int, str, str]:
        user = handler.headers.get("Remote-User", "")
        number = parse_qs(urlsplit(handler.path).query).get("n", ["0"])[0]
        page = (
            f'<!doctype html><title>Report</title><h1 id="user">{user}</h1><input id="typed">'
            f'<a id="next" href="/reports/next?n={number}">next</a> <a id="out" href="{LEAVE}">out</a>'
            f'<a id="out-next" href="{LEAVE}?next=/bye">out, then bye</a>'
            f'<form method="post" action="/reports/post"><input name="text"><button>save</button></form>'
        )
        return 200, "text/html; charset=utf-8", page

    def _start(self) -> None:
        portals = {PORTAL: self.portal.server_port, EVIL: self.portal.server_port, **self.documented}
        text = configured(self.folder, self.port, self.service.port, self.reports.server_port, portals)
        (self.folder / "nginx.conf").write_text(text)
        nginx = [str(shutil.which("nginx")), "-c", str(self.folder / "nginx.conf")]
        options = ["-e", str(self.folder / "start.log"), "-g", "daemon off; user root;"]
        self._nginx = subprocess.Popen([*nginx, *options], stderr=subprocess.DEVNULL)
        wait_for(self.port)


def configured(folder: Path, port: int, service: int, protected: int, portals: Mapping[str, int]) -> str:
    """Return the shipped file with https, the hosts and ports of a test, and the portals beside the application."""
    text = (ROOT / "config" / "nginx.conf").read_text()
    for old, new in (
        ("listen 80", f"listen 127.0.0.1:{port} ssl"),
        ("/run/nginx.pid", f"{folder}/nginx.pid"),
        ("/var/log/nginx/", f"{folder}/"),
        ("datafor.intra.example", CONSOLE),
        ("reports.intra.example", REPORTS),
        ("127.0.0.1:28080", f"127.0.0.1:{service}"),
        ("127.0.0.1:8080", f"127.0.0.1:{protected}"),
        (
            "    server_tokens off;",
            f"    ssl_certificate {folder}/crt; ssl_certificate_key {folder}/key; server_tokens off;",
        ),
    ):
        assert old in text, old
        text = text.replace(old, new)
    # No limit for the many sign-ins of the tests from one address.
    text = text.replace("rate=5r/s", "rate=100r/s")
    others = "".join(
        f"""
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {host};
        location / {{ proxy_pass http://127.0.0.1:{portal}; }}
    }}
"""
        for host, portal in portals.items()
    )
    return text[: text.rindex("}")] + others + "}\n"


def certificate(folder: Path) -> None:
    """Write a self-signed certificate for all hosts, and its key; the browser of the tests does not check it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(one) for one in (PORTAL, REPORTS, EVIL, CONSOLE)])
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    signed = built.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (folder / "crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key").write_bytes(key.private_bytes(*pem))
