"""HTTP client: GET of keys and POST of events, without redirects, of limited time and size, to checked addresses.

It is the only part of the service that makes outgoing HTTP requests.
"""

import contextlib
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from http.client import HTTPException
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import IPPROTO_TCP, SHUT_RDWR, gaierror, getaddrinfo, socket
from typing import Any, TypeVar

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from datafor_token.validation import addresses, urls

MAX_SIZE = 1024 * 1024  # bytes of a response
SECONDS = 5.0  # for the name, the connection, the headers and the body together
_CHUNK = 64 * 1024  # bytes
_HEADERS = {
    "Accept": "application/json",
    # A small compressed response could have any size.
    "Accept-Encoding": "identity",
    "User-Agent": "datafor_token",
    "Connection": "close",
}

# It logs headers that it cannot read, with the text of the server and the query of the URL.
logging.getLogger("urllib3").disabled = True
logging.getLogger("urllib3.connection").disabled = True

Address = IPv4Address | IPv6Address
_Result = TypeVar("_Result")


class FetchError(Exception):
    """A request failed. The text is a sentence without values of the response, for operators and the log."""


class Client:
    """Client for URLs of keys and of a webhook.

    ``ca_file`` is that of the setting ``JWKS_CA_FILE``, ``http_hosts`` those of ``JWKS_HTTP_HOSTS``. It reads no
    environment variables of proxies: a proxy would resolve the name again.
    """

    def __init__(self, ca_file: str, http_hosts: Collection[str], seconds: float = SECONDS) -> None:
        self.http_hosts = http_hosts
        self._ca_file = ca_file
        self._seconds = seconds
        self._late = f"takes longer than {seconds:g} s: is it reachable from this host?"

    def get(self, url: urls.URL) -> bytes:
        """Return the body of the response to a GET; raise ``FetchError``, whose text begins with the URL."""
        with self.limited(str(url)) as end, contextlib.closing(self.connect(url, end)) as connection:
            return _exchange(connection, url, ("GET", _HEADERS, None), end, _body)

    @contextlib.contextmanager
    def limited(self, shown: str) -> Iterator[float]:
        """Surround a request; yield the time of ``time.monotonic`` at which it is given up.

        Raises ``FetchError`` for all its errors. The text begins with ``shown``.
        """
        end = time.monotonic() + self._seconds
        try:
            yield end
        except FetchError as error:
            raise FetchError(f"{shown} {error}") from None
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            fault = self._late if time.monotonic() >= end else self._sentence(error)
            raise FetchError(f"{shown} {fault}") from None
        if time.monotonic() >= end:
            # A connection that was shut down can look like the end of the body.
            raise FetchError(f"{shown} {self._late}")

    def connect(self, url: urls.URL, end: float) -> HTTPConnection:
        """Return a connection to the host of a URL, within ``limited``."""
        return self._connect(url, self._resolve(url, end), end)

    def _resolve(self, url: urls.URL, end: float) -> Sequence[Address]:
        """Return the addresses of the host that may be connected to; the name is not resolved a second time."""
        found: list[Any] = []

        def look_up() -> None:
            try:
                found.append(getaddrinfo(url.host, url.port, proto=IPPROTO_TCP))
            except (gaierror, UnicodeError) as error:
                found.append(error)

        # In a thread: the resolver of the C library can take half a minute, and cannot be interrupted.
        thread = threading.Thread(target=look_up, name="resolve", daemon=True)
        thread.start()
        thread.join(end - time.monotonic())
        if not found:
            raise FetchError("has a host name that is not resolved in time: check the name servers of this host")
        if isinstance(found[0], Exception):
            raise FetchError("has a host name that cannot be resolved: check the name and the name servers")
        resolved = dict.fromkeys(ip_address(entry[4][0].partition("%")[0]) for entry in found[0])
        allowed = [address for address in resolved if not _is_forbidden(address)]
        if not allowed:
            raise FetchError("has a link-local, multicast or unspecified address, which is never connected to")
        if url.scheme == "http" and url.host not in self.http_hosts and not all(one.is_loopback for one in allowed):
            raise FetchError("is plain http to another host, which the setting JWKS_HTTP_HOSTS does not name")
        return allowed

    def _connect(self, url: urls.URL, candidates: Sequence[Address], end: float) -> HTTPConnection:
        """Return a connection to the first of the addresses that accepts one, with TLS for ``https``."""
        failure: Exception = FetchError("cannot be connected to")
        for number, address in enumerate(candidates):
            # The first addresses leave time for the others. The handshake of TLS as a whole has the same limit.
            connection = self._connection(url, str(address), _left(end) / (len(candidates) - number))
            try:
                connection.connect()
            except (HTTPError, OSError) as error:
                connection.close()
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise
                failure = error
            else:
                return connection
        raise failure

    def _connection(self, url: urls.URL, address: str, seconds: float) -> HTTPConnection:
        if url.scheme == "http":
            return HTTPConnection(address, url.port, timeout=seconds)
        # A new context for each request: the files of the CAs may have been renewed.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if self._ca_file:
            try:
                context.load_verify_locations(cafile=self._ca_file)
            except OSError:
                raise FetchError("cannot be verified: the file of the setting JWKS_CA_FILE cannot be read") from None
        return HTTPSConnection(address, url.port, timeout=seconds, server_hostname=url.host, ssl_context=context)

    def _sentence(self, error: Exception) -> str:
        """Return a predicate about the URL, without text of the server."""
        causes = list(_causes(error))
        for one in causes:
            if isinstance(one, ssl.SSLCertVerificationError):
                # OpenSSL's words, which name at most the host that was asked for.
                return (
                    f"has a certificate that is not accepted ({one.verify_message.rstrip('.')}): for a private CA, use"
                    " the setting JWKS_CA_FILE"
                )
        if any(isinstance(one, ssl.SSLError) for one in causes):
            return "has no usable TLS connection: is it an https URL, and the port right?"
        for one in causes:
            if isinstance(one, TimeoutError):
                return self._late
            if isinstance(one, OSError) and one.strerror:
                return f"cannot be connected to ({one.strerror.lower()}): is it reachable from this host?"
        return "responds with something that is not complete HTTP"


