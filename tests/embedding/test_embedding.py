"""Frames of another site in a Chromium that blocks third-party cookies: ``embed.js`` and the gate behind nginx."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Frame, Page, expect

from tests.embedding.sites import EVIL, PORTAL, REPORTS, Sites
from tests.support import STRONG_SECRET

pytestmark = [pytest.mark.browser, pytest.mark.proxy]

SCRIPT = f'<script src="https://{REPORTS}/datafor/embed.js"></script>'
PAGE = """<!doctype html><title>Portal</title>{head}<h1>Portal</h1><div id="one"></div><div id="two"></div>{script}
<script>
window.said = [];
async function token() {{
    const response = await fetch("/token", {{ method: "POST" }});
    if (!response.ok) throw new Error(response.status);
    return (await response.json()).token;
}}
window.handles = {paths}.map((path, number) => datafor.embed(document.getElementById(["one", "two"][number]), {{
    url: "https://{reports}" + path, token,
    onRefused: (reason) => said.push(reason), onSignedOut: () => said.push("signed out"),
}}));
</script>"""


def portal(context: BrowserContext, sites: Sites, *paths: str, head: str = "", host: str = PORTAL) -> Page:
    """Open the portal's page, with a frame for each path."""
    sites.page = PAGE.format(paths=list(paths or ["/reports/1"]), script=SCRIPT, reports=REPORTS, head=head)
    page = context.new_page()
    page.goto(f"https://{host}/")
    return page


def frames(page: Page) -> list[Frame]:
    """Return the visible frames."""
    found = [one.content_frame() for one in page.query_selector_all("iframe:not([hidden])")]
    return [one for one in found if one is not None]


def expect_user(page: Page, name: str, place: str = "#one") -> None:
    """Wait until the frame at a place shows a page of the application to this user."""
    expect(page.frame_locator(f"{place} iframe").locator("#user")).to_have_text(name)


def expect_said(page: Page, *wanted: Any) -> None:
    """Wait until the callbacks of the portal have been called with these values."""
    page.wait_for_function("number => said.length >= number", arg=len(wanted))
    assert page.evaluate("said") == list(wanted)


def wait_until(page: Page, is_true: Callable[[], bool]) -> None:
    for _ in range(200):
        if is_true():
            return
        # Playwright learns of what the browser does in its own calls only.
        page.wait_for_timeout(100)
    pytest.fail("it did not happen in 20 s")


def test_the_first_visit(context: BrowserContext, sites: Sites) -> None:
    """The frame shows the page to the portal's user, though third-party cookies are blocked; no URL has a token."""
    page = portal(context, sites)
    expect_user(page, "lena")
    assert [one.url for one in page.frames] == [f"https://{PORTAL}/", f"https://{REPORTS}/reports/1"]
    assert page.locator("iframe").count() == 1
    (cookie,) = context.cookies()
    # In no partition, and so in no frame of another site, it would be somebody else's as well.
    assert {**cookie, "value": ""}.items() >= {
        "name": "datafor_gate", "domain": REPORTS, "secure": True, "httpOnly": True, "sameSite": "None",
        "partitionKey": "https://example.test",
    }.items()  # fmt: skip
    for one in sites.reports.seen:
        assert "eyJ" not in one.path + one.headers.get("referer", "") + one.headers.get("cookie", "")


def test_third_party_cookies_are_blocked(context: BrowserContext, sites: Sites) -> None:
    """The browser of these tests stores no cookie of a frame with SameSite=None that is not Partitioned."""
    sites.more_cookies = ["plain=1; Secure; SameSite=None; Path=/", "own=1; Secure; SameSite=None; Path=/; Partitioned"]
    page = portal(context, sites)
    expect_user(page, "lena")
    assert {one["name"] for one in context.cookies()} == {"datafor_gate", "own"}


