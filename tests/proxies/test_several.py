"""Two applications on two hosts behind each shipped proxy: the part for one is repeated as the file says."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxies.protected import Application
from tests.proxies.sites import CONSOLE, FILES, REPORTS, SETTINGS, Proxy, configured, cookie_of, seen, signed, start
from tests.proxies.variants import with_options
from tests.support import API, STRONG_SECRET, Server, application, basic, free_port

pytestmark = pytest.mark.proxy
SALES = "sales.intra.example"
PAGE = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}


class Pair:
    """A service and two applications, each with a host of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hosts = {"DATAFOR_TOKEN_TRUSTED_HOSTS": f"{CONSOLE},{REPORTS},{SALES}"}
        self.service = Server(folder, **SETTINGS | hosts).start()
        self.reports, self.sales = Application.start(), Application.start()
        for body in (
            application(secret=STRONG_SECRET, initroles=["SYS_Creator"]),
            application(name="Shop", token_name="shop", secret=STRONG_SECRET[::-1], initroles=["Sales"]),
        ):
            sent = {**basic(), "Host": CONSOLE}
            assert self.service.request("POST", f"/datafor{API}/update", body, sent).status == 200

    def stop(self) -> None:
        """Stop everything."""
        for one in (self.reports, self.sales, self.service):
            one.stop()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    running = Pair(tmp_path_factory.mktemp("pair"))
    yield running
    running.stop()


@pytest.fixture(params=list(FILES), scope="module")
def both(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Proxy]:
    """The proxy with both applications; Sales requires a role."""
    name, port = request.param, free_port()
    # A worker that takes over tests of another starts the proxy once more.
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=pair.folder))
    first, second = (
        configured(name, folder, port, pair.service.port, one.server_port) for one in (pair.reports, pair.sales)
    )
    second = with_options(name, second, "&role=Sales").replace(REPORTS, SALES)
    proxy = start(name, folder, port, repeated(name, first, second))
    yield proxy
    proxy.process.terminate()
    proxy.process.wait(30)


def repeated(name: str, first: str, second: str) -> str:
    """Return the first text with the part for one application of the second one."""
    if name == "traefik":
        return with_entries(first, second)
    parts = [re.split(r"(?m)^(?= *# -+ one application)", text) for text in (first, second)]
    assert [len(part) for part in parts] == [2, 2]
    if name == "nginx":
        end = parts[0][1].rstrip().removesuffix("}")
        return parts[0][0] + end + parts[1][1].replace("protected_application", "sales")
    if name == "haproxy":
        lines = parts[0][0]
        for found in re.findall(r"(?m)^.*application_host.*\n", lines):
            copy = found.replace("application_host", "sales_host").replace(REPORTS, SALES)
            lines = lines.replace(found, found + copy.replace("protected_application", "sales"))
        return lines + parts[0][1] + parts[1][1].replace("protected_application", "sales")
    return parts[0][0] + parts[0][1] + parts[1][1]


def with_entries(first: str, second: str) -> str:
    """Return Traefik's configuration with copies of the second text's entries that begin with ``reports``."""
    entry = r"(?m)^    reports[\w-]*:\n(?:      .*\n)+"
    copies = iter([found.replace("reports", "sales") for found in re.findall(entry, second)])
    changed = re.sub(entry, lambda found: found[0] + next(copies), first)
    assert next(copies, None) is None
    return changed


def shop(name: str) -> str:
    return signed(name, secret=STRONG_SECRET[::-1])


def test_each_host_has_its_application(both: Proxy, pair: Pair) -> None:
    """Each host leads to its own application, and each of them checks."""
    for host, protected in ((REPORTS, pair.reports), (SALES, pair.sales)):
        assert both.get("/", host=host).status == 401
        assert both.get("/x", PAGE, host=host).headers["Location"].endswith("?next=%2Fx")
        before = protected.served
        assert both.get("/", {"Authorization": f"Bearer {shop('mia')}"}, host=host).status == 200
        assert protected.served == before + 1


def test_each_host_has_its_requirement(both: Proxy) -> None:
    """The role that one application requires is not required by the other one."""
    lena = {"Authorization": f"Bearer {signed()}"}
    assert [both.get("/", lena, host=host).status for host in (REPORTS, SALES)] == [200, 403]
    mia = {"Authorization": f"Bearer {shop('mia')}"}
    assert [both.get("/", mia, host=host).status for host in (REPORTS, SALES)] == [200, 200]


def test_each_host_has_the_gate(both: Proxy) -> None:
    """Sign-in by link and sign-out exist on both hosts, and the check, console and API on neither."""
    for host in (REPORTS, SALES):
        cookie = {"Cookie": cookie_of(both.get(f"/datafor/auth/enter?shop={shop('mia')}", host=host))}
        assert seen(both.get("/", cookie, host=host), "Remote-User") == ["mia"]
        assert both.get("/datafor/auth/leave", cookie, host=host).status == 200
        assert both.get("/", cookie, host=host).status == 401
        for path in ("auth/check", "console/", "healthz"):
            assert both.get(f"/datafor/{path}", basic(), host=host).status in (403, 404)
