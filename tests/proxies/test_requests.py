"""Requests of unusual size, kind and rate through each shipped proxy."""

import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.handmade_tokens import token
from tests.proxies.sites import CONFIG, CONSOLE, FILES, REPORTS, Proxy, Sites, cookie_of, seen, signed
from tests.support import API, HttpResponse, application, basic, gunicorn_settings


def cookie(proxy: Proxy) -> dict[str, str]:
    return {"Cookie": cookie_of(proxy.get(f"/?token={signed()}"))}


def test_uploads(proxy: Proxy) -> None:
    """An upload of 5 MiB reaches the application whole, and the check does not read it."""
    response = proxy.get("/upload", cookie(proxy), "POST", b"x" * (5 << 20))
    assert seen(response, "Remote-User") == ["lena"]
    assert response.json["length"] == 5 << 20
    assert proxy.get("/upload", {}, "POST", b"x").status == 401


def test_the_check_has_no_body(proxy: Proxy, sites: Sites) -> None:
    """The check receives neither the body nor its length, so that requests cannot be mixed up."""
    sent = cookie(proxy)
    for headers in ({}, {"Accept": "text/html"}, sent):
        for body in (b"x=1", b"GET /datafor/healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
            assert proxy.get("/form", headers, "POST", body).status == (200 if headers is sent else 401)
            assert proxy.get("/", sent).status == 200
    chunks = [("Transfer-Encoding", "chunked"), ("Accept", "text/html")]
    for more, status in ((list(sent.items()), 200), ([], 401)):
        assert proxy.get("/form", [*chunks, *more], "POST", b"5\r\nhello\r\n0\r\n\r\n").status == status
        assert proxy.get("/", sent).status == 200
    assert "Invalid request" not in sites.service.output


def test_one_connection(public: Proxy) -> None:
    """Each request of one connection is checked: none inherits the identity or the rights of another."""
    connection = http.client.HTTPConnection("127.0.0.1", public.port, timeout=30)
    bearer = {"Authorization": f"Bearer {signed()}"}
    for path, headers, status, user, clean in (
        ("/", {}, 401, "", ""), ("/public/x", {}, 200, "", "/public/x"), ("/", {}, 401, "", ""),
        (f"/r?token={signed('anna')}", {}, 200, "anna", "/r"), ("/", {}, 401, "", ""), ("/", bearer, 200, "lena", "/"),
        ("/public/x", bearer, 200, "", "/public/x"), (f"/r?token={signed('anna')}x", {}, 401, "", ""),
        (f"/r?token={signed('anna')}", {"Accept": "text/html"}, 303, "", ""), ("/q?a=1", bearer, 200, "lena", "/q?a=1"),
    ):  # fmt: skip
        connection.request("GET", path, headers={"Host": REPORTS, **headers})
        received = connection.getresponse()
        response = HttpResponse(received.status, received.headers, received.read())
        assert response.status in (status, 302 if status == 303 else status), path
        assert ("datafor_gate=" in str(response.headers.get_all("Set-Cookie"))) == (
            status in (200, 303) and "token=" in path
        )
        if status == 200:
            assert [*seen(response, "Remote-User"), ""][0] == user
            assert public.name == "traefik" or response.json["path"] == clean
    connection.close()


def test_methods(proxy: Proxy) -> None:
    """Requests of any method pass the check, also with a password."""
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        response = proxy.get("/form", basic(), method, b"x" if method in ("POST", "PUT") else None)
        assert (seen(response, "Remote-User"), response.json["method"]) == (["admin"], method)


def test_websockets(proxy: Proxy) -> None:
    """A WebSocket of a signed-in user is opened, with the identity; without a credential it is 401."""
    for sent, status in ((cookie(proxy)["Cookie"], b" 101 "), ("a=1", b" 401 ")):
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
            connection.sendall(
                b"GET /ws HTTP/1.1\r\nHost: reports.intra.example\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade, Remote-User\r\nRemote-User: admin\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                + f"Cookie: {sent}\r\n\r\n".encode()
            )
            received = b""
            if status == b" 101 ":
                while b"hello" not in received or not received.endswith(b"\n"):
                    received += connection.recv(4096)
                assert received.endswith(b"hello lena\n")
                connection.sendall(b"more\n")
                assert connection.recv(4096) == b"more\n"
            else:
                received = connection.recv(4096)
            assert status in received.split(b"\r\n")[0]


def test_other_upgrades(proxy: Proxy) -> None:
    """No tunnel other than a WebSocket is opened, because requests inside it would not be checked."""
    for upgrade in (
        ["h2c"],
        ["h2c, websocket"],
        ["websocket, h2c"],
        ["h2c", "websocket"],
        ["websocket", "h2c"],
        ["TLS/1.0"],
    ):
        sent = [("Upgrade", one) for one in upgrade]
        for connection in ("upgrade", "Upgrade, HTTP2-Settings"):
            more = [("Connection", connection), ("HTTP2-Settings", "AAMAAABkAAQAAP__")]
            # HAProxy refuses a WebSocket without it.
            more.append(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
            response = proxy.get("/ws", [*cookie(proxy).items(), *sent, *more])
            assert response.status in (101, 200, 403, 404), upgrade
            if response.status == 101:
                # nginx and Traefik request a WebSocket if it is listed first.
                assert response.headers["Upgrade"] == "websocket"
            if response.status == 200:
                assert seen(response, "Upgrade") == []


def test_odd_requests_do_not_fail_at_the_check(proxy: Proxy) -> None:
    """Many headers, control characters, a very long URL or credential: an error is the client's, never the server's."""
    sent = cookie(proxy)
    many = {f"X-{number}": "1" for number in range(60)}
    assert proxy.get("/", {**sent, **many, "User-Agent": "x" * 3000}).status == 200
    assert proxy.get("/" + "x" * 6000, sent).status == 200
    long = proxy.get("/", {"Cookie": f"{sent['Cookie']}; long={'x' * 7000}"})
    assert seen(long, "Cookie") == [f"long={'x' * 7000}"]
    for path, headers in (
        ("/" + "x" * 15_900, sent), ("/", {"Authorization": f"Bearer {'x' * 15_900}"}),
        ("/", {**sent, "User-Agent": "\x1b[31m"}), ("/", {"Cookie": f"{sent['Cookie']}; a=\x01"}),
        ("/%00", sent), ("/%ff?%ff=%fe", sent),
        ("/", [*sent.items(), ("Cookie", "a=1"), ("Accept", "x"), ("Accept", "y")]),
    ):  # fmt: skip
        assert proxy.get(path, headers).status < 500


def test_the_largest_identity(proxy: Proxy) -> None:
    """64 roles of 64 characters, and names in Chinese, reach the application whole."""
    name = "名" * 128
    roles = [f"{number:02d}" + "角" * 62 for number in range(64)]
    proxy.call("update", application(name="Big", secret="big-one", initroles=roles))
    text = token({"loginname": name, "exp": int(time.time()) + 3600, "name": "姓" * 256}, "big-one")
    response = proxy.get(f"/?token={text}")
    assert seen(response, "Remote-User") == [name]
    assert seen(response, "Remote-Name") == ["姓" * 256]
    assert seen(response, "Remote-Groups") == [",".join(["SYS_Reader", *roles])]


def test_a_long_token(proxy: Proxy) -> None:
    """A token of 4,096 characters passes the proxy and the check."""
    long = signed("long", x="y" * 2900)
    assert 3900 < len(long) <= 4096
    assert seen(proxy.get(f"/{'p' * 2000}?token={long}"), "Remote-User") == ["long"]


def test_idle_connections(sites: Sites) -> None:
    """The service keeps an idle connection open longer than any proxy does, so that no POST fails."""
    values = gunicorn_settings()
    for name, line in (
        ("nginx", "keepalive_timeout 60s;"), ("caddy", "keepalive 60s"), ("traefik", "idleConnTimeout: 60s"),
        ("haproxy", "pool-purge-delay 5s"), ("apache", "ttl=60"),
    ):  # fmt: skip
        assert line in (CONFIG / FILES[name]).read_text()
    # 120 s: Caddy's default. Traefik's check, which cannot be set, has 90 s.
    assert values["keepalive"] > 120
    connection = http.client.HTTPConnection("127.0.0.1", sites.service.port, timeout=10)
    for pause in (0, 3):  # gunicorn's default is 2 s
        time.sleep(pause)
        connection.request("POST", "/datafor/auth/check", headers={"Host": CONSOLE})
        assert connection.getresponse().read()
        assert connection.sock is not None
    connection.close()


def test_unread_bodies_do_not_disturb_others(proxy: Proxy) -> None:
    """Beside a client whose bodies of 65,536 bytes are not read, no other client gets a 502."""
    ends = threading.Event()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    paths = ("/datafor/nowhere", f"/datafor{API}/generate", "/datafor/healthz")
    unread: list[int] = []

    def post() -> None:
        while not ends.is_set():
            response = proxy.get(paths[len(unread) % 3], form, "POST", b"x" * 65536, host=CONSOLE)
            unread.append(response.status)

    with ThreadPoolExecutor(2) as threads:
        posting = [threads.submit(post) for _ in range(2)]
        others = []
        for _ in range(50):
            others += [
                proxy.call("generate", {"name": "ERP", "username": "lena"}).status,
                proxy.get("/", basic()).status,
            ]
        ends.set()
        for one in posting:
            one.result()
    assert (set(others), set(unread)) == ({200}, {401, 404, 405})
