"""The content of the shipped configurations, and of the logs of the proxies."""

import contextlib
import http.client
import subprocess
from pathlib import Path

import pytest

from tests.proxies.page import PAGE, with_configurations
from tests.proxies.sites import CONFIG, CONSOLE, FILES, REPORTS, Proxy, Sites, configured, signed, start, tool
from tests.support import ROOT, STRONG_SECRET, application, basic, free_port, gunicorn_settings, need


@pytest.mark.parametrize("name", list(FILES))
def test_it_names_its_settings(name: str) -> None:
    """Each configuration names the settings that belong to it, and the lines to change."""
    text = (CONFIG / FILES[name]).read_text()
    for line in (
        'URL_PREFIX = "/datafor"',
        "TRUSTED_PROXIES = 1",
        "TRUSTED_HOSTS = [",
        "PUBLIC_URL = ",
        "SIGN_IN_URL = ",
    ):
        assert f"#     {line}" in text
    assert text.count("CHANGE") >= 4


def test_the_page() -> None:
    """The documentation has each configuration word for word (``python -m tests.proxies.page`` copies them)."""
    text = PAGE.read_text()
    assert with_configurations(text) == text
    assert all(f"\n`config/{file}` " in text for file in FILES.values())
    assert "docs/protect.md" in (ROOT / "README.md").read_text()


def test_gunicorns_limits() -> None:
    """gunicorn accepts what the proxies let pass."""
    values = gunicorn_settings()
    assert (values["limit_request_line"], values["limit_request_field_size"]) == (8190, 16380)


def test_in_the_nginx_of_debian(tmp_path: Path) -> None:
    """The parts inside ``http {}`` fit into ``conf.d`` as the page says: without the lines marked ALONE."""
    need("nginx")
    text = configured("nginx", tmp_path, free_port(), free_port(), free_port())
    inside = text.partition("http {\n")[2].rpartition("}")[0].splitlines(keepends=True)
    (tmp_path / "datafor.conf").write_text("".join(line for line in inside if not line.endswith("# ALONE\n")))
    # The directives of Debian's /etc/nginx/nginx.conf that may stand only once.
    (tmp_path / "nginx.conf").write_text(
        f"""pid {tmp_path}/nginx.pid;
        events {{}}
        http {{
            sendfile on;
            tcp_nopush on;
            types_hash_max_size 2048;
            include /etc/nginx/mime.types;
            default_type application/octet-stream;
            ssl_prefer_server_ciphers on;
            access_log {tmp_path}/access.log;
            gzip on;
            include {tmp_path}/datafor.conf;
        }}"""
    )
    checked = subprocess.run(
        [tool("nginx"), "-t", "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


def test_no_token_in_any_log(proxy: Proxy, sites: Sites) -> None:
    """Good and bad tokens in URLs, missing pages, an application that fails: no log has a token."""
    good = signed(f"logged-{proxy.name}")
    for path in (
        "/",
        "/drop",
        "/datafor/auth/enter",
        "/datafor/nothing",
        "/%ff",
        "/100%",
        "/%zz",
        "/a%00b",
        "//x",
        "/datafor/auth/check",
    ):
        for text in (good, f"{good}x"):
            for host in (REPORTS, CONSOLE):
                headers = {"Referer": f"http://x/?token={text}"}
                proxy.get(f"{path}?token={text}", headers, host=host)
    # Malformed request lines, headers and upgrades are logged by other modules.
    for path in ("x", "http://[", "/\\..%2f..", "/a%2f..%2f", "*", "//"):
        for host in (REPORTS, CONSOLE, "a b", "other.example"):
            for method in ("GET", "POST", "CONNECT", "TRACE", "FOO"):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    proxy.get(f"{path}?token={good}", {"Upgrade": "h2c", "Connection": "upgrade"}, method, b"x", host)
    for name, value in (("Transfer-Encoding", "x"), ("Expect", "x"), ("X", "x" * 16_000), ("Range", "x"), ("a@", good)):
        with contextlib.suppress(OSError, http.client.HTTPException):
            proxy.get(f"/x?token={good}", {name: value}, "POST", b"x")
    for mangled in (
        "/x%3Ftoken={}",
        "/datafor/auth/enter%3fticket={}",
        "/x;token={}",
        "/x&token={}",
        "/datafor/auth/x/{}",
    ):
        proxy.get(mangled.format(good))
    ticket = str(proxy.call("link", {"name": "ERP", "username": f"logged-{proxy.name}"}).json["url"]).partition("=")[2]
    statuses = [proxy.get(f"/datafor/auth/enter?ticket={ticket}").status for _ in range(3)]
    assert statuses == [303, 401, 401]
    logs = sites.service.output + "".join(path.read_text() for path in proxy.folder.glob("*.log"))
    for part in (*good.split(".")[1:], ticket):
        assert part not in logs


@pytest.mark.parametrize("name", list(FILES))
def test_without_the_service(name: str, sites: Sites, tmp_path: Path) -> None:
    """While the service is down, no request reaches the application."""
    port = free_port()
    text = configured(name, tmp_path, port, free_port(), sites.application.server_port)
    proxy = start(name, tmp_path, port, text, (500, 502, 503))
    try:
        for headers in ({}, basic(), {"Remote-User": "admin"}, {"Accept": "text/html"}):
            assert proxy.get("/?token=x", headers).status in (500, 502, 503)
    finally:
        proxy.process.terminate()
        proxy.process.wait(30)


@pytest.mark.parametrize("function", ["function(txn, token_name)", "function(txn, url)"])
def test_an_error_in_the_lua_of_haproxy(function: str, sites: Sites, tmp_path: Path) -> None:
    """When the Lua of HAProxy fails, after which HAProxy continues, no request reaches the application."""
    lua = (CONFIG / "haproxy.lua").read_text()
    assert lua.count(function) == 1
    (tmp_path / "haproxy.lua").write_text(lua.replace(function, f"{function} error()"))
    port = free_port()
    text = configured("haproxy", tmp_path, port, sites.service.port, sites.application.server_port)
    proxy = start("haproxy", tmp_path, port, text, (401, 503))
    try:
        for path in ("/", f"/?token={signed()}"):
            assert proxy.get(path, basic()).status == 503
    finally:
        proxy.process.terminate()
        proxy.process.wait(30)


def test_a_second_node(sites: Sites, tmp_path: Path) -> None:
    """With nginx's lines for a second node, it serves calls and checks while the first node is down."""
    port = free_port()
    text = configured("nginx", tmp_path, port, free_port(), sites.application.server_port)
    for line in ("server 10.0.0.2:28080 max_fails=2 fail_timeout=5s;", "proxy_connect_timeout 2s;"):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    proxy = start("nginx", tmp_path, port, text.replace("10.0.0.2:28080", f"127.0.0.1:{sites.service.port}"))
    try:
        for _ in range(4):
            assert proxy.call("update", application(name="Second", secret=STRONG_SECRET)).status == 200
            assert proxy.get("/", basic()).status == 200
    finally:
        proxy.process.terminate()
        proxy.process.wait(30)


def test_sign_ins_are_limited_by_nginx(sites: Sites) -> None:
    """nginx refuses more than a few sign-ins a second of one address, and logs no token of them."""
    proxy = sites.proxy("nginx", "public")
    statuses = {proxy.get("/datafor/auth/enter?ticket=none-such").status for _ in range(40)}
    assert statuses == {401, 429}
    log = (proxy.folder / "datafor-token.access.log").read_text()
    assert '"GET /datafor/auth/enter" 429 ' in log
    assert "none-such" not in log
