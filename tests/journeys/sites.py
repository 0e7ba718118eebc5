"""Two applications behind a shipped proxy over https, beside a portal of another site."""

import http.client
import re
import ssl
import tempfile
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.commands import invoke
from tests.docs import pages
from tests.embedding.sites import certificate
from tests.journeys.servers import Application, Portal
from tests.proxies import sites, test_several, variants
from tests.proxies.sites import CONSOLE, REPORTS
from tests.support import API, STRONG_SECRET, Server, application, basic, free_port

SALES = test_several.SALES
PORTAL, EVIL = "portal.other.example", "evil.third.example"
PASSWORD = "long enough"
USERS = "/datafor/plugin/datafor-modeler/api/user"
# The hosts of the kind `own` are of another domain, so that one browser can visit both.
DOMAIN = "intra.example"
OWN = {host: host.replace(DOMAIN, "own.example") for host in (CONSOLE, REPORTS, SALES)}
SETTINGS = {"DATAFOR_TOKEN_URL_PREFIX": "/datafor", "DATAFOR_TOKEN_TRUSTED_PROXIES": "1"}
# Signing in at the portal, which has one address for both applications; or at our own page, with frames of the portal.
KINDS = {
    "portal": {"DATAFOR_TOKEN_SIGN_IN_URL": "/sign-in", "DATAFOR_TOKEN_SIGN_OUT_URL": f"https://{PORTAL}/sign-out"},
    "own": {"DATAFOR_TOKEN_SIGN_IN_URL": "/datafor/auth/sign-in", "DATAFOR_TOKEN_GATE_SAMESITE": "None"},
}


