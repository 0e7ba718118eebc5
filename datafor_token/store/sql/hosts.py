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
        self._first: tuple[str, str] | None = None
        self._is_choosy = False

    def parameters(self) -> dict[str, str]:
        """Return the parameters that name the hosts, in their order."""
        if self._first is None:
            return {"load_balance_hosts": "random"} if self._is_choosy else {}
        servers = sorted(self._servers, key=self._is_other)
        return {name: ",".join(server[name] for server in servers) for name in (servers[0] if servers else ())}

    def reached(self, host: str, port: int) -> None:
        """Note the host that a connection has reached."""
        self._first = host, str(port)

    def replaced(self) -> None:
        """Note that the host is a former primary: try all hosts in a random order, until one is reached."""
        self._first, self._is_choosy = None, True

    def _is_other(self, server: Mapping[str, str]) -> bool:
        host, port = self._first or ("", "")
        return host not in {server.get("host"), server.get("hostaddr")} or server.get("port") not in {port, "", None}
