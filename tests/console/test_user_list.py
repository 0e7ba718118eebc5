"""The list of users without a browser: search, filters, sorting and actions on several users."""

import html
import re
from typing import Any

import pytest
from flask import Flask

from datafor_token.console import pages
from datafor_token.errors import StoreUnavailable
from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import services_in
from tests.console.client import Client, Page, api
from tests.console.test_user_pages import add, exists, follow, notices, stored, undo
from tests.support import STRONG_SECRET, Clock, application


@pytest.fixture
def admin(app: Flask, clock: Clock) -> Client:
    """Return an Administrator's browser; the users were created in the order of the list."""
    client = Client(app)
    assert client.sign_in().status_code == 303
    for name, members in (
        ("zoe", {"full_name": "Ann Zet", "type": "SYS_Creator", "roles": ("Sales", "R D"), "application": "ERP"}),
        ("Bert", {"full_name": "carl", "enabled": False, "application": "CRM", "dept": "Logistics"}),
        ("王明", {"type": "Administrator", "email": "wang@example.com", "roles": ("Sales",)}),
    ):
        clock.advance(60)
        add(app, name, **members)
    return client


def listed(client: Client, query: str = "") -> list[str]:
    """Return the names on a page of the list."""
    rows = re.findall(r'<th role="rowheader".*?title="([^"]*)"', client.get(f"users?{query}").text, flags=re.DOTALL)
    return [html.unescape(one) for one in rows]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["admin", "Bert", "zoe", "王明"]),
        ("q=ann+ZET", ["zoe"]),
        ("q=logistics", ["Bert"]),
        ("q=d+ann", ["zoe"]),
        ("q=erp", ["zoe"]),
        ("q=王", ["王明"]),
        ("q=EXAMPLE.com", ["王明"]),
        ("type=Administrator", ["admin", "王明"]),
        ("state=disabled", ["Bert"]),
        ("state=enabled&type=SYS_Creator", ["zoe"]),
        ("origin=-", ["admin", "王明"]),
        ("origin=crm", ["Bert"]),
        ("role=Sales", ["zoe", "王明"]),
        ("role=R+D&state=enabled", ["zoe"]),
        ("role=Gone", []),
        ("type=unknown&state=unknown", ["admin", "Bert", "zoe", "王明"]),
        ("sort=-name", ["王明", "zoe", "Bert", "admin"]),
        ("sort=full_name", ["admin", "王明", "zoe", "Bert"]),
        ("sort=type", ["admin", "王明", "zoe", "Bert"]),
        ("sort=origin", ["admin", "王明", "Bert", "zoe"]),
        ("sort=created", ["admin", "zoe", "Bert", "王明"]),
        ("sort=-created", ["王明", "Bert", "zoe", "admin"]),
        ("sort=unknown", ["admin", "Bert", "zoe", "王明"]),
    ],
)
def test_search_filters_and_sorting(admin: Client, query: str, names: list[str]) -> None:
    """The list has the users that match the search and all filters, in the order of the column."""
    assert listed(admin, query) == names


def test_a_row(app: Flask, admin: Client, clock: Clock) -> None:
    """A row has display name, state, type, roles, origin, last use and creation of a user."""
    text = admin.get("users").text
    text = text.replace("\u2013", "-")
    rows = [" ".join(re.sub("<[^>]+>", " ", one).split()) for one in re.findall(r"<tr.*?</tr>", text, re.DOTALL)]
    assert rows[2] == "Bert Bert carl disabled SYS_Reader - CRM never 2024-08-06 07:33 UTC"
    assert rows[3] == "zoe zoe Ann Zet enabled SYS_Creator Sales, R D ERP never 2024-08-06 07:32 UTC"
    assert rows[1].startswith("admin you - enabled Administrator - first start")


def test_the_last_use(app: Flask, admin: Client, clock: Clock) -> None:
    """The list has the last use of each user, and is sorted by it."""
    api(app, "update", application(secret=STRONG_SECRET))
    add(app, "otto")
    for name in ("zoe", "otto"):
        clock.advance(600)
        token = api(app, "generate", {"name": "ERP", "username": name})["token"]
        headers = {"Authorization": f"Bearer {token}"}
        app.test_client().get("/plugin/datafor-modeler/api/user/detail", headers=headers)
        services_in(app).activity.flush()
    clock.advance(600)
    assert [name for name in listed(admin, "sort=-used") if name != "admin"][:2] == ["otto", "zoe"]
    assert "2024-08-06 07:44 UTC" in admin.get("users?q=zoe").text


def test_choices_of_the_filters(app: Flask, admin: Client) -> None:
    """The filters offer the roles and applications that users have, and the one of the URL."""
    choices = re.findall(r'<option value="([^"]*)"( selected)?>', admin.get("users?role=Gone&origin=CRM").text)
    values = [value for value, _ in choices]
    assert values[values.index("-") :] == ["-", "CRM", "ERP", "", "Gone", "R D", "Sales"]
    assert [value for value, chosen in choices if chosen] == ["CRM", "Gone"]


