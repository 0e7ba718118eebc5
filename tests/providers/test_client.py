"""HTTP client for keys, against a real server that misbehaves."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from datafor_token.providers.client import MAX_SIZE, Channel, Client, FetchError
from datafor_token.validation import urls
from tests.providers.conftest import Names
from tests.providers.idp import HOST, Authority, Provider, Send, drip, response, running

BODY = b'{"keys": []}'
HEAD = b"HTTP/1.1 200 OK\r\n"


def get(client: Client, url: str) -> bytes:
    return client.get(urls.parse(url, client.http_hosts))


def fault(client: Client, url: str) -> str:
    """Return the error of a request, after the URL that it begins with."""
    with pytest.raises(FetchError) as caught:
        get(client, url)
    shown = url.partition("?")[0]
    assert str(caught.value).startswith(f"{shown} ")
    return str(caught.value).removeprefix(f"{shown} ")


def test_a_response(client: Client, provider: Provider) -> None:
    """The body of a response is returned; the request names the host, asks for JSON, and for no compression."""
    provider.pages["/jwks?p=1"] = response(BODY)
    assert get(client, provider.url("/jwks?p=1")) == BODY
    lines = provider.seen[0].split("\r\n")
    assert lines[0] == "GET /jwks?p=1 HTTP/1.1"
    assert {f"Host: {HOST}:{provider.port}", "Accept: application/json", "Accept-Encoding: identity"} < set(lines)


def test_a_chunked_response(client: Client, provider: Provider) -> None:
    """A chunked body is put together."""
    provider.pages["/jwks"] = (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\n7\r\n" + BODY[5:] + (b"\r\n0\r\n\r\n")
    )
    assert get(client, provider.url()) == BODY


def test_no_proxy(client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variables of proxies are not read."""
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    provider.pages["/jwks"] = response(BODY)
    assert get(client, provider.url()) == BODY


@pytest.mark.parametrize("line", [b"no header \x1b[31m", b" continued", b"X: \x1b[31m"])
def test_the_log(client: Client, provider: Provider, line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Headers that cannot be read leave no line in the log: it would have text of the server, and the URL's query."""
    provider.pages["/jwks?key=abcd"] = HEAD + line + b"\r\nContent-Length: 12\r\n\r\n" + BODY
    get(client, provider.url("/jwks?key=abcd"))
    assert not caplog.records


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect(client: Client, provider: Provider, status: str) -> None:
    """A redirect is not followed, and the error does not repeat a secret of either URL."""
    provider.pages["/jwks?key=secret-1"] = response(b"", status, Location=provider.url("/other?key=secret-2"))
    provider.pages["/other?key=secret-2"] = response(BODY)
    found = fault(client, provider.url("/jwks?key=secret-1"))
    assert found == f"redirects ({status[:3]}): enter the URL that it redirects to"
    assert len(provider.seen) == 1


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "404 Not Found", "500 Oops", "503 Unavailable"])
def test_another_status(client: Client, provider: Provider, status: str) -> None:
    """Only 200 is a success."""
    provider.pages["/jwks"] = response(b"secret-text", status)
    assert fault(client, provider.url()).startswith(f"responds with status {status[:3]}:")


def test_a_large_body(client: Client, provider: Provider) -> None:
    """A body of 1 MiB is read, a larger one is not, whether its size is announced or not."""
    provider.pages["/jwks"] = response(b" " * MAX_SIZE)
    assert len(get(client, provider.url())) == MAX_SIZE
    provider.pages["/jwks"] = response(b" " * 2 * MAX_SIZE)
    assert fault(client, provider.url()).startswith("responds with more than 1048576 bytes")
    provider.pages["/jwks"] = HEAD + b"\r\n" + b" " * 2 * MAX_SIZE
    assert fault(client, provider.url()).startswith("responds with more than 1048576 bytes")


def test_a_compressed_body(client: Client, provider: Provider) -> None:
    """A compressed body is refused: a small one could have any size."""
    provider.pages["/jwks"] = response(gzip.compress(b" " * 10**7), Content_Encoding="gzip")
    assert "compressed" in fault(client, provider.url())


@pytest.mark.parametrize(
    "sent",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", HEAD + b"Content-Length: 100\r\n\r\nhalf",
     HEAD + b"Transfer-Encoding: chunked\r\n\r\nsecret\r\n", HEAD + b"A: " + b"a" * 70_000 + b"\r\n\r\n",
     HEAD + b"A: b\r\n" * 200 + b"\r\n"],
)  # fmt: skip
def test_no_http(client: Client, provider: Provider, sent: bytes) -> None:
    """Something that is not complete HTTP is an error that repeats nothing of it."""
    provider.pages["/jwks"] = sent
    found = fault(client, provider.url())
    assert "HTTP" in found or "connected" in found
    assert "secret" not in found