class Channel:
    """POST requests to one URL. Its connection stays open between them; only one thread may use it."""

    def __init__(self, client: Client, url: urls.URL) -> None:
        self._client = client
        self._url = url
        # A path can be a secret, as those of the webhooks of chat services are.
        self._shown = f"{url.scheme}://{url.authority}"
        self._connection: HTTPConnection | None = None

    def post(self, headers: Mapping[str, str], body: bytes) -> None:
        """Send a request; raise ``FetchError``, whose text begins with scheme and host, unless its status is 2xx."""
        try:
            with self._client.limited(self._shown) as end:
                if self._connection is None or not self._connection.is_connected:
                    self.close()
                    self._connection = self._client.connect(self._url, end)
                request = "POST", {"User-Agent": "datafor_token", **headers}, body
                is_read = _exchange(self._connection, self._url, request, end, _check_accepted)
            if not is_read:
                self.close()
        except FetchError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; a further request opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _exchange(
    connection: HTTPConnection,
    url: urls.URL,
    request: tuple[str, Mapping[str, str], bytes | None],
    end: float,
    read: Callable[[HTTPResponse], _Result],
) -> _Result:
    """Send the request (its method, headers and body) and read the response; at ``end``, shut the connection down.

    The timeout of a socket would begin again with each byte.
    """
    method, headers, body = request
    connection.timeout = _left(end)
    # A copy of the socket, to shut down the connection below TLS, whose objects are not for two threads.
    with socket(fileno=os.dup(connection.sock.fileno())) as copy:
        timer = threading.Timer(_left(end), _shut_down, [copy])
        timer.name, timer.daemon = "provider timeout", True
        timer.start()
        try:
            connection.request(
                method,
                url.target,
                body,
                headers={"Host": url.authority, **headers},
                preload_content=False,
                decode_content=False,
            )
            with contextlib.closing(connection.getresponse()) as response:
                return read(response)
        finally:
            timer.cancel()
            timer.join()


def _shut_down(connection: socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(SHUT_RDWR)


def _check_accepted(response: HTTPResponse) -> bool:
    """Return whether the response to a POST was read to its end; raise ``FetchError``, a predicate about the URL."""
    _check_no_redirect(response)
    if not 200 <= response.status < 300:
        raise FetchError(f"responds with status {response.status}")
    return len(response.read(_CHUNK)) < _CHUNK


def _check_no_redirect(response: HTTPResponse) -> None:
    if 300 <= response.status < 400:
        raise FetchError(f"redirects ({response.status}): enter the URL that it redirects to")


def _body(response: HTTPResponse) -> bytes:
    """Return the body of a response; raise ``FetchError``, whose text is a predicate about the URL."""
    _check_no_redirect(response)
    if response.status != 200:
        raise FetchError(f"responds with status {response.status}: is it the URL of a JWK Set?")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError("responds with a compressed body, which was not asked for")
    body = bytearray()
    while chunk := response.read(_CHUNK):
        body += chunk
        if len(body) > MAX_SIZE:
            raise FetchError(f"responds with more than {MAX_SIZE} bytes: is it the URL of a JWK Set?")
    return bytes(body)


def _left(end: float) -> float:
    """Return the seconds until ``end``; raise ``TimeoutError`` if none are left."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _is_forbidden(address: Address) -> bool:
    """Return whether an address is never connected to. Those of private networks are usual for identity providers.

    Link-local addresses have the metadata of cloud machines, with credentials. An IPv4 address inside an IPv6 one
    counts as itself.
    """
    forms = (address, addresses.parse(str(address)) or address)
    return any(one.is_link_local or one.is_multicast or one.is_unspecified for one in forms)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
