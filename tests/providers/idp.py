"""An identity provider for tests: a server on loopback whose responses are bytes, sent as a test wants it."""

import contextlib
import datetime as dt
import ipaddress
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from datafor_token.crypto.keys import as_jwk, verification_key
from tests.support import private_key, public_pem

HOST = "idp.example"  # in the certificate, and resolved to loopback by the fixtures
Send = Callable[[bytes], None]


class Authority(NamedTuple):
    """A private CA, and the certificate of a server with its key."""

    ca: Path
    server: Path


def create_authority(folder: Path) -> Authority:
    """Write a CA and a certificate for ``HOST`` and loopback into a folder."""
    now = dt.datetime.now(dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Private CA")])

    def certificate(name: str, public: ec.EllipticCurvePublicKey, *, is_ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )

    ca = certificate("Private CA", ca_key.public_key(), is_ca=True).sign(ca_key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = certificate(HOST, key.public_key(), is_ca=False).add_extension(names, critical=False)
    pem = serialization.Encoding.PEM
    paths = Authority(folder / "ca.pem", folder / "server.pem")
    paths.ca.write_bytes(ca.public_bytes(pem))
    paths.server.write_bytes(
        server.sign(ca_key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def response(body: bytes | dict[str, Any], status: str = "200 OK", **headers: str) -> bytes:
    """Return an HTTP response. Underscores in the names of headers are hyphens."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def jwk(kind: str, kid: str | None = None, **members: Any) -> dict[str, Any]:
    """Return the public key of ``support.private_key(kind)`` as a JWK with further members."""
    algorithm = "RS256" if kind.startswith("rsa") else kind.removesuffix("-other")
    found = dict(as_jwk(verification_key(algorithm, public_pem(private_key(kind))).all()[0]))
    for name in ("kid", "alg", "use"):
        del found[name]
    return found | ({} if kid is None else {"kid": kid}) | members


def jwk_set(*keys: dict[str, Any]) -> bytes:
    """Return the response with a JWK Set."""
    return response({"keys": list(keys)})


class Provider:
    """A server whose responses are in ``pages`` by path: bytes, or a function that gets a function to send bytes.

    ``seen`` has the text of each request. ``stopped`` is set when the test ends: a response that hangs waits for it.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.pages: dict[str, bytes | Callable[[Send], None]] = {}
        self.seen: list[str] = []
        self.stopped = threading.Event()
        self.begins: Callable[[socket.socket], None] = lambda _: None  # before TLS
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/jwks", host: str = HOST) -> str:
        """Return the URL of a page."""
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.stopped.set()
        # ``accept`` of the other thread returns only after a shutdown.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            self.begins(connection)
            wrapped = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with wrapped:
                text = b""
                while b"\r\n\r\n" not in text:
                    received = wrapped.recv(65536)
                    if not received:
                        return
                    text += received
                # A connection that is closed before the whole request is read is reset, and the response is lost.
                while len(text) < _size(text) and (received := wrapped.recv(65536)):
                    text += received
                self.seen.append(text.decode())
                page = self.pages.get(text.decode().split()[1], response(b"nothing here", "404 Not Found"))
                if callable(page):
                    page(wrapped.sendall)
                else:
                    wrapped.sendall(page)


def _size(text: bytes) -> int:
    """Return the bytes of a request whose headers are complete."""
    found = re.search(rb"\r\nContent-Length: (\d+)\r\n", text)
    return text.index(b"\r\n\r\n") + 4 + (int(found[1]) if found else 0)


def drip(provider: Provider, begin: bytes, piece: bytes) -> Callable[[Send], None]:
    """Return a response that begins with some bytes, and then sends a piece every 50 ms until the end of the test."""

    def page(send: Send) -> None:
        send(begin)
        while not provider.stopped.wait(0.05):
            send(piece)

    return page


@contextlib.contextmanager
def running(certificate: Path | None = None) -> Iterator[Provider]:
    """Return a provider that is stopped at the end."""
    provider = Provider(certificate)
    try:
        yield provider
    finally:
        provider.stop()
