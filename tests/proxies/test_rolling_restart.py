"""Two nodes behind a balancer, restarted one after the other while calls are sent."""

import contextlib
import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lifecycle.host import block
from tests.proxies.protected import Application
from tests.proxies.sites import CONSOLE, SETTINGS, Proxy, configured, signed, start
from tests.proxies.variants import uncommented
from tests.support import API, STRONG_SECRET, Server, application, basic, free_port

pytestmark = [pytest.mark.proxy, pytest.mark.slow, pytest.mark.file_store]

_CLIENTS, _PER_SECOND = 6, 60
_NOTICED = 7.0  # seconds until a balancer uses a node again that has started: 5 s of nginx, and some more


def text_of(name: str, folder: Path, port: int, nodes: list[Server], protected: int) -> str:
    """Return the configuration of a balancer: the shipped one with the lines for several nodes."""
    addresses = {f"10.0.0.{number}:28080": f"127.0.0.1:{node.port}" for number, node in enumerate(nodes, start=1)}
    inner = free_port()
    text = configured(name, folder, port, inner, protected)
    if name == "haproxy":
        text = uncommented(text, "listen datafor_nodes").replace("127.0.0.1:28079", f"127.0.0.1:{inner}")
    else:
        upstream = block("several-hosts", "upstream", "nginx")
        begin = text.index("    upstream datafor_token {")
        end = text.index("    }\n", begin) + len("    }\n")
        text = text[:begin] + upstream + text[end:]
        text = text.replace("# proxy_connect_timeout 2s;", "proxy_connect_timeout 2s;").replace(
            "rate=5r/s", "rate=1000r/s"
        )
    for old, new in addresses.items():
        assert old in text
        text = text.replace(old, new)
    return text


class Load:
    """Clients that send calls through a proxy, each on a connection that stays open."""

    def __init__(self, proxy: Proxy) -> None:
        self.statuses: Counter[int | str] = Counter()
        self._proxy, self._over = proxy, threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(_CLIENTS)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send calls until the end of the context."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def _send(self, number: int) -> None:
        of_api = {**basic(), "Host": CONSOLE, "Content-Type": "application/json"}
        calls = itertools.cycle(
            [
                ("POST", f"/datafor{API}/generate", '{"name": "ERP", "username": "lena"}', of_api),
                ("GET", "/page", None, {"Host": "reports.intra.example", "Authorization": f"Bearer {signed()}"}),
            ]
        )
        connection = http.client.HTTPConnection("127.0.0.1", self._proxy.port, timeout=60)
        self._over.wait(number / _PER_SECOND)
        while not self._over.wait(_CLIENTS / _PER_SECOND):
            method, path, body, headers = next(calls)
            try:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                response.read()
                self.statuses[f"{method} {response.status}"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.statuses[f"{method} {type(error).__name__}"] += 1
                connection.close()
        connection.close()


# Each balancer and each worker once: a run takes 45 s.
@pytest.mark.parametrize(("name", "worker"), [("nginx", ""), ("haproxy", "gthread")])
def test_no_call_fails_while_nodes_restart(tmp_path: Path, name: str, worker: str) -> None:
    """Of 60 calls a second behind nginx or HAProxy, POSTs among them, none fails while each node restarts in turn."""
    ports = [free_port(), free_port()]
    # Two servers on the same records, as with a database.
    nodes = [
        Server(
            tmp_path,
            **SETTINGS,
            DATAFOR_TOKEN_BIND=f"127.0.0.1:{port}",
            DATAFOR_TOKEN_DRAIN_SECONDS="5",
            DATAFOR_TOKEN_WORKER=worker,
        ).start()
        for port in ports
    ]
    protected = Application.start()
    host = {**basic(), "Host": CONSOLE}
    body = application(secret=STRONG_SECRET, initroles=["SYS_Creator"])
    assert nodes[0].request("POST", f"/datafor{API}/update", body, host).status == 200
    port = free_port()
    proxy = start(name, tmp_path, port, text_of(name, tmp_path, port, nodes, protected.server_port))
    load = Load(proxy)
    try:
        with load.running():
            time.sleep(2)
            for node in nodes:
                node.both_workers()
                assert node.stop() == 0
                node.start()
                time.sleep(_NOTICED)
        assert set(load.statuses) == {"POST 200", "GET 200"}, load.statuses
    finally:
        proxy.process.terminate()
        proxy.process.wait(30)
        protected.stop()
        for node in nodes:
            node.stop()