class Service:
    """A service of one kind of sign-in. Lena has no role; mia, Sales. Both have a password.

    ``references`` has the references that tests have read on pages of errors, with a word of what explains each.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        hosts = [OWN[host] if kind == "own" else host for host in OWN]
        self.console, self.references = hosts[0], dict[str, str]()
        settings = {"DATAFOR_TOKEN_TRUSTED_HOSTS": ",".join(hosts), "DATAFOR_TOKEN_PUBLIC_URL": f"https://{hosts[1]}"}
        self.server = Server(folder, **SETTINGS | KINDS[kind] | settings).start()
        self.call(f"/datafor{API}/update", application(secret=STRONG_SECRET, origins=[f"https://{PORTAL}"]))
        for name, roles in (("lena", []), ("mia", ["Sales"])):
            user: dict[str, Any] = {
                "username": name,
                "usertype": "SYS_Reader",
                "roles": roles,
                "password": PASSWORD,
                "enabled": "1",
            }
            self.call(f"{USERS}/insertOrUpdate", user | {"name": "", "email": ""})

    def call(self, path: str, body: Mapping[str, Any]) -> None:
        """Send a call as the administrator."""
        response = self.server.request("POST", path, body, {**basic(), "Host": self.console})
        assert response.status == 200, response.body

    def stop(self) -> None:
        """Stop it, and look the references up: repeated refusals are recorded within a minute, or at the end."""
        self.server.stop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATAFOR_TOKEN_CONFIG_DIR", str(self.server.config_dir))
            patch.setenv("DATAFOR_TOKEN_DATA_DIR", str(self.server.data_dir))
            for reference, word in self.references.items():
                found = invoke(None, ["token", "explain", "--request", reference]).output
                assert word in found, (reference, found)

    def end_sessions(self, *names: str) -> None:
        """End all sessions of these users."""
        for name in names:
            self.call(f"{USERS}/sessions/end", {"username": name})


class World:
    """The services, the portal and the applications; ``proxy`` starts a proxy in front of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        certificate(folder)
        self.services = {kind: Service(_made(folder / kind), kind) for kind in KINDS}
        self.portal = Portal(folder, {"reports": REPORTS, "sales": SALES})
        self.reports, self.sales = Application(), Application()

    def stop(self) -> None:
        """Stop everything."""
        for server in (self.portal, self.reports, self.sales):
            server.stop()
        for service in self.services.values():
            service.stop()

    def proxy(self, name: str, kind: str) -> sites.Proxy:
        """Start a proxy in front of a service and both applications, of which Sales requires a role."""
        # A worker that takes over tests of another starts the proxy once more.
        folder, port = Path(tempfile.mkdtemp(prefix=f"{name}-{kind}-", dir=self.folder)), free_port()
        service = self.services[kind].server.port
        first, second = (
            variants.public(name, sites.configured(name, folder, port, service, one.server_port))
            for one in (self.reports, self.sales)
        )
        second = variants.with_options(name, second, "&role=Sales").replace(REPORTS, SALES)
        if kind == "portal":
            first, second = with_sign_in(name, first, "reports"), with_sign_in(name, second, "sales")
        text = test_several.repeated(name, first, second)
        if kind == "own":
            text = variants.origins(name, text).replace("https://portal.intra.example", f"https://{PORTAL}")
            text = text.replace(DOMAIN, "own.example")
        text = with_tls(name, text.replace("rate=5r/s", "rate=1000r/s"), port, self.folder)
        running = sites.start(name, folder, port, text, (400, 404))
        wait_for_tls(running, [OWN[host] if kind == "own" else host for host in (REPORTS, SALES)])
        return running


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def with_sign_in(name: str, text: str, app: str) -> str:
    """Redirect ``SIGN_IN_URL`` of one host to the portal, as the documentation advises."""
    page = "docs/sign-in.md"
    lines = [
        block.replace("https://portal.intra.example", f"https://{PORTAL}").replace("app=reports", f"app={app}")
        for block in pages.blocks(page, "yaml" if name == "traefik" else name)
    ]
    if name == "traefik":
        # The second text has the names of the first: they are replaced together with those of its other entries.
        router, middleware = (textwrap.indent(block, "    ") for block in lines)
        router = router.replace(REPORTS, REPORTS if app == "reports" else SALES)
        text = _replaced(text, "  middlewares:\n    reports-check:", f"{router}\n  middlewares:\n    reports-check:")
        return _replaced(text, "  middlewares:\n", f"  middlewares:\n{middleware}")
    place = (
        f"server_name {REPORTS if app == 'reports' else SALES};" if name == "nginx" else "\tvars datafor_application"
    )
    return _replaced(text, place, f"{lines[0]}{place}")


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def with_tls(name: str, text: str, port: int, folder: Path) -> str:
    """Return a configuration with the certificate, as the comments of the files say."""
    pair = f"{folder}/crt", f"{folder}/key"
    if name == "nginx":
        text = text.replace(f"listen 127.0.0.1:{port}", f"listen 127.0.0.1:{port} ssl")
        lines = f"ssl_certificate {pair[0]}; ssl_certificate_key {pair[1]};"
        return _replaced(text, "    server_tokens off;", f"    {lines} server_tokens off;")
    if name == "caddy":
        # Port 80 is not for tests.
        text = _replaced(text, "\n{\n\t# Caddy adds", "\n{\n\tauto_https disable_redirects\n\t# Caddy adds")
        return re.sub(rf"(?m)^http://(.*:{port}) {{$", rf"https://\1 {{\n\ttls {pair[0]} {pair[1]}", text)
    text = re.sub(r"(?m)^(      service: [\w@]+\n)", r"\1      tls: {}\n", text)
    return (
        f"{text}\ntls:\n  stores:\n    default:\n      defaultCertificate:\n"
        f"        certFile: {pair[0]}\n        keyFile: {pair[1]}\n"
    )


def wait_for_tls(proxy: sites.Proxy, hosts: list[str]) -> None:
    """Wait until the proxy checks requests for both applications."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    left = list(hosts)
    for _ in range(200):
        connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=30, context=context)
        try:
            connection.request("GET", "/", headers={"Host": left[0]})
            if connection.getresponse().status == 401:
                del left[0]
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        if not left:
            return
        time.sleep(0.05)
    pytest.fail((proxy.folder / "output.log").read_text())