class TestTime:
    """Everything together takes at most the time of the client, whatever the server does."""

    @pytest.fixture
    def client(self, authority: Authority) -> Client:
        return Client(str(authority.ca), (), seconds=0.6)

    @pytest.mark.parametrize(
        ("begin", "piece"),
        [
            (b"", b""),
            (b"H", b""),
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (HEAD, b"A: b\r\n"),
            (HEAD + b"A: ", b"a"),
            (HEAD + b"\r\n", b""),
            (HEAD + b"\r\n", b" "),
            (HEAD + b"Content-Length: 1000\r\n\r\n", b" "),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
            (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
        ],
    )
    def test_a_slow_response(self, client: Client, provider: Provider, begin: bytes, piece: bytes) -> None:
        """A response that hangs or drips, in its header or body, is given up."""
        provider.pages["/jwks"] = drip(provider, begin, piece)
        begun = time.monotonic()
        assert fault(client, provider.url()).startswith("takes longer than 0.6 s")
        # Far below what one timeout for each byte would allow.
        assert time.monotonic() - begun < 10

    def test_a_slow_response_without_tls(self, client: Client) -> None:
        """The same holds for plain http."""
        with running() as provider:
            provider.pages["/jwks"] = drip(provider, HEAD, b"A: b\r\n")
            assert fault(client, provider.url(host="127.0.0.1")).startswith("takes longer than 0.6 s")

    def test_several_addresses(self, provider: Provider, authority: Authority, names: Names) -> None:
        """A host with several addresses has as much time for its response as one with a single address."""
        names[HOST] = ["127.0.0.1", *(f"127.0.0.{number}" for number in range(2, 11))]

        def page(send: Send) -> None:
            provider.stopped.wait(2.2)
            send(response(BODY))

        provider.pages["/jwks"] = page
        assert get(Client(str(authority.ca), (), seconds=20), provider.url()) == BODY

    @pytest.mark.parametrize("piece", [b"", b"\x16\x03\x03\x40\x00"])
    def test_a_slow_handshake(self, client: Client, provider: Provider, piece: bytes) -> None:
        """A TLS handshake that hangs or drips is given up."""

        def begins(connection: socket.socket) -> None:
            connection.sendall(piece)
            while not provider.stopped.wait(0.05):
                connection.sendall(b"\x02" if piece else b"")

        provider.begins = begins
        assert fault(client, provider.url()).startswith("takes longer than 0.6 s")

    def test_a_slow_resolver(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that is not resolved in time is given up."""
        released = threading.Event()

        def getaddrinfo(*_: object, **__: object) -> list[object]:
            released.wait()
            return []

        monkeypatch.setattr("datafor_token.providers.client.getaddrinfo", getaddrinfo)
        try:
            assert "not resolved in time" in fault(client, f"https://{HOST}/jwks")
        finally:
            released.set()

    def test_no_thread_and_no_socket_is_left(self, client: Client, provider: Provider) -> None:
        """A request that is given up leaves no thread behind."""
        provider.pages["/jwks"] = drip(provider, HEAD, b"A: b\r\n")
        # A fetch of an earlier test can still run.
        before = set(threading.enumerate())
        fault(client, provider.url())
        assert "provider timeout" not in {thread.name for thread in set(threading.enumerate()) - before}


class TestCertificates:
    """The certificate of the server is verified for the name in the URL."""

    def test_another_name(self, client: Client, provider: Provider, names: Names) -> None:
        """A certificate of another name is refused."""
        names["other.example"] = ["127.0.0.1"]
        assert "JWKS_CA_FILE" in fault(client, provider.url(host="other.example"))
        assert provider.seen == []

    def test_an_address(self, client: Client, provider: Provider) -> None:
        """A certificate for an address is verified for a URL with that address."""
        provider.pages["/jwks"] = response(BODY)
        assert get(client, provider.url(host="127.0.0.1")) == BODY

    def test_an_unknown_ca(self, provider: Provider) -> None:
        """Without JWKS_CA_FILE, a private CA is not trusted, and the error names the setting."""
        assert "JWKS_CA_FILE" in fault(Client("", ()), provider.url())

    def test_a_ca_file_that_is_gone(self, provider: Provider, authority: Authority) -> None:
        """A file of JWKS_CA_FILE that is gone is an error, not a connection without it."""
        assert "JWKS_CA_FILE" in fault(Client(f"{authority.ca}-gone", ()), provider.url())

    def test_no_tls(self, client: Client) -> None:
        """A server without TLS at an https URL is an error."""
        with running() as provider:
            provider.begins = lambda connection: connection.sendall(response(b"", "400 Bad Request"))
            assert "TLS" in fault(client, provider.url().replace("http:", "https:"))


class TestAddresses:
    """The resolved address is checked, and the checked address is used."""

    @pytest.mark.parametrize(
        "address",
        ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "64:ff9b::a9fe:a9fe", "0.0.0.0", "::",  # noqa: S104 - nothing is bound
         "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "239.1.2.3"],
    )  # fmt: skip
    def test_forbidden(self, client: Client, names: Names, address: str) -> None:
        """Link-local, unspecified and multicast addresses are refused, by a name, as an address, and inside IPv6."""
        names[HOST] = [address]
        assert "never connected to" in fault(client, f"https://{HOST}/jwks")
        shown = f"[{address}]" if ":" in address else address
        assert "never connected to" in fault(client, f"https://{shown}/jwks")

    def test_another_spelling(self, client: Client) -> None:
        """A number that the resolver takes for an address is checked as that address."""
        assert "never connected to" in fault(client, "https://2852039166/latest")

    def test_one_of_several(self, client: Client, provider: Provider, names: Names) -> None:
        """Of several addresses, the forbidden ones are skipped, and the next is tried if one refuses connections."""
        names[HOST] = ["169.254.169.254", "127.0.0.2", "127.0.0.1"]
        provider.pages["/jwks"] = response(BODY)
        assert get(client, provider.url()) == BODY

    def test_rebinding(self, client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name is resolved once: a second lookup with another result changes nothing."""
        results = iter(["127.0.0.1", "169.254.169.254"])
        asked: list[str] = []

        def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(results), port))]

        monkeypatch.setattr("datafor_token.providers.client.getaddrinfo", getaddrinfo)
        provider.pages["/jwks"] = response(BODY)
        assert get(client, provider.url()) == BODY
        assert asked == [HOST]

    def test_http_by_a_loopback_name(self, client: Client, names: Names) -> None:
        """Plain http to a name of loopback is refused if it resolves to another host."""
        names["localhost"] = ["10.0.0.1"]
        assert "JWKS_HTTP_HOSTS" in fault(client, "http://localhost/jwks")

    def test_http_where_it_is_allowed(self, client: Client, names: Names) -> None:
        """Plain http is used for loopback and for the hosts of JWKS_HTTP_HOSTS."""
        names["http.example"] = ["127.0.0.1"]
        with running() as provider:
            provider.pages["/jwks"] = response(BODY)
            for host in ("localhost", "127.0.0.1", "http.example"):
                assert get(client, provider.url(host=host)) == BODY

    def test_an_unknown_name(self, client: Client) -> None:
        """A name that does not exist is an error that says so."""
        assert "cannot be resolved" in fault(client, "https://unknown.example/jwks")

    def test_nothing_listens(self, client: Client, provider: Provider) -> None:
        """A refused connection is an error that says so."""
        provider.stop()
        assert "connection refused" in fault(client, provider.url())


