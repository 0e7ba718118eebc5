"""Forward authentication in Chromium, over plain http beyond localhost, behind nginx: two users, two hosts."""

import html
import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.console.browsing import register
from tests.handmade_tokens import token
from tests.support import STRONG_SECRET, Server, free_port, need, wait_for

# Over plain http, Chromium sends Sec-Fetch-* to localhost, but not to this host.
HOST = "intra.test"
# A minimal configuration; the one in config/ has tests of its own.
NGINX = """
daemon off; user root; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        location /auth/ {{ proxy_set_header Host $http_host; proxy_pass http://127.0.0.1:{service}; }}
        location / {{
            auth_request /check;
            auth_request_set $user $upstream_http_remote_user;
            auth_request_set $cookie $upstream_http_set_cookie;
            add_header Set-Cookie $cookie always;
            proxy_set_header Remote-User $user;
            proxy_pass http://127.0.0.1:{protected};
        }}
        location = /check {{
            internal;
            proxy_pass http://127.0.0.1:{service}/auth/check;
            proxy_set_header Host $http_host;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
            proxy_set_header X-Original-Method $request_method;
        }}
    }}
}}
"""
PAGE = """<!doctype html><title>{user}</title><h1>{user}</h1>
<img src="/part.png?page={number}"><script src="/part.js?page={number}"></script>
<iframe src="/frame.html?page={number}"></iframe>{more}
<script>
window.done = Promise.all([
    fetch("/part.json?page={number}"), fetch("/form?page={number}", {{method: "POST"}}),
    new Promise(resolve => addEventListener("load", resolve)),
]);
</script>
"""


class Seen(NamedTuple):
    """One request that reached the protected application."""

    method: str
    path: str
    user: str
    fetch_mode: str | None


class Application(http.server.ThreadingHTTPServer):
    """The protected application. ``seen`` has its requests; ``more`` is added to its page."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.more = ""
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a page that shows its user and loads parts in all ways."""

    server: Application

    def do_GET(self) -> None:
        # A connection that is closed before the whole request is read is reset, and the response is lost.
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        user = self.headers.get("Remote-User", "")
        self.server.seen.append(Seen(self.command, self.path, user, self.headers.get("Sec-Fetch-Mode")))
        body = b""
        if self.path.startswith("/page"):
            number = len(self.server.seen)
            body = PAGE.format(user=html.escape(user), number=number, more=self.server.more).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if ".js" not in self.path else "text/javascript")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class Site(NamedTuple):
    """A running site: its URL, the service, the protected application."""

    address: str
    service: Server
    application: Application

    def at(self, host: str) -> str:
        """Return the URL of another host name of the same site."""
        return self.address.replace(HOST, host)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("gate")) as site:
        yield site


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run a site whose hosts share the cookie of the gate."""
    with running(tmp_path_factory.mktemp("shared"), DATAFOR_TOKEN_GATE_COOKIE_DOMAIN=HOST) as site:
        yield site


@contextmanager
def running(folder: Path, **environ: str) -> Iterator[Site]:
    """Run the service, nginx in front of it, and a protected application."""
    need("nginx")
    service = Server(folder, **environ).start()
    register(service, name="ERP")
    application = Application()
    threading.Thread(target=application.serve_forever, daemon=True).start()
    port = free_port()
    text = NGINX.format(folder=folder, port=port, service=service.port, protected=application.server_port)
    (folder / "nginx.conf").write_text(text)
    nginx = [str(shutil.which("nginx")), "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]
    process = subprocess.Popen(nginx, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield Site(f"http://{HOST}:{port}", service, application)
    finally:
        process.terminate()
        process.wait(30)
        application.shutdown()
        application.server_close()
        service.stop()


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    site.application.seen.clear()
    site.application.more = ""
    context = browser.new_context(locale="en-GB")
    yield context
    context.close()


def signed(name: str) -> str:
    return token({"loginname": name, "exp": int(time.time()) + 3600}, STRONG_SECRET)


def users_of(context: BrowserContext, site: Site, path: str) -> set[str]:
    """Open a page in a new tab; return the users of the page and all of its parts."""
    site.application.seen.clear()
    page = context.new_page()
    page.goto(site.address + path)
    page.evaluate("window.done")
    page.close()
    parts = [one for one in site.application.seen if "?page=" in one.path]
    assert {one.path.partition("?")[0] for one in parts} == {
        "/part.png", "/part.js", "/frame.html", "/part.json", "/form",
    }  # fmt: skip
    assert {one.fetch_mode for one in site.application.seen} == {None}
    # Chromium may ask for the icon of the tab before this one as late as now.
    return {one.user for one in site.application.seen if one.path != "/favicon.ico"}


def test_two_users_in_one_browser(context: BrowserContext, site: Site) -> None:
    """A link with bert's token, opened in anna's browser, switches the page, its parts and the next page to bert."""
    assert users_of(context, site, f"/page?token={signed('anna')}") == {"anna"}
    assert users_of(context, site, "/page") == {"anna"}
    assert users_of(context, site, f"/page?token={signed('bert')}") == {"bert"}
    assert users_of(context, site, "/page") == {"bert"}
    assert users_of(context, site, f"/page?token={signed('anna')}") == {"anna"}


def test_parts_of_a_page_do_not_switch_the_user(context: BrowserContext, site: Site) -> None:
    """Images, scripts and calls with bert's token in anna's page, auth/enter included, do not switch the user."""
    text = signed("bert")
    site.application.more = (
        f'<img src="/foreign.png?token={text}"><script src="/foreign.js?token={text}"></script>'
        f'<img src="/auth/enter?token={text}"><script>fetch("/foreign.json?token={text}")</script>'
    )
    assert users_of(context, site, f"/page?token={signed('anna')}") == {"anna", "bert"}
    foreign = [one for one in site.application.seen if "/foreign" in one.path]
    assert {one.user for one in foreign} == {"bert"}
    assert {one.user for one in site.application.seen if one not in foreign} == {"anna"}
    site.application.more = ""
    assert users_of(context, site, "/page") == {"anna"}


def test_enter_switches_the_user(context: BrowserContext, site: Site) -> None:
    """auth/enter with bert's token signs bert in instead of anna; an invalid token does not."""
    assert users_of(context, site, f"/page?token={signed('anna')}") == {"anna"}
    entrance = f"/auth/enter?token={signed('bert')}&next={quote('/page?a=1&b=2', safe='')}"
    assert users_of(context, site, entrance) == {"bert"}
    assert site.application.seen[0].path == "/page?a=1&b=2"
    page = context.new_page()
    response = page.goto(f"{site.address}/auth/enter?token=x&next=/page")
    assert response is not None
    assert response.status == 401
    assert page.get_by_role("heading").inner_text() == "Sign-in failed"
    assert users_of(context, site, "/page") == {"bert"}


