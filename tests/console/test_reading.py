"""Languages, time zones, accessibility, screen sizes and long lists of the console."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, expect

from tests.console import screenshots
from tests.console.browsing import LONG_NAME, Person, register, rules_of, violations
from tests.support import ADMIN_PASSWORD, ROOT, STRONG_SECRET, Server


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a service with all kinds of data and a few applications."""
    server = Server(tmp_path_factory.mktemp("small")).start()
    screenshots.fill(server, 0)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a service with all kinds of data and 1,000 applications."""
    server = Server(tmp_path_factory.mktemp("full")).start()
    screenshots.fill(server, 0)
    record = json.loads((server.data_dir / "applications" / "erp.json").read_text())
    # Written directly: 1,000 calls would take a minute.
    for number in range(1000):
        name = f"system-{number:04d}"
        plain = {**record, "name": name, "secret": f"{STRONG_SECRET}{number}", "initpwd": "", "self_service": "0"}
        (server.data_dir / "applications" / f"{name}.json").write_text(json.dumps(plain))
    yield server
    server.stop()


def test_axe_finds_violations(person: Callable[..., Person], axe: str) -> None:
    """The check finds an image without a text and a field without a label."""
    one = person(bypass_csp=True)
    page = one.open("sign-in")
    page.evaluate("document.querySelector('main').innerHTML = '<img src=\"/x\"><input>'")
    assert {line.split()[1] for line in violations(page, axe)} >= {"image-alt:", "label:"}


def test_the_header_is_one_row(person: Callable[..., Person]) -> None:
    """The header is one row from 320 px on, and its links and menu are at least 36 px wide and 40 px high."""
    one = person(locale="en-GB")
    page = one.sign_in()
    for width in (320, 360, 640, 832, 900, 1024, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        boxes = [found.bounding_box() for found in page.locator(".top a:visible, .top summary").all()]
        assert len(boxes) == 7
        assert all(box and box["width"] >= 36 and box["height"] >= 40 for box in boxes), (width, boxes)
        middles = [box["y"] + box["height"] / 2 for box in boxes if box]
        assert max(middles) - min(middles) < 4, width


def test_tables_down_to_640_px(person: Callable[..., Person], small: Server) -> None:
    """Lists are tables down to 640 px and cards below; what can be pressed is at least 24 px in both directions."""
    one = person(small)
    one.sign_in()
    page = one.open("users")
    for width, shown in ((640, "table-row"), (639, "block")):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.locator("tbody tr").first.evaluate("one => getComputedStyle(one).display") == shown
        for target in page.locator(
            "button:visible:not(.unseen), select:visible, summary, .target, input[type=search], .sort a:visible"
        ).all():
            box = target.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 24


def test_printing(person: Callable[..., Person], small: Server) -> None:
    """A printed page has its content, also on paper's white, and neither navigation nor buttons nor filters."""
    one = person(small, color_scheme="dark")
    one.sign_in()
    page = one.open("users")
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("table")).to_be_visible()
    for part in (".top", ".filters", "button", ".skip"):
        assert page.locator(f"{part}:visible").count() == 0, part
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('td')).color") == "rgb(22, 25, 29)"


