"""What tests of the console share: a real Chromium, a person at it, a service with something in it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Server, application

CHROMIUM = "/usr/bin/chromium"
# Sixty-four characters, none of which a line can be broken at by a space.
LONG_NAME = "企业资源计划系统" * 8
MARKED = '<script>document.title="broken"</script><img src=x onerror=alert(1)>'
WIDTHS = (360, 800, 1400)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            # A root's Chromium has no sandbox; the named host is for tests of plain http beyond localhost.
            args=["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"],
        )
        yield browser
        browser.close()


class Person:
    """Somebody at a browser: ``requests`` are all that it sent, ``problems`` what it complained of."""

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
        """Another tab."""
        page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - Playwright marks its handlers
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._hear)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        # What Chromium says when a page's policy keeps something out.
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            self.problems.append(message.text)

    def address(self, path: str) -> str:
        """The whole address of a path of the console."""
        return f"http://{self.host}:{self.server.port}/console/{path.removeprefix('/')}"

    def open(self, path: str) -> Page:
        """Go to a page of the console."""
        self.page.goto(self.address(path))
        return self.page

    def sign_in(self, name: str = "admin", password: str = ADMIN_PASSWORD) -> Page:
        """Sign in by the form."""
        page = self.open("sign-in")
        page.get_by_label("User name").or_(page.get_by_label("用户名")).fill(name)
        page.get_by_label("Password").or_(page.get_by_label("密码")).fill(password)
        page.locator("button.main").click()
        page.wait_for_url(lambda url: "sign-in" not in url)
        return page

    def foreign_requests(self) -> list[str]:
        """The requests that went to another host than the service's own."""
        own = f"{self.host}:{self.server.port}"
        return [request.url for request in self.requests if urlsplit(request.url).netloc != own]

    def close(self) -> None:
        """End it, having seen that nothing came from elsewhere and nothing was refused by the page's policy."""
        self.context.close()
        assert self.foreign_requests() == []
        assert self.problems == []


def secret_of(name: str) -> str:
    """A strong secret that no other application has: of those that share one, the first by name takes a token."""
    return f"{STRONG_SECRET}-{name}"


def register(server: Server, **changes: Any) -> None:
    """An application by the API, with a strong secret unless ``changes`` say otherwise."""
    wanted = application(**{"secret": STRONG_SECRET, **changes})
    answer = server.post("update", wanted)
    assert answer.status == 200, answer.json


def token_of(server: Server, name: str, username: str, payload: Mapping[str, Any] | None = None) -> str:
    """A token by the API."""
    answer = server.post("generate", {"name": name, "payload": {"username": username, **(payload or {})}})
    assert answer.status == 200, answer.json
    token: str = answer.json["token"]
    return token


def in_ci() -> bool:
    """Whether a missing browser is a fault."""
    return os.environ.get("CI") == "true"
