"""gunicorn's threaded worker, made for many short requests.

All workers are woken by a new connection, and whoever is awake already takes it. So in many runs one worker took
nearly all of the connections that came at once and stayed open, and had them compete for one core beside an idle one.
``reuse_port`` spreads them as well, but then each worker listens for itself: who waits at one that dies is lost, and a
second service on the same port is no error any more. Here a worker with many leaves new ones to the others.

Everything at which a thread lets the others run (a system call, a lock) has them compete for the interpreter. So what
gunicorn does in several such steps for each request is done in one, where it comes to the same.
"""

import contextlib
import queue
import select
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker

from datafor_token import blocking
from datafor_token.server import affinity, http

_PAUSE = 0.0005  # seconds: some times what an idle worker takes to wake up
_FIRST_BYTE = 50  # milliseconds; gunicorn's own worker has a thread wait for 5 seconds
_SILENCE = 1.0  # seconds; the master waits for 30
_LINGER = 2.0  # seconds that a connection is waited for which is to be closed
_MOST_LEFT = (
    4 * 1024 * 1024
)  # bytes that are read of what a client still sends; closing before that resets the response
_PIECE = 65536  # bytes that are read of it at once


class _Outcome:
    """What became of a request, as the standard library's futures tell it, each of which has a lock of its own."""

    def __init__(self, kept: object) -> None:
        self._kept = kept

    def cancelled(self) -> bool:
        return False

    def result(self) -> object:
        return self._kept


class _Threads:
    """Connections on which something came, and as many threads as there are in the settings.

    In place of the standard library's pool, whose locks were a tenth of a request. A request that waits for long is
    not counted: another thread is started in its place, and one ends when it goes on. A waiting thread costs nothing
    but its stack; more threads that all serve cost up to 1.3 times the p99.
    """

    def __init__(self, worker: "Worker", number: int) -> None:
        self.waiting: queue.SimpleQueue[TConn | None] = queue.SimpleQueue()
        self._worker = worker
        self._lock = threading.Lock()
        self._too_many = 0  # threads that are to end
        for _ in range(number):
            self._start()

    def _start(self) -> None:
        # A stop waits for requests, as long as graceful_timeout; one that takes longer is no reason to stay.
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        blocking.replace_with(self._replaced)
        while (conn := self.waiting.get()) is not None:
            try:
                kept = self._worker.handle(conn)
            except BaseException:
                # Not even gunicorn could end it. The connection is closed; a thread that is gone nobody would miss.
                self._worker.log.exception("Error handling request")
                kept = False
            self._worker.method_queue.defer(self._worker.finish_request, conn, _Outcome(kept))
            if self._too_many and self._is_one_too_many():
                return
        # For the next thread: how many there are is not known.
        self.waiting.put(None)

    @contextlib.contextmanager
    def _replaced(self) -> Iterator[None]:
        """Have another thread serve in place of this one."""
        if not self._is_one_too_many():
            self._start()
        try:
            yield
        finally:
            with self._lock:
                self._too_many += 1

    def _is_one_too_many(self) -> bool:
        """Return whether there is a thread too many, which from now on there is not."""
        with self._lock:
            if not self._too_many:
                return False
            self._too_many -= 1
            return True

    def shutdown(self, *, wait: bool) -> None:  # noqa: ARG002 - as gunicorn calls it
        self.waiting.put(None)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves requests in threads that stay on one core, and lets no client keep others waiting by doing nothing."""

    core: int | None = None  # the one to stay on

    def __init__(self, *of_gunicorn: Any) -> None:
        super().__init__(*of_gunicorn)
        # Connections that are waited for for a moment more, the one that is waited for longest first.
        self.ending: deque[TConn] = deque()
        self._notified = 0.0

    def init_process(self) -> None:
        """Serve, in a process of its own."""
        http.install()
        # A setting is found by three calls of its own, thirty times in a request; a worker's do not change any more.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        affinity.stay(self.core)
        super().init_process()

    def get_thread_pool(self) -> _Threads:
        """What answers requests."""
        return _Threads(self, self.cfg.threads)

    def notify(self) -> None:
        """Tell the master that this worker lives: not at each event, as gunicorn does, but now and then."""
        now = time.monotonic()
        if now - self._notified >= _SILENCE:
            self._notified = now
            super().notify()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, if there still is one: at once while a thread is free, and else after a moment."""
        if self.nr_conns >= self.cfg.threads:
            time.sleep(_PAUSE)
        super().accept(listener)

    def enqueue_req(self, conn: TConn) -> None:
        """Have a thread answer what came on a connection."""
        self.tpool.waiting.put(conn)

    def handle(self, conn: TConn) -> object:
        """Answer what comes on a connection; one on which nothing comes soon holds no thread until something does."""
        if not conn.initialized and not conn.data_ready:
            coming = select.poll()
            coming.register(conn.sock, select.POLLIN)
            # Not at all where others wait for a thread.
            if not coming.poll(0 if self.tpool.waiting.qsize() else _FIRST_BYTE):
                return _DEFER
            conn.data_ready = True
        return super().handle(conn)

    def finish_request(self, conn: TConn, fs: _Outcome) -> None:
        """Go on with a connection as its request ended."""
        result = fs.result()
        if not result and not self.cfg.is_ssl:
            # RFC 9112 section 9.6: say that nothing more comes, and close when the client has. gunicorn waits here
            # for that client, and until it closes, or for 2 seconds, all others wait too.
            conn.left = _MOST_LEFT
            self._wait(conn, self._drain, is_over=True)
        elif result is _DEFER and not self.alive:
            # gunicorn's own closes it, though a request may be on its way.
            self._wait(conn, self._answer)
        else:
            super().finish_request(conn, fs)

    def _wait(self, conn: TConn, then: Callable[[TConn, socket.socket], None], *, is_over: bool = False) -> None:
        """Have ``then`` called when something comes, and close where nothing does."""
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

    def _answer(self, conn: TConn, _: socket.socket) -> None:
        self._forget(conn)
        conn.data_ready = True
        self.enqueue_req(conn)

    def _drain(self, conn: TConn, client: socket.socket) -> None:
        try:
            more = len(client.recv(min(conn.left, _PIECE)))
        except OSError:
            more = 0
        conn.left -= more
        if not more or not conn.left:
            self._forget(conn)
            self._close(conn)

    def murder_pending(self) -> None:
        """Close what was waited for long enough."""
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
        # Where the whole body was read there is none to be drained, which gunicorn finds out twice, by six calls.
        if keepalive and isinstance(reader := conn.parser.mesg.body.reader, LengthReader) and not reader.length:
            conn.parser.mesg = None
            return True
        return bool(super()._keepalive_after(conn, keepalive))