def test_by_the_keyboard(person: Callable[..., Person]) -> None:
    """The keyboard alone skips to the content, reaches the fields in order, and sends forms with Enter."""
    one = person()
    page = one.open("sign-in")
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("admin")
    page.keyboard.press("Tab")
    page.keyboard.type("the-Password-of-the-tests")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")
    one.open("applications")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="New application")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("New application")
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("a b")
    page.keyboard.press("Enter")
    expect(page.locator("div.summary")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#name, #secret").first).to_be_visible()


def test_the_browsers_language_and_the_switch(person: Callable[..., Person]) -> None:
    """Chinese browsers get Chinese, all others English; the switch changes it, also without JavaScript."""
    one = person(locale="zh-CN", java_script_enabled=False)
    page = one.open("sign-in")
    expect(page.get_by_role("heading", level=1)).to_have_text("登录")
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    one.sign_in()
    one.open("users?q=adm")
    page.locator(".menu summary").click()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Users")
    assert page.url.endswith("/console/users?q=adm")
    expect(one.open("settings").get_by_role("heading", level=1)).to_have_text("Settings")
    page.locator(".menu summary").click()
    page.get_by_role("button", name="简体中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("设置")
    other = person(locale="fr-FR")
    expect(other.open("sign-in").get_by_role("heading", level=1)).to_have_text("Sign in")
    taiwan = person(locale="zh-TW")
    expect(taiwan.open("sign-in").get_by_role("heading", level=1)).to_have_text("登录")


def test_an_address_in_chinese(person: Callable[..., Person]) -> None:
    """A sign-in returns to the page that was asked for, also if its URL has Chinese letters."""
    one = person()
    page = one.open("sign-in?next=/console/users%3Fq%3D王")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(ADMIN_PASSWORD)
    page.locator("button.main").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Users")
    assert unquote(page.url).endswith("/console/users?q=王")


def test_words_in_chinese(person: Callable[..., Person], small: Server) -> None:
    """Durations, errors and the steps of a check are in Chinese, and no page has an English sentence."""
    one = person(small, locale="zh-CN")
    page = one.sign_in()
    expect(one.open(f"applications?q={LONG_NAME}").get_by_role("row").last).to_contain_text("1 天 2 小时 3 分钟 4 秒")
    page = one.open("new-application")
    screenshots.typed(page, "errors")
    expect(page.locator("[id='name-wrong']")).to_have_text("只能包含字母、数字、'_' 和 '-'")
    for path in ("tokens", "", "settings"):
        page = one.open(path)
        screenshots.typed(page, path)
        # What the connection to a provider reported is as in the log.
        page.evaluate("for (const one of document.querySelectorAll('main [lang=en]')) one.remove()")
        left = re.findall(r"\b[a-z]+ [a-z]+ [a-z]+ [a-z]+\b", page.get_by_role("main").inner_text())
        assert left == []


def test_the_readers_time_zone(person: Callable[..., Person]) -> None:
    """Times are in the reader's time zone with JavaScript, and in UTC without it."""
    register(one := person().server, name="zoned")
    record = one.data_dir / "applications" / "zoned.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "createdDate": 1722929516000}))
    for zone, shown in (("Asia/Shanghai", "15:31"), ("America/New_York", "03:31")):
        reader = person(timezone_id=zone)
        reader.sign_in()
        expect(reader.open("applications/zoned").locator("time").first).to_contain_text(shown)
    plain = person(java_script_enabled=False)
    plain.sign_in()
    expect(plain.open("applications/zoned").locator("time").first).to_have_text("2024-08-06 07:31 UTC")


def test_light_and_dark(person: Callable[..., Person]) -> None:
    """Pages are light or dark, as the reader's system is."""
    seen = {}
    for scheme in ("light", "dark"):
        page = person(color_scheme=scheme).open("sign-in")
        seen[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = (sum(map(int, re.findall(r"\d+", seen[scheme]))) for scheme in ("light", "dark"))
    assert light > 600
    assert dark < 150


def test_a_thousand_applications(person: Callable[..., Person], full: Server) -> None:
    """A page of the list of 1,000 is under 100 kB compressed and needs one stylesheet to be painted."""
    one = person(full)
    one.sign_in()
    one.requests.clear()
    response = one.page.goto(one.address("applications"))
    assert response is not None
    body = response.body()
    assert "1,00" in one.page.get_by_role("main").inner_text() or "100" in one.page.get_by_role("main").inner_text()
    assert len(gzip.compress(body)) < 100_000
    assert len(body) < 150_000
    kinds = [request.resource_type for request in one.requests]
    assert sorted(kind for kind in kinds if kind not in ("script", "other")) == ["document", "stylesheet"]
    # The script does not delay the page.
    assert one.page.locator("script:not([defer])").count() == 0
    expect(one.page.get_by_role("navigation", name="Pages of the list")).to_contain_text("11")
    one.page.get_by_role("link", name="Next page").click()
    expect(one.page.get_by_role("link", name="Page 2 of 11")).to_have_attribute("aria-current", "page")
    for width in (320, 640, 960, 1280):
        one.page.set_viewport_size({"width": width, "height": 900})
        assert rules_of(one.page).evaluate("rules => rules.layout()") == []
    one.open("applications?q=system-0999")
    expect(one.page.get_by_role("row")).to_have_count(2)


def test_make_screenshots(browser: Browser, small: Server, tmp_path: Path) -> None:
    """`make screenshots` takes each page at each width, light and dark, in both languages."""
    assert screenshots.shoot(browser, small, tmp_path, {"me": "me"}, (360, 800)) == 16
    assert len({picture.read_bytes() for picture in tmp_path.glob("me-*.png")}) == 8
    pages = {path.split("?")[0].split("/")[0] for path in screenshots.PAGES.values()}
    assert pages >= {"applications", "new-application", "tokens", "users", "user", "audit", "settings", "me"}


def test_screenshots_of_the_readme() -> None:
    """The README's two screenshots exist, are small, and have a description."""
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert len(pictures) == 2
    for words, path in pictures:
        assert len(words) > 10
        assert 1000 < (ROOT / path).stat().st_size < 100_000
