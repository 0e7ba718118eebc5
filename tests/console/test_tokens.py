"""The page of tokens, and personal tokens, in a browser."""

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


def test_issue_a_token(admin: Person) -> None:
    """A token is issued and described; curl command, link and frame work as shown; a reload does not show it again."""
    need("curl")
    name = f"try-{admin.run}"
    register(admin.server, name=name, token_name="t")
    page = admin.open(f"tokens/issue?name={name}")
    expect(page.get_by_label("Application")).to_have_value(name)
    page.get_by_label("User", exact=True).fill("王小明")
    page.get_by_label("Target page", exact=True).fill("/reports/1?a=b&c=d")
    page.get_by_role("button", name="Issue", exact=True).click()
    token = page.locator("#token").inner_text()
    assert token not in page.url
    header, claims = token_parts(token)
    assert (header["alg"], claims["loginname"]) == ("HS256", "王小明")
    members = page.get_by_role("table", name="Claims")
    expect(members.get_by_role("row", name="loginname")).to_contain_text("The name of the user who is signed in.")
    expect(members.get_by_role("row", name="exp")).to_contain_text("The expiry time:")
    expect(page.get_by_role("status")).to_contain_text("It is valid for 1 day")
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
    page.reload()
    assert token not in page.content()
    expect(page.get_by_role("main")).to_contain_text("The result was shown already, and is not shown again.")
    page.goto(admin.address("audit"))
    expect(page.get_by_role("row", name=name).filter(has_text="token issued").first).to_contain_text("王小明")


def test_issue_a_one_time_link(admin: Person) -> None:
    """A one-time link has no token in it, is shown once with its lifetime, and signs in once."""
    name = f"link-{admin.run}"
    register(admin.server, name=name)
    page = admin.open(f"tokens/issue?name={name}&next=/reports/1")
    page.get_by_label("User", exact=True).fill("lena")
    page.get_by_label("Issue as").select_option(label="One-time link")
    page.get_by_label("Link lifetime").select_option(label="5 minutes")
    page.get_by_role("button", name="Issue", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("It can be opened once within 5 minutes")
    expect(page.locator("#token")).to_have_count(0)
    link = urlsplit(page.locator("#link").inner_text())
    assert link.path == "/auth/enter"
    for status in (303, 401):
        response = admin.server.request("GET", f"{link.path}?{link.query}")
        assert response.status == status


def test_a_token_with_a_private_key(admin: Person) -> None:
    """A private key signs the token and is never shown again, not even with an error about it."""
    name = f"try-key-{admin.run}"
    register(admin.server, name=name, algorithm="ES256", secret=public_pem(key_for("ES256")))
    page = admin.open(f"tokens/issue?name={name}&username=lena")
    page.get_by_role("button", name="Issue", exact=True).click()
    expect(page.locator("#privateKey-wrong")).to_contain_text("only its public key is stored")
    other = private_pem(key_for("ES256", "-other"))
    page.get_by_label("Private key", exact=True).fill(other)
    page.get_by_role("button", name="Issue", exact=True).click()
    expect(page.locator("#privateKey-wrong")).to_contain_text("does not belong to application")
    assert other.splitlines()[1] not in page.content()
    mine = private_pem(key_for("ES256"))
    page.get_by_label("Private key", exact=True).fill(mine)
    page.get_by_role("button", name="Issue", exact=True).click()
    assert token_parts(page.locator("#token").inner_text())[0]["alg"] == "ES256"
    assert mine.splitlines()[1] not in page.content()


def test_errors_of_a_token(admin: Person) -> None:
    """Each error is beside its field: no, unknown or disabled application, invalid user name, URL of another host."""
    register(admin.server, name=f"off-{admin.run}", enable="0")
    for form in ("Token", "One-time link"):
        for field, text, said in (
            ("name", "", "not be empty"),
            ("name", "nobody", "Name does not exist"),
            ("name", f"off-{admin.run}", "is not enabled"),
            ("username", "a:b", "not contain ':'"),
            ("next", "//evil.example", "Must be a path of this host"),
        ):
            page = admin.open("tokens/issue?name=ERP&username=lena")
            page.get_by_label("Issue as").select_option(label=form)
            page.locator(f"#{field}").fill(text)
            page.get_by_role("button", name="Issue", exact=True).click()
            expect(page.locator(f"#{field}-wrong")).to_contain_text(said)
            expect(page.locator(f"#{field}")).to_have_value(text)


def test_copy(person: Callable[..., Person], signed_in: Any) -> None:
    """With JavaScript each text to copy has a button that copies exactly this text."""
    one = person(storage_state=signed_in, permissions=["clipboard-read", "clipboard-write"])
    page = one.open("tokens/issue?name=ERP&username=admin")
    page.get_by_role("button", name="Issue", exact=True).click()
    for part in ("token", "curl", "link", "iframe"):
        text = page.locator(f"#{part}").inner_text()
        page.locator(f"#{part} ~ button, button:has(+ #{part})").first.click()
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)  # it is named by what it copies
        assert page.evaluate("navigator.clipboard.readText()") == text


