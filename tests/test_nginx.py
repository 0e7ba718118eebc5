"""Behind a real nginx with the shipped configuration: only its ports and paths are replaced."""

import http.server
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.stores import unavailable
from tests.support import ROOT, STRONG_SECRET, Answer, Server, application, basic, free_port, need, wait_for
from tests.tokens import token

NGINX = ROOT / "config" / "nginx.conf"


class Echo(http.server.BaseHTTPRequestHandler):
    """The protected application: answers what it was sent, the headers as they came on the wire."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        pairs = [(name, value.encode("latin-1").decode("utf-8", "replace")) for name, value in self.headers.items()]
        body = json.dumps({"path": self.path, "headers": pairs}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Application(http.server.ThreadingHTTPServer):
    """Quiet about connections that nginx drops."""

    def handle_error(self, *_: Any) -> None:
        """Nothing."""


class Site(NamedTuple):
    """A running site: nginx, the service, the protected application."""

    service: Server
    front: Server
    logs: Path


def configured(folder: Path, port: int, service: int, protected: int) -> str:
    """The shipped configuration with this machine's ports and paths."""
    text = NGINX.read_text()
    for old, new in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("server 127.0.0.1:28080;", f"server 127.0.0.1:{service};"),
        ("server 127.0.0.1:8080;", f"server 127.0.0.1:{protected};"),
        ("/run/nginx.pid", f"{folder}/nginx.pid"),
        ("/var/log/nginx/", f"{folder}/logs/"),
    ):
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need("nginx")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "logs").mkdir()
    service = Server(folder, DATAFOR_TOKEN_URL_PREFIX="/datafor", DATAFOR_TOKEN_TRUSTED_PROXIES="1").start()
    protected = Application(("127.0.0.1", 0), Echo)
    threading.Thread(target=protected.serve_forever, daemon=True).start()
    front = Server(folder)
    front.port = free_port()
    (folder / "nginx.conf").write_text(configured(folder, front.port, service.port, protected.server_port))
    nginx = [str(shutil.which("nginx")), "-c", str(folder / "nginx.conf"), "-e", str(folder / "logs" / "start.log")]
    process = subprocess.Popen([*nginx, "-g", "daemon off; user root;"], stderr=subprocess.DEVNULL)
    try:
        wait_for(front.port)
        body = application(secret=STRONG_SECRET, initroles=["SYS_Creator", "Sales"])
        assert front.request("POST", f"/datafor{API}/update", body).status == 200
        yield Site(service, front, folder / "logs")
    finally:
        process.terminate()
        process.wait(30)
        protected.shutdown()
        protected.server_close()
        service.stop()


API = "/plugin/datafor-modeler/api/token"


def signed(name: str = "lena", /, **more: Any) -> str:
    return token({"loginname": name, "exp": int(time.time()) + 3600, **more}, STRONG_SECRET)


def get(site: Site, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    return site.front.request(method, path, headers=headers or {})


def seen(answer: Answer, name: str) -> list[str]:
    """What the protected application saw of a header."""
    assert answer.status == 200
    return [value for header, value in answer.json["headers"] if header.lower().replace("_", "-") == name.lower()]


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"Cookie": str(answer.headers["Set-Cookie"]).partition(";")[0]}


def test_no_token_no_page(site: Site) -> None:
    """Without a credential the protected application is not asked; no password box opens."""
    for headers in ({}, {"Remote-User": "admin"}, {"Cookie": "datafor_gate=x"}):
        answer = get(site, "/reports/1", headers)
        assert answer.status == 401
        assert answer.headers.get_all("WWW-Authenticate") == ['Bearer realm="datafor_token"']