def test_the_error_of_a_page(client: Client, provider: Provider) -> None:
    """A server that closes the connection in the middle of its response is an error."""

    def page(send: Send) -> None:
        send(HEAD + b"Content-Length: 10\r\n\r\n12345")

    pages: dict[str, bytes | Callable[[Send], None]] = {"/jwks": page}
    provider.pages = pages
    assert "not complete HTTP" in fault(client, provider.url())


class TestChannel:
    """POST requests over a connection that stays open, to a server with a private CA."""

    @pytest.fixture
    def channel(self, client: Client, provider: Provider) -> Iterator[Channel]:
        found = Channel(client, urls.parse(provider.url("/events?key=secret"), ()))
        yield found
        found.close()

    def test_a_request(self, channel: Channel, provider: Provider) -> None:
        """The request has the headers and the body; after the server has ended the connection, another one is used."""
        provider.pages["/events?key=secret"] = response(b"fine", "202 Accepted")
        for _ in range(2):
            channel.post({"A": "b"}, b"{}")
        for text in provider.seen:
            lines = text.split("\r\n")
            assert lines[0] == "POST /events?key=secret HTTP/1.1"
            assert {f"Host: {HOST}:{provider.port}", "A: b", "Content-Length: 2"} < set(lines)

    @pytest.mark.parametrize("status", ["302 Found", "404 Not Found", "500 Oops"])
    def test_another_status(self, channel: Channel, provider: Provider, status: str) -> None:
        """Only 2xx is a success; the error has scheme, host and status, but not the path, which may be a secret."""
        provider.pages["/events?key=secret"] = response(b"", status, Location=provider.url("/other"))
        with pytest.raises(FetchError) as caught:
            channel.post({}, b" " * 1_000_000)
        assert str(caught.value).startswith(f"https://{HOST}:{provider.port} re")
        assert status[:3] in str(caught.value)
        assert "events" not in str(caught.value)
        assert len(provider.seen) == 1

    def test_a_large_response(self, channel: Channel, provider: Provider) -> None:
        """Of a response that is accepted, no large body is read."""
        provider.pages["/events?key=secret"] = HEAD + b"Content-Length: 1000000000\r\n\r\n" + b" " * 200_000
        channel.post({}, b"{}")
        channel.post({}, b"{}")
        assert len(provider.seen) == 2

    def test_a_slow_response(self, authority: Authority, provider: Provider) -> None:
        """A response that drips is given up."""
        provider.pages["/events"] = drip(provider, HEAD, b"A: b\r\n")
        channel = Channel(Client(str(authority.ca), (), seconds=0.6), urls.parse(provider.url("/events"), ()))
        with pytest.raises(FetchError, match=r"takes longer than 0\.6 s"):
            channel.post({}, b"{}")

    def test_the_certificate(self, provider: Provider) -> None:
        """A certificate of an unknown CA is refused before anything is sent."""
        channel = Channel(Client("", ()), urls.parse(provider.url("/events"), ()))
        with pytest.raises(FetchError, match="certificate that is not accepted"):
            channel.post({}, b"{}")
        assert provider.seen == []
