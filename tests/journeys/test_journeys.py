"""People who sign in at a portal or at our own page, and use two applications behind each proxy, over https."""

import re
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Page, Request, expect

from tests.journeys.sites import EVIL, OWN, PASSWORD, PORTAL, SALES, World
from tests.proxies.sites import REPORTS

pytestmark = [pytest.mark.browser, pytest.mark.proxy]

SITE, SHOP = f"https://{REPORTS}", f"https://{SALES}"
DEEP = f"/d/{quote('报告')}/7%2F8;v=1?orgId=1&from=a%26b%20c&plus=%2B+&empty=&q=%3F&url=https%3A%2F%2Fx.example%2F%3Fy"
TYPED = 'a long text & more: 报告 "<b>"'


def sees(page: Page | FrameLocator, heading: str) -> None:
    """Wait until a page, or the one in a frame, has this heading."""
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)


def enter_portal(page: Page, name: str) -> None:
    """Sign in to the portal."""
    sees(page, "Portal")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Enter").click()


def enter_own_page(page: Page, name: str, password: str = PASSWORD) -> None:
    """Sign in with user name and password at our own page."""
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def opened(context: BrowserContext, url: str, name: str = "lena") -> Page:
    """Open a page for the first time, and sign in to the portal."""
    page = context.new_page()
    page.goto(url)
    enter_portal(page, name)
    sees(page, name)
    return page


def users(world: World) -> set[str]:
    """Return the users of all requests that the first application has received."""
    return {user for _, _, user in world.reports.seen}


def test_first_visit(context: BrowserContext, world: World) -> None:
    """A deep link leads to the portal, and back to the same address; no token reaches the application."""
    page = context.new_page()
    page.goto(SITE + DEEP)
    enter_portal(page, "lena")
    sees(page, "lena")
    assert page.url == SITE + DEEP
    expect(page.frame_locator("iframe").locator("body")).to_have_text("lena")
    assert ("GET", DEEP, "lena") in world.reports.seen
    assert users(world) == {"lena"}
    # Nothing of the gate: neither its token nor its cookie, and no Referer with one.
    assert "eyJ" not in world.reports.text
    assert "datafor_gate" not in world.reports.text
    # In another tab, and at the other application, which asks the portal, without a further question.
    other = context.new_page()
    other.goto(f"{SITE}/other")
    sees(other, "lena")
    (asked,) = world.portal.asked
    assert urlsplit(asked).query == f"app=reports&next={quote(DEEP, safe='')}"


def test_link_with_a_token(context: BrowserContext, world: World) -> None:
    """A link of the portal with a token shows the page at an address without it, also after going back and forward."""
    page = context.new_page()
    page.goto(f"https://{PORTAL}/")
    page.goto(f"{SITE}/d/1?a=%2F&token={world.portal.token('lena')}&b=%E5%90%8D#part")
    sees(page, "lena")
    assert page.url == f"{SITE}/d/1?a=%2F&b=%E5%90%8D#part"
    expect(page.frame_locator("iframe").locator("body")).to_have_text("lena")
    page.go_back()
    assert page.url == f"https://{PORTAL}/"
    page.go_forward()
    sees(page, "lena")
    assert users(world) == {"lena"}
    assert "eyJ" not in world.reports.text


def test_end_of_a_session_in_a_form(context: BrowserContext, world: World, tmp_path: Path) -> None:
    """A typed text and a chosen file arrive after the session's end, with a sign-in in a new tab and a reload."""
    page = opened(context, f"{SITE}/d/1")
    page.locator("textarea").fill(TYPED)
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    page.locator("[name=file]").set_input_files(tmp_path / "file")
    world.services["portal"].end_sessions("lena")
    page.get_by_role("button", name="Save").click()
    sees(page, "Your session has ended")
    with context.expect_page() as found:
        page.get_by_role("link", name="Sign in in a new tab").click()
    sees(found.value, "lena")
    page.reload()
    expect(page.locator("pre")).to_have_text(f"{TYPED} 3000000")
    assert [one for one in world.reports.seen if one[0] == "POST"] == [("POST", "/save?a=1", "lena")]


def test_two_people_in_turn(context: BrowserContext, world: World) -> None:
    """After a sign-out in the application, and so in the portal, the next person sees only their own pages."""
    page = opened(context, f"{SITE}/d/1")
    page.get_by_role("link", name="Leave").click()
    sees(page, "Bye")
    assert context.cookies() == []
    page.go_back()
    sees(page, "Portal")
    enter_portal(page, "mia")
    sees(page, "mia")
    expect(page.frame_locator("iframe").locator("body")).to_have_text("mia")
    assert page.url == f"{SITE}/d/1"
    # A link with another person's token, in the same browser, while mia's page is open.
    world.reports.reset()
    link = context.new_page()
    link.goto(f"{SITE}/d/2?token={world.portal.token('lena')}")
    sees(link, "lena")
    expect(link.frame_locator("iframe").locator("body")).to_have_text("lena")
    page.reload()
    sees(page, "lena")
    assert users(world) == {"lena"}
    # A part of a page changes nobody.
    text = page.evaluate(
        "url => fetch(url).then((response) => response.text())", f"/part?token={world.portal.token('mia')}"
    )
    assert text == "mia"
    page.reload()
    sees(page, "lena")