def test_signing_out(context: BrowserContext, site: Site) -> None:
    """A link of the application to auth/leave signs out at once; its pages are 401 then."""
    assert users_of(context, site, f"/page?token={signed('anna')}") == {"anna"}
    site.application.more = '<a href="/auth/leave">out</a>'
    page = context.new_page()
    page.goto(f"{site.address}/page")
    page.get_by_role("link").click()
    assert page.get_by_role("heading").inner_text() == "You are signed out"
    assert context.cookies() == []
    response = page.goto(f"{site.address}/page")
    assert response is not None
    assert response.status == 401


def test_signing_out_from_another_site(context: BrowserContext, site: Site) -> None:
    """A link of another site to auth/leave opens a confirmation, whose button signs out."""
    local = site.address.replace(HOST, "127.0.0.1")
    page = context.new_page()
    page.goto(f"{local}/page?token={signed('anna')}")
    site.application.more = f'<a href="{local}/auth/leave?next=/page">out</a>'
    page.goto(f"{site.address}/page?token={signed('bert')}")
    page.get_by_role("link").click()
    assert page.get_by_role("heading").inner_text() == "Sign out?"
    assert page.request.get(f"{local}/page").status == 200
    page.get_by_role("button").click()
    page.wait_for_url(f"{local}/page")
    assert page.request.get(f"{local}/page").status == 401


def shown(context: BrowserContext, address: str) -> str | None:
    """Open a page; return its user, or ``None`` if it is a 401."""
    page = context.new_page()
    response = page.goto(address)
    assert response is not None
    user = page.get_by_role("heading").inner_text() if response.status == 200 else None
    assert user is not None or response.status == 401
    page.close()
    return user


def test_one_sign_in_for_two_hosts(browser: Browser, shared_site: Site) -> None:
    """With GATE_COOKIE_DOMAIN, a sign-in or sign-out on one host is one on the other, and on no other domain."""
    context = browser.new_context()
    first, second = (shared_site.at(f"{name}.{HOST}") for name in ("reports", "crm"))
    assert shown(context, f"{second}/page") is None
    assert shown(context, f"{first}/page?token={signed('anna')}") == "anna"
    assert [(one["name"], one["domain"]) for one in context.cookies()] == [("datafor_gate", f".{HOST}")]
    assert shown(context, f"{second}/page") == shown(context, f"{shared_site.address}/page") == "anna"
    assert shown(context, shared_site.at("reports.other.test") + "/page") is None
    # Another user on the other host replaces the session on both.
    assert shown(context, f"{second}/page?token={signed('bert')}") == "bert"
    assert shown(context, f"{first}/page") == "bert"
    page = context.new_page()
    page.goto(f"{second}/auth/leave")
    assert page.get_by_role("heading").inner_text() == "You are signed out"
    assert context.cookies() == []
    assert [shown(context, f"{one}/page") for one in (first, second)] == [None, None]
    context.close()


def test_a_cookie_from_before_the_setting(browser: Browser, shared_site: Site) -> None:
    """A cookie of one host, from before GATE_COOKIE_DOMAIN, mixes no page up, and signing out clears both cookies."""
    context = browser.new_context()
    first, second = (shared_site.at(f"{name}.{HOST}") for name in ("reports", "crm"))
    before = token_session(shared_site)
    context.add_cookies([{"name": "datafor_gate", "value": before, "url": first}])
    assert shown(context, f"{first}/page") is None
    assert users_of(context, shared_site._replace(address=first), f"/page?token={signed('bert')}") == {"bert"}
    assert sorted(one["domain"] for one in context.cookies()) == [f".{HOST}", f"reports.{HOST}"]
    assert shown(context, f"{second}/page") == "bert"
    page = context.new_page()
    page.goto(f"{first}/auth/leave")
    assert context.cookies() == []
    assert [shown(context, f"{one}/page") for one in (first, second)] == [None, None]
    context.close()


def token_session(site: Site) -> str:
    """Return the cookie of a session of anna that the service opened for one host only."""
    headers = {"Host": "elsewhere.test", "X-Original-URI": f"/?token={signed('anna')}"}
    cookie = site.service.request("GET", "/auth/check", headers=headers).headers["Set-Cookie"]
    assert "Domain" not in cookie
    return cookie.partition(";")[0].partition("=")[2]
