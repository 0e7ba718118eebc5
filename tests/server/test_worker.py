"""Our worker for gunicorn: it sends the same bytes as gunicorn's own, and stays on its core."""

import contextlib
import os
import queue
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import RequestParser, message, wsgi
from gunicorn.http.errors import InvalidResponseHeader, InvalidResponseHeaderName
from gunicorn.http.unreader import IterUnreader
from gunicorn.workers.gthread import _DEFER, TConn
from hypothesis import given
from hypothesis import strategies as st

from datafor_token import blocking
from datafor_token.server import affinity, http, worker
from datafor_token.web.responses import FIXED_HEADERS
from tests.support import API, Server, basic

needs_two_cores = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")


def sent_by(
    kind: type[Any], request: bytes, status: str, headers: Sequence[tuple[str, str]], body: Iterable[bytes]
) -> list[bytes]:
    """Return the pieces that a response class of gunicorn sends."""
    config = Config()
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        parsed = next(RequestParser(config, iter([request]), ("127.0.0.1", 1)))
        response, _ = wsgi.create(parsed, here, ("127.0.0.1", 1), ("127.0.0.1", 80), config, response_class=kind)
        response.start_response(status, list(headers))
        for piece in body:
            response.write(piece)
        response.close()
        here.shutdown(socket.SHUT_WR)
        return list(iter(lambda: there.recv(65536), b""))


GET, HEAD, OLD = (
    f"{line}\r\nHost: a\r\n\r\n".encode() for line in ("GET / HTTP/1.1", "HEAD / HTTP/1.1", "GET / HTTP/1.0")
)


