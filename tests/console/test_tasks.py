"""The commonest tasks of an administrator, from the sign-in page, with the most clicks and key presses each may take.

The counts are in the table of docs/console.md. Text that is typed into a field is not counted; what brings the focus
into the field is.
"""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import handmade_tokens
from tests.console.browsing import Person, register, secret_of, token_of
from tests.docs import pages
from tests.support import ADMIN_PASSWORD, Server, basic

USERS = "/plugin/datafor-modeler/api/user"
# The most clicks and key presses of each task, by its row in docs/console.md, with the Tab and Enter of the sign-in.
MOST: Mapping[str, tuple[int, int]] = {
    "create an application and get a token that works": (4, 4),
    "find out why a token is refused, and mend it": (4, 3),
    "rotate a secret with a grace period": (5, 3),
    "end the grace period": (5, 2),
    "disable an application, and undo it": (5, 2),
    "create a user with a password": (3, 3),
    "reset a password": (4, 3),
    "end all sessions of a user whose laptop was stolen": (5, 2),
    "revoke one token": (4, 3),
    "find out who changed an application, and what": (3, 2),
    "see what this installation needs, and fix it": (3, 3),
}


class Hands:
    """An administrator's hands, which count the clicks and the key presses other than text."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = self.keys = 0

    def click(self, target: Locator) -> None:
        """Click."""
        self.clicks += 1
        target.click()

    def press(self, key: str) -> None:
        """Press a key, or several at once."""
        self.keys += 1
        self.page.keyboard.press(key)

    def write(self, label: str, text: str) -> None:
        """Type a text into the field that has the focus, and that has this label."""
        expect(self.page.get_by_label(label, exact=True)).to_be_focused()
        self.page.keyboard.insert_text(text)

    def paste(self, label: str, text: str) -> None:
        """Paste a text into the field that has the focus."""
        self.keys += 1
        self.write(label, text)

    def link(self, name: str) -> None:
        """Click a link."""
        self.click(self.page.get_by_role("link", name=name, exact=True))

    def button(self, name: str) -> None:
        """Click a button."""
        self.click(self.page.get_by_role("button", name=name, exact=True))

    def within(self, task: str) -> None:
        """Fail if the task took more clicks or key presses than it may."""
        clicks, keys = MOST[task]
        assert self.clicks <= clicks
        assert self.keys <= keys

    def copy(self, name: str) -> str:
        """Copy a text with its button, and return what is then in the clipboard."""
        self.button(f"Copy: {name}")
        expect(self.page.locator("span.unseen[role=status]")).to_have_text(f"Copied: {name}")
        copied: str = self.page.evaluate("navigator.clipboard.readText()")
        return copied


def said(page: Page, text: str) -> Locator:
    """Wait until a message of the page has this text, and return it."""
    message = page.get_by_role("status").filter(has_text=text)
    expect(message).to_be_visible()
    return message


@pytest.fixture
def hands(person: Callable[..., Person]) -> Callable[..., Hands]:
    """Return hands that have signed in with the keyboard."""

    def sign_in(server: Server | None = None, password: str = ADMIN_PASSWORD) -> Hands:
        one = person(server, permissions=["clipboard-read", "clipboard-write"])
        page = one.open("sign-in")
        found = Hands(page)
        found.write("User name", "admin")
        found.press("Tab")
        found.write("Password", password)
        found.press("Enter")
        page.wait_for_url("**/console/")
        return found

    return sign_in


def add_user(server: Server, name: str, password: str) -> None:
    """Create a user with a password."""
    assert server.request("POST", f"{USERS}/insertOrUpdate", {"username": name, "password": password}).status == 200


def accepted(server: Server, token: str) -> bool:
    """Return whether a token signs in."""
    return server.request("GET", f"{USERS}/detail", headers={"Authorization": f"Bearer {token}"}).status == 200


def test_the_table_of_the_tasks() -> None:
    """The page of the console has the most clicks and key presses of each task."""
    table = re.findall(r"^\| ([^|`]+) \| (\d+) \| (\d+) \|$", pages.text("docs/console.md"), re.MULTILINE)
    assert {task: (int(clicks), int(keys)) for task, clicks, keys in table} == MOST


def test_create_an_application(hands: Callable[..., Hands], console: Server) -> None:
    """A new application has a strong secret, and its first token for an existing user works, in 4 clicks."""
    add_user(console, "tasks-lena", "of-a-User-who-exists")
    do = hands()
    do.link("Applications")
    do.link("New application")
    do.write("Name", "tasks-new")
    do.press("Enter")
    said(do.page, "Created tasks-new.")
    do.link("Issue a token")
    do.write("User", "tasks-lena")
    do.press("Enter")
    token = do.copy("Token")
    do.within("create an application and get a token that works")
    assert accepted(console, token)


def test_mend_a_refusal(hands: Callable[..., Hands], console: Server) -> None:
    """A refused token leads to the field that is to be changed, in 4 clicks with the one that saves."""
    register(console, name="tasks-refused", secret=secret_of("tasks-refused"), audience=["portal"])
    claims = {"loginname": "lena", "aud": "reports", "exp": int(time.time()) + 3600}
    token = handmade_tokens.token(claims, secret_of("tasks-refused"))
    assert not accepted(console, token)
    do = hands()
    do.link("Tokens")
    do.paste("What to check", token)
    do.button("Check")
    do.link("Open the Trust tab of tasks-refused")
    do.write("Audience", "reports\n")
    do.button("Save")
    said(do.page, "Saved the changes of tasks-refused.")
    do.within("find out why a token is refused, and mend it")
    assert accepted(console, token)


def test_rotate_a_secret(hands: Callable[..., Hands], console: Server) -> None:
    """A secret is rotated with a grace period in 5 clicks with the one that copies it; 5 later end the period."""
    register(console, name="tasks-rotated", secret=secret_of("tasks-rotated"))
    old = token_of(console, "tasks-rotated", "lena")
    do = hands()
    do.link("Applications")
    do.link("tasks-rotated")
    do.link("Secret")
    do.link("Rotate secret…")
    expect(do.page.get_by_label("Grace period", exact=True)).to_be_focused()
    do.press("Enter")
    secret = do.copy("New secret")
    do.within("rotate a secret with a grace period")
    new = handmade_tokens.token({"loginname": "lena", "exp": int(time.time()) + 3600}, secret)
    assert accepted(console, old)
    assert accepted(console, new)

    do = hands()
    do.link("Applications")
    do.link("tasks-rotated")
    do.link("Secret")
    do.link("End the grace period…")
    do.button("End the grace period of tasks-rotated")
    said(do.page, "The grace period of tasks-rotated has ended: the old secret is refused.")
    do.within("end the grace period")
    assert not accepted(console, old)
    assert accepted(console, new)


def test_disable_an_application(hands: Callable[..., Hands], console: Server) -> None:
    """An application is disabled in 4 clicks, and one more undoes it."""
    register(console, name="tasks-disabled", secret=secret_of("tasks-disabled"))
    token = token_of(console, "tasks-disabled", "lena")
    do = hands()
    do.link("Applications")
    do.click(do.page.get_by_role("row", name="tasks-disabled").get_by_role("checkbox"))
    do.button("Disable…")
    do.button("Disable 1 application")
    said(do.page, "Disabled 1 application.")
    assert not accepted(console, token)
    do.button("Undo")
    said(do.page, "Enabled 1 application.")
    do.within("disable an application, and undo it")
    assert accepted(console, token)


def test_create_a_user(hands: Callable[..., Hands], console: Server) -> None:
    """A new user gets a strong password in 3 clicks with the one that copies it."""
    do = hands()
    do.link("Users")
    do.link("New user")
    do.write("User name", "tasks-user")
    do.press("Enter")
    password = do.copy("New password")
    do.within("create a user with a password")
    assert console.request("GET", f"{USERS}/detail", headers=basic("tasks-user", password)).status == 200


def test_reset_a_password(hands: Callable[..., Hands], console: Server) -> None:
    """A user gets a new password in 4 clicks with the one that copies it."""
    add_user(console, "tasks-reset", "forgotten-by-its-User")
    do = hands()
    do.link("Users")
    do.link("tasks-reset")
    do.link("Reset password…")
    expect(do.page.get_by_label("New password", exact=True)).to_be_focused()
    do.press("Enter")
    password = do.copy("New password")
    do.within("reset a password")
    assert console.request("GET", f"{USERS}/detail", headers=basic("tasks-reset", password)).status == 200


def test_end_sessions(hands: Callable[..., Hands], person: Callable[..., Person], console: Server) -> None:
    """All sessions of a user end in 5 clicks."""
    add_user(console, "tasks-laptop", "stolen-with-the-Laptop")
    thief = person()
    thief.sign_in("tasks-laptop", "stolen-with-the-Laptop")
    do = hands()
    do.link("Users")
    do.link("tasks-laptop")
    do.link("Sessions")
    do.link("End all sessions…")
    do.button("End all sessions of tasks-laptop")
    said(do.page, "All sessions of tasks-laptop have ended.")
    do.within("end all sessions of a user whose laptop was stolen")
    expect(thief.open("me").get_by_role("heading", level=1)).to_have_text("Sign in")


def test_revoke_a_token(hands: Callable[..., Hands], console: Server) -> None:
    """A token that somebody sent is revoked in 4 clicks."""
    register(console, name="tasks-revoked", secret=secret_of("tasks-revoked"))
    token = token_of(console, "tasks-revoked", "lena")
    assert accepted(console, token)
    do = hands()
    do.link("Tokens")
    do.paste("What to check", token)
    do.button("Check")
    do.link("Revoke token…")
    do.button("Revoke token")
    said(do.page, "Revoked 1 token.")
    do.within("revoke one token")
    assert not accepted(console, token)


def test_find_who_changed_what(hands: Callable[..., Hands], console: Server) -> None:
    """An application has a tab of who changed it, with the values before and after, in 3 clicks."""
    register(console, name="tasks-changed", secret=secret_of("tasks-changed"), token_name="former")
    register(console, name="tasks-changed", secret=secret_of("tasks-changed"), token_name="latter")
    do = hands()
    do.link("Applications")
    do.link("tasks-changed")
    do.link("Activity")
    row = do.page.get_by_role("row").filter(has_text="application changed").first
    expect(row).to_contain_text("admin")
    expect(row).to_contain_text("former")
    expect(row).to_contain_text("latter")
    do.within("find out who changed an application, and what")


def test_fix_the_installation(hands: Callable[..., Hands], tmp_path: Path) -> None:
    """The first page after the sign-in has the findings, and a guessable secret is replaced in 3 clicks."""
    server = Server(tmp_path).start()
    register(server, name="weak", secret="abcd")
    do = hands(server)
    findings = do.page.locator(".findings")
    expect(findings).to_contain_text("Weak keys")
    do.link("weak")
    do.link("Rotate the secret")
    expect(do.page.get_by_label("Grace period", exact=True)).to_be_focused()
    do.press("Enter")
    secret = do.copy("New secret")
    do.within("see what this installation needs, and fix it")
    assert accepted(server, handmade_tokens.token({"loginname": "lena", "exp": int(time.time()) + 3600}, secret))
    do.page.get_by_role("link", name="Home").click()
    expect(do.page.get_by_text("Weak keys")).to_have_count(0)
    server.stop()
