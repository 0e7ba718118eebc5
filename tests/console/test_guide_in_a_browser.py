"""The guide in Chromium: accessibility, narrow screens, light and dark, copying."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.console.browsing import WIDTHS, Person, violations
from tests.support import ROOT

PAGES = ["", *sorted(f"/{path.stem}" for path in (ROOT / "docs").glob("*.md") if path.stem != "index")]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 360)])
def test_wcag(person: Callable[..., Person], axe: str, scheme: str, width: int) -> None:
    """Neither the first page, nor one with tables, nor an unknown one violates WCAG 2.2 AA, also with open menus."""
    one = person(color_scheme=scheme, bypass_csp=True, viewport={"width": width, "height": 900})
    found = []
    for path in ("", "/performance", "/unknown"):
        page = one.open(f"../docs/guide{path}")
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        found += violations(page, axe)
    assert found == []


def test_every_page_on_every_width(person: Callable[..., Person]) -> None:
    """No page is wider than its window: tables and code scroll within themselves."""
    one = person()
    count = "[...document.querySelectorAll('.scroll, pre')].filter((one) => one.scrollWidth > one.clientWidth).length"
    scrolling = 0
    for path in PAGES:
        page = one.open(f"../docs/guide{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for width in (320, *WIDTHS):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            scrolling += page.evaluate(count)
    assert scrolling > 0


def test_the_menus(person: Callable[..., Person]) -> None:
    """On a wide screen the lists of pages and headings are beside the text; on a narrow one they open above it."""
    page = person(viewport={"width": 1400, "height": 900}).open("../docs/guide/performance")
    for label in ("Pages", "On this page"):
        expect(page.get_by_role("navigation", name=label)).to_have_count(1)
    page.get_by_role("navigation", name="On this page").get_by_role("link", name="Goals").click()
    assert page.url.endswith("/docs/guide/performance#goals")
    page.set_viewport_size({"width": 360, "height": 740})
    pages = page.get_by_role("navigation", name="Pages")
    expect(pages.get_by_role("link", name="Architecture")).to_be_hidden()
    pages.get_by_text("All pages").click()
    pages.get_by_role("link", name="Architecture").click()
    expect(page).to_have_title("Architecture · datafor_token guide")


def test_copying_code(person: Callable[..., Person]) -> None:
    """The button of a block copies its code, under the page's policy, without the last line break."""
    one = person(permissions=["clipboard-read", "clipboard-write"])
    page = one.open("../docs/guide/architecture")
    block = page.locator(".code").first
    block.hover()
    block.get_by_role("button", name="Copy").click()
    expect(block.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == block.locator("code").inner_text()
    assert not copied.endswith("\n")


@pytest.mark.parametrize(("locale", "label"), [("en-GB", "Guide"), ("zh-CN", "使用指南")])
def test_the_way_to_the_guide(person: Callable[..., Person], locale: str, label: str) -> None:
    """The console and the page of the calls lead to the guide, before signing in too, and the guide leads back."""
    one = person(locale=locale)
    page = one.open("sign-in")
    page.locator(".menu summary").click()
    page.get_by_role("link", name=label).click()
    expect(page).to_have_url(re.compile("/docs/guide$"))
    page.get_by_role("banner").get_by_role("link", name="API calls").click()
    page.get_by_role("link", name="Guide", exact=True).click()
    expect(page).to_have_url(re.compile("/docs/guide$"))
    page.get_by_role("banner").get_by_role("link", name="Console").click()
    expect(page).to_have_url(re.compile("/console/"))
