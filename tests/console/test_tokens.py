"""The pages for test tokens, checking tokens and personal tokens in a browser."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from tests.console.browsing import Person, register, secret_of, token_of
from tests.support import STRONG_SECRET, key_for, need, private_pem, public_pem, token_parts


def test_generate_a_test_token(admin: Person) -> None:
    """A test token is generated and described; curl command, link and frame work as shown."""
    need("curl")
    name = f"try-{admin.run}"
    register(admin.server, name=name, token_name="t")
    page = admin.open(f"applications/{name}")
    page.get_by_role("link", name="Test token").last.click()
    expect(page.get_by_label("Application")).to_have_value(name)
    page.get_by_label("User", exact=True).fill("王小明")
    page.get_by_label("Target page", exact=True).fill("/reports/1?a=b&c=d")
    page.get_by_role("button", name="Generate", exact=True).click()
    token = page.locator("#token").inner_text()
    header, claims = token_parts(token)
    assert (header["alg"], claims["loginname"]) == ("HS256", "王小明")
    members = page.get_by_role("table", name="Claims")
    expect(members.get_by_role("row", name="loginname")).to_contain_text("The name of the user who is signed in.")
    expect(members.get_by_role("row", name="exp")).to_contain_text("The expiry time, 1 day after the token was issued:")
    expect(page.get_by_role("table", name="Header")).to_contain_text("it must be the application's")
    response = subprocess.run(
        shlex.split(page.locator("#curl").inner_text()), capture_output=True, check=True, text=True
    )
    assert json.loads(response.stdout)["data"]["user"]["username"] == "王小明"
    link = urlsplit(page.locator("#link").inner_text())
    assert (link.path, parse_qs(link.query)) == ("/auth/enter", {"t": [token], "next": ["/reports/1?a=b&c=d"]})
    frame = page.evaluate("text => new DOMParser().parseFromString(text, 'text/html').querySelector('iframe').src",
                          page.locator("#iframe").inner_text())  # fmt: skip
    assert frame == link.geturl()
    page.goto(admin.address("audit"))
    expect(page.get_by_role("row", name=name).filter(has_text="token issued").first).to_contain_text("王小明")


def test_a_test_token_with_a_private_key(admin: Person) -> None:
    """A private key signs the token and is never shown again, not even with an error about it."""
    name = f"try-key-{admin.run}"
    register(admin.server, name=name, algorithm="ES256", secret=public_pem(key_for("ES256")))
    page = admin.open(f"try?name={name}")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator("#privateKey-wrong")).to_contain_text("only its public key is stored")
    other = private_pem(key_for("ES256", "-other"))
    page.get_by_label("Private key", exact=True).fill(other)
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.locator("#privateKey-wrong")).to_contain_text("does not belong to application")
    assert other.splitlines()[1] not in page.content()
    mine = private_pem(key_for("ES256"))
    page.get_by_label("Private key", exact=True).fill(mine)
    page.get_by_role("button", name="Generate", exact=True).click()
    assert token_parts(page.locator("#token").inner_text())[0]["alg"] == "ES256"
    assert mine.splitlines()[1] not in page.content()


def test_errors_of_a_test_token(admin: Person) -> None:
    """Each error is beside its field: no, unknown or disabled application, invalid user name, URL of another host."""
    register(admin.server, name=f"off-{admin.run}", enable="0")
    for field, text, said in (
        ("name", "", "not be empty"),
        ("name", "nobody", "Name does not exist"),
        ("name", f"off-{admin.run}", "is not enabled"),
        ("username", "a:b", "not contain ':'"),
        ("next", "//evil.example", "Must be a path of this host"),
    ):
        page = admin.open("try?name=ERP")
        page.locator(f"#{field}").fill(text)
        page.get_by_role("button", name="Generate", exact=True).click()
        expect(page.locator(f"#{field}-wrong")).to_contain_text(said)
        expect(page.locator(f"#{field}")).to_have_value(text)


def test_copy(person: Callable[..., Person], signed_in: Any) -> None:
    """With JavaScript each text to copy has a button that copies exactly this text."""
    one = person(storage_state=signed_in, permissions=["clipboard-read", "clipboard-write"])
    page = one.open("try?name=ERP")
    page.get_by_role("button", name="Generate", exact=True).click()
    for part in ("token", "curl", "link", "iframe"):
        text = page.locator(f"#{part}").inner_text()
        page.locator(f"#{part} ~ button, button:has(+ #{part})").first.click()
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)  # it is named by what it copies
        assert page.evaluate("navigator.clipboard.readText()") == text


def test_check_a_refused_token(admin: Person) -> None:
    """A refused token is checked step by step; the failed step has advice."""
    name = f"check-{admin.run}"
    register(admin.server, name=name, inituser="0")
    token = token_of(admin.server, name, "ghost")
    page = admin.open("refused")
    page.get_by_label("Token", exact=True).fill(f"{token}\n")
    page.get_by_label("Application").fill(name)
    page.get_by_role("button", name="Check token").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(f"Token refused: {name}")
    steps = page.locator(".steps li")
    assert steps.count() == 9
    for number in range(7):
        expect(steps.nth(number)).to_contain_text("passed")
        expect(steps.nth(number)).to_contain_text("No action needed.")
    expect(steps.last).to_contain_text("failed")
    expect(steps.last).to_contain_text(f"user ghost does not exist, and {name} creates no users")
    expect(steps.last).to_contain_text("What to do: Add the user, or set the application to create unknown users.")
    page.get_by_label("Token", exact=True).fill(f"Bearer {token}")
    page.get_by_role("button", name="Check token").click()
    expect(page.locator(".steps li.bad")).to_contain_text("the word Bearer around it")
    expect(page.locator(".steps li.bad")).to_contain_text("What to do: Copy the complete token again")


def test_check_an_accepted_token(admin: Person) -> None:
    """A valid token is accepted, and the page names its application."""
    page = admin.open("refused")
    page.get_by_label("Token", exact=True).fill(token_of(admin.server, "ERP", "lena"))
    page.get_by_label("Application").fill("ERP")
    page.get_by_role("button", name="Check token").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("Token accepted: ERP")
    assert page.locator(".steps li.bad").count() == 0


def test_a_personal_token(person: Callable[..., Person], request: Any) -> None:
    """A user who is no Administrator sees their profile and generates a personal token, which is shown once."""
    for scripts in (True, False):
        one = person(java_script_enabled=scripts)
        name = f"reader-{scripts}"
        roles = ["Sales", "North"]
        register(one.server, name=f"Make-{name}", secret=secret_of(name), initpwd="reader-password", initroles=roles)
        token = token_of(one.server, f"Make-{name}", name, {"name": "Rea Der", "email": "rea@example.org"})
        one.server.request(
            "GET", "/plugin/datafor-modeler/api/user/detail", headers={"Authorization": f"Bearer {token}"}
        )
        page = one.sign_in(name, "reader-password")
        assert page.url.endswith("/console/me")
        for text in ("Rea Der", "rea@example.org", "SYS_Reader", "Sales, North"):
            expect(page.get_by_role("main")).to_contain_text(text)
        page.get_by_label("Application").select_option(label="ERP (1 day)")
        page.get_by_role("button", name="Generate").click()
        expect(page.get_by_role("status")).to_contain_text("The token is valid for 1 day.")
        made = page.locator("#token").inner_text()
        assert token_parts(made)[1]["loginname"] == name
        one.open("me")
        assert made not in page.content()
        assert re.search(r"Applications|Users|Audit", page.get_by_role("navigation").inner_text()) is None


def test_stored_secrets_are_never_shown(admin: Person) -> None:
    """No page of the console shows a stored secret."""
    for path in ("applications", "applications/ERP", "audit", "", "settings", "users"):
        assert STRONG_SECRET not in admin.open(path).content()