def test_a_token_in_the_pages_url_and_its_cookie_afterwards(site: Site) -> None:
    """The portal's link opens the page; its images pass by the cookie; the application sees who it is."""
    page = get(site, f"/reports/1?a=1&token={signed(name_='x')}")
    assert seen(page, "Remote-User") == ["lena"]
    assert seen(page, "Remote-Groups") == ["SYS_Creator,Sales"]
    assert str(page.headers["Set-Cookie"]).endswith("; HttpOnly; Path=/; SameSite=Lax")
    image = get(site, "/i.png", {"Cookie": f"a=1; {cookie_of(page)['Cookie']}; b=2"})
    assert seen(image, "Cookie") == ["a=1; b=2"]
    assert seen(image, "Remote-User") == ["lena"]
    assert image.headers["Set-Cookie"] is None
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_what_a_client_makes_up_does_not_survive(site: Site) -> None:
    """Forged identity headers are replaced, also by nothing; credentials for the service are not passed on."""
    forged = {
        "Remote-User": "admin", "Remote-Name": "Boss", "Remote-Email": "boss@x", "Remote-Groups": "Administrator",
        "remote_user": "admin", "REMOTE-GROUPS": "Administrator", "Authorization": f"Bearer {signed('forger')}",
    }  # fmt: skip
    answer = get(site, "/", forged)
    assert seen(answer, "Remote-User") == ["forger"]
    assert seen(answer, "Remote-Groups") == ["SYS_Creator,Sales"]
    for name in ("Remote-Name", "Remote-Email"):
        assert seen(answer, name) in ([], [""])
    assert seen(answer, "Authorization") == []


def test_odd_requests_do_not_fail_at_the_check(site: Site) -> None:
    """Many headers, control characters, a very long URL or credential: what is too much is the client's fault."""
    cookie = cookie_of(get(site, f"/?token={signed()}"))
    many = {f"X-{number}": "1" for number in range(60)}
    assert get(site, "/", {**cookie, **many, "User-Agent": "\x1b[31m"}).status == 200
    assert get(site, "/" + "x" * 14_900, cookie).status == 200
    for path, headers in (("/" + "x" * 15_900, cookie), ("/", {"Authorization": f"Bearer {'x' * 15_900}"})):
        assert get(site, path, headers).status in (400, 414)


def test_basic_and_methods(site: Site) -> None:
    """A password and any method of the page's request pass the check; the body of a POST stays the application's."""
    answer = site.front.request("POST", "/form", "x=" + "y" * 100_000, basic())
    assert seen(answer, "Remote-User") == ["admin"]


def test_disabled_and_revoked(site: Site) -> None:
    """A revoked token and its cookie, and those of a disabled application, are out at once."""
    text = signed("goes")
    cookie = cookie_of(get(site, f"/?token={text}"))
    other = cookie_of(get(site, f"/?token={signed('stays')}"))
    assert site.front.request("POST", f"/datafor{API}/revoke", {"token": text}).status == 200
    assert get(site, f"/?token={text}").status == 401
    assert get(site, "/", cookie).status == 401
    assert get(site, "/", other).status == 200
    body = application(name="Off", token_name="off", secret="off")
    site.front.request("POST", f"/datafor{API}/update", body)
    off = token({"loginname": "offline", "exp": int(time.time()) + 60}, "off")
    assert get(site, f"/?off={off}").status == 200
    site.front.request("POST", f"/datafor{API}/update", {**body, "enable": "0"})
    assert get(site, f"/?off={off}").status == 401


def test_the_largest_identity(site: Site) -> None:
    """64 roles of 64 characters, and names in Chinese, reach the application whole."""
    name = "名" * 128
    roles = [f"{number:02d}" + "角" * 62 for number in range(64)]
    site.front.request("POST", f"/datafor{API}/update", application(name="Big", secret="big-one", initroles=roles))
    text = token({"loginname": name, "exp": int(time.time()) + 3600, "name": "姓" * 256}, "big-one")
    answer = get(site, f"/?token={text}")
    assert seen(answer, "Remote-User") == [name]
    assert seen(answer, "Remote-Name") == ["姓" * 256]
    assert seen(answer, "Remote-Groups") == [",".join(["SYS_Reader", *roles])]


def test_a_name_that_would_split_headers(site: Site) -> None:
    """Line breaks in a display name do not reach a header."""
    answer = get(site, f"/?token={signed('splitter', name='a' + chr(13) + chr(10) + 'Remote-User: admin')}")
    assert seen(answer, "Remote-User") == ["splitter"]
    assert seen(answer, "Remote-Name") == ["aRemote-User: admin"]


