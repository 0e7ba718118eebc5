"""Rules of every page of the console in every state: accessible, readable at every width, usable by the keyboard."""

import re
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from playwright.sync_api import Page

from datafor_token.console.blueprint import blueprint
from tests.console import screenshots, states
from tests.console.browsing import Person, rules_of, violations
from tests.stores import unavailable
from tests.support import Server

# 320 x 256: a window of 1280 x 1024 at 400 %.
WINDOWS = ((1280, 900), (960, 900), (640, 900), (480, 900), (360, 900), (320, 256))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with all kinds of data."""
    server = Server(tmp_path_factory.mktemp("filled")).start()
    screenshots.fill(server, 0)
    yield server
    server.stop()


def identifiers(one: Person) -> dict[str, str]:
    """Return the identifiers that the paths of some pages need: of an issued token, and of a personal token."""
    found = one.open("user/tokens?name=lena").content() + one.open("user/tokens?name=admin").content()
    return {
        name: re.search(rf"{field}=([\w-]{{20,}})", found)[1]  # type: ignore[index]
        for name, field in (("token", "id"), ("personal", "jti"))
    }


def test_every_view_has_a_page(app: Flask) -> None:
    """The pages that are checked are those of all views of the console."""
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    views = {rule.endpoint.partition(".")[2] for rule in rules if rule.endpoint.startswith(f"{blueprint.name}.")}
    assert views == states.PAGES.keys() | states.OTHER_VIEWS


def broken_rules(page: Page, axe: str, *, wide: bool) -> list[str]:
    """Return what breaks a rule in any window; axe-core sees the page wide and light, or else narrow and dark."""
    rules = rules_of(page)
    found: list[str] = [*rules.evaluate("rules => rules.structure()"), *rules.evaluate("rules => rules.enter()")]
    for width, height in WINDOWS:
        page.set_viewport_size({"width": width, "height": height})
        found += [f"{width} px: {line}" for line in rules.evaluate("rules => rules.layout()")]
    if wide:
        page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light" if wide else "dark")
    found += violations(page, axe)
    page.set_viewport_size({"width": 1280, "height": 900})
    return found


@pytest.fixture
def reader(person: Callable[..., Person], filled: Server) -> Callable[..., Person]:
    """Open browsers on the filled service. The pages' policy would block axe-core; other tests check the policy."""

    def come(language: str = "en-GB") -> Person:
        size = {"width": 1280, "height": 900}
        return person(filled, locale=language, bypass_csp=True, timezone_id="Asia/Shanghai", viewport=size)

    return come


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(("language", "turn"), [("en-GB", 0), ("zh-CN", 1)])
def test_every_state(reader: Callable[..., Person], axe: str, language: str, turn: int, wide: bool) -> None:
    """No state of a page violates WCAG 2.2 AA or a rule of ``page_rules.js``, or is too wide for any window.

    axe-core sees each state twice: in one language wide and light, in the other narrow and dark.
    """
    one = reader(language)
    one.sign_in()
    names, found = identifiers(one), []
    # Half of the states, those that this language shows wide or narrow: two halves run beside each other.
    for name, state in list(states.STATES.items())[turn if wide else 1 - turn :: 2]:
        page = one.open(state.path.format(**names))
        state.steps(page)
        found += [f"{name}: {line}" for line in broken_rules(page, axe, wide=wide)]
    assert found == []


@pytest.mark.parametrize(("language", "wide"), [("en-GB", True), ("zh-CN", False)])
def test_refusals(reader: Callable[..., Person], axe: str, filled: Server, language: str, wide: bool) -> None:
    """The rules hold for the sign-in and its errors, an ended session, an outage, and users of other types."""
    found: list[str] = []

    def check(name: str) -> None:
        found.extend(f"{name}: {line}" for line in broken_rules(page, axe, wide=wide))

    one = reader(language)
    page = one.open("sign-in")
    check("sign-in")
    page.locator("#username").fill("admin")
    page.locator("#password").fill("wrong")
    page.locator("#main-form .main").click()
    page.locator("#refusal").wait_for()
    check("wrong password")
    one.sign_in()
    name, password = "王小明", "a-Password-of-the-tests"
    page = one.open(f"user/password?name={name}")
    page.locator("#password").fill(password)
    page.locator("#question .danger").click()
    page.locator(".flash").wait_for()
    one.open("new-application")
    page.locator("#name").fill("outage")
    with unavailable(filled.data_dir, "applications"):
        page.locator("#main-form .main").click()
        page.locator(".summary").first.wait_for()
        check("outage of a form")
        for path in ("", "applications", "applications/ERP"):
            one.open(path)
            check(f"outage of {path}")
    one.open("new-application")
    page.locator("#name").fill("ended")
    one.context.clear_cookies()
    page.locator("#main-form .main").click()
    page.locator("#password").wait_for()
    check("ended session")
    page.goto("about:blank")
    other = reader(language)
    other.sign_in(name, password)
    for path in ("me", "applications"):
        page = other.open(path)
        check(f"{path} of another type of users")
    assert found == []


def test_without_a_script(person: Callable[..., Person], filled: Server) -> None:
    """Without a script too, no page is too wide, Enter presses the main button, and each page has a heading."""
    one = person(filled, java_script_enabled=False)
    one.sign_in()
    names, found = identifiers(one), []
    for name, path in states.PAGES.items():
        page = one.open(path.format(**names))
        rules = rules_of(page)
        found += [f"{name}: {line}" for line in rules.evaluate("rules => rules.enter()")]
        found += [] if page.locator("h1").count() == 1 else [f"{name}: no heading"]
        for width in (1280, 960, 320):
            page.set_viewport_size({"width": width, "height": 900})
            found += [f"{name}: {width} px: {line}" for line in rules.evaluate("rules => rules.layout()")]
    assert found == []


def test_the_way_of_the_tabulator_key(reader: Callable[..., Person]) -> None:
    """The tabulator key goes through each page in its order; what has the focus shows it and is not covered."""
    one = reader()
    one.sign_in()
    found = []
    for path in ("users", "tokens/issued", "applications/Portal/secret", "audit", "new-application", "me", "settings"):
        page = one.open(path)
        # Low, so that the bar of a list covers its rows.
        page.set_viewport_size({"width": 1000, "height": 420})
        rules = rules_of(page)
        for _ in range(200):
            page.keyboard.press("Tab")
            step = rules.evaluate("rules => rules.focus()")
            found += [f"{path}: {line}" for line in step["found"]]
            if step["ends"]:
                break
        else:
            pytest.fail(f"the keyboard does not get out of {path}")
        page.goto("about:blank")
    assert found == []
