"""Long requests and responses through each shipped proxy: uploads, downloads and server-sent events."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxies.sites import REPORTS, Proxy, Sites, cookie_of, seen, signed

MIB = 1 << 20


def cookie(proxy: Proxy) -> dict[str, str]:
    return {"Cookie": cookie_of(proxy.get(f"/?token={signed()}"))}


def chunks(number: int) -> Iterator[bytes]:
    for _ in range(number):
        yield b"x" * MIB


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload(proxy: Proxy, *, chunked: bool) -> None:
    """An upload of 100 MiB reaches the application whole, and no proxy holds it in memory."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    headers = {"Host": REPORTS, **cookie(proxy), **({} if chunked else {"Content-Length": str(100 * MIB)})}
    before = memory(proxy)
    connection.request("POST", "/upload", chunks(100), headers, encode_chunked=chunked)
    response = connection.getresponse()
    assert response.status == 200
    assert b'"length": 104857600' in response.read()
    assert memory(proxy) - before < 50 * MIB
    connection.close()


@pytest.mark.slow
def test_a_large_download(proxy: Proxy) -> None:
    """A download of 100 MiB reaches the client whole."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    connection.request("GET", "/download/100", headers={"Host": REPORTS, **cookie(proxy)})
    response = connection.getresponse()
    received = 0
    while part := response.read(MIB):
        received += len(part)
    assert (response.status, received) == (200, 100 * MIB)
    connection.close()


@pytest.mark.parametrize("path", ["/events-chunked", "/events-accel"])
def test_server_sent_events(proxy: Proxy, sites: Sites, path: str) -> None:
    """Each event reaches the browser before the next one is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    connection.request("GET", path, headers={"Host": REPORTS, "Accept": "text/event-stream", **cookie(proxy)})
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream"
    for number in range(3):
        assert [response.readline(), response.readline()] == [f"data: {number}\n".encode(), b"\n"]
        sites.application.received.release()
    assert response.read() == b""
    connection.close()


def test_events_without_a_credential(proxy: Proxy) -> None:
    """A stream of events is refused like any other request of a script."""
    assert proxy.get("/events-chunked", {"Accept": "text/event-stream"}).status == 401


def memory(proxy: Proxy) -> int:
    """Return the memory in bytes of a proxy and its children."""
    pids = [proxy.process.pid]
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            pids += [int(child) for child in (task / "children").read_text().split()]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * 4096


def test_a_request_for_events(proxy: Proxy) -> None:
    """A request for events has the check, the identity and the address of every other request."""
    events = {"Accept": "text/event-stream"}
    forged = {**events, "Remote-User": "admin", "X-Original-URI": "/x"}
    response = proxy.get("/r%2F1?a=%26", {**forged, **cookie(proxy)})
    assert (seen(response, "Remote-User"), seen(response, "X-Original-URI")) in ((["lena"], []), (["lena"], [""]))
    assert response.json["path"] == "/r%2F1?a=%26"
    assert proxy.get("/r/1", forged).status == 401
    assert proxy.get("/_protected_events", events).status in (401, 404)
