"""Attacks on the console and its users, and sessions that end."""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from playwright.sync_api import expect

from datafor_token import create_app
from datafor_token.console import guard
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY
from tests.console.browsing import MARKED, Person, register, token_of
from tests.console.client import Client, api
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, Server, application, basic

FORM = "application/x-www-form-urlencoded"
FORM_TOKEN = re.compile(r'name="form_token" value="([^"]+)"')


@pytest.fixture
def client(app: Flask) -> Client:
    one = Client(app)
    assert one.sign_in().status_code == 303
    return one


@pytest.fixture
def elsewhere() -> Iterator[Callable[[str], str]]:
    """Serve a page of another origin with the given HTML; return its URL."""
    pages: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(pages.get(self.path, "").encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()

    def page(html: str) -> str:
        pages["/page"] = html
        return f"http://localhost:{server.server_address[1]}/page"

    yield page
    server.shutdown()
    server.server_close()


def rules(app: Flask) -> list[tuple[str, str, str]]:
    """Return the method, path and view of each page and form of the console."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("console."):
            path = rule.rule.replace("<name>", "ERP").replace("<path:rest>", "nothing")
            path = path.replace("<version>", "0").replace("<version>", "0")
            view = rule.endpoint.partition(".")[2]
            found += [(method, path, view) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    return found


def test_without_a_session(app: Flask) -> None:
    """Without a session every page and form leads to the sign-in."""
    begun = app.test_client().get("/console", follow_redirects=True)
    assert (begun.status_code, begun.request.path) == (200, "/console/sign-in")
    api(app, "update", application(secret=STRONG_SECRET))
    for method, path, view in rules(app):
        if view not in guard.ANYONE:
            response = app.test_client().open(path, method=method, headers=basic() | {"Accept": "text/html"})
            assert (response.status_code, method) in ((303, "GET"), (401, "POST")), path
            assert "/console/sign-in" in (response.headers.get("Location") or response.text)
            assert "Basic" not in str(response.headers.getlist("WWW-Authenticate"))


def test_users_who_are_no_administrators(app: Flask) -> None:
    """A user who is no Administrator may use their own page; all others are 403 and have no effect."""
    api(app, "update", application(name="Low", secret=STRONG_SECRET, initpwd="low-password"))
    token = api(app, "generate", {"name": "Low", "username": "lena"})["token"]
    app.test_client().get("/plugin/datafor-modeler/api/user/detail", headers={"Authorization": f"Bearer {token}"})
    lena = Client(app)
    assert lena.sign_in("lena", "low-password").headers["Location"] == "/console/"
    for method, path, view in rules(app):
        if view not in guard.ANYONE | guard.SIGNED_IN:
            own = path.removeprefix("/console/")
            response = lena.get(own) if method == "GET" else lena.post(own, {"name": "Low", "action": "delete"})
            assert (path, response.status_code) == (path, 403)
            assert "No permission" in response.text
    assert api(app, "explain", {"token": token})["accepted"]


def test_every_form_has_its_token(client: Client, app: Flask) -> None:
    """Every POST form has a form token; without it, or with another user's, it has no effect."""
    api(app, "update", application(secret=STRONG_SECRET))
    for path in (
        "applications",
        "applications/ERP",
        "applications/ERP/settings",
        "applications/ERP/trust",
        "applications/ERP/rotate",
        "new-application",
        "tokens",
        "tokens/issue",
        "tokens/issued",
        "user?name=admin",
        "me",
        "nothing",
    ):
        for form in re.findall(r"<form[^>]*>.*?</form>", client.get(path).text, flags=re.DOTALL):
            assert ('method="post"' in form) == bool(FORM_TOKEN.search(form))
    stranger = FORM_TOKEN.search(Client(app).get("sign-in").text)
    other = Client(app)
    other.sign_in()
    another = FORM_TOKEN.search(other.get("me").text)
    assert stranger is not None
    assert another is not None
    for token in (None, "", "x", stranger[1], another[1]):
        for method, path, view in rules(app):
            if method == "POST" and view not in guard.ANYONE:
                response = client.client.post(path, data={"form_token": token, "typed_name": "ERP"} if token else {})
                assert response.status_code in (200, 403, 404), path
                assert "Location" not in response.headers
    assert api(app, "explain", {"token": "x"})["reason"] == "malformed"
    assert client.get("applications/ERP").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_a_form_of_another_origin(client: Client, app: Flask, headers: dict[str, str]) -> None:
    """A form sent by another origin is 403, even with the right form token."""
    api(app, "update", application(secret=STRONG_SECRET))
    response = client.post("applications/ERP/delete", {"typed_name": "ERP"}, headers=headers)
    assert response.status_code == 403
    assert "A request from another site is not accepted" in response.text
    assert response.mimetype == "text/html"
    assert client.get("applications/ERP").status_code == 200


def test_cors_origins(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """CORS_ORIGINS allows API calls, but no pages and no forms of the console."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    portal = "https://portal.example"
    open_to = Settings(config_dir=settings.config_dir, data_dir=settings.data_dir, cors_origins=(portal,))
    client = Client(create_app(open_to, hasher=CHEAP_FOR_TESTS_ONLY))
    client.sign_in()
    response = client.get("me", headers={"Origin": portal})
    assert "Access-Control-Allow-Origin" not in response.headers
    response = client.client.post("/console/sign-out", headers={"Origin": portal, "Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403


def test_a_form_of_another_origin_in_a_browser(
    person: Callable[..., Person], signed_in: Any, elsewhere: Callable[[str], str]
) -> None:
    """A form sent by a page of another origin changes nothing."""
    one = person(storage_state=signed_in)
    register(one.server, name="Target")
    action = one.address("applications/Target/disable")
    page = one.context.new_page()
    page.goto(elsewhere(f'<form method="post" action="{action}"><button>x</button></form>'))
    page.get_by_role("button").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.close()
    expect(one.open("applications/Target").get_by_role("heading", level=1)).to_contain_text("enabled")


def test_a_framed_page(person: Callable[..., Person], signed_in: Any, elsewhere: Callable[[str], str]) -> None:
    """No page of the console can be shown in a frame."""
    one = person(storage_state=signed_in)
    page = one.context.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    with page.expect_response(lambda response: response.url == one.address("applications")):
        page.goto(elsewhere(f'<iframe src="{one.address("applications")}"></iframe>'))
    assert any("frame" in text.lower() for text in refused)
    assert all("Applications" not in frame.content() for frame in page.frames)
    page.close()


def test_the_headers(client: Client) -> None:
    """Every page has a policy that allows nothing inline and no other hosts, and is not cached."""
    for path in ("applications", "new-application", "try", "audit", "", "settings", "me", "sign-in", "nothing"):
        response = client.get(path)
        policy = response.headers["Content-Security-Policy"]
        for part in ("default-src 'none'", "style-src 'self'", "script-src 'self'", "frame-ancestors 'none'",
                     "base-uri 'none'", "form-action 'self'"):  # fmt: skip
            assert part in policy
        assert "unsafe" not in policy
        assert response.headers.getlist("Cache-Control") == ["no-store"]
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"\son\w+=|\sstyle=|javascript:|<style|<script>", response.text)


def test_the_files_of_a_page(client: Client) -> None:
    """Stylesheet and script are cached forever; their URLs change with their content."""
    found = re.findall(r'(?:href|src)="(/console/assets/[^"]+)"', client.get("me").text)
    assert len(found) == 3
    for path in found:
        response = client.client.get(path)
        assert response.status_code == 200
        assert "immutable" in response.headers["Cache-Control"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        version = path.split("/")[3]
        assert client.client.get(path.replace(version, "0" * 12)).status_code == 404


def test_scripts_in_every_field(person: Callable[..., Person], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Markup in names, addresses, roles, claims, searches and tokens is shown as text everywhere."""
    server = Server(tmp_path_factory.mktemp("marked")).start()
    claims = {"username": MARKED[:100], "name": "<b>name</b>", "email": "<i>mail</i>"}
    register(server, name="ERP", fieldmap=claims, initroles=["<script>alert(1)</script>"], initpwd=MARKED)
    token = token_of(server, "ERP", MARKED, {"name": MARKED, "email": MARKED})
    whoami = "/plugin/datafor-modeler/api/user/detail"
    assert server.request("GET", whoami, headers={"Authorization": f"Bearer {token}"}).status == 200
    server.request("GET", whoami, headers={"Authorization": f"Bearer {MARKED}"})
    server.request(
        "POST", "/plugin/datafor/api/extension/auth/login", urlencode({"username": MARKED, "password": "x"}), {}
    )
    record = server.data_dir / "applications" / "erp.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "creatorId": MARKED}))
    for scripts in (True, False):
        one = person(server, java_script_enabled=scripts)
        one.sign_in()
        marked = urlencode(
            {"q": MARKED, "name": MARKED, "user": MARKED, "type": MARKED, "state": MARKED, "done": MARKED}
        )
        for path in (
            "applications",
            "applications/ERP",
            "applications/ERP/settings",
            "applications/ERP/tokens",
            "applications/ERP/activity",
            "applications/ERP/use",
            "users",
            "user",
            "audit",
            "",
            "settings",
            "tokens",
            "tokens/issue",
            "tokens/issued",
        ):
            for query in ("", f"?{marked}"):
                page = one.open(f"{path}{query}")
                assert page.title().endswith("datafor_token")
                assert page.locator("main script, main img, main b, main i").count() == 0
        page = one.open("tokens/issue?name=ERP")
        page.get_by_label("User", exact=True).fill(MARKED)
        page.get_by_role("button", name="Issue", exact=True).click()
        expect(page.get_by_role("table", name="Claims")).to_contain_text(MARKED)
        page = one.open("tokens")
        page.get_by_label("What to check").fill(token)
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.get_by_role("table", name="Claims")).to_contain_text(MARKED)
        assert page.locator("main script, main img, main b, main i").count() == 0
        page.get_by_label("What to check").fill(MARKED)
        page.get_by_role("button", name="Check", exact=True).click()
        expect(page.locator("#token-wrong")).to_contain_text("Nothing here is known.")
        assert page.title().endswith("datafor_token")
        one.open("sign-in?next=javascript:alert(1)//&done=" + urlencode({"": MARKED})[1:])
        assert one.page.title().endswith("datafor_token")
    server.stop()


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example/", "/\\evil.example", "/plugin/x", "/console/nothing/../../x"]
)
def test_open_redirects(app: Flask, target: str) -> None:
    """A sign-in redirects to pages of the console only."""
    response = Client(app).post(
        "sign-in", {"username": "admin", "password": ADMIN_PASSWORD, "next": target}, page="sign-in"
    )
    assert (response.status_code, response.headers["Location"]) == (303, "/console/")


