"""Additions of the script to the pages: dialogs, menus, copying, a guard for changes, selections and local times."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.console.browsing import Person, register


@pytest.fixture
def admin(person: Callable[..., Person], signed_in: Any) -> Person:
    """Return the signed-in administrator's browser, with the script."""
    return person(storage_state=signed_in)


def active(page: Page) -> str:
    """Return the text of the element that has the focus."""
    found: str = page.evaluate("document.activeElement.textContent.trim()")
    return found


def announced(page: Page) -> str:
    """Wait until the live region says something, and return it."""
    region = page.locator("span.unseen[role=status]")
    expect(region).not_to_be_empty()
    return region.inner_text()


def test_a_question_opens_in_a_dialog(admin: Person) -> None:
    """A question opens in a dialog with its title as name; Escape and Cancel close it and return the focus."""
    register(admin.server, name="dialog")
    page = admin.open("applications/dialog/danger")
    for close in ("Escape", "Cancel"):
        page.get_by_role("link", name="Disable…").click()
        dialog = page.get_by_role("dialog", name="Disable dialog?")
        expect(dialog).to_be_visible()
        assert page.evaluate("document.activeElement.closest('dialog') !== null")
        if close == "Escape":
            page.keyboard.press(close)
        else:
            dialog.get_by_role("link", name=close).click()
        expect(dialog).to_have_count(0)
        assert active(page) == "Disable…"
    page.get_by_role("link", name="Disable…").click()
    page.get_by_role("button", name="Disable dialog").click()
    expect(page.get_by_role("status").filter(has_text="Disabled dialog.")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status").filter(has_text="Enabled dialog.")).to_be_visible()


def test_a_question_that_cannot_be_fetched(admin: Person) -> None:
    """If the session has ended or the question cannot be fetched, its link is followed as without a script."""
    register(admin.server, name="plain-link")
    page = admin.open("applications/plain-link/danger")
    page.route(
        "**/disable", lambda route: route.abort() if route.request.resource_type == "fetch" else route.continue_()
    )
    page.get_by_role("link", name="Disable…").click()
    page.wait_for_url("**/plain-link/disable")
    expect(page.get_by_role("heading", name="Disable plain-link?")).to_be_visible()
    page.unroute("**/disable")
    admin.open("applications/plain-link/danger")
    admin.context.clear_cookies()
    page.get_by_role("link", name="Disable…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_the_menu(admin: Person) -> None:
    """The menu opens with the keyboard, and closes with Escape or a click elsewhere; Escape returns the focus."""
    page = admin.open("me")
    summary, inside = page.locator(".menu summary"), page.get_by_role("button", name="Sign out")
    summary.focus()
    page.keyboard.press("Enter")
    expect(inside).to_be_visible()
    page.keyboard.press("Tab")
    assert active(page) == "Your account"
    page.keyboard.press("Escape")
    expect(inside).to_be_hidden()
    expect(summary).to_be_focused()
    summary.click()
    page.get_by_role("heading", level=1).click()
    expect(inside).to_be_hidden()


@pytest.mark.parametrize("clipboard", [True, False])
def test_copying(person: Callable[..., Person], signed_in: Any, clipboard: bool) -> None:
    """A copy is announced to screen readers with its name, and the button keeps the focus."""
    one = person(storage_state=signed_in, permissions=["clipboard-read", "clipboard-write"])
    if not clipboard:
        one.context.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page = one.open("tokens/issue?name=ERP&username=admin")
    page.locator("#main-form .main").click()
    page.get_by_role("button", name="Copy: Token", exact=True).click()
    assert announced(page) == "Copied: Token"
    assert active(page) == "Copied"


def test_leaving_with_changes(admin: Person) -> None:
    """Leaving a form with changes asks; without changes, or after they were undone or sent, nothing asks."""
    register(admin.server, name="guarded")
    page = admin.open("applications/guarded/settings")
    asked: list[str] = []

    def dismiss(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", dismiss)
    page.get_by_label("URL parameter").fill("changed")
    page.get_by_label("URL parameter").fill("token")
    page.get_by_role("link", name="Audit").first.click()
    page.wait_for_url("**/audit*")
    assert asked == []
    page = admin.open("applications/guarded/settings")
    page.get_by_label("URL parameter").fill("changed")
    page.locator(".top").get_by_role("link", name="Audit").click()
    page.wait_for_url("**/audit*")
    assert asked == ["beforeunload"]
    page = admin.open("applications/guarded/settings")
    page.get_by_label("URL parameter").fill("changed")
    page.locator("#main-form .main").click()
    expect(page.get_by_role("status").filter(has_text="guarded").or_(page.locator(".notice"))).to_be_visible()
    assert asked == ["beforeunload"]


@pytest.mark.parametrize("script", [True, False])
def test_the_switches_keep_what_was_typed(person: Callable[..., Person], signed_in: Any, script: bool) -> None:
    """Switching language and theme keeps what was typed, with and without a script, and asks nothing."""
    one = person(storage_state=signed_in, java_script_enabled=script)
    page = one.open("new-application")
    page.get_by_label("Name", exact=True).fill("half-typed")
    page.locator(".menu summary").click()
    page.get_by_role("button", name="简体中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    expect(page.locator("#name")).to_have_value("half-typed")
    page.locator(".menu summary").click()
    page.locator("[data-switch]").last.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("#name")).to_have_value("half-typed")
    page.goto("about:blank")


def test_a_switch_without_changes_is_a_plain_visit(admin: Person) -> None:
    """Without changes, a switch returns to the page's own address, which can be reloaded."""
    page = admin.open("new-application")
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.url.endswith("/console/new-application")


@pytest.mark.parametrize("script", [True, False])
def test_enter_saves(person: Callable[..., Person], signed_in: Any, script: bool) -> None:
    """Enter in a field sends the form; it neither generates a secret nor switches the language."""
    one = person(storage_state=signed_in, java_script_enabled=script)
    page = one.open("new-application")
    page.get_by_label("Name", exact=True).fill("a b")
    page.keyboard.press("Enter")
    expect(page.locator("div.summary")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("#secret")).to_have_value("")
    page.goto("about:blank")


def test_selecting_rows(admin: Person) -> None:
    """The bar says how many rows are selected; the box in the head selects all of the page, and shows a part."""
    for name in ("selected-1", "selected-2", "selected-3"):
        register(admin.server, name=name)
    page = admin.open("applications?q=selected-")
    every = page.get_by_role("checkbox", name="Select all on this page")
    bar = page.locator("[data-bulk] p")
    page.get_by_role("checkbox", name="selected-2").check()
    expect(bar).to_have_text("1 selected")
    assert every.evaluate("one => one.indeterminate")
    every.check()
    expect(bar).to_have_text("3 selected")
    every.uncheck()
    expect(bar).not_to_contain_text("selected")


def test_local_times(person: Callable[..., Person], signed_in: Any) -> None:
    """A time is local; the exact one in UTC is on hover, and screen readers get it too."""
    one = person(storage_state=signed_in, timezone_id="Asia/Shanghai")
    time = one.open("applications/ERP").locator("time").first
    exact = time.get_attribute("title")
    assert exact is not None
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", exact)
    assert exact in time.inner_text()
    assert time.locator(".unseen").bounding_box() == {
        **(time.locator(".unseen").bounding_box() or {}),
        "width": 1,
        "height": 1,
    }


# Logs what live regions announce: what is put into one after the page was loaded.
LISTENER = """
addEventListener("load", () => {
  const announced = [];
  new MutationObserver((changes) => {
    for (const { addedNodes, target } of changes) {
      if (addedNodes.length && target.closest("[role=status], [role=alert]")) announced.push(target.textContent.trim());
    }
    if (announced.length) document.documentElement.dataset.announced = announced.join("; ");
  }).observe(document, { childList: true, subtree: true });
});
"""


def test_announcements(admin: Person) -> None:
    """A message and the result of a search are announced once each."""
    for name in ("announced-1", "announced-2"):
        register(admin.server, name=name)
    register(admin.server, name="announced-2", enable="0")
    admin.context.add_init_script(LISTENER)
    page = admin.open("applications/announced-2")
    page.get_by_role("button", name="Enable").click()
    expect(page.locator("html")).to_have_attribute("data-announced", "Enabled announced-2.")
    for path, text, result in (
        ("applications", "announced-", "2 applications"),
        ("users", "nobody-has-this-name", "0 users"),
        ("tokens/issued", "nobody-has-this-name", "No tokens match. Show all"),
    ):
        page = admin.open(path)
        page.locator("form[data-live] input").first.fill(text)
        expect(page.locator("html")).to_have_attribute("data-announced", result)


def test_a_search_keeps_the_selection(admin: Person) -> None:
    """Selected rows remain selected while the list is filtered; the bar says how many of them are not shown."""
    for name in ("kept-a1", "kept-b1", "kept-b2"):
        register(admin.server, name=name)
    page = admin.open("applications?q=kept-&sort=-name")
    bar, search = page.locator("[data-bulk] p"), page.get_by_label("Search")
    page.get_by_role("checkbox", name="kept-a1").check()
    page.get_by_role("checkbox", name="kept-b1").check()
    search.fill("kept-b")
    expect(bar).to_have_text("2 selected, 1 of them not in this list")
    expect(page.get_by_role("checkbox", name="kept-b1")).to_be_checked()
    assert "sort=-name" in page.url
    assert page.get_by_role("rowheader").all_inner_texts() == ["kept-b2", "kept-b1"]
    search.fill("kept-nothing")
    expect(page.get_by_text("No applications match.")).to_be_visible()
    search.fill("kept-")
    expect(bar).to_have_text("2 selected")
    search.fill("kept-b")
    expect(bar).to_have_text("2 selected, 1 of them not in this list")
    page.get_by_role("link", name="kept-b2").click()
    page.go_back()
    assert page.get_by_role("rowheader").all_inner_texts() == ["kept-b2", "kept-b1"]
    expect(search).to_have_value("kept-b")
    search.fill("kept-")
    page.get_by_role("checkbox", name="kept-a1").check()
    search.fill("kept-b")
    page.get_by_role("checkbox", name="kept-b1").check()
    page.get_by_role("button", name="Disable…").click()
    expect(page.locator(".affected")).to_contain_text("kept-a1")
    expect(page.locator(".affected")).to_contain_text("kept-b1")


def test_parts_of_pages_take_no_messages(admin: Person) -> None:
    """A search and a dialog need a part of a page only, and say so: messages wait for the next page."""
    register(admin.server, name="part")
    page = admin.open("applications")
    admin.requests.clear()
    page.get_by_label("Search").fill("part")
    expect(page).to_have_url(re.compile("q=part"))
    page = admin.open("applications/part/danger")
    page.get_by_role("link", name="Disable…").click()
    page.get_by_role("dialog").wait_for()
    fetched = [request.headers for request in admin.requests if request.resource_type == "fetch"]
    assert [headers.get("x-requested-with") for headers in fetched] == ["fetch"] * 2


def test_a_double_click(admin: Person) -> None:
    """A double click sends a form once and opens one dialog, where Enter presses nothing."""
    page = admin.open("new-application")
    page.get_by_label("Name", exact=True).fill("double")
    page.get_by_role("button", name="Generate").dblclick()
    expect(page.locator("#secret")).not_to_have_value("")
    admin.requests.clear()
    page.get_by_role("button", name="Create").dblclick()
    expect(page.get_by_role("status").filter(has_text="Created double.")).to_be_visible()
    assert [request.method for request in admin.requests].count("POST") == 1
    page = admin.open("applications/double/danger")
    page.get_by_role("link", name="Disable…").dblclick()
    page.get_by_role("dialog").wait_for()
    expect(page.locator("dialog")).to_have_count(1)
    assert page.evaluate("document.activeElement.localName") == "dialog"
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_search_without_a_service(admin: Person) -> None:
    """If a search cannot be fetched, it is opened as a page: the list never has other rows than the field says."""
    page = admin.open("users")
    page.route(
        "**/users?**", lambda route: route.abort() if route.request.resource_type == "fetch" else route.continue_()
    )
    page.get_by_label("Search").fill("admin")
    page.wait_for_url("**/users?q=admin**")
    expect(page.get_by_label("Search")).to_have_value("admin")