def test_nothing_stays_in_the_history(context: BrowserContext, sites: Sites) -> None:
    """The back button of the portal works as without frames, also after renewals and a sign-out."""
    sites.lifetime = 4
    page = context.new_page()
    page.goto(f"https://{PORTAL}/before")
    other = portal(context, sites)
    expect_user(other, "lena")
    length = other.evaluate("history.length")
    wait_until(other, lambda: sites.tokens >= 3)
    assert other.evaluate("history.length") == length
    assert other.evaluate("datafor.signOut()") is True
    assert other.evaluate("history.length") == length
    other.close()
    page.goto(f"https://{PORTAL}/")
    expect_user(page, "lena")
    page.go_back()
    assert page.url == f"https://{PORTAL}/before"
    page.go_forward()
    expect_user(page, "lena")


def test_back_in_the_frame(context: BrowserContext, sites: Sites) -> None:
    """The back button goes back in the frame, as far as its visitor went there."""
    page = portal(context, sites)
    expect_user(page, "lena")
    frame = page.frame_locator("#one iframe")
    frame.locator("#next").click()
    wait_until(page, lambda: page.frames[1].url.endswith("/reports/next?n=0"))
    page.evaluate("history.back()")
    wait_until(page, lambda: page.frames[1].url.endswith("/reports/1"))
    assert page.url == f"https://{PORTAL}/"


def test_a_renewal_leaves_the_frame_alone(context: BrowserContext, sites: Sites) -> None:
    """While the page is open, tokens are renewed in time, and a half-filled form in the frame survives that."""
    sites.lifetime = 5
    page = portal(context, sites)
    expect_user(page, "lena")
    frame = page.frame_locator("#one iframe")
    frame.locator("#typed").fill("half a sentence")
    wait_until(page, lambda: sites.tokens >= 4)
    assert frame.locator("#typed").input_value() == "half a sentence"
    assert sites.visits("/reports/1") == ["lena"]
    # The first token has expired; the session has not.
    frame.locator("#next").click()
    expect(frame.locator("#user")).to_have_text("lena")
    assert sites.visits("/reports/next") == ["lena"]
    assert page.evaluate("said") == []


def test_two_frames(context: BrowserContext, sites: Sites) -> None:
    """Two frames of one host share the tokens; a frame that is removed ends nothing for the other one."""
    sites.lifetime = 5
    page = portal(context, sites, "/reports/1", "/reports/2")
    expect_user(page, "lena", "#one")
    expect_user(page, "lena", "#two")
    assert sites.tokens == 1
    page.evaluate("document.getElementById('one').remove()")
    wait_until(page, lambda: sites.tokens >= 3)
    page.evaluate("document.getElementById('two').remove()")
    wait_until(page, lambda: page.evaluate("handles[1].stop()") is False)
    tokens = sites.tokens
    page.wait_for_timeout(6000)
    assert sites.tokens == tokens


def test_signing_out_in_the_portal(context: BrowserContext, sites: Sites) -> None:
    """signOut() of the page ends the session, removes the frames and asks for no further token."""
    sites.lifetime = 4
    # Such a policy alone would make the browser send "Origin: null".
    page = portal(context, sites, head='<meta name="referrer" content="no-referrer">')
    expect_user(page, "lena")
    assert page.evaluate("handles[0].signOut()") is True
    assert context.cookies() == []
    assert frames(page) == []
    tokens = sites.tokens
    page.wait_for_timeout(5000)
    assert (sites.tokens, page.evaluate("said")) == (tokens, [])


def test_signing_out_on_another_page_of_the_portal(context: BrowserContext, sites: Sites) -> None:
    """signOut(url) ends the session from a page without a frame, and is true without a session."""
    page = portal(context, sites)
    expect_user(page, "lena")
    sites.page = f"<!doctype html><title>Bye</title><body>{SCRIPT}"
    page.goto(f"https://{PORTAL}/bye")
    for _ in range(2):
        assert page.evaluate(f"datafor.signOut('https://{REPORTS}/')") is True
    assert context.cookies() == []


