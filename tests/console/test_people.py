"""The pages of users, audit log, home, settings and account in a browser."""

import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

from datafor_token import __version__
from tests.console.browsing import Person, register, secret_of, token_of
from tests.support import API, Server, basic


def create_user(server: Server, application: str, username: str, **payload: str) -> None:
    """Create a user by the first sign-in with a token."""
    token = token_of(server, application, username, payload)
    response = server.request(
        "GET", "/plugin/datafor-modeler/api/user/detail", headers={"Authorization": f"Bearer {token}"}
    )
    assert response.status == 200


def test_users(admin: Person) -> None:
    """The list has type, roles, state and origin of each user; search and type filter it."""
    name = f"lena-{admin.run}"
    register(
        admin.server,
        name=f"from-{admin.run}",
        secret=secret_of(f"from-{admin.run}"),
        initroles=["SYS_Creator", "Sales"],
    )
    create_user(admin.server, f"from-{admin.run}", name, name="Lena Wu")
    page = admin.open("users")
    page.get_by_label("Search").fill("LENA wu")
    page.get_by_role("button", name="Search").click()
    row = page.get_by_role("row", name=name)
    for text in ("Lena Wu", "enabled", "SYS_Creator", f"from-{admin.run}"):
        expect(row).to_contain_text(text)
    page.get_by_label("Search").fill("")
    page.get_by_label("User type").select_option("Administrator")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row", name="admin")).to_contain_text("first start")
    expect(page.get_by_role("main")).not_to_contain_text(name)


def confirm(page: Page, link: str, button: str) -> None:
    """Follow the link to a question, in a dialog or on a page of its own, and press its button."""
    page.get_by_role("link", name=link).click()
    page.get_by_role("button", name=button).click()


def test_reset_a_password(admin: Person) -> None:
    """A password can be reset to a typed one or a generated one, which is shown once; both sign in."""
    name = f"max-{admin.run}"
    create_user(admin.server, "ERP", name)
    page = admin.open(f"user?name={name}")
    page.get_by_role("link", name="Reset password").click()
    page.get_by_label("New password").fill("short")
    page.get_by_role("button", name=f"Reset the password of {name}").click()
    expect(page.locator("#password-wrong")).to_contain_text("at least 8 characters")
    page.get_by_label("New password").fill("typed-password")
    page.get_by_label("New password").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text(f"Changed the password of {name}.")
    whoami = "/plugin/datafor-modeler/api/user/detail"
    assert admin.server.request("GET", whoami, headers=basic(name, "typed-password")).status == 200
    confirm(page, "Reset password", f"Reset the password of {name}")
    made = page.locator("#generated").inner_text()
    assert admin.server.request("GET", whoami, headers=basic(name, made)).status == 200
    assert admin.server.request("GET", whoami, headers=basic(name, "typed-password")).status == 401
    page.reload()
    assert made not in page.content()


def test_disable_a_user(admin: Person) -> None:
    """A user is disabled after a question, and enabled by Undo or by one click."""
    name = f"switch-{admin.run}"
    create_user(admin.server, "ERP", name)
    page = admin.open(f"user?name={name}")
    page.get_by_role("link", name="Disable").click()
    page.locator("[data-close]").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("enabled")
    confirm(page, "Disable", f"Disable {name}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("disabled")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("enabled")
    confirm(page, "Disable", f"Disable {name}")
    page.get_by_role("button", name="Enable").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("enabled")
    expect(admin.open("user?name=admin").get_by_role("link", name="Disable")).to_have_count(0)


def test_create_edit_and_delete_a_user(admin: Person) -> None:
    """The form of a new user keeps what was typed beside an error; the user is edited and deleted."""
    name = f"new-{admin.run}"
    page = admin.open("users")
    page.get_by_role("link", name="New user").click()
    page.get_by_label("User name").fill(name)
    page.get_by_label("Email address").fill("new@example.com")
    page.get_by_label("Roles").fill("Sales,North")
    page.get_by_label("No password").check()
    page.get_by_role("button", name="Create user").click()
    expect(page.locator("#roles-wrong")).to_contain_text("comma")
    expect(page.get_by_label("Email address")).to_have_value("new@example.com")
    expect(page.get_by_label("No password")).to_be_checked()
    page.get_by_label("Roles").fill("Sales\nNorth")
    page.get_by_label("Roles").press("Control+End")
    page.get_by_label("User name").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text(f"Created {name}.")
    page.get_by_label("Department").fill("IT")
    page.get_by_label("Department").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text(f"Saved the changes of {name}.")
    expect(page.get_by_label("Department")).to_have_value("IT")
    expect(page.get_by_label("Roles")).to_have_value("Sales\nNorth")
    page.get_by_role("link", name="Delete").click()
    page.get_by_label(f"Type {name} to confirm").fill(name)
    page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.get_by_role("status").first).to_contain_text(f"Deleted {name}.")