def test_a_sign_in_is_throttled(app: Flask, clock: Clock) -> None:
    """After ten wrong passwords, in the console and the API together, the next attempt is 429."""
    client = Client(app)
    for _ in range(5):
        assert client.sign_in(password="wrong").status_code == 401
        body = {"username": "admin", "password": "wrong"}
        assert app.test_client().post("/plugin/datafor/api/extension/auth/login", json=body).status_code == 401
    response = client.sign_in(password="wrong")
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert "Too many failed passwords" in response.text
    clock.advance(301)
    assert client.sign_in().status_code == 303


def test_a_session_is_new(app: Flask) -> None:
    """A sign-in opens a new session instead of using a planted cookie, and signing out ends it."""
    client = Client(app)
    client.client.set_cookie("JSESSIONID", "A" * 43)
    client.sign_in()
    cookie = client.client.get_cookie("JSESSIONID")
    assert cookie is not None
    assert cookie.value != "A" * 43
    client.post("sign-out")
    client.client.set_cookie("JSESSIONID", cookie.value)
    assert client.get("me").status_code == 303


def test_over_plain_http_on_a_named_host(person: Callable[..., Person]) -> None:
    """Forms work without the header Sec-Fetch-Site, which browsers send only over https and to localhost."""
    one = person(host="console.test")
    page = one.sign_in()
    page.goto(one.address("new-application"))
    page.get_by_label("Name", exact=True).fill("plain-http")
    page.get_by_role("button", name="Generate").click()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_have_text("Created plain-http.")