@pytest.mark.parametrize("link", ["#out", "#out-next"])
def test_signing_out_in_the_frame(context: BrowserContext, sites: Sites, link: str) -> None:
    """A sign-out in the frame reaches the portal's page, and no renewal signs in again."""
    sites.lifetime = 4
    page = portal(context, sites)
    expect_user(page, "lena")
    page.frame_locator("#one iframe").locator(link).click()
    expect_said(page, "signed out")
    tokens = sites.tokens
    page.wait_for_timeout(5000)
    assert (sites.tokens, page.evaluate("said"), context.cookies()) == (tokens, ["signed out"], [])


def test_a_refused_token(context: BrowserContext, sites: Sites) -> None:
    """A token that is refused is reported with status and reference, and nothing is shown."""
    sites.secret = STRONG_SECRET[::-1]
    page = portal(context, sites)
    page.wait_for_function("said.length")
    (reason,) = page.evaluate("said")
    assert reason["status"] == 401
    assert re.fullmatch("[0-9a-f]{32}", reason["reference"])
    assert reason["reference"] in sites.service.output
    assert sites.reports.seen == []
    assert sites.tokens == 1


def test_a_user_who_is_disabled_meanwhile(context: BrowserContext, sites: Sites) -> None:
    """When the portal's user is disabled, the next renewal or page is refused, once."""
    page = portal(context, sites)
    expect_user(page, "lena")
    sites.enable("lena", "0")
    frame = page.frame_locator("#one iframe")
    frame.locator("#next").click()
    page.wait_for_function("said.length")
    expect(frame.locator("h1")).to_contain_text(re.compile("."))
    page.wait_for_timeout(1000)
    assert [one["status"] for one in page.evaluate("said")] == [401]
    assert sites.tokens == 2


def test_a_session_that_was_ended(context: BrowserContext, sites: Sites) -> None:
    """If the session was ended on the server, the frame gets a new token and the page the visitor asked for, once."""
    page = portal(context, sites)
    expect_user(page, "lena")
    sites.end_sessions("lena")
    frame = page.frame_locator("#one iframe")
    frame.locator("#next").click()
    expect(frame.locator("#user")).to_have_text("lena")
    assert page.frames[1].url.endswith("/reports/next?n=0")
    assert sites.tokens == 2
    # At once again: no loop.
    sites.end_sessions("lena")
    frame.locator("#next").click()
    page.wait_for_function("said.length")
    assert [one["status"] for one in page.evaluate("said")] == [401]
    assert sites.tokens == 2


def test_a_form_whose_session_was_ended(context: BrowserContext, sites: Sites) -> None:
    """A form that was sent after the end of the session is sent again with the new one."""
    page = portal(context, sites)
    expect_user(page, "lena")
    sites.end_sessions("lena")
    frame = page.frame_locator("#one iframe")
    frame.locator("[name=text]").fill("precious")
    frame.get_by_role("button").click()
    expect(frame.locator("#user")).to_have_text("lena")
    assert [one.method for one in sites.reports.seen if one.path == "/reports/post"] == ["POST"]


def test_a_callback_that_fails(context: BrowserContext, sites: Sites) -> None:
    """A callback that fails is called again before the session ends; after that, the frame is refused."""
    sites.lifetime = 8
    page = portal(context, sites)
    expect_user(page, "lena")
    sites.broken = 1
    wait_until(page, lambda: sites.tokens >= 3)
    page.frame_locator("#one iframe").locator("#next").click()
    expect_user(page, "lena")
    assert page.evaluate("said") == []
    sites.broken = 10**6
    page.wait_for_function("said.length")
    assert page.evaluate("said") == [{"status": 0, "reference": ""}]