def test_several_users(admin: Person) -> None:
    """Selected users are disabled after a question, and Undo enables them; the search stays."""
    names = [f"several-{number}-{admin.run}" for number in range(3)]
    for name in names:
        create_user(admin.server, "ERP", name)
    page = admin.open("users?q=several-")
    for name in names[:2]:
        page.get_by_role("row", name=name).get_by_role("checkbox").check()
    page.get_by_role("button", name="Disable").click()
    for name in names[:2]:
        expect(page.get_by_role("listitem").filter(has_text=name)).to_be_visible()
    page.get_by_role("button", name="Disable 2 users").click()
    expect(page.get_by_role("status").first).to_contain_text("Disabled 2 users.")
    expect(page.get_by_label("Search")).to_have_value("several-")
    expect(page.get_by_role("row", name=names[0])).to_contain_text("disabled")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("row", name=names[0])).to_contain_text("enabled")


@pytest.mark.parametrize("name", ["..", "a/b", "a?b=c&d#e", "50%", "王 小明"])
def test_names_of_users(person: Callable[..., Person], signed_in: Any, name: str) -> None:
    """A user of any valid name has a page with working forms, linked from the list and the audit log."""
    one = person(storage_state=signed_in)
    create_user(one.server, "ERP", name)
    one.open("users").get_by_role("link", name=name, exact=True).click()
    expect(one.page.get_by_role("heading", level=1)).to_contain_text(name)
    confirm(one.page, "Disable", f"Disable {name}")
    expect(one.page.get_by_role("heading", level=1)).to_contain_text("disabled")
    one.open("audit?event=user_changed").get_by_role("link", name=name, exact=True).first.click()
    expect(one.page.get_by_role("heading", level=1)).to_contain_text(name)


def test_audit(admin: Person) -> None:
    """The audit log is filtered by event, user, application and time, and a row opens to the changed values."""
    name = f"audited-{admin.run}"
    register(admin.server, name=name)
    register(admin.server, name=name, expire=60, token_name="other")
    page = admin.open("audit")
    page.get_by_label("Application").fill(name)
    page.get_by_label("Event").select_option("application changed")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator(".audit > tbody > tr")).to_have_count(1)
    row = page.get_by_role("row").last
    expect(row.locator(".changes")).to_be_hidden()
    page.get_by_text("Token lifetime: 1 day → 1 minute").click()
    expect(page.locator(".changes")).to_contain_text("URL parameter")
    page.get_by_text("More filters").click()
    page.get_by_label("From").fill("2001-01-01T00:00:00")
    page.get_by_label("Until").fill("2001-01-02T00:00:01")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("main")).to_contain_text("No events match.")
    expect(page.get_by_label("Until")).to_have_value("2001-01-02T00:00:01")
    page.get_by_role("link", name="24 hours").click()
    expect(page.locator(".audit > tbody > tr")).to_have_count(1)
    expect(page.get_by_role("link", name="24 hours")).to_have_attribute("aria-current", "true")
    page.get_by_label("User").fill("a:b")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#user-wrong")).to_contain_text("not contain ':'")


def test_local_times_of_the_audit_log(person: Callable[..., Person], signed_in: Any) -> None:
    """Times are typed in the reader's time zone, and "Today" begins at the reader's midnight."""
    one = person(storage_state=signed_in, timezone_id="Asia/Shanghai")
    page = one.open("audit?since=2026-01-01T00:00:05Z")
    expect(page.get_by_label("From")).to_have_value("2026-01-01T08:00:05")
    expect(page.locator("label[for=since]")).to_contain_text("(local time)")
    page.get_by_role("button", name="Search", exact=True).click()
    assert "since=2026-01-01T00:00:05" in unquote(page.url)
    page.get_by_role("link", name="Today").click()
    assert "T16:00:00" in unquote(page.url)
    expect(page.get_by_role("link", name="Today")).to_have_attribute("aria-current", "true")


def test_a_token_in_the_audit_log(admin: Person) -> None:
    """A row opens to the first 12 digits of a token's identifier, which lead to all its events."""
    name = f"identified-{admin.run}"
    register(admin.server, name=name)
    admin.server.post("generate", {"name": name, "username": "lena"})
    identifier = admin.server.request("GET", f"{API}/issued?application={name}").json["data"][0]["id"]
    page = admin.open(f"audit?application={name}&event=token_generated")
    page.locator(".more summary").click()
    expect(page.get_by_title(identifier)).to_have_text(f"{identifier[:12]}…")
    page.get_by_title(identifier).click()
    expect(page.get_by_label("Token or its identifier")).to_have_value(identifier)


def test_pages_of_the_audit_log(admin: Person) -> None:
    """A page has 100 events; the next one has older events, and no event is on both."""
    name = f"paged-{admin.run}"
    register(admin.server, name=name)
    for number in range(120):
        admin.server.post("generate", {"name": name, "username": f"user{number:03d}"})
    page = admin.open(f"audit?application={name}")
    newest = page.get_by_role("row").all_inner_texts()[1:]
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    older = page.get_by_role("row").all_inner_texts()[1:]
    seen = [re.search(r"user\d{3}", row) for row in newest + older]
    users = [found.group() for found in seen if found is not None]
    assert len(newest) == 100
    assert users == [f"user{number:03d}" for number in reversed(range(120))]


