"""Sign-in page and error pages of the gate in Chromium, behind nginx."""

import html
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.console.browsing import violations
from tests.support import Server, free_port, need, wait_for

USER = "/plugin/datafor-modeler/api/user"
PASSWORD = "long enough"
# Chromium sends Sec-Fetch-* to the first host, but over plain http not to the second.
HOSTS = ["127.0.0.1", "intra.test"]
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
            set $method $request_method;
            auth_request /check;
            error_page 401 = /check?redirect=1;
            error_page 403 = /check?role=Boss;
            auth_request_set $user $upstream_http_remote_user;
            proxy_set_header Remote-User $user;
            proxy_pass http://127.0.0.1:{protected};
        }}
        location /boss {{
            auth_request /boss_check;
            error_page 403 = /check?role=Boss;
        }}
        location = /boss_check {{
            internal;
            proxy_pass http://127.0.0.1:{service}/auth/check?role=Boss;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
        location = /check {{
            internal;
            proxy_pass http://127.0.0.1:{service}/auth/check?$args;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Original-URI $request_uri;
            proxy_set_header X-Original-Method $method;
        }}
    }}
}}
"""
FORM = (
    "<!doctype html><title>{user}</title><h1>{user}</h1><p>{text}</p>"
    '<form method="post" action="/save?a=1"><input name="text"><button>Save</button></form>'
)


class Handler(http.server.BaseHTTPRequestHandler):
    """The protected application: a form, and the text that it sent last."""

    server: "Application"

    def do_GET(self) -> None:
        self.respond("")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.respond(parse_qs(body)["text"][0])

    def respond(self, text: str) -> None:
        user = self.headers.get("Remote-User", "")
        if self.path != "/favicon.ico":
            self.server.paths.append(self.path)
        body = FORM.format(user=html.escape(user), text=html.escape(text)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class Application(http.server.ThreadingHTTPServer):
    """The protected application; ``paths`` has those of its requests."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Site(NamedTuple):
    """A running site: its port, the service, the protected application."""

    port: int
    service: Server
    application: Application


