"""Threaded worker for gunicorn, for many short requests.

A new connection wakes all workers, and one that is awake already accepts it. So in many runs, one worker accepted
nearly all of the connections that came at once and stayed open: they competed for one core beside an idle one.
``reuse_port`` would spread connections as well. But then each worker listens for itself: the connections that wait at a
worker are lost if it dies, and a second service on the same port no longer fails. Here a worker that has many
connections leaves new ones to the others.

Wherever a thread lets other threads run (a system call, a lock), they compete for the interpreter. So this worker does
in one such step what gunicorn does in several for each request, with the same result.
"""

import contextlib
import queue
import select
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import _DEFER, TConn

from datafor_token import blocking
from datafor_token.server import affinity, gthread, http

_PAUSE = 0.0005  # seconds: a few times what an idle worker takes to wake up
_FIRST_BYTE = 50  # milliseconds; gunicorn's own worker lets a thread wait for 5 seconds
_SILENCE = 1.0  # seconds between two signs of life; the master waits for 30
_LINGER = 2.0  # seconds until a connection is closed whose client does not close it
_MOST_LEFT = 4 * 1024 * 1024  # bytes that are read after the last response: closing before that resets the connection
_PIECE = 65536  # bytes that are read at once
_STALLED = 0.25  # seconds in which requests wait and no thread takes one
_MOST_EXTRA = 16  # threads; each may open a connection to the database


class _Outcome:
    """Result of serving a connection, with the interface of the standard library's futures but no lock."""

    def __init__(self, keepalive: object) -> None:
        self._keepalive = keepalive

    def cancelled(self) -> bool:
        return False

    def result(self) -> object:
        return self._keepalive


class _Threads:
    """Queue of connections with data to read, and the threads that serve them.

    It replaces the pool of the standard library, whose locks took a tenth of a request. While a request waits for long,
    another thread serves in its place; when the request continues, one thread ends. A waiting thread costs nothing but
    its stack; more threads that all serve take up to 1.3 times the p99.

    A request that hangs elsewhere, such as on a database that does not respond, holds its thread. When all of them
    hang, extra threads serve: one more each quarter of a second, until no request waits.
    """

    def __init__(self, worker: "Worker", number: int) -> None:
        self.waiting: queue.SimpleQueue[TConn | None] = queue.SimpleQueue()
        self._worker = worker
        self._lock = threading.Lock()
        self._surplus = 0  # threads that are to end
        self._extra = 0  # threads that end when no request waits
        self._taken = 0.0  # when a thread last took a request; monotonic seconds, as below
        self._stalled: float | None = None  # since when requests wait and none was taken
        for _ in range(number):
            self._start()

    def _start(self) -> None:
        # At a stop, gunicorn waits for requests as long as graceful_timeout. A longer one must not prevent the end.
        threading.Thread(target=self._serve, name="requests", daemon=True).start()

    def _serve(self) -> None:
        blocking.replace_with(self._replaced)
        while (conn := self.waiting.get()) is not None:
            self._handle(conn)
            if self._surplus and self._take_surplus():
                return
        # Passed on to the next thread, as the number of threads is not known here.
        self.waiting.put(None)

    def _handle(self, conn: TConn) -> None:
        self._taken = time.monotonic()
        try:
            keepalive = self._worker.handle(conn)
        except BaseException:
            # gunicorn failed to handle it. The connection is closed; a dead thread would go unnoticed.
            self._worker.log.exception("Error handling request")
            keepalive = False
        self._worker.method_queue.defer(self._worker.finish_request, conn, _Outcome(keepalive))

    def relieve(self) -> None:
        """Start an extra thread if requests wait and no thread has taken one for a while."""
        now = time.monotonic()
        if not self.waiting.qsize():
            self._stalled = None
        elif self._stalled is None or self._taken >= self._stalled:
            self._stalled = now
        elif now - self._stalled >= _STALLED and self._extra < _MOST_EXTRA:
            self._stalled = now
            with self._lock:
                self._extra += 1
            threading.Thread(target=self._serve_extra, name="requests", daemon=True).start()

    def _serve_extra(self) -> None:
        """Serve until no request waits. The surplus is left to the other threads: this one ends anyway."""
        blocking.replace_with(self._replaced)
        with contextlib.suppress(queue.Empty):
            while (conn := self.waiting.get_nowait()) is not None:
                self._handle(conn)
            self.waiting.put(None)
        with self._lock:
            self._extra -= 1

    @contextlib.contextmanager
    def _replaced(self) -> Iterator[None]:
        """Have another thread serve in place of this one."""
        if not self._take_surplus():
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._surplus += 1

    def _take_surplus(self) -> bool:
        """Reduce the surplus of threads by one. Return whether there was one."""
        with self._lock:
            if not self._surplus:
                return False
            self._surplus -= 1
            return True

    def shutdown(self, *, wait: bool) -> None:  # noqa: ARG002 - as gunicorn calls it
        self.waiting.put(None)


