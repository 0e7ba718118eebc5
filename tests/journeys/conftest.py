"""Fixtures: the servers, and for each proxy a Chromium that blocks third-party cookies."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Playwright

from tests.embedding.conftest import BLOCKED
from tests.journeys.sites import EVIL, PORTAL, World
from tests.support import CHROMIUM


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = World(tmp_path_factory.mktemp("journeys"))
    yield running
    running.stop()


@pytest.fixture(scope="module", params=["nginx", "caddy", "traefik"])
def chromium(
    request: pytest.FixtureRequest, world: World, playwright: Playwright, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    """A browser whose host names lead to the portal, and through one proxy to the applications."""
    portal, own = (world.proxy(request.param, kind) for kind in ("portal", "own"))
    profile = tmp_path_factory.mktemp("profile")
    (profile / "Default").mkdir()
    (profile / "Default" / "Preferences").write_text(json.dumps(BLOCKED))
    rules = {
        PORTAL: world.portal.server_port,
        EVIL: world.portal.server_port,
        "*.own.example": own.port,
        "*": portal.port,
    }
    context = playwright.chromium.launch_persistent_context(
        str(profile),
        executable_path=CHROMIUM,
        ignore_https_errors=True,
        locale="en-GB",
        # As root, Chromium cannot use its sandbox.
        args=[
            "--no-sandbox",
            f"--host-resolver-rules={','.join(f'MAP {host} 127.0.0.1:{port}' for host, port in rules.items())}",
        ],
    )
    context.set_default_timeout(20_000)
    yield context
    context.close()
    for one in (portal, own):
        one.process.terminate()
        one.process.wait(30)


@pytest.fixture
def context(chromium: BrowserContext, world: World) -> Iterator[BrowserContext]:
    """The browser without cookies and pages, and the servers as they were at first."""
    chromium.clear_cookies()
    for one in (world.portal, world.reports, world.sales):
        one.reset()
    yield chromium
    for page in chromium.pages[1:]:
        page.close()
