"""A primary and its standby behind a switch, for tests of a failover."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator

from tests.store.postgres import Postgres
from tests.support import free_port


class Switch:
    """A port that forwards each new connection to ``target``; a connection stays with the server that it has reached.

    So does an address that moves from one server to the other, and HAProxy without ``on-marked-down
    shutdown-sessions``.
    """

    def __init__(self, target: Postgres) -> None:
        self.target = target
        self.port = free_port()
        self.sent = 0  # messages of clients
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database: str = "postgres", query: str = "") -> str:
        """Return the setting STORE for a database behind this port."""
        return self.target.url(database, query=query).replace(f":{self.target.port}/", f":{self.port}/")

    def cut(self) -> None:
        """Break all connections."""
        while self._pairs:
            for end in self._pairs.pop():
                _close(end)

    def close(self) -> None:
        """Stop listening, and break all connections."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target.port))
                except OSError:
                    _close(client)
                    continue
                self._pairs.append((client, server))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent += source.getsockname()[1] == self.port
                target.sendall(data)
        _close(source)
        _close(target)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class Replicated:
    """A primary, its standby, and a switch to the primary."""

    def __init__(self, *, safe: bool = True) -> None:
        self.primary = Postgres(safe=safe).make().start()
        self.standby = Postgres(safe=safe)
        self.standby.copy_of(self.primary, "standby").start()
        self.switch = Switch(self.primary)

    def fail_over(self) -> None:
        """Pause the primary, promote the standby, and send new connections to it. Existing connections stay."""
        self.wait_for_standby()
        self.primary.signal_all(signal.SIGSTOP)
        self.standby.promote()
        self.switch.target = self.standby

    def continue_old(self) -> None:
        """Continue the old primary, which knows nothing of the failover: it accepts reads and writes."""
        self.primary.signal_all(signal.SIGCONT)

    def wait_for_standby(self) -> None:
        """Wait until the standby has everything that the primary has written."""
        ((written,),) = self.primary.ask("SELECT pg_current_wal_lsn()")
        while self.standby.ask(f"SELECT pg_last_wal_replay_lsn() < '{written}'") == [(True,)]:
            time.sleep(0.02)

    def remove(self) -> None:
        """Stop all for good."""
        self.switch.close()
        self.standby.remove()
        self.primary.remove()


@contextlib.contextmanager
def replicated(*, safe: bool = True) -> Iterator[Replicated]:
    """Yield a primary with its standby, which a test may break."""
    made = Replicated(safe=safe)
    try:
        yield made
    finally:
        made.remove()
