"""gunicorn's threaded worker, which leaves new connections to the other workers when it has many.

All workers are woken by a new connection, and whoever is awake already takes it. So in many runs one worker took
nearly all of the connections that came at once and stayed open, and had them compete for one core beside an idle one.
``reuse_port`` spreads them as well, but then each worker listens for itself: who waits at one that dies is lost, and a
second service on the same port is no error any more.
"""

import socket
import time

from gunicorn.workers.gthread import _DEFER, TConn, ThreadWorker

_PAUSE = 0.0005  # seconds: some times what an idle worker takes to wake up
_FIRST_BYTE = 0.05  # seconds; gunicorn's own worker has a thread wait for 5


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Takes a new connection at once while a thread is free for it, and else after a moment."""

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, if there still is one."""
        if self.nr_conns >= self.cfg.threads:
            time.sleep(_PAUSE)
        super().accept(listener)

    def handle(self, conn: TConn) -> object:
        """Answer what comes on a connection; one on which nothing comes soon holds no thread until something does."""
        if not conn.initialized and not conn.wait_for_data(_FIRST_BYTE):
            return _DEFER
        return super().handle(conn)