def test_sign_out_in_the_portal(context: BrowserContext, world: World) -> None:
    """A sign-out in the portal ends the sessions by a call; a link of another site to auth/leave asks first."""
    page = opened(context, f"{SITE}/d/1")
    # A link of another site.
    other = context.new_page()
    other.goto(f"https://{EVIL}/")
    other.evaluate("url => location = url", f"{SITE}/datafor/auth/leave")
    sees(other, "Sign out?")
    page.reload()
    sees(page, "lena")
    other.get_by_role("button", name="Sign out").click()
    sees(other, "Bye")
    page.goto(f"{SITE}/d/1")
    enter_portal(page, "lena")
    sees(page, "lena")
    world.portal.signed_out = world.services["portal"].end_sessions
    other.goto(f"https://{PORTAL}/sign-out")
    sees(other, "Bye")
    page.reload()
    enter_portal(page, "lena")
    sees(page, "lena")
    # A sign-out of the portal that leads to that of the application, and the other way round.
    world.portal.signed_out = lambda _: None
    world.portal.leave = f"{SITE}/datafor/auth/leave?next=/datafor/auth/leave"
    page.get_by_role("link", name="Leave").click()
    sees(page, "You are signed out")
    page.goto(f"{SITE}/d/1")
    enter_portal(page, "lena")
    sees(page, "lena")
    page.goto(f"https://{PORTAL}/")
    page.evaluate("location = '/sign-out'")
    page.get_by_role("button", name="Sign out").click()
    sees(page, "You are signed out")
    page.goto(f"{SITE}/d/1")
    sees(page, "Portal")


def test_frame_of_another_site(context: BrowserContext, world: World) -> None:
    """A frame of the portal shows the application with third-party cookies blocked, renews and signs out."""
    host = OWN[REPORTS]
    world.portal.lifetime = 5
    world.portal.page = f"""<!doctype html><h1>Portal</h1><div id="place"></div>
<script src="https://{host}/datafor/embed.js"></script><script>
window.said = [];
window.handle = datafor.embed(place, {{
    url: "https://{host}/d/1", onRefused: (one) => said.push(one), onSignedOut: () => said.push("out"),
    token: async () => (await (await fetch("/token", {{ method: "POST" }})).json()).token,
}});
</script>"""
    page = context.new_page()
    context.add_cookies([{"name": "portal", "value": "lena", "url": f"https://{PORTAL}"}])
    page.goto(f"https://{PORTAL}/")
    frame = page.frame_locator("iframe:not([hidden])")
    sees(frame, "lena")
    frame.locator("textarea").fill(TYPED)
    page.wait_for_timeout(6000)
    assert frame.locator("textarea").input_value() == TYPED
    frame.get_by_role("button", name="Save").click()
    expect(frame.locator("pre")).to_have_text(f"{TYPED} 0")
    assert users(world) == {"lena"}
    assert page.evaluate("handle.signOut()") is True
    assert [one["name"] for one in context.cookies()] == ["portal"]
    page.goto(f"https://{EVIL}/")
    page.wait_for_function("said.length")
    assert page.evaluate("said[0].status") == 0


FETCH = """async ([url, options]) => {
    try {
        const response = await fetch(url, options);
        return [response.status, response.redirected, await response.json()];
    } catch (error) { return String(error); }
}"""


def test_calls_of_scripts(context: BrowserContext, world: World) -> None:
    """Calls and preflights of another origin work as the application allows; after the end they are 401."""
    page = opened(context, f"{SHOP}/d/1", "mia")
    mine = [f"{SITE}/api/1", {"method": "PUT", "headers": {"X-Mine": "1"}, "body": "x", "credentials": "include"}]
    page_of_reports = context.new_page()
    page_of_reports.goto(f"{SITE}/d/1")
    sees(page_of_reports, "mia")
    assert page.evaluate(FETCH, mine) == [200, False, {"user": "mia", "body": "x"}]
    preflight, call = (one for one in world.reports.seen if one[1] == "/api/1")
    assert (preflight, call) == (("OPTIONS", "/api/1", ""), ("PUT", "/api/1", "mia"))
    # Another site has no cookie, but may have a token.
    other = context.new_page()
    other.goto(f"https://{PORTAL}/x")
    options = {"method": "PUT", "headers": {"Authorization": f"Bearer {world.portal.token('lena')}"}, "body": "x"}
    assert other.evaluate(FETCH, [f"{SITE}/api/2", options]) == [200, False, {"user": "lena", "body": "x"}]
    assert "Bearer" not in world.reports.text
    world.services["portal"].end_sessions("mia", "lena")
    asked: list[Request] = []

    def note(request: Request) -> None:
        asked.append(request)

    context.on("request", note)
    for method in ("GET", "PUT"):
        status, redirected, body = page_of_reports.evaluate(FETCH, ["/api/3", {"method": method}])
        assert (status, redirected, body["success"]) == (401, False, False)
    # The refusal does not say which other origins may read it.
    assert page.evaluate(FETCH, mine).startswith("TypeError")
    context.remove_listener("request", note)
    assert {urlsplit(one.url).netloc for one in asked} == {REPORTS}