def test_pages(app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages of the list keep search, filters and order."""
    monkeypatch.setattr(pages, "PER_PAGE", 2)
    assert listed(admin, "sort=-name&page=2") == ["Bert", "admin"]
    text = html.unescape(admin.get("users?sort=-name&state=enabled&page=2").text)
    assert 'rel="prev" href="?sort=-name&state=enabled&page=1"' in text
    assert 'name="sort" value="-name"' in text


def test_disabling_several(app: Flask, admin: Client) -> None:
    """A question has all names and the impact; a message counts the changed users, and Undo enables only these."""
    api(app, "update", application(secret=STRONG_SECRET))
    for name in ("zoe", "zoe", "王明"):
        api(app, "generate", {"name": "ERP", "username": name})
    sent = {"name": ["zoe", "Bert", "王明"], "action": "disable", "back": "/console/users?q=e"}
    text = admin.post("several-users", sent, page="users").text
    assert "<h1>Disable 3 users?</h1>" in text
    assert "3 valid tokens of the last 24 hours" in text
    for name in sent["name"]:
        assert f"<li>{name}</li>" in text
    assert stored(app, "zoe").enabled
    response = admin.post("several-users", {**sent, "confirmed": "1"})
    assert response.headers["Location"] == "/console/users?q=e"
    text = follow(admin, response)
    assert notices(text) == ["Disabled 2 users."]
    assert not stored(app, "zoe").enabled
    text = follow(admin, undo(admin, text))
    assert notices(text) == ["Enabled 2 users."]
    assert [stored(app, name).enabled for name in sent["name"]] == [True, False, True]
    assert notices(follow(admin, undo(admin, text))) == ["Disabled 2 users."]


def test_enabling_several(app: Flask, admin: Client) -> None:
    """Enabling asks nothing."""
    text = follow(admin, admin.post("several-users", {"name": ["Bert", "zoe"], "action": "enable"}))
    assert (notices(text), stored(app, "bert").enabled) == (["Enabled 1 user."], True)


def test_deleting_several(app: Flask, admin: Client) -> None:
    """Several users are deleted after their number was typed."""
    sent = {"name": ["zoe", "Bert"], "action": "delete"}
    for further in ({}, {"confirmed": "1", "typed_name": "3"}):
        text = admin.post("several-users", {**sent, **further}).text
        assert "<h1>Delete 2 users?</h1>" in text
        assert ("typed_name" in Page(text).messages) == bool(further)
    assert exists(app, "zoe")
    text = follow(admin, admin.post("several-users", {**sent, "confirmed": "1", "typed_name": "2"}))
    assert notices(text) == ["Deleted 2 users."]
    assert (exists(app, "zoe"), exists(app, "Bert"), exists(app, "王明")) == (False, False, True)


def test_some_that_fail(app: Flask, admin: Client) -> None:
    """The message names those that were not changed, with the reason; the others are changed."""
    sent = {"name": ["zoe", "admin", "gone", "a:b"], "action": "disable", "confirmed": "1"}
    assert notices(follow(admin, admin.post("several-users", sent))) == [
        "Disabled 1 user.",
        "Not changed: admin. You cannot delete or disable yourself, or change your own type.",
        "Not changed: gone. Name does not exist.",
        "Not changed: a:b. username cannot contain ':'.",
    ]
    assert stored(app, "admin").enabled


def test_the_rest_in_an_outage(app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the store fails meanwhile, the question comes back, and the next page tells what was done before."""
    accounts = services_in(app).accounts
    change = accounts.change

    def fail(name: str, **members: Any) -> User:
        if name == "zoe":
            raise StoreUnavailable
        changed: User = change(name, **members)
        return changed

    monkeypatch.setattr(accounts, "change", fail)
    response = admin.post("several-users", {"name": ["王明", "zoe"], "action": "disable", "confirmed": "1"})
    assert (response.status_code, "<h1>Disable 2 users?</h1>" in response.text) == (503, True)
    assert not stored(app, "王明").enabled
    assert "Disabled 1 user." in notices(response.text)


@pytest.mark.parametrize("sent", [{"action": "disable"}, {"name": "zoe"}, {"name": "zoe", "action": "explode"}, {}])
def test_nothing_selected(app: Flask, admin: Client, sent: dict[str, str]) -> None:
    """Without users or without a known action nothing is done, and a message says so."""
    assert notices(follow(admin, admin.post("several-users", sent))) == ["Nothing was selected."]
    assert stored(app, "zoe").enabled


def test_a_damaged_record(app: Flask, admin: Client) -> None:
    """A record that cannot be read is named, and all other users are listed."""
    with app.app_context():
        services().store.put("users", {**User(name="broken").to_document(), "roles": 1})
    assert "broken" in admin.get("users").text
    assert len(listed(admin)) == 4