def test_a_long_token(site: Site) -> None:
    """A token of 4,096 characters in a URL passes nginx, the check and the application; one over 8,192 is refused."""
    long = signed("long", x="y" * 2900)
    assert 3900 < len(long) <= 4096
    answer = get(site, f"/{'p' * 2000}?token={long}")
    assert seen(answer, "Remote-User") == ["long"]
    assert get(site, f"/?token={signed('long', x='y' * 7000)}").status == 401


def test_unknown_parameters_are_the_applications(site: Site) -> None:
    """A parameter that is no application's token_name is left alone."""
    cookie = cookie_of(get(site, f"/?token={signed()}"))
    answer = get(site, "/?jwt=x&Token=y&%ff=%fe&next=//evil&=", cookie)
    assert answer.json["path"] == "/?jwt=x&Token=y&%ff=%fe&next=//evil&="
    assert seen(answer, "Remote-User") == ["lena"]


def test_the_entrance_and_one_time_links(site: Site) -> None:
    """A token or a one-time link becomes a cookie and a clean address, under the prefix and through nginx."""
    answer = get(site, f"/datafor/auth/enter?token={signed()}&next=/reports/1")
    assert (answer.status, answer.headers["Location"]) == (303, "/reports/1")
    assert seen(get(site, "/reports/1", cookie_of(answer)), "Remote-User") == ["lena"]
    link = site.front.request("POST", f"/datafor{API}/link", {"name": "ERP", "username": "lena", "next": "/x"}).json
    assert link["url"].startswith("/datafor/auth/enter?ticket=")
    statuses = [get(site, link["url"]).status for _ in range(2)]
    assert statuses == [303, 401]


def test_the_sessions_cookie_has_the_prefix(site: Site) -> None:
    """A session of the API has its cookie under the prefix, so that the protected application does not see it."""
    body = "username=admin&password=the-Password-of-the-tests"
    answer = site.front.request("POST", "/datafor/plugin/datafor/api/extension/auth/login", body, {})
    assert str(answer.headers["Set-Cookie"]).endswith("; HttpOnly; Path=/datafor; SameSite=Lax")


def test_spoofed_addresses(site: Site) -> None:
    """What a client says of its own address, host and prefix is not believed behind one trusted proxy."""
    spoofed = {
        "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil", "Forwarded": "for=6.6.6.6;host=evil.example", "X-Original-URI": "/?token=x",
    }  # fmt: skip
    body = "username=admin&password=the-Password-of-the-tests"
    answer = site.front.request("POST", "/datafor/plugin/datafor/api/extension/auth/login", body, spoofed)
    assert str(answer.headers["Set-Cookie"]).endswith("; HttpOnly; Path=/datafor; SameSite=Lax")
    link = site.front.request("POST", f"/datafor{API}/link", {"name": "ERP"}, {**basic(), **spoofed}).json["url"]
    assert "evil" not in link
    assert get(site, "/", spoofed).status == 401
    assert "6.6.6.6" not in site.service.output


def test_no_token_in_any_log(site: Site) -> None:
    """Good and bad tokens in URLs, pages that are not there, an application that is down: no log has a token."""
    good = signed("logged")
    for path in ("/", "/datafor/auth/enter", f"/datafor{API}/list", "/datafor/nothing", "/%ff"):
        for text in (good, f"{good}x"):
            get(site, f"{path}?token={text}", {"Referer": f"http://x/?token={text}"})
    for mangled in (
        "/x%3Ftoken={}",
        "/datafor/auth/enter%3fticket={}",
        "/x;token={}",
        "/x&token={}",
        "/datafor/auth/check/{}",
    ):
        get(site, mangled.format(good))
    ticket = site.front.request("POST", f"/datafor{API}/link", {"name": "ERP"}).json["url"].partition("=")[2]
    flood = Server(site.logs)
    # From an address of its own: the limit on sign-ins is the other tests' too.
    flood.port, flood.client_address = site.front.port, "127.0.0.9"
    for _ in range(40):
        flood.request("GET", f"/datafor/auth/enter?ticket={ticket}", headers={})
    logs = site.service.output + "".join(path.read_text() for path in site.logs.glob("*.log"))
    assert '"GET /datafor/auth/enter"' in logs
    assert " 429 " in logs
    for part in (*good.split(".")[1:], ticket):
        assert part not in logs


