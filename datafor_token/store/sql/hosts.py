"""Hosts of a database, of which one is the primary."""

from collections.abc import Mapping
from typing import Any

_LISTS = ("host", "hostaddr", "port")


class Hosts:
    """The hosts of connection parameters, in the order in which a new connection tries them.

    The one that was reached last comes first: another one may be frozen, and each attempt there takes seconds.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        lists = {name: str(parameters[name]).split(",") for name in _LISTS if parameters.get(name)}
        self.number = max(map(len, lists.values()), default=1)
        # A single port is that of all hosts.
        same = {name: values * self.number if len(values) == 1 else values for name, values in lists.items()}
        # If the numbers of hosts and ports do not match, libpq refuses them.
        self._servers = [dict(zip(same, values, strict=True)) for values in zip(*same.values(), strict=False)]
        self._order = list(self._servers)
        self._is_choosy = False

    def parameters(self) -> dict[str, str]:
        """Return the parameters that name the hosts, in their order."""
        if self._order == self._servers:
            # One host can have several addresses.
            return {"load_balance_hosts": "random"} if self._is_choosy and len(self._servers) == 1 else {}
        return {name: ",".join(server[name] for server in self._order) for name in self._order[0]}

    def reached(self, host: str, port: int) -> None:
        """Note the host that a connection has reached."""
        # The order of the others remains, and those that were replaced stay behind.
        self._order = sorted(self._order, key=lambda server: not _is(server, host, str(port)))

    def replaced(self, host: str, port: int) -> None:
        """Note that a host is a former primary: it comes last from now on."""
        self._order = sorted(self._order, key=lambda server: _is(server, host, str(port)))
        self._is_choosy = True


def _is(server: Mapping[str, str], host: str, port: str) -> bool:
    return host in {server.get("host"), server.get("hostaddr")} and server.get("port") in {port, "", None}