def test_check_a_refused_token(admin: Person) -> None:
    """A refused token is checked step by step; the failed step has advice and a link to what removes the cause."""
    name = f"check-{admin.run}"
    register(admin.server, name=name, inituser="0")
    token = token_of(admin.server, name, "ghost")
    page = admin.open(f"tokens?name={name}")
    page.get_by_label("What to check").fill(f"Bearer {token}\n")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator("#result")).to_have_text(f"Token refused: {name}")
    expect(page.get_by_label("Application")).to_have_value(name)
    steps = page.locator(".steps li")
    assert steps.count() == 9
    for number in range(7):
        expect(steps.nth(number)).to_contain_text("passed")
    expect(steps.last).to_contain_text("failed")
    expect(steps.last).to_contain_text(f"user ghost does not exist, and {name} creates no users")
    expect(steps.last).to_contain_text("What to do: Add the user, or set the application to create unknown users.")
    steps.last.get_by_role("link", name="New user").click()
    assert page.url == admin.address("new-user")


def test_revoke_a_checked_token(admin: Person) -> None:
    """A token is pasted as a link, checked, and revoked after a question; the page then says that it is revoked."""
    name = f"revoke-{admin.run}"
    register(admin.server, name=name, secret=secret_of(name))
    token = token_of(admin.server, name, "lena")
    page = admin.open("tokens")
    page.get_by_label("What to check").fill(f"https://portal.example/auth/enter?token={token}&next=/")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator("#result")).to_have_text(f"Token accepted: {name}")
    assert page.locator(".steps li.bad").count() == 0
    page.get_by_role("link", name="Revoke token…").click()
    expect(page.locator("#question")).to_contain_text(f"Revoke the token of lena for {name}?")
    page.get_by_role("button", name="Revoke token", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("Revoked 1 token.")
    expect(page.locator("#result")).to_contain_text("revoked")
    assert token not in page.url
    headers = {"Authorization": f"Bearer {token}"}
    assert admin.server.request("GET", "/plugin/datafor-modeler/api/user/detail", headers=headers).status == 401


def test_revoke_several_tokens(admin: Person) -> None:
    """Several tokens of the list are selected and revoked after one question that names them."""
    name = f"several-{admin.run}"
    register(admin.server, name=name)
    for user in ("lena", "paul"):
        token_of(admin.server, name, user)
    page = admin.open(f"tokens/issued?application={name}")
    for box in page.get_by_role("row").get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Revoke…").click()
    expect(page.locator("#question")).to_contain_text("Revoke 2 tokens?")
    expect(page.locator("#question")).to_contain_text(f"lena, {name}")
    page.get_by_role("button", name="Revoke 2 tokens").click()
    expect(page.get_by_role("status").first).to_contain_text("Revoked 2 tokens.")
    expect(page.get_by_role("cell", name="revoked", exact=True)).to_have_count(2)


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
        expect(page.get_by_role("region", name="Your new token")).to_contain_text("The token is valid for 1 day.")
        made = page.locator("#token").inner_text()
        assert token_parts(made)[1]["loginname"] == name
        one.open("me")
        assert made not in page.content()
        expect(page.get_by_role("link", name=re.compile("Applications|Users|Audit"))).to_have_count(0)


def test_stored_secrets_are_never_shown(admin: Person) -> None:
    """No page of the console shows a stored secret."""
    for path in ("applications", "applications/ERP", "audit", "", "settings", "users"):
        assert STRONG_SECRET not in admin.open(path).content()
