"""Chromium and its users, for tests of the console in a browser, and calls that prepare a service for them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, JSHandle, Page, Playwright, Request

from tests.support import ADMIN_PASSWORD, HEADLESS, ROOT, STRONG_SECRET, Server, application

# 64 characters without a space at which a line could break.
LONG_NAME = "企业资源计划系统" * 8
MARKED = '<script>document.title="broken"</script><img src=x onerror=alert(1)>'
WIDTHS = (360, 800, 1400)
RULES = ROOT / "tests" / "console" / "page_rules.js"
AXE = ROOT / "tests" / "console" / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Run Debian's Chromium without a window, where it is installed as the headless shell."""
    browser = playwright.chromium.launch(
        executable_path=HEADLESS,
        # As root, Chromium cannot use its sandbox. The host names are for tests of plain http beyond localhost.
        args=["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"],
    )
    yield browser
    browser.close()


class Person:
    """A user with a browser. ``requests`` has all requests of the browser, ``problems`` its errors and violations."""

    def __init__(self, browser: Browser, server: Server, **options: Any) -> None:
        self.host = options.pop("host", "127.0.0.1")
        self.server = server
        self.run = "person"
        options.setdefault("viewport", {"width": 1000, "height": 800})
        options.setdefault("locale", "en-GB")
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(20_000)
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self.page = self.new_page()

    def new_page(self) -> Page:
        """Open another tab."""
        page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - Playwright marks its handlers
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._hear)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium logs what the Content-Security-Policy of a page blocks.
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            self.problems.append(message.text)

    def address(self, path: str) -> str:
        """Return the URL of a path of the console."""
        return f"http://{self.host}:{self.server.port}/console/{path.removeprefix('/')}"

    def open(self, path: str) -> Page:
        """Open a page of the console."""
        self.page.goto(self.address(path))
        return self.page

    def sign_in(self, name: str = "admin", password: str = ADMIN_PASSWORD) -> Page:
        """Sign in with the form."""
        page = self.open("sign-in")
        page.get_by_label("User name").or_(page.get_by_label("用户名")).fill(name)
        page.get_by_label("Password").or_(page.get_by_label("密码")).fill(password)
        page.locator("button.main").click()
        page.wait_for_url(lambda url: "sign-in" not in url)
        return page

    def foreign_requests(self) -> list[str]:
        """Return the URLs of requests to other hosts than the service."""
        own = f"{self.host}:{self.server.port}"
        return [request.url for request in self.requests if urlsplit(request.url).netloc != own]

    def close(self) -> None:
        """Close the browser; fail if it sent requests to other hosts, or if a policy blocked anything."""
        self.context.close()
        assert self.foreign_requests() == []
        assert self.problems == []


def secret_of(name: str) -> str:
    """Return a strong secret for one application: of those that share a secret, the first by name accepts a token."""
    return f"{STRONG_SECRET}-{name}"


def register(server: Server, **changes: Any) -> None:
    """Create or change an application with the API; ``changes`` override fields of the example and a strong secret."""
    wanted = application(**{"secret": STRONG_SECRET, **changes})
    response = server.post("update", wanted)
    assert response.status == 200, response.json


def token_of(server: Server, name: str, username: str, payload: Mapping[str, Any] | None = None) -> str:
    """Generate a token with the API."""
    response = server.post("generate", {"name": name, "payload": {"username": username, **(payload or {})}})
    assert response.status == 200, response.json
    token: str = response.json["token"]
    return token


def in_ci() -> bool:
    """Return whether the test runs in CI, where a missing browser is an error."""
    return os.environ.get("CI") == "true"


def violations(page: Page, axe: str) -> list[str]:
    """Return the violations of WCAG 2.2 AA that axe-core finds, each with its element."""
    # Without the value of the script, and of the results only what is needed: to send all takes longer than to find it.
    page.evaluate(f"{axe}; null")
    options = "{ runOnly: tags, resultTypes: ['violations'] }"
    found = page.evaluate(f"tags => axe.run({options}).then((results) => results.violations)", WCAG)
    return [f"{page.url} {one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


def rules_of(page: Page) -> JSHandle:
    """Return the functions of ``page_rules.js`` for the present page."""
    return page.evaluate_handle(RULES.read_text())