class Worker(gthread.Worker):
    """Worker that serves requests in threads on one core. A client that does nothing does not delay other clients."""

    core: int | None = None  # set in the master before the fork
    checked_headers: Collection[tuple[str, str]] = ()  # headers of the application that need no check

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Connections that are about to be closed, the one with the earliest time first.
        self.ending: deque[TConn] = deque()
        self._notified = 0.0

    def init_process(self) -> None:
        """Serve, in a process of its own."""
        http.install(self.checked_headers)
        # gunicorn finds a setting by three calls, thirty times in a request. The settings of a worker do not change.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        affinity.stay(self.core)
        super().init_process()

    def get_thread_pool(self) -> _Threads:
        """Return the threads that serve requests."""
        return _Threads(self, self.cfg.threads)

    def notify(self) -> None:
        """Tell the master that this worker is alive: once in a while, not at each event as gunicorn does."""
        now = time.monotonic()
        if now - self._notified >= _SILENCE:
            self._notified = now
            super().notify()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection that no other worker has accepted: at once while a thread is free, else after a pause."""
        if self.nr_conns >= self.cfg.threads:
            time.sleep(_PAUSE)
        super().accept(listener)

    def enqueue_req(self, conn: TConn) -> None:
        """Have a thread serve a connection that has data to read."""
        self.tpool.waiting.put(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for events and handle them; look after threads that hang."""
        super().wait_for_and_dispatch_events(min(timeout, _STALLED) if self.tpool.waiting.qsize() else timeout)
        self.tpool.relieve()

    def handle(self, conn: TConn) -> object:
        """Serve a connection; defer one that sends nothing soon, so that it holds no thread until it does."""
        if not conn.initialized and not conn.data_ready:
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            # Do not wait at all while other connections wait for a thread.
            if not poll.poll(0 if self.tpool.waiting.qsize() else _FIRST_BYTE):
                return _DEFER
            conn.data_ready = True
        return super().handle(conn)

    def finish_request(self, conn: TConn, fs: _Outcome) -> None:
        """Close a connection after its request, or wait for its next one."""
        result = fs.result()
        if not result and not self.cfg.is_ssl:
            # RFC 9112 section 9.6: shut the sending side down, and close when the client has. gunicorn waits for the
            # client here, up to 2 seconds, in which all others wait as well.
            conn.left = _MOST_LEFT
            self._wait(conn, self._drain, is_over=True)
        elif result is _DEFER and not self.alive:
            # gunicorn's own worker closes the connection, although a request may be on its way.
            self._wait(conn, self._serve_last)
        else:
            super().finish_request(conn, fs)

    def _wait(self, conn: TConn, then: Callable[[TConn, socket.socket], None], *, is_over: bool = False) -> None:
        """Call ``then`` when data comes, and close the connection if none does."""
        conn.timeout = time.monotonic() + _LINGER
        try:
            if is_over:
                conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.settimeout(0)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(then, conn))
        except (OSError, ValueError, KeyError):
            self._close(conn)
        else:
            self.ending.append(conn)

    def _serve_last(self, conn: TConn, _: socket.socket) -> None:
        self._forget(conn)
        conn.data_ready = True
        self.enqueue_req(conn)

    def _drain(self, conn: TConn, client: socket.socket) -> None:
        try:
            received = len(client.recv(min(conn.left, _PIECE)))
        except OSError:
            received = 0
        conn.left -= received
        if not received or not conn.left:
            self._forget(conn)
            self._close(conn)

    def murder_pending(self) -> None:
        """Close the connections whose time is over."""
        super().murder_pending()
        now = time.monotonic()
        while self.ending and self.ending[0].timeout <= now:
            conn = self.ending[0]
            self._forget(conn)
            self._close(conn)

    def _forget(self, conn: TConn) -> None:
        self.poller.unregister(conn.sock)
        self.ending.remove(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

    def _keepalive_after(self, conn: TConn, keepalive: object) -> bool:
        # A body that was read to its end need not be drained. gunicorn finds that out twice, by six calls.
        if keepalive and isinstance(reader := conn.parser.mesg.body.reader, LengthReader) and not reader.length:
            conn.parser.mesg = None
            return True
        return bool(super()._keepalive_after(conn, keepalive))