def test_an_outage_is_said_as_such(site: Site) -> None:
    """While the store is gone, pages are an error, and well again as soon as it is back."""
    cookie = cookie_of(get(site, f"/?token={signed()}"))
    with unavailable(site.service.data_dir, "applications"):
        assert get(site, f"/datafor{API}/list", basic()).status == 503
        # nginx's auth_request turns every answer that is not 2xx, 401 or 403 into a 500.
        assert get(site, "/", cookie).status == 500
    assert get(site, "/", cookie).status == 200


def test_what_stands_in_the_configuration() -> None:
    """TRUSTED_PROXIES is said beside it, and gunicorn's limits fit nginx's buffers."""
    text = NGINX.read_text()
    assert "TRUSTED_PROXIES = 1" in text
    assert re.search(r"^ +# ssl_certificate_key ", text, flags=re.MULTILINE)
    values: dict[str, Any] = {}
    exec((ROOT / "config" / "gunicorn.conf.py").read_text(), values)  # noqa: S102 - our own file
    assert (values["limit_request_line"], values["limit_request_field_size"]) == (8190, 16380)


def test_the_systemd_unit(tmp_path: Path) -> None:
    """The unit is hardened, and systemd-analyze finds nothing wrong with it, its program aside."""
    text = (ROOT / "config" / "datafor-token.service").read_text()
    for line in ("User=datafor_token", "ProtectSystem=strict", "NoNewPrivileges=yes", "ReadWritePaths="):
        assert f"\n{line}" in text
    need_optional("systemd-analyze")
    program = "/opt/datafor_token/.venv/bin/python -m gunicorn -c config/gunicorn.conf.py wsgi:app"
    assert f"ExecStart={program}\n" in text
    unit = tmp_path / "datafor-token.service"
    unit.write_text(text.replace(program, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def need_optional(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed: not run (optional)")


def test_bodies_that_are_not_read_disturb_nobody(site: Site) -> None:
    """Beside a client whose bodies of 65,536 bytes are not read, no other client gets a 502."""
    ends = threading.Event()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    unread: list[int] = []

    def post() -> None:
        paths = ("/datafor/nowhere", f"/datafor{API}/generate", "/datafor/healthz")
        while not ends.is_set():
            path = paths[len(unread) % len(paths)]
            unread.append(site.front.request("POST", path, "x" * 65536, headers=form).status)

    with ThreadPoolExecutor(2) as threads:
        posting = [threads.submit(post) for _ in range(2)]
        calls = ("generate", {"name": "ERP", "username": "lena"})
        others = [site.front.request("POST", f"/datafor{API}/{calls[0]}", calls[1]).status for _ in range(300)]
        ends.set()
        for one in posting:
            one.result()
    assert (set(others), set(unread)) == ({200}, {401, 404, 405})


def test_a_second_node_is_asked_where_the_first_is_away(site: Site, tmp_path: Path) -> None:
    """With the lines for a second node, calls and checks are answered by it while nobody listens on the first."""
    (tmp_path / "logs").mkdir()
    front = Server(tmp_path)
    front.port = free_port()
    text = configured(tmp_path, front.port, free_port(), free_port())
    for line in ("server 10.0.0.2:28080 max_fails=2 fail_timeout=5s;", "proxy_connect_timeout 2s;"):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    (tmp_path / "nginx.conf").write_text(text.replace("10.0.0.2:28080", f"127.0.0.1:{site.service.port}"))
    start = ["-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "start.log"), "-g", "daemon off; user root;"]
    process = subprocess.Popen([str(shutil.which("nginx")), *start], stderr=subprocess.DEVNULL)
    try:
        wait_for(front.port)
        body = application(name="Second", secret=STRONG_SECRET)
        for _ in range(4):
            assert front.request("POST", f"/datafor{API}/update", body).status == 200
            assert front.request("GET", "/datafor/auth/check", headers=basic()).status == 200
    finally:
        process.terminate()
        process.wait(30)