def test_another_person_of_the_portal(context: BrowserContext, sites: Sites) -> None:
    """When a renewal signs in another person, the frame shows the first page to that person, as a whole."""
    sites.lifetime = 5
    page = portal(context, sites)
    expect_user(page, "lena")
    sites.user = "bert"
    expect_user(page, "bert")
    wait_until(page, lambda: sites.tokens >= 4)
    assert sites.visits("/reports/1") == ["lena", "bert"]


def test_a_computer_that_slept(context: BrowserContext, sites: Sites) -> None:
    """A page that becomes visible after its time to renew renews at once."""
    page = portal(context, sites)
    expect_user(page, "lena")
    page.evaluate("Date.now = () => 4e12")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    wait_until(page, lambda: sites.tokens == 2)


def test_messages_of_others(context: BrowserContext, sites: Sites) -> None:
    """Messages from other windows and origins are ignored."""
    page = portal(context, sites)
    expect_user(page, "lena")
    page.evaluate("""() => {
        for (const said of [{state: "signed_out"}, {state: "refused", status: 403}])
            postMessage({source: "datafor_token", ...said}, "*");
        const other = document.createElement("iframe");
        other.srcdoc = '<script>for (const said of [{state: "signed_out"}, {state: "refused", status: 403}])'
            + ' parent.postMessage({source: "datafor_token", ...said}, "*")</' + 'script>';
        document.body.append(other);
        return new Promise((resolve) => { other.onload = () => setTimeout(resolve, 200); });
    }""")
    assert page.evaluate("said") == []
    assert sites.tokens == 1


def test_messages_of_a_hostile_application(context: BrowserContext, sites: Sites) -> None:
    """Whatever a script of the application sends, the portal gets a number and a text without markup."""
    page = portal(context, sites)
    expect_user(page, "lena")
    sent = [["<b>", "<b>"], [403, ["a<b>"]], [{}, {}], ["5<", "a\n<b>"], [404, "a1"]]
    page.frames[1].evaluate(
        """sent => sent.forEach(([status, reference]) =>
            parent.postMessage({source: "datafor_token", state: "refused", status, reference}, "*"))""",
        sent,
    )
    expect_said(
        page, *({"status": number, "reference": ""} for number in (0, 403, 0, 0)), {"status": 404, "reference": "a1"}
    )


def test_an_evil_site(context: BrowserContext, sites: Sites) -> None:
    """A site that is not in origins can show neither the application nor a page of the gate, also with a token."""
    page = portal(context, sites, host=EVIL)
    page.wait_for_function("said.length")
    assert page.evaluate("said") == [{"status": 0, "reference": ""}]
    paths = [f"/reports/1?token={sites.token()}", "/reports/1", "/datafor/auth/frame", "/datafor/auth/leave"]
    page.evaluate(
        """urls => urls.forEach(
            src => document.body.append(Object.assign(document.createElement("iframe"), { src })))""",
        [f"https://{REPORTS}{path}" for path in paths],
    )
    wait_until(page, lambda: len(page.frames) == 6)
    page.wait_for_timeout(2000)
    shown = [one.url for one in page.frames[1:]]
    assert all(url in ("about:blank", "", "chrome-error://chromewebdata/") for url in shown), shown
    # Nothing tells whether that worked.
    assert page.evaluate("datafor.signOut()") is False


def test_an_evil_site_cannot_sign_out(context: BrowserContext, sites: Sites) -> None:
    """A form of another site to auth/leave is refused, also in a tab, which has the cookie of its session."""
    page = context.new_page()
    page.goto(f"https://{REPORTS}/reports/1?token={sites.token()}")
    expect(page.locator("#user")).to_have_text("lena")
    sites.page = (
        f'<!doctype html><form method="post" action="https://{REPORTS}/datafor/auth/leave"><button>x</button></form>'
    )
    page.goto(f"https://{EVIL}/")
    page.get_by_role("button").click()
    page.wait_for_url(f"https://{REPORTS}/**")
    page.goto(f"https://{REPORTS}/reports/1")
    expect(page.locator("#user")).to_have_text("lena")