def test_a_session_that_ends_during_an_edit(person: Callable[..., Person]) -> None:
    """A form of an ended session is shown again after sign-in with its input, except secrets."""
    for scripts in (True, False):
        one = person(java_script_enabled=scripts)
        name = f"middle-{scripts}"
        register(one.server, name=name, initpwd="stored-password")
        one.sign_in()
        page = one.open(f"applications/{name}/settings")
        page.get_by_label("URL parameter").fill("typed_name")
        page.get_by_label("Roles of new users").fill("SYS_Reader\nFrom here\n“and there”")
        page.get_by_label("Create unknown users").uncheck()
        page.get_by_label("Password of new users").fill("typed-secret-that-nobody-may-see")
        page.get_by_label("Token lifetime", exact=True).fill("77")
        one.context.clear_cookies(name="JSESSIONID")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("Your session has ended")
        assert "typed-secret" not in page.content()
        page.get_by_label("User name").fill("admin")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("alert")).to_have_text("Wrong password")
        page.get_by_label("Password").fill(ADMIN_PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        expect(page.get_by_role("status").first).to_contain_text("Nothing was saved yet")
        expect(page.get_by_label("URL parameter")).to_have_value("typed_name")
        expect(page.get_by_label("Roles of new users")).to_have_value("SYS_Reader\nFrom here\n“and there”")
        expect(page.get_by_label("Token lifetime", exact=True)).to_have_value("77")
        expect(page.get_by_label("Create unknown users")).not_to_be_checked()
        expect(page.get_by_label("Password of new users")).to_have_value("************")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status").first).to_contain_text(f"Saved the changes of {name}.")
        expect(page.get_by_label("Password of new users")).to_have_value("************")


def test_a_form_of_an_earlier_session(person: Callable[..., Person]) -> None:
    """A form of an earlier session, sent after a new sign-in in another tab, is shown again and has no effect."""
    one = person()
    register(one.server, name="tabs")
    one.sign_in()
    page = one.open("applications/tabs/settings")
    page.get_by_label("URL parameter").fill("typed_name")
    one.page = one.new_page()
    one.context.clear_cookies(name="JSESSIONID")
    one.sign_in()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("opened in another session")
    expect(page.get_by_label("URL parameter")).to_have_value("typed_name")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("Saved the changes of tabs.")


def test_a_button_of_an_ended_session(person: Callable[..., Person]) -> None:
    """The button of a question has no effect after the session ended; after a sign-in, the question is asked again."""
    one = person()
    register(one.server, name="clicked")
    one.sign_in()
    page = one.open("applications/clicked/disable")
    one.context.clear_cookies(name="JSESSIONID")
    page.get_by_role("button", name="Disable clicked").click()
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    # The question is asked again.
    expect(page.get_by_role("button", name="Disable clicked")).to_be_visible()
    expect(one.open("applications/clicked").get_by_role("heading", level=1)).to_contain_text("enabled")


def test_errors_are_pages(client: Client, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors under /console are pages with the messages of the API; a bug shows only its request identifier."""
    for response, status, words in (
        (client.get("nothing"), 404, "Not found"),
        (client.get("applications/Nobody"), 404, "Name does not exist"),
        (client.post("tokens/revoke", {"id": "x"}), 400, "32 hex digits"),
        (client.client.post("/console/me/password", data=b"\xff=\xff", content_type=FORM), 400, "not UTF-8"),
        (client.client.post("/console/me/password", data=b"x" * 70000, content_type=FORM), 413, "too large"),
    ):
        assert (response.status_code, response.mimetype) == (status, "text/html")
        assert words in response.text

    def fail(*_: object) -> None:
        raise RuntimeError("marked-text")

    monkeypatch.setattr("datafor_token.applications.registry.Registry.index", fail)
    response = client.get("applications")
    assert (response.status_code, response.mimetype) == (500, "text/html")
    assert response.headers["X-Request-ID"] in response.text
    assert "marked-text" not in response.text


@pytest.mark.parametrize("prefix", ["", "/datafor"])
def test_behind_a_proxy(settings: Settings, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """Every link, form and redirect has the prefix of a trusted proxy and URL_PREFIX, and no forged prefix."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", ADMIN_PASSWORD)
    behind = dataclasses.replace(settings, url_prefix=prefix, trusted_proxies=1, trust_forwarded_prefix=True)
    client = Client(create_app(behind, hasher=CHEAP_FOR_TESTS_ONLY), prefix)
    typed = {"username": "admin", "password": ADMIN_PASSWORD, "next": f"{prefix}/console/users"}
    response = client.post("sign-in", typed, page="sign-in", headers={"X-Forwarded-Prefix": "/outside"})
    assert response.headers["Location"] == f"/outside{prefix}/console/users"
    client = Client(create_app(behind, hasher=CHEAP_FOR_TESTS_ONLY), prefix)
    client.sign_in()
    for given, seen in (("/outside", "/outside"), ("//evil.example", ""), ("https://evil.example", "")):
        text = client.get("applications", headers={"X-Forwarded-Prefix": given}).text
        addresses = re.findall(r'(?:href|src|action)="([^"#?]+)"', text)
        assert len(addresses) > 10
        own = (f"{seen}{prefix}/console/", f"{seen}{prefix}/docs")
        assert all(address.startswith(own) for address in addresses)