SOCKET = """() => new Promise((resolve) => {
    const socket = new WebSocket(`wss://${location.host}/socket`), heard = [];
    socket.onmessage = ({ data }) => heard.push(data) === 1 ? socket.send("hello") : resolve(heard);
    socket.onerror = () => resolve("error");
})"""
EVENTS = """() => new Promise((resolve) => {
    const source = new EventSource("/events");
    source.onmessage = ({ data }) => { source.close(); resolve(data); };
    source.onerror = () => { resolve(`error ${source.readyState}`); source.close(); };
})"""


def test_connections_that_stay_open(context: BrowserContext, world: World) -> None:
    """WebSocket and server-sent events have the page's user, and are refused after the session's end."""
    page = opened(context, f"{SITE}/d/1")
    assert page.evaluate(SOCKET) == ["lena", "hello"]
    assert page.evaluate(EVENTS) == "lena"
    world.services["portal"].end_sessions("lena")
    before = len(world.reports.seen)
    assert page.evaluate(SOCKET) == "error"
    assert page.evaluate(EVENTS) == "error 2"
    assert len(world.reports.seen) == before


def test_own_sign_in_page(context: BrowserContext, world: World) -> None:
    """Our own page leads to the deep link after a wrong and the right password; a form survives the session's end."""
    own = f"https://{OWN[REPORTS]}"
    page = context.new_page()
    page.goto(own + DEEP)
    sees(page, "Sign in")
    enter_own_page(page, "lena", "wrong password")
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    refer(world, "own", page, "wrong_password")
    enter_own_page(page, "lena")
    sees(page, "lena")
    assert page.url == own + DEEP
    page.locator("textarea").fill(TYPED)
    world.services["own"].end_sessions("lena")
    page.get_by_role("button", name="Save").click()
    sees(page, "Your session has ended")
    with context.expect_page() as found:
        page.get_by_role("link", name="Sign in in a new tab").click()
    enter_own_page(found.value, "lena")
    sees(found.value, "lena")
    page.reload()
    expect(page.locator("pre")).to_have_text(f"{TYPED} 0")
    page.goto(f"{own}/d/1")
    page.get_by_role("link", name="Leave").click()
    sees(page, "You are signed out")
    page.go_back()
    sees(page, "Sign in")


def test_another_requirement(context: BrowserContext, world: World) -> None:
    """The application that requires a role says who is signed in, and the right person reaches the page from there."""
    own = f"https://{OWN[SALES]}"
    page = context.new_page()
    page.goto(f"{own}/d/1?a=1")
    enter_own_page(page, "lena")
    sees(page, "No access")
    expect(page.get_by_text("You are signed in as lena.")).to_be_visible()
    refer(world, "own", page, "Sales")
    page.get_by_role("link", name="Sign in as somebody else").click()
    enter_own_page(page, "mia")
    sees(page, "mia")
    assert page.url == f"{own}/d/1?a=1"
    # At the portal, where lena is signed in.
    page = opened(context, f"{SITE}/d/1")
    page.goto(f"{SHOP}/d/2")
    sees(page, "No access")
    refer(world, "portal", page, "Sales")
    page.get_by_role("link", name="Sign in as somebody else").click()
    enter_portal(page, "mia")
    sees(page, "mia")
    assert page.url == f"{SHOP}/d/2"
    assert world.sales.seen[-1][2] == "mia"


def test_a_refused_token(context: BrowserContext, world: World) -> None:
    """A link with a token that is refused has a reference, and a link to the portal with the way back."""
    page = context.new_page()
    page.goto(f"{SITE}/datafor/auth/enter?token={world.portal.token('lena')}x&next=/d/1")
    sees(page, "Sign-in failed")
    refer(world, "portal", page, "signature")
    page.get_by_role("link", name="Sign in").click()
    enter_portal(page, "lena")
    sees(page, "lena")
    assert page.url == f"{SITE}/d/1"


def refer(world: World, kind: str, page: Page, reason: str) -> None:
    """Note the reference on a page; the fixture asserts that the command finds it, with the reason."""
    found = re.search("Reference: ([0-9a-f]{32})", page.locator("main").inner_text())
    assert found, page.content()
    world.services[kind].references[found[1]] = reason