def with_users(folder: Path, **environ: str) -> Server:
    """Start a service with two users who have a password."""
    service = Server(folder, DATAFOR_TOKEN_SIGN_IN_URL="/auth/sign-in", **environ).start()
    for name in ("lena", "paul"):
        body = {"username": name, "name": "", "email": "", "usertype": "SYS_Reader", "enabled": "1"}
        response = service.request("POST", f"{USER}/insertOrUpdate", {**body, "password": PASSWORD})
        assert response.status == 200, response.body
    return service


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need("nginx")
    folder = tmp_path_factory.mktemp("gate")
    service, application, port = with_users(folder), Application(), free_port()
    threading.Thread(target=application.serve_forever, daemon=True).start()
    text = NGINX.format(folder=folder, port=port, service=service.port, protected=application.server_port)
    (folder / "nginx.conf").write_text(text)
    nginx = [str(shutil.which("nginx")), "-c", str(folder / "nginx.conf"), "-e", str(folder / "start.log")]
    process = subprocess.Popen(nginx, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield Site(port, service, application)
    finally:
        process.terminate()
        process.wait(30)
        application.shutdown()
        application.server_close()
        service.stop()


class Visitor:
    """A browser at the site."""

    def __init__(self, context: BrowserContext, site: Site, host: str) -> None:
        self.context, self.origin = context, f"http://{host}:{site.port}"
        self.page = context.new_page()

    def sign_in(self, name: str, page: Page | None = None, password: str = PASSWORD) -> None:
        """Fill in the form of the sign-in page, and send it."""
        page = page or self.page
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()

    def sees(self, heading: str, page: Page | None = None) -> None:
        """Wait until the page has this heading."""
        (page or self.page).get_by_role("heading", name=heading, exact=True).wait_for()


@pytest.fixture(params=HOSTS)
def visitor(request: pytest.FixtureRequest, browser: Browser, site: Site) -> Iterator[Visitor]:
    site.application.paths.clear()
    context = browser.new_context(locale="en-GB")
    context.set_default_timeout(20_000)
    yield Visitor(context, site, request.param)
    context.close()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
@pytest.mark.parametrize("host", HOSTS)
def test_a_deep_link(browser: Browser, site: Site, host: str, script: bool) -> None:
    """A deep link leads to the sign-in page, and after a wrong and the right password to the same address."""
    context = browser.new_context(locale="en-GB", java_script_enabled=script)
    visitor = Visitor(context, site, host)
    deep = f"/d/{quote('报告')}/7%2F8?orgId=1&from=a%26b%20c&plus=%2B+&empty=&q=%3F"
    site.application.paths.clear()
    visitor.page.goto(visitor.origin + deep)
    visitor.sees("Sign in")
    visitor.sign_in("lena", password="wrong password")
    visitor.page.get_by_role("alert").get_by_text("The user name or the password is wrong.").wait_for()
    assert visitor.page.get_by_label("User name").input_value() == "lena"
    assert visitor.page.get_by_label("Password").input_value() == ""
    visitor.sign_in("lena")
    visitor.sees("lena")
    assert visitor.page.url == visitor.origin + deep
    assert site.application.paths == [deep]
    context.close()


def test_the_end_of_a_session_in_a_form(visitor: Visitor, site: Site) -> None:
    """A form that is sent after the session's end arrives, after a sign-in in a new tab and a reload."""
    visitor.page.goto(f"{visitor.origin}/page")
    visitor.sign_in("lena")
    visitor.sees("lena")
    visitor.page.get_by_role("textbox").fill("a long text & more")
    assert site.service.request("POST", f"{USER}/sessions/end", {"username": "lena"}).status == 200
    visitor.page.get_by_role("button").click()
    visitor.sees("Your session has ended")
    with visitor.context.expect_page() as opened:
        visitor.page.get_by_role("link", name="Sign in in a new tab").click()
    visitor.sign_in("lena", opened.value)
    visitor.sees("lena", opened.value)
    visitor.page.reload()
    visitor.sees("lena")
    assert visitor.page.get_by_text("a long text & more").is_visible()
    assert site.application.paths[-1] == "/save?a=1"


def test_two_people_in_turn(visitor: Visitor) -> None:
    """The sign-in page says who is signed in; paul, who signs in instead of lena, sees his own page."""
    visitor.page.goto(f"{visitor.origin}/page")
    visitor.sign_in("lena")
    visitor.sees("lena")
    visitor.page.goto(f"{visitor.origin}/auth/sign-in?next=/page")
    visitor.sees("You are signed in as lena.")
    visitor.sign_in("paul")
    visitor.sees("paul")
    visitor.page.goto(f"{visitor.origin}/auth/sign-in?next=/page")
    visitor.page.get_by_role("link", name="Continue").click()
    visitor.sees("paul")


def test_back_after_signing_out(visitor: Visitor) -> None:
    """After the sign-out, the back button shows nothing of the former user."""
    visitor.page.goto(f"{visitor.origin}/page")
    visitor.sign_in("lena")
    visitor.sees("lena")
    visitor.page.goto(f"{visitor.origin}/auth/leave")
    visitor.sees("You are signed out")
    visitor.page.go_back()
    visitor.sees("Sign in")
    assert "lena" not in visitor.page.content()


def test_no_access(visitor: Visitor) -> None:
    """From the page of a missing role one can sign in as somebody else, or sign out."""
    visitor.page.goto(f"{visitor.origin}/page")
    visitor.sign_in("lena")
    visitor.sees("lena")
    visitor.page.goto(f"{visitor.origin}/boss?a=1")
    visitor.sees("No access")
    assert visitor.page.get_by_text("You are signed in as lena.").is_visible()
    visitor.page.get_by_role("link", name="Sign in as somebody else").click()
    assert visitor.page.url == f"{visitor.origin}/auth/sign-in?next=%2Fboss%3Fa%3D1"
    visitor.page.go_back()
    visitor.page.get_by_role("link", name="Sign out").click()
    visitor.sees("You are signed out")
    assert visitor.context.cookies() == []


def test_wcag(visitor: Visitor, axe: str) -> None:
    """The pages meet WCAG 2.2 AA, and the field for the name has the focus."""
    page = visitor.page
    page.goto(f"{visitor.origin}/page")
    assert page.evaluate("document.activeElement.name") == "username"
    found = violations(page, axe)
    visitor.sign_in("lena", password="wrong password")
    page.get_by_role("alert").wait_for()
    assert page.evaluate("document.activeElement.name") == "password"
    found += violations(page, axe)
    visitor.sign_in("lena")
    visitor.sees("lena")
    for path in ("/auth/sign-in", "/boss", "/auth/enter", "/auth/leave"):
        page.goto(visitor.origin + path)
        found += violations(page, axe)
    assert found == []