def test_home(admin: Person) -> None:
    """The home page has the version, and the last day as a chart and as a table with the same numbers."""
    note_hours(admin.server)
    page = admin.open("")
    main = page.get_by_role("main")
    expect(main).to_contain_text(__version__)
    picture = page.get_by_role("img")
    expect(picture).to_have_count(1)
    assert picture.evaluate("one => one.tagName") == "svg"
    page.get_by_text("Show as a table", exact=True).click()
    rows = page.get_by_role("region", name="Table of the last 24 hours").get_by_role("row")
    expect(rows).to_have_count(25)
    numbers = [rows.nth(row).get_by_role("cell").all_inner_texts() for row in range(1, 25)]
    for column, kind in enumerate(("issued", "accepted", "refused")):
        total = sum(int(row[column]) for row in numbers)
        assert total >= 3
        expect(main).to_contain_text(re.compile(f"{total} (tokens|sign-ins) {kind}"))
        assert page.locator(f"svg rect.{kind}").count() == sum(row[column] != "0" for row in numbers)


def note_hours(server: Server) -> None:
    """Store counts of this hour by hand, since the service stores its own every minute."""
    file = server.data_dir / "activity" / "hours.json"
    hours = {str(int(time.time() // 3600 - back) * 3_600_000): [3, 4, 5] for back in range(2)}
    file.write_text(json.dumps({"format": 1, "name": "hours", "hours": hours}))


def test_stored_values_that_break_a_rule(admin: Person) -> None:
    """Home page and application name a stored value that breaks a rule; saving the form does not change it."""
    register(admin.server, name="Older")
    path = admin.server.data_dir / "applications" / "older.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "initroles": ["Administrator ", "Sales"]}))
    main = admin.open("").get_by_role("main")
    expect(main).to_contain_text("Stored values break a rule of this version")
    expect(main).to_contain_text("Older: initroles cannot contain a name with a space at its beginning or end")
    main.get_by_role("link", name="Older").click()
    expect(admin.page.get_by_text("the stored value continues to work")).to_have_count(1)
    admin.open("applications/Older/settings").get_by_role("button", name="Save").click()
    expect(admin.page.get_by_role("status")).to_be_visible()
    assert json.loads(path.read_text())["initroles"] == ["Administrator ", "Sales"]


def test_the_origin_of_a_setting(person: Callable[..., Person], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A setting has its environment variable as origin; a value that may hold a password is masked."""
    folder = tmp_path_factory.mktemp("settings")
    shared = "redis://:pa55-of-redis@127.0.0.1:1/0"
    server = Server(folder, DATAFOR_TOKEN_LEEWAY="7", DATAFOR_TOKEN_RATELIMIT_STORAGE_URI=shared).start()
    one = person(server)
    one.sign_in()
    row = one.open("settings").get_by_role("row", name="LEEWAY")
    expect(row).to_contain_text("7.0")
    expect(row).to_contain_text("environment variable DATAFOR_TOKEN_LEEWAY")
    expect(one.page.get_by_role("row", name="RATELIMIT_STORAGE_URI")).to_contain_text("************")
    assert "pa55-of-redis" not in one.page.content()
    server.stop()


def test_ones_own_password(person: Callable[..., Person]) -> None:
    """Any user can change their password: the session ends, and the new password signs in."""
    for scripts in (True, False):
        one = person(java_script_enabled=scripts)
        name = f"own-{scripts}"
        register(one.server, name=f"Own-{scripts}", secret=secret_of(name), initpwd="old-password")
        create_user(one.server, f"Own-{scripts}", name)
        page = one.sign_in(name, "old-password")
        page.get_by_label("Current password").fill("wrong")
        page.get_by_label("New password").fill("new-password")
        page.get_by_role("button", name="Change password").click()
        expect(page.locator("#old-wrong")).to_have_text("Wrong password")
        page.get_by_label("Current password").fill("old-password")
        page.get_by_label("New password").fill("new-password")
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_role("status")).to_contain_text("sign in with the new password")
        one.sign_in(name, "new-password")


def test_an_empty_store(person: Callable[..., Person], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without applications every page works, and the list links to the form of the first one."""
    folder = tmp_path_factory.mktemp("empty")
    server = Server(folder).start()
    one = person(server)
    one.sign_in()
    expect(one.page.get_by_role("main")).to_contain_text("First steps")
    expect(one.open("applications").get_by_role("main")).to_contain_text("No applications yet.")
    for path in ("try", "refused", "users", "audit", "", "settings", "me"):
        expect(one.open(path).get_by_role("heading", level=1)).to_be_visible()
    one.open("applications").get_by_role("link", name="Create the first application").click()
    expect(one.page.get_by_role("heading", level=1)).to_have_text("New application")
    server.stop()
