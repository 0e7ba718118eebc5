"""Fixtures for tests of the console: Chromium, a shared service, and users with browsers."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright

from tests.console.browsing import AXE, Person, chromium, in_ci, register
from tests.support import Server


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    with chromium(playwright) as found:
        yield found


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service for all tests that only add records; each test uses names of its own."""
    running = Server(tmp_path_factory.mktemp("console")).start()
    register(running, name="ERP", self_service="1")
    yield running
    running.stop()


@pytest.fixture
def person(browser: Browser, console: Server) -> Iterator[Callable[..., Person]]:
    """Open browsers; at the end, fail if a page used another host or had an error."""
    people: list[Person] = []

    def come(server: Server | None = None, **options: Any) -> Person:
        people.append(Person(browser, server or console, **options))
        return people[-1]

    yield come
    for one in people:
        one.close()


@pytest.fixture(scope="session")
def signed_in(browser: Browser, console: Server) -> Any:
    """Return the cookies of a signed-in administrator, for all tests that do not test the sign-in itself."""
    one = Person(browser, console, java_script_enabled=False)
    one.sign_in()
    cookies = one.context.storage_state()
    one.close()
    return cookies


@pytest.fixture(params=[True, False], ids=["script", "no-script"])
def admin(request: pytest.FixtureRequest, person: Callable[..., Person], signed_in: Any) -> Person:
    """Return the signed-in administrator's browser, once with JavaScript and once without."""
    one = person(java_script_enabled=request.param, storage_state=signed_in)
    one.run = request.node.callspec.id
    return one


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the script of axe-core; skip the test if it is not installed."""
    if not AXE.exists():
        if in_ci():
            pytest.fail("axe-core is not installed, though .ci/run installs it")
        pytest.skip("axe-core is not installed (npm ci --prefix tests/console)")
    return AXE.read_text()
