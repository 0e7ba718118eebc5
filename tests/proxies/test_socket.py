"""The service behind nginx on a Unix socket, as ``config/datafor-token.service`` shows it."""

import grp
import http.client
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxies.sites import CONSOLE, SETTINGS, configured, tool
from tests.support import ADMIN_PASSWORD, HttpResponse, Server, basic, free_port, need, wait_for

LOGIN = "/plugin/datafor/api/extension/auth/login"
CREDENTIALS = f'{{"username": "admin", "password": "{ADMIN_PASSWORD}"}}'


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the group may enter, as systemd creates it; the usual temporary folder is private to its user."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o750)
    yield made
    shutil.rmtree(made)


class Connection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def send_request(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> HttpResponse:
        """Send one request."""
        self.request(method, path, body, headers)
        response = self.getresponse()
        return HttpResponse(response.status, response.headers, response.read())


def test_only_the_owner_by_default(tmp_path: Path) -> None:
    """Without SOCKET_MODE, only the service's user can connect."""
    server = Server(tmp_path, DATAFOR_TOKEN_BIND=f"unix:{tmp_path}/http.sock").start()
    assert stat.S_IMODE((tmp_path / "http.sock").stat().st_mode) == 0o700
    server.stop()


def test_a_peer_on_the_socket_is_not_believed(tmp_path: Path) -> None:
    """A client on the socket is not local, and its headers set neither path, scheme, host nor address."""
    path = tmp_path / "http.sock"
    server = Server(tmp_path, DATAFOR_TOKEN_BIND=f"unix:{path}", DATAFOR_TOKEN_SOCKET_MODE="666").start()
    connection = Connection(path)
    assert connection.send_request("GET", "/healthz", {}).status == 200
    assert connection.send_request("GET", "/metrics", {}).status == 403
    forged = {
        "SCRIPT_NAME": "/evil", "PATH_INFO": "/console", "X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "Remote-Addr": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1", "X-Forwarded-Ssl": "on", "X-Forwarded-Protocol": "ssl",
    }  # fmt: skip
    assert connection.send_request("GET", "/metrics", forged).status == 403
    assert connection.send_request("GET", "/metrics", {"REMOTE_ADDR": "127.0.0.1"}).status == 403
    response = connection.send_request("POST", LOGIN, {**forged, "Content-Type": "application/json"}, CREDENTIALS)
    assert response.status == 200
    assert str(response.headers["Set-Cookie"]).endswith("; HttpOnly; Path=/; SameSite=Lax")
    origin = {"Origin": "https://evil.example", "Host": "intra.example", "Content-Type": "application/json"}
    assert connection.send_request("POST", LOGIN, {**forged, **origin}, CREDENTIALS).status == 403
    connection.close()
    server.stop()
    assert "address=127.0.0.1" not in server.output


@pytest.mark.proxy
def test_nginx_in_the_services_group(folder: Path) -> None:
    """With SOCKET_MODE 660 nginx, as another user of the service's group, connects; files of data stay 0600."""
    need("nginx")
    path = folder / "http.sock"
    server = Server(folder, **SETTINGS, DATAFOR_TOKEN_BIND=f"unix:{path}", DATAFOR_TOKEN_SOCKET_MODE="660").start()
    for _ in range(100):
        # gunicorn logs that it listens before the mode is set.
        if stat.S_IMODE(path.stat().st_mode) == 0o660:
            break
        time.sleep(0.05)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    port = free_port()
    text = configured("nginx", folder, port, 1, 2).replace("server 127.0.0.1:1;", f"server unix:{path};")
    (folder / "nginx.conf").write_text(text)
    group = grp.getgrgid(os.getgid()).gr_name
    user = f"daemon off; user nobody {group};"
    command = [tool("nginx"), "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log"), "-g", user]
    nginx = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(port)
    front = Server(folder)
    front.port = port
    assert front.request("GET", "/datafor/healthz", headers={"Host": CONSOLE}).status == 200
    assert front.request("GET", "/datafor/metrics", headers={"Host": CONSOLE}).status == 403
    detail = "/datafor/plugin/datafor-modeler/api/user/detail"
    assert front.request("GET", detail, headers={"Host": CONSOLE, **basic()}).status == 200
    nginx.terminate()
    nginx.wait(30)
    server.stop()
    assert "address=127.0.0.1 " in server.output.replace("\n", " ")
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (folder / "data").rglob("*") if file.is_file()}
    assert modes == {0o600}
