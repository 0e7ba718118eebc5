"""Proxies with the shipped configurations, of which only ports and folders are replaced."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.handmade_tokens import token
from tests.proxies.protected import Application
from tests.proxies.stub import Stub
from tests.proxies.variants import VARIANTS
from tests.support import API, ROOT, STRONG_SECRET, HttpResponse, Server, application, basic, free_port, need, wait_for

CONFIG = ROOT / "config"
FILES = {
    "nginx": "nginx.conf",
    "caddy": "Caddyfile",
    "traefik": "traefik.yml",
    "haproxy": "haproxy.cfg",
    "apache": "apache.conf",
}
CONSOLE, REPORTS = "datafor.intra.example", "reports.intra.example"
SIGN_IN_URL = "https://portal.intra.example/"
SETTINGS = {
    "DATAFOR_TOKEN_URL_PREFIX": "/datafor",
    "DATAFOR_TOKEN_TRUSTED_PROXIES": "1",
    "DATAFOR_TOKEN_TRUSTED_HOSTS": f"{CONSOLE},{REPORTS}",
    "DATAFOR_TOKEN_PUBLIC_URL": f"http://{REPORTS}",
    "DATAFOR_TOKEN_SIGN_IN_URL": SIGN_IN_URL,
}
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class Proxy(NamedTuple):
    """A running proxy."""

    name: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def get(
        self,
        path: str,
        headers: Headers = (),
        method: str = "GET",
        body: bytes | None = None,
        host: str = REPORTS,
        address: str = "127.0.0.1",
    ) -> HttpResponse:
        """Send one request for a host from an address; the path goes out as it stands, and headers may be repeated."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(address, 0))
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in [("Host", host), *pairs]:
                connection.putheader(name, value)
            if body is not None and ("Transfer-Encoding", "chunked") not in pairs:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return HttpResponse(response.status, response.headers, response.read())
        finally:
            connection.close()

    def call(self, call: str, body: Mapping[str, Any], headers: Headers | None = None) -> HttpResponse:
        """Send a call of the token API as the administrator, through the console's host."""
        sent = {**(basic() if headers is None else dict(headers)), "Content-Type": "application/json"}
        return self.get(f"/datafor{API}/{call}", sent, "POST", json.dumps(body).encode(), host=CONSOLE)


class Sites:
    """One service and one application, and each proxy in front of them, started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.service = Server(folder, **SETTINGS).start()
        self.application = Application.start()
        self.stub = Stub.start()
        self._running: dict[tuple[str, str, bool], Proxy] = {}
        host = {**basic(), "Host": CONSOLE}
        body = application(secret=STRONG_SECRET, initroles=["SYS_Creator", "Sales"])
        assert self.service.request("POST", f"/datafor{API}/update", body, host).status == 200

    def proxy(self, name: str, variant: str = "", *, stub: bool = False) -> Proxy:
        """Return a running proxy with a variant of its configuration; with ``stub``, in front of the stub service."""
        key = name, variant, stub
        if key not in self._running:
            folder = self.folder / f"{name}-{variant}{'-stub' * stub}"
            folder.mkdir()
            port, service = free_port(), self.stub.server_port if stub else self.service.port
            text = VARIANTS[variant](name, configured(name, folder, port, service, self.application.server_port))
            self.stub.reset()
            self._running[key] = start(name, folder, port, text)
        return self._running[key]

    def stop(self) -> None:
        """Stop everything."""
        for one in self._running.values():
            one.process.terminate()
        for one in self._running.values():
            one.process.wait(30)
        self.application.stop()
        self.stub.stop()
        self.service.stop()


def configured(name: str, folder: Path, port: int, service: int, protected: int) -> str:
    """Return the shipped configuration with the ports and folders of a test."""
    text = (CONFIG / FILES[name]).read_text()
    replaced = {
        "nginx": [
            ("listen 80", f"listen 127.0.0.1:{port}"),
            ("/run/nginx.pid", f"{folder}/nginx.pid"),
            ("/var/log/nginx/", f"{folder}/"),
        ],
        "caddy": [
            ("\nhttp://, https:// {", f"\nhttp://:{port} {{"),
            *((f"\n{host} {{", f"\nhttp://{host}:{port} {{") for host in (CONSOLE, REPORTS)),
        ],
        "traefik": [],
        "haproxy": [
            ("    bind :80\n", f"    bind 127.0.0.1:{port}\n"),
        ],
        "apache": [
            ("Listen 80", f"Listen 127.0.0.1:{port}"),
            ("*:80>", f"*:{port}>"),
            ("/run/apache2.pid", f"{folder}/apache2.pid"),
            ("/var/log/apache2/", f"{folder}/"),
        ],
    }[name]
    for old, new in [
        *replaced,
        ("127.0.0.1:28080", f"127.0.0.1:{service}"),
        ("127.0.0.1:8080", f"127.0.0.1:{protected}"),
    ]:
        assert old in text
        text = text.replace(old, new)
    return text


def start(name: str, folder: Path, port: int, text: str, status: Collection[int] = (401,)) -> Proxy:
    """Start a proxy with the text of a configuration, and wait until it responds with one of these statuses."""
    file = folder / FILES[name]
    file.write_text(text)
    environ = dict(os.environ)
    if name == "nginx":
        need("nginx")
        command = [tool("nginx"), "-c", str(file), "-e", str(folder / "start.log"), "-g", "daemon off; user root;"]
    elif name == "caddy":
        need("caddy")
        command = [tool("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]
        environ |= {"CADDY_ADMIN": f"127.0.0.1:{free_port()}", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    elif name == "traefik":
        traefik = Path(sys.executable).with_name("traefik")
        need("traefik", traefik)
        command = [str(traefik), f"--providers.file.filename={file}"]
        command += [f"--entrypoints.web.address=127.0.0.1:{port}", "--global.checknewversion=false"]
    elif name == "haproxy":
        need("haproxy")
        if not (folder / "haproxy.lua").exists():
            shutil.copy(CONFIG / "haproxy.lua", folder)
        command = [tool("haproxy"), "-db", "-f", str(file)]
    else:
        need("apache2")
        need("lua-socket", Path("/usr/share/lua/5.3/socket.lua"))
        command = [tool("apache2"), "-f", str(file), "-D", "FOREGROUND"]
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(command, env=environ, stdout=output, stderr=output)
    wait_for(port)
    running = Proxy(name, port, folder, process)
    for _ in range(100):
        # Traefik listens before it has read its routers.
        if running.get("/", host=REPORTS).status in status:
            return running
        time.sleep(0.05)
    pytest.fail((folder / "output.log").read_text())


def tool(name: str) -> str:
    return str(shutil.which(name))


def signed(name: str = "lena", /, *, secret: str = STRONG_SECRET, **more: Any) -> str:
    """Return a token of the application ERP, or of the one with another secret."""
    return token({"loginname": name, "exp": int(time.time()) + 3600, **more}, secret)


def seen(response: HttpResponse, name: str) -> list[str]:
    """Return what the application received as a header, under any name that WSGI, CGI and PHP read as the same."""
    assert response.status == 200, (response.status, response.body)
    return [
        value for header, value in response.json["headers"] if re.sub(r"[^a-z0-9]", "-", header.lower()) == name.lower()
    ]


def cookie_of(response: HttpResponse) -> str:
    """Return the gate's cookie that a response sets, as a browser sends it back."""
    gate = [one for one in response.headers.get_all("Set-Cookie") or [] if one.startswith("datafor_gate=")]
    assert len(gate) == 1, response.headers.as_string()
    return gate[0].partition(";")[0]
