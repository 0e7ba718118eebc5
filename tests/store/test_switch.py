"""The switch in front of a primary and its standby."""

import socket
import threading
from typing import cast

from tests.store.failover import Switch
from tests.store.postgres import Postgres


class _Target:
    """A server that another thread replaces while a connection to it is being made."""

    switch: Switch

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._port: int = self.listener.getsockname()[1]
        self.cutting = threading.Thread(target=self._cut)

    @property
    def port(self) -> int:
        if self.switch.target is not None:
            self.switch.target = None
            self.cutting.start()
            self.cutting.join(0.2)
        return self._port

    def _cut(self) -> None:
        self.switch.cut()


def test_no_connection_survives_a_cut() -> None:
    """A connection that is being made to a former target is broken with the others."""
    target = _Target()
    target.switch = switch = Switch(cast("Postgres", target))
    with target.listener, socket.create_connection(("127.0.0.1", switch.port), timeout=10) as client:
        assert client.recv(1) == b""
    target.cutting.join()
    switch.close()
