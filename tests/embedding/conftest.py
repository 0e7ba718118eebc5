"""Fixtures: the sites, and a Chromium that blocks third-party cookies."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Playwright

from tests.embedding.sites import Sites
from tests.support import CHROMIUM

# As "Block third-party cookies" in the settings of Chromium.
BLOCKED = {"profile": {"cookie_controls_mode": 1, "block_third_party_cookies": True}}


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    found = Sites(tmp_path_factory.mktemp("embedding"))
    yield found
    found.stop()


@pytest.fixture
def sites(running: Sites) -> Sites:
    """The sites as they were at first."""
    running.reset()
    return running


@pytest.fixture(scope="session")
def open_browser(
    playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Sites], BrowserContext]]:
    """Open a Chromium with an empty profile, whose host names all lead to the sites."""
    opened = []

    def come(sites: Sites, **options: Any) -> BrowserContext:
        profile = tmp_path_factory.mktemp("profile")
        (profile / "Default").mkdir()
        (profile / "Default" / "Preferences").write_text(json.dumps(BLOCKED))
        context = playwright.chromium.launch_persistent_context(
            str(profile),
            executable_path=CHROMIUM,
            ignore_https_errors=True,
            locale="en-GB",
            # As root, Chromium cannot use its sandbox.
            args=["--no-sandbox", f"--host-resolver-rules=MAP * 127.0.0.1:{sites.port}"],
            **options,
        )
        context.set_default_timeout(20_000)
        opened.append(context)
        return context

    yield come
    for context in opened:
        context.close()


@pytest.fixture(scope="session")
def browser_of(open_browser: Callable[[Sites], BrowserContext], running: Sites) -> BrowserContext:
    return open_browser(running)


@pytest.fixture
def context(browser_of: BrowserContext, sites: Sites) -> Iterator[BrowserContext]:
    """The browser without cookies and pages."""
    browser_of.clear_cookies()
    yield browser_of
    for page in browser_of.pages[1:]:
        page.close()
