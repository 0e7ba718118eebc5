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
    shutdown-sessions``. Without a target, new connections are closed.
    """

    def __init__(self, target: Postgres) -> None:
        self.target: Postgres | None = target
        self._of = target
        self.port = free_port()
        self.sent = 0  # messages of clients
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        # No connection to a former target begins after its connections were broken.
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, database: str = "postgres", query: str = "") -> str:
        """Return the setting STORE for a database behind this port."""
        return self._of.url(database, query=query).replace(f":{self._of.port}/", f":{self.port}/")

    def cut(self) -> None:
        """Break all connections."""
        with self._lock:
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
                    with self._lock:
                        server = self._connected()
                        self._pairs.append((client, server))
                except OSError:
                    _close(client)
                    continue
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _connected(self) -> socket.socket:
        """Return a new connection to the target; raise ``OSError``."""
        if (target := self.target) is None:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", target.port))

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
    """A primary and its standby, which streams through ``stream``; clients connect to ``switch``."""

    def __init__(self, *, safe: bool = True) -> None:
        self.primary = Postgres(safe=safe).make().start()
        self.switch, self.stream = Switch(self.primary), Switch(self.primary)
        self.standby = Postgres(safe=safe).copy_of(self.primary, "standby", self.stream.port).start()

    def pause_primary(self) -> None:
        """Pause the primary, when the standby has everything that it has written."""
        self.wait_for_standby()
        self.primary.signal_all(signal.SIGSTOP)

    def fail_over(self) -> None:
        """Pause the primary, and promote the standby."""
        self.pause_primary()
        self.promote()

    def promote(self) -> None:
        """Promote the standby, which waits for no standby of its own, and send new connections to it.

        Existing connections stay.
        """
        self.standby.promote()
        self.synchronous(wanted=False, server=self.standby)
        self.switch.target = self.standby

    def continue_old(self) -> None:
        """Continue the old primary, which knows nothing of the failover: it accepts reads and writes."""
        self.primary.signal_all(signal.SIGCONT)

    def wait_for_standby(self) -> None:
        """Wait until the standby has everything that the primary has written."""
        ((written,),) = self.primary.ask("SELECT pg_current_wal_lsn()")
        while self.standby.ask(f"SELECT pg_last_wal_replay_lsn() < '{written}'") == [(True,)]:
            time.sleep(0.02)

    def synchronous(self, *, wanted: bool = True, server: Postgres | None = None) -> None:
        """Let a server, by default the primary, wait for the standby at each commit, or no longer."""
        server = server or self.primary
        server.ask(f"ALTER SYSTEM SET synchronous_standby_names = '{'standby' if wanted else ''}'")
        server.ask("SELECT pg_reload_conf()")
        while wanted and server.ask("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
            time.sleep(0.05)

    def cut_off(self) -> None:
        """Separate the standby from the primary."""
        self.stream.target = None
        self.stream.cut()

    def reconnect(self) -> None:
        """Connect the standby to the primary again."""
        self.stream.target = self.primary

    def rebuild(self) -> None:
        """After the standby was promoted: kill the old primary, and make it the standby of the new one."""
        self.primary.stop(signal.SIGKILL)
        self.primary, self.standby = self.standby, self.primary
        self.reconnect()
        self.standby.copy_of(self.primary, "standby", self.stream.port).start()

    def remove(self) -> None:
        """Stop all for good."""
        self.switch.close()
        self.stream.close()
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
