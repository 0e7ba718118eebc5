"""The home page, without a browser: the checklist, the first steps, the chart, facts and settings."""

import re
from html import unescape

import pytest
from flask import Flask

from datafor_token.activity.hours import Hour
from datafor_token.console import chart
from datafor_token.errors import AuditUnavailable
from datafor_token.operations.milestones import BACKUP, GATE_SIGN_IN
from datafor_token.settings import Settings, table
from datafor_token.store.files.store import FileStore
from tests.conftest import services_in
from tests.console.client import Client, api
from tests.docs.pages import anchors
from tests.stores import Record, unavailable
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application

HOUR = 3_600_000  # milliseconds


@pytest.fixture
def client(app: Flask) -> Client:
    browser = Client(app)
    assert browser.sign_in().status_code == 303
    return browser


def section(text: str, heading: str) -> str:
    """Return the part of a page under a heading, without tags."""
    part = re.split(rf'<h2 id="{heading}">', text)[1].partition("</section>")[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", part))).strip()


def links(text: str, heading: str) -> list[str]:
    """Return the targets of the links under a heading."""
    part = re.split(rf'<h2 id="{heading}">', text)[1].partition("</section>")[0]
    return [unescape(link) for link in re.findall(r'<a href="([^"]+)"', part)]


def without_first_steps(client: Client) -> None:
    assert client.post("first-steps/hide", page="").status_code == 303


def test_others_have_their_own_page(app: Flask) -> None:
    """A user who is not an Administrator is led to the own page, and sees neither home nor settings."""
    services_in(app).accounts.add("lena", ADMIN_PASSWORD)
    browser = Client(app)
    browser.sign_in("lena")
    assert browser.get("").headers["Location"] == "/console/me"
    assert browser.get("status").status_code == 403
    assert browser.get("settings").status_code == 403
    assert browser.post("first-steps/hide").status_code == 403


def test_the_former_path(client: Client) -> None:
    """The status page of earlier versions redirects to the home page."""
    response = client.get("status")
    assert (response.status_code, response.headers["Location"]) == (303, "/console/")


def test_everything_in_order(app: Flask, client: Client) -> None:
    """Without a finding, the checklist is one sentence."""
    services_in(app).milestones.reach(BACKUP)
    settings = services_in(app).settings
    object.__setattr__(settings, "public_url", "https://localhost")
    without_first_steps(client)
    assert section(client.get("").text, "checklist").endswith("Everything is in order.")


def test_findings_lead_to_what_fixes_them(app: Flask, client: Client, settings: Settings) -> None:
    """Each finding names what it is about, with links to its pages and to a section of the guide that exists."""
    for name, secret in (("weak", "abcd"), ("broken", STRONG_SECRET)):
        api(app, "update", application(name=name, secret=secret, audience=["*"]))
    Record(settings.data_dir, "applications", "broken").write_text("{")
    (settings.config_dir / "initial_admin_password").write_text("x")
    without_first_steps(client)
    text = client.get("").text
    shown = section(text, "checklist")
    assert "broken : applications/broken" in shown
    assert "weak : secret is weak: 4 bytes" in shown
    assert shown.index("Urgent") < shown.index("Recommended")
    found = links(text, "checklist")
    assert {"/console/applications/weak", "/console/me"} <= set(found)
    assert "/console/applications/broken" not in found
    for link in found:
        if link.startswith("/docs/guide/"):
            page, _, anchor = link.removeprefix("/docs/guide/").partition("#")
            assert anchor in anchors(f"docs/{page}.md")
    assert "abcd" not in text


def test_a_page_over_http(app: Flask, client: Client) -> None:
    """A page that came over http from another host is a finding; https, and this computer itself, are not."""
    without_first_steps(client)
    shown = "This page came over http"
    assert shown not in client.get("").text
    for base, expected in (
        ("http://intra.example", True),
        ("https://intra.example", False),
        ("http://[::1]:80", False),
    ):
        page = app.test_client()
        page.post(
            f"{base}/plugin/datafor/api/extension/auth/login",
            json={"username": "admin", "password": ADMIN_PASSWORD},
            base_url=base,
        )
        assert (shown in page.get("/console/", base_url=base).text) is expected, base


def test_the_first_steps(app: Flask, client: Client, settings: Settings) -> None:
    """A new installation has first steps; each is marked as done when it is, and all disappear at the end."""

    def done() -> list[str]:
        text = client.get("").text
        part = re.split(r'<h2 id="first-steps">', text)[1].partition("</section>")[0]
        return re.findall(r'<span class="done">([^<]+)', part)

    file = settings.config_dir / "initial_admin_password"
    file.write_text("x")
    assert done() == []
    file.unlink()
    assert done() == ["Change the first password"]
    api(app, "update", application(secret=STRONG_SECRET, audience=["*"]))
    assert "Register the first application" in done()
    services_in(app).milestones.reach(BACKUP)
    services_in(app).milestones.reach(GATE_SIGN_IN)
    assert "Sign in to a protected application" in done()
    assert ("Write a backup" in done()) is isinstance(services_in(app).store, FileStore)
    note_use(app)
    assert "Issue a token, and sign in with it" in done()
    object.__setattr__(services_in(app).settings, "public_url", "https://intra.example")
    assert 'id="first-steps"' not in client.get("").text
    api(app, "delete", {"name": "ERP"})
    assert 'id="first-steps"' not in client.get("").text


def note_use(app: Flask) -> None:
    """Issue a token, and let the service store that the application was used."""
    api(app, "generate", {"name": "ERP"})
    assert services_in(app).activity.store_noted(None)


def test_open_steps_are_not_asked_for_twice(client: Client) -> None:
    """An open step and a finding never ask for the same, until the steps are hidden."""
    assert "PUBLIC_URL is empty" not in client.get("").text
    without_first_steps(client)
    assert "PUBLIC_URL is empty" in client.get("").text


def test_hidden_steps_can_be_shown_again(client: Client) -> None:
    """Hiding the first steps can be undone, from the message about it."""
    without_first_steps(client)
    text = client.get("").text
    assert "The first steps are hidden." in text
    assert 'action="/console/first-steps/show"' in text
    assert 'id="first-steps"' not in text
    assert client.post("first-steps/show", page="").status_code == 303
    assert 'id="first-steps"' in client.get("").text


def hours(*counts: tuple[int, int, int]) -> list[Hour]:
    padded = [*counts, *[(0, 0, 0)] * (24 - len(counts))]
    return [Hour(number * HOUR, *one) for number, one in enumerate(padded)]


@pytest.mark.parametrize(
    ("most", "top"), [(0, 4), (1, 4), (4, 4), (5, 8), (9, 20), (21, 40), (40, 40), (41, 80), (1900, 2000)]
)
def test_gridlines(most: int, top: int) -> None:
    """Gridlines have round values, from 0 to at least the longest bar."""
    found = chart.bar_chart(hours((most, 0, 0)))
    assert [line.value for line in found.lines] == [top * part // 4 for part in range(5)]


def test_bars() -> None:
    """Bars have one scale, stand on the axis, and a single event is visible beside thousands."""
    found = chart.bar_chart(hours((2000, 1, 0), (0, 1000, 5)))
    heights = {(bar.kind, bar.height) for bar in found.bars}
    assert heights == {("issued", 176), ("accepted", 2), ("accepted", 88), ("refused", 2)}
    assert all(bar.y + bar.height == found.axis for bar in found.bars)
    assert all(found.left <= bar.x <= found.width - found.bar for bar in found.bars)
    assert found.busiest is not None
    assert found.busiest.begins == 0


def test_the_chart(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chart has a summary, a scale and local hours; a table has every number, for readers who cannot see it."""
    monkeypatch.setattr("datafor_token.activity.hours.Hours.last", lambda *_: hours((1200, 34, 5), (1, 0, 0)))
    text = client.get("").text
    shown = section(text, "day")
    assert "1,201 tokens issued 34 sign-ins accepted 5 sign-ins refused busiest hour: 1970-01-01 00:00 UTC" in shown
    assert "1970-01-01 00:00 UTC 1,200 34 5" in shown
    assert text.count("data-hour=") == 8
    assert shown.count("UTC") == 8 + 24 + 1


def test_a_quiet_day(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any event, a sentence is shown instead of an empty chart."""
    monkeypatch.setattr("datafor_token.activity.hours.Hours.last", lambda *_: hours())
    assert "No tokens were issued, and nobody signed in." in client.get("").text


def test_facts(app: Flask, client: Client) -> None:
    """The facts have the counts, the last backup with its command, and the folders."""
    api(app, "update", application(secret=STRONG_SECRET, audience=["*"]))
    services_in(app).milestones.reach(BACKUP, "datafor-token store backup /b.gz")
    shown = section(client.get("").text, "facts")
    assert "Applications 1 Users 1 Sessions 1" in shown
    if isinstance(services_in(app).store, FileStore):
        assert "Last backup 2024-08-06 07:31 UTC datafor-token store backup /b.gz" in shown
    assert str(services_in(app).settings.data_dir) in shown


def test_an_outage(client: Client, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a part of the store cannot be read, the page says so and shows the rest."""
    without_first_steps(client)
    with unavailable(settings.data_dir, "applications"):
        response = client.get("")
    if response.status_code == 503:
        # A database is read as a whole, sessions included.
        return
    assert response.status_code == 200
    assert "Part of the store cannot be read" in response.text
    assert "PUBLIC_URL is empty" in response.text

    def fail(_: object) -> None:
        raise AuditUnavailable

    monkeypatch.setattr("datafor_token.audit.log.Audit.check_writable", fail)
    clock.advance(2)
    assert "The audit log cannot be written" in client.get("").text


def test_settings(client: Client) -> None:
    """The page of the settings has each of them, with value, source and description."""
    text = client.get("settings").text
    for field in table():
        assert f"<code>{field.name.upper()}</code>" in text
    assert text.count("<tr role") == len(table()) + 1


def test_every_finding_is_translated(app: Flask) -> None:
    """In Chinese, the findings and the first steps have no English sentence."""
    api(app, "update", application(name="weak", secret="abcd"))
    browser = Client(app, language="zh-CN")
    browser.sign_in()
    steps = browser.get("").text
    browser.post("first-steps/hide", page="")
    for text in (steps, browser.get("").text):
        main = unescape(re.sub(r"<[^>]+>", " ", text.partition("<main")[2]))
        assert re.findall(r"\b[a-z]+ [a-z]+ [a-z]+ [a-z]+\b", main) == []
