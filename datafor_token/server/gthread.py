"""gunicorn's threaded worker, which loses neither a signal at its start nor a connection at its stop."""

import os
import select
import signal
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

# Signals that the master sends to its workers, and that a new worker must not lose.
_HELD = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1)
_MOST_LAST = 2048  # connections that are accepted at the stop: as many as wait at most, with gunicorn's default


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


# A new worker inherits the handlers of the master, which put signals into a queue that nobody reads in the worker: a
# SIGTERM before the worker has handlers of its own was lost, and the master waited for ``graceful_timeout``. A signal
# that is blocked stays pending instead.
os.register_at_fork(after_in_parent=_release)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's threaded worker with a clean start and stop."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # In the master, just before the fork. The master releases the signals after it, the worker in ``init_signals``.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)

    def init_signals(self) -> None:
        """Install the handlers of a worker, and let the signals in that came before."""
        super().init_signals()
        _release()

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 - as gunicorn calls it
        """Begin or cease to accept connections; at the stop, accept those that wait already, and close the sockets.

        gunicorn leaves the sockets open until its last connection is closed, for 2 seconds or more. Clients could
        connect in this time, and were reset when the sockets closed. A proxy tries another node when its connection is
        refused, but not after a POST was sent.
        """
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for listener in self.sockets:
            waiting = select.poll()
            waiting.register(listener, select.POLLIN)
            for _ in range(_MOST_LAST):
                if not waiting.poll(0):
                    break
                self.accept(listener)
            listener.close()