@pytest.mark.parametrize("request_", [GET, HEAD, OLD], ids=["GET", "HEAD", "HTTP/1.0"])
@pytest.mark.parametrize("status", ["200 OK", "204 NO CONTENT", "404 NOT FOUND"])
@pytest.mark.parametrize("length", [None, "0", "3", "4", "9"])
@pytest.mark.parametrize("body", [[], [b""], [b"body"], [b"bo", b"dy"]], ids=str)
def test_a_response_is_the_same_bytes_as_gunicorns_own(
    request_: bytes, status: str, length: str | None, body: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For any request and response, the bytes are those that gunicorn's own class sends."""
    monkeypatch.setattr(util, "http_date", lambda: "Thu, 01 Jan 1970 00:00:00 GMT")
    monkeypatch.setattr(http.Response, "checked", frozenset(FIXED_HEADERS))
    headers = [("Content-Type", "text/plain"), *FIXED_HEADERS, ("X-Name", " Zo\xeb")]
    if length is not None:
        headers.append(("Content-Length", length))
    ours = sent_by(http.Response, request_, status, headers, body)
    theirs = sent_by(wsgi.Response, request_, status, headers, body)
    assert b"".join(ours) == b"".join(theirs)


def test_a_response_of_known_length_is_one_piece() -> None:
    """Headers and body are sent in one piece, so that the client is not woken for headers alone."""
    (piece,) = sent_by(http.Response, GET, "200 OK", [("Content-Length", "4")], [b"body"])
    assert piece.startswith(b"HTTP/1.1 200 OK\r\n")
    assert piece.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("header", [("X-Name", "a\r\nb"), ("X Name", "a"), ("Cache-Control", "no-store\n")], ids=str)
def test_an_invalid_header_is_refused(header: tuple[str, str]) -> None:
    """A header that would start another one is refused, as gunicorn refuses it."""
    with pytest.raises((InvalidResponseHeader, InvalidResponseHeaderName)):
        sent_by(http.Response, GET, "200 OK", [header], [b"body"])


def test_headers_may_be_lists() -> None:
    """Headers may be lists: PEP 3333 requires tuples, but gunicorn accepts lists of other applications."""
    headers: Any = [["Content-Type", "text/plain"], ["Content-Length", "4"]]
    (sent,) = sent_by(http.Response, GET, "200 OK", headers, [b"body"])
    assert b"Content-Type: text/plain\r\n" in sent


@given(st.floats(0, 2**33) | st.integers(0, 2**33))
def test_a_date_is_gunicorns_own(moment: float) -> None:
    """A date has gunicorn's format."""
    assert http.date(moment) == http.date(moment) == util.http_date(moment)


@pytest.mark.parametrize("allowed", ["", "127.0.0.1", "10.0.0.0/8", "*"])
@pytest.mark.parametrize("peer", [("127.0.0.1", 1), ("10.1.2.3", 1), ("nowhere", 1), "", b""], ids=str)
def test_trusted_proxies_are_gunicorns(allowed: str, peer: Any) -> None:
    """Which proxy is trusted is decided as gunicorn does it, for a Unix socket as well."""
    config = Config()
    config.set("forwarded_allow_ips", allowed)
    asked = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n"
    ours, theirs = (kind(config, IterUnreader([asked]), peer, 1) for kind in (http.Request, message.Request))
    assert ours.scheme == theirs.scheme
    assert ours.headers == theirs.headers


def test_wsgi_errors_go_where_gunicorns_go(capfd: pytest.CaptureFixture[str]) -> None:
    """An application's text for wsgi.errors goes to standard error, as under gunicorn."""
    config = Config()
    config.set("errorlog", "-")
    print("something", file=http.Errors(config), flush=True)
    assert capfd.readouterr().err == "something\n"


def status_lines(server: Server, sent: bytes, number: int) -> list[bytes]:
    """Return the status lines of so many responses on one connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(sent)
        found = b""
        while found.count(b"HTTP/1.1 ") < number:
            piece = connection.recv(65536)
            assert piece, found
            found += piece
    return [b"HTTP/1.1 " + part.split(b"\r\n")[0] for part in found.split(b"HTTP/1.1 ")[1:]]


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def test_requests_on_one_connection_are_kept_apart(server: Server) -> None:
    """A request after another one with a body, a chunked body or none gets its own response."""
    sign_in, form = f"Authorization: {basic()['Authorization']}", "Content-Type: application/x-www-form-urlencoded"
    read = post(f"{API}/generate", b"name=nobody", sign_in, form)
    lines = [f"POST {API}/generate HTTP/1.1", "Host: localhost", sign_in, form, "Transfer-Encoding: chunked"]
    chunked = "\r\n".join([*lines, "", "b", "name=nobody", "0", "", ""]).encode()
    none = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    expected = [b"404", b"200", b"404", b"200", b"200"]
    found = status_lines(server, read + none + chunked + none + none, len(expected))
    assert [line.split()[1] for line in found] == expected


def everything(port: int, sent: bytes) -> bytes:
    """Return all that the server sends until it closes the connection; a reset is an error."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        # A server that closed without reading would reset the connection here.
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


FORM, AS_ADMIN = "Content-Type: application/x-www-form-urlencoded", f"Authorization: {basic()['Authorization']}"
CHUNK = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
# A status, and a request whose response does not need its body.
UNREAD = {
    "404": (b"404", post("/nowhere", b"x" * 65536)),
    "404, small": (b"404", post("/nowhere", b"x")),
    "404, chunked": (
        b"404",
        b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n",
    ),
    "401": (b"401", post(f"{API}/generate", b"x" * 65536, FORM)),
    "405": (b"405", post("/healthz", b"x" * 65536)),
    "healthz": (b"200", post("/healthz", b"x" * 65536).replace(b"POST", b"GET", 1)),
    "HEAD": (b"200", post("/healthz", b"x" * 65536).replace(b"POST", b"HEAD", 1)),
    "413": (b"413", post(f"{API}/generate", b"x" * 1_000_000, FORM, AS_ADMIN)),
    "413, chunked": (
        b"413",
        post(f"{API}/generate", b"", FORM, AS_ADMIN).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + CHUNK * 3
        + b"0\r\n\r\n",
    ),
    "Expect": (b"401", post(f"{API}/generate", b"x" * 65536, FORM, "Expect: 100-continue")),
}


def check_closed(port: int, status: bytes, sent: bytes) -> None:
    """Check that the response is complete, announces the end of the connection, and is the last one on it."""
    follows = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = everything(port, sent + follows).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert b"\r\nConnection: close" in head
    assert found.count(b"HTTP/1.1 ") == 1
    length = next(int(line.split()[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
    assert len(body) == (0 if sent.startswith(b"HEAD") else length)


@pytest.mark.parametrize("which", UNREAD)
def test_a_body_that_was_not_read_ends_the_connection(server: Server, which: str) -> None:
    """A response sent before the whole body was read announces the connection's end, and arrives in full."""
    check_closed(server.port, *UNREAD[which])


def test_a_body_that_was_read_keeps_the_connection(server: Server) -> None:
    """A response to a request whose body was read, or that has none, announces keep-alive."""
    for sent in (
        post(f"{API}/generate", b"name=nobody", AS_ADMIN, FORM),
        post(f"{API}/generate", b"", AS_ADMIN, FORM),
        b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(sent)
            assert b"\r\nConnection: keep-alive" in connection.recv(65536)


def test_a_thread_survives_an_error_that_gunicorn_does_not_catch() -> None:
    """If gunicorn fails to handle an error, the connection is closed, and the thread serves the next one."""

    class Broken:
        log = type("Log", (), {"exception": staticmethod(lambda _: None)})

        def __init__(self) -> None:
            self.ended: list[tuple[object, object]] = []

        def handle(self, conn: object) -> object:
            if conn == "bad":
                raise SystemExit
            return True

        def finish_request(self) -> None: ...

        @property
        def method_queue(self) -> "Broken":
            return self

        def defer(self, _: object, conn: object, outcome: Any) -> None:
            self.ended.append((conn, outcome.result()))

    broken = Broken()
    threads = worker._Threads(broken, 1)  # type: ignore[arg-type]
    for conn in ("bad", "good"):
        threads.waiting.put(conn)
    threads.shutdown(wait=False)
    while len(broken.ended) < 2:
        time.sleep(0.01)
    assert broken.ended == [("bad", False), ("good", True)]


class Slow:
    """Worker whose requests are functions."""

    log = type("Log", (), {"exception": staticmethod(lambda _: None)})

    def __init__(self) -> None:
        self.done: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.method_queue = self

    def handle(self, request: Callable[[], None]) -> bool:
        request()
        return True

    def finish_request(self) -> None: ...

    def defer(self, *_: object) -> None:
        self.done.put(True)


def serving() -> int:
    """Return the number of threads that serve requests: others of the process belong to other tests."""
    return sum(thread.name == "requests" for thread in threading.enumerate())


def take(number: int, them: "queue.SimpleQueue[bool]") -> None:
    for _ in range(number):
        them.get(timeout=30)


def test_waiting_requests_delay_no_others() -> None:
    """While requests wait, as many threads as before serve others; after the wait, no thread is left over."""
    slow, over, entered = Slow(), threading.Event(), queue.SimpleQueue[bool]()
    before = serving()
    threads = worker._Threads(slow, 2)  # type: ignore[arg-type]

    def ask(number: int, request: Callable[[], object]) -> None:
        for _ in range(number):
            threads.waiting.put(request)

    def wait() -> None:
        with blocking.waiting():
            entered.put(True)
            over.wait(30)

    ask(5, wait)
    take(5, entered)
    # Two at once, each of which waits for the other one.
    meeting = threading.Barrier(2)
    ask(2, lambda: meeting.wait(30))
    take(2, slow.done)
    over.set()
    take(5, slow.done)
    # Surplus threads end after the next requests.
    ask(20, lambda: time.sleep(0.001))
    take(20, slow.done)
    while serving() > before + 2:
        time.sleep(0.01)
    threads.shutdown(wait=False)
    while serving() > before:
        time.sleep(0.01)


def test_a_replacement_is_used_again() -> None:
    """Requests that wait one after the other do not leave one thread over each."""
    slow = Slow()
    before = serving()
    threads = worker._Threads(slow, 1)  # type: ignore[arg-type]

    def wait() -> None:
        with blocking.waiting():
            pass

    for _ in range(50):
        threads.waiting.put(wait)
        slow.done.get(timeout=30)
    assert serving() <= before + 2
    threads.shutdown(wait=False)
    while serving() > before:
        time.sleep(0.01)


def test_hanging_threads_get_help() -> None:
    """While all threads hang and requests wait, one more thread at a time serves, up to a limit; it ends afterwards."""
    slow, over, hanging = Slow(), threading.Event(), queue.SimpleQueue[bool]()
    before = serving()
    threads = worker._Threads(slow, 2)  # type: ignore[arg-type]

    def hang() -> None:
        hanging.put(True)
        over.wait(60)

    def relieve() -> None:
        # The first call sees that requests wait, the second one that they still do.
        for _ in range(2):
            threads.relieve()
            time.sleep(worker._STALLED)
        threads.relieve()

    for _ in range(2):
        threads.waiting.put(hang)
    take(2, hanging)
    relieve()
    assert serving() == before + 2
    threads.waiting.put(lambda: None)
    threads.relieve()
    assert serving() == before + 2
    relieve()
    take(1, slow.done)
    for _ in range(worker._MOST_EXTRA + 3):
        threads.waiting.put(hang)
    for _ in range(worker._MOST_EXTRA * 2):
        threads._stalled = 0.0
        threads._taken = -1.0
        threads.relieve()
    take(worker._MOST_EXTRA, hanging)
    assert serving() <= before + 2 + worker._MOST_EXTRA
    assert threads.waiting.qsize() == 3
    over.set()
    take(2 + worker._MOST_EXTRA + 3, slow.done)
    while serving() > before + 2:
        time.sleep(0.01)
    threads.shutdown(wait=False)
    while serving() > before:
        time.sleep(0.01)


def test_an_extra_thread_leaves_as_many_threads_as_before() -> None:
    """Extra threads whose requests free their thread, as a sign-in does, leave no thread over, and none too few."""
    slow, over, hanging = Slow(), threading.Event(), queue.SimpleQueue[bool]()
    before = serving()
    threads = worker._Threads(slow, 1)  # type: ignore[arg-type]

    def hang() -> None:
        hanging.put(True)
        over.wait(60)

    def free() -> None:
        with blocking.waiting():
            hanging.put(True)
            over.wait(60)

    threads.waiting.put(hang)
    take(1, hanging)
    threads.waiting.put(free)
    threads._stalled, threads._taken = 0.0, -1.0
    threads.relieve()
    take(1, hanging)
    over.set()
    take(2, slow.done)
    # Surplus threads end after the next requests.
    for _ in range(20):
        threads.waiting.put(lambda: time.sleep(0.001))
    take(20, slow.done)
    while serving() != before + 1:
        time.sleep(0.01)
    threads.shutdown(wait=False)
    while serving() > before:
        time.sleep(0.01)


def test_healthz_while_all_threads_hang(tmp_path: Path) -> None:
    """While more requests hang than a worker has threads, another one is still served."""
    hold = tmp_path / "hold"
    hold.touch()
    server = Server(tmp_path, HANG=str(hold))
    server.application = "tests.server.hanging:app"
    server.start()
    try:
        with ThreadPoolExecutor(12) as pool:
            hanging = [pool.submit(server.request, "GET", "/hang", None, {}) for _ in range(12)]
            for _ in range(4):
                assert server.request("GET", "/healthz", headers={}).status == 200
            assert not any(one.done() for one in hanging)
            hold.unlink()
            assert {one.result(60).status for one in hanging} == {200}
    finally:
        hold.unlink(missing_ok=True)
        server.stop()


def test_many_refusals_slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many refused requests, a limited number is delayed, and only where another thread can serve meanwhile."""
    replaced: list[bool] = []
    # Of this module only: threads of other tests wait too.
    clock = SimpleNamespace(
        sleep=lambda seconds: replaced.append(0.5 <= seconds <= 1.5),
        monotonic=lambda: 7.0,
    )
    monkeypatch.setattr(blocking, "time", clock)
    monkeypatch.setattr(blocking, "_allowance", blocking._Allowance())

    @contextlib.contextmanager
    def replacement() -> Iterator[None]:
        yield
        replaced.append(True)

    def refuse() -> None:
        # Without a replacement, none is delayed.
        for _ in range(blocking._FREE * 2):
            blocking.slow_down(1)
        blocking.replace_with(replacement)
        for _ in range(blocking._FREE):
            blocking.slow_down(1)
        assert replaced == []
        blocking.slow_down(1)
        assert replaced == [True, True]
        monkeypatch.setattr(blocking, "_pauses", threading.BoundedSemaphore(1))
        with blocking._pauses:
            blocking.slow_down(1)
        assert replaced == [True, True]
        clock.monotonic = lambda: 8.0
        for _ in range(blocking._FREE_PER_SECOND):
            blocking.slow_down(1)
        assert replaced == [True, True]

    with ThreadPoolExecutor(1) as pool:
        pool.submit(refuse).result(30)


def spread(steps: str, wanted: int = 2) -> list[int | None]:
    """Return the cores of the workers after steps: `+` a new one, `-` the oldest ends, `x` the youngest ends."""
    workers: list[tuple[int, int | None]] = []
    for age, step in enumerate(steps):
        if step == "+":
            workers.append((age, affinity.choose(workers, wanted)))
        else:
            workers.pop(0 if step == "-" else -1)
    return [core for _, core in workers]


def test_workers_are_spread_over_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are spread evenly over the cores that the process may use."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert sorted(spread("+++", 3), key=str) == [3, 5, 7]
    assert sorted(spread("++++++", 6), key=str) == [3, 3, 5, 5, 7, 7]
    assert affinity.choose([(1, 3), (2, 5), (3, 7), (4, 3), (5, 7)], 6) == 5
    assert affinity.choose([(1, None), (2, 3), (3, 7)], 4) == 5


# One worker dies; the service is reloaded; once more; the oldest ends late; the first one dies several times.
@pytest.mark.parametrize("steps", ["++-+", "++x+", "++++--", "++++-++--", "+++-++--", "++-+-+-+"])
def test_two_workers_stay_on_two_cores(steps: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any starts and ends of workers, the two that remain are on two cores."""
    for offset in range(2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        monkeypatch.setattr(os, "getpid", lambda offset=offset: offset)
        left = spread(steps)
        assert sorted(left[-2:], key=str) == [0, 1]


def test_one_more_worker_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third worker (TTIN), the death of one, and one worker less (TTOU) leave two workers on two cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for dead in range(3):
        workers: list[tuple[int, int | None]] = []
        for age, wanted in enumerate((2, 2, 3)):
            workers.append((age, affinity.choose(workers, wanted)))
        del workers[dead]
        workers.append((3, affinity.choose(workers, 3)))
        assert sorted((core for _, core in workers[1:]), key=str) == [0, 1]


def test_no_thread_waits_for_a_silent_client_while_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread waits for the first byte only while no other connection waits for a thread."""
    asked = []
    poll = type("Poll", (), {"register": lambda *_: None, "poll": lambda _, longest: asked.append(longest)})
    monkeypatch.setattr(select, "poll", poll)
    here, there = socket.socketpair()
    with here, there:
        serving = object.__new__(worker.Worker)
        conn = TConn(Config(), here, ("127.0.0.1", 1), ("127.0.0.1", 80))
        serving.tpool = type("Threads", (), {"waiting": queue.SimpleQueue()})
        assert serving.handle(conn) is _DEFER
        serving.tpool.waiting.put("another")
        assert serving.handle(conn) is _DEFER
    assert asked == [worker._FIRST_BYTE, 0]


def test_a_request_on_a_silent_connection_is_served_at_a_stop(tmp_path: Path) -> None:
    """A client that connected before a stop and sends its request just after it gets a response."""
    server = Server(tmp_path).start()
    server.both_workers()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        # Longer than a thread waits for the first byte.
        time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 200")
    assert server.stop() == 0


def test_one_core_is_nothing_to_choose_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a single core, none is chosen."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert affinity.choose([], 2) is None


def cores_of(pid: int) -> list[set[int]]:
    """Return the cores that each thread of a process may use."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # Some exist only while a password is hashed.
        with contextlib.suppress(ProcessLookupError):
            found.append(os.sched_getaffinity(int(thread.name)))
    return found


@needs_two_cores
def test_each_worker_stays_on_a_core_of_its_own(server: Server) -> None:
    """A worker and its threads are on one core; the replacement of a dead worker is on the same one."""
    everywhere = os.sched_getaffinity(0)
    workers = server.both_workers()
    found = {pid: os.sched_getaffinity(pid) for pid in workers}
    assert all(len(own) == 1 for own in found.values())
    assert len(set().union(*found.values())) == 2
    # The thread that waits for connections, and those that serve.
    assert all(cores_of(pid).count(own) >= 4 for pid, own in found.items())
    assert os.sched_getaffinity(server.process.pid) == everywhere
    dead = min(workers)
    os.kill(dead, signal.SIGKILL)
    while dead in server.workers():
        time.sleep(0.05)
    (new,) = set(server.both_workers()) - set(workers)
    assert os.sched_getaffinity(new) == found[dead]


@needs_two_cores
def test_hashes_may_use_every_core(server: Server) -> None:
    """The threads that hash passwords may use every core, not only that of their worker."""
    workers = server.both_workers()
    found: list[set[int]] = []
    with ThreadPoolExecutor(1) as pool:
        # Each takes a tenth of a second. Each is from a new address, because addresses are throttled.
        for number in range(1, 100):
            server.client_address = f"127.0.9.{number}"
            guess = pool.submit(server.request, "GET", f"{API}/list", headers=basic("admin", "wrong"))
            while not guess.done() and os.sched_getaffinity(0) not in found:
                found = [own for pid in workers for own in cores_of(pid)]
            if os.sched_getaffinity(0) in found:
                break
    server.client_address = "127.0.0.1"
    assert os.sched_getaffinity(0) in found
    assert any(len(own) == 1 for own in found)
