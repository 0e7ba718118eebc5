"""The pages of applications in a browser, with JavaScript and without."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from datafor_token.console import application_form
from datafor_token.errors import InvalidInput
from tests.console.browsing import LONG_NAME, Person, register, token_of
from tests.support import STRONG_SECRET, Server, key_for, public_pem, record_of


def name_for(admin: Person, stem: str) -> str:
    """Return a name that no other test uses, nor the other run of this one."""
    return f"{stem}-{admin.run}"


def test_create(admin: Person) -> None:
    """An application is created with the values of all fields of the form."""
    name, page = name_for(admin, "made"), admin.open("new-application")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Algorithm").select_option("HS384")
    page.get_by_label("Shared secret").fill(STRONG_SECRET * 2)
    page.get_by_label("Token lifetime", exact=True).fill("90")
    page.get_by_label("Unit: Token lifetime").select_option("minutes")
    page.get_by_label("URL parameter").fill("ticket_of")
    page.get_by_label("Allow personal tokens").check()
    page.get_by_label("User name claim").fill("login")
    page.get_by_label("Display name claim").fill("full")
    page.get_by_label("Email claim").fill("mail")
    page.get_by_label("Create unknown users").check()
    page.get_by_label("Roles of new users").fill("SYS_Creator\nSales\n")
    page.get_by_label("Password of new users").fill("first-password")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_contain_text(f"Created {name}.")
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    expected = {
        "algorithm": "HS384", "secret": STRONG_SECRET * 2, "expire": 5400, "token_name": "ticket_of",
        "self_service": "1", "inituser": "1",
    }  # fmt: skip
    assert {field: stored[field] for field in expected} == expected
    assert stored["fieldmap"] == {"username": "login", "name": "full", "email": "mail"}
    assert (stored["initroles"], stored["initpwd"]) == (["SYS_Creator", "Sales"], "first-password")
    assert (stored["enable"], stored["creatorId"]) == ("1", "admin")


def test_an_error_on_every_field(admin: Person) -> None:
    """Each wrong field has its message beside it and in a summary that links to it, and no input is lost."""
    page = admin.open("new-application")
    wrong = {
        "name": "a b", "token_name": "next", "secret": "-----BEGIN PUBLIC KEY-----", "expire": "-1",
        "fieldmap.username": "exp", "fieldmap.name": "iat", "fieldmap.email": "nbf",
        "initroles": "Administrator\nSYS_Reader", "initpwd": "a\x7fb",
        "issuer": "a\x7fb", "audience": "a\x7fb", "token_types": "JSON Web Token", "max_lifetime": "two",
        "require": "azp", "networks": "10.0.0.1/8", "roles_claim": "a\x7fb", "roles_map": "editors",
        "origins": "*", "session_idle": "x", "session_max": "x", "rate": "6/week",
    }  # fmt: skip
    for summary in page.locator(".fields > summary").all():
        summary.click()
    for field, text in wrong.items():
        page.locator(f"[id='{field}']").fill(text)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(f"{len(wrong)} fields have errors")
    for field, text in wrong.items():
        box = page.locator(f"[id='{field}']")
        expect(box).to_have_value(text)
        expect(box).to_have_attribute("aria-invalid", "true")
        described = str(box.get_attribute("aria-describedby")).split()
        assert f"{field}-wrong" in described
        assert page.locator(f"[id='{field}-wrong']").is_visible()
        assert page.locator(f".summary a[href='#{field}']").count() == 1


def test_errors_that_depend_on_other_fields(admin: Person) -> None:
    """A private key instead of a public one, and self-service with a key pair, have their messages."""
    page = admin.open("new-application")
    page.get_by_label("Algorithm").select_option("ES256")
    page.get_by_label("Public key").fill("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")
    page.get_by_label("Allow personal tokens").check()
    page.get_by_role("button", name="Create").click()
    expect(page.locator("[id='public_key-wrong']")).to_contain_text("private one, which this service never stores")
    expect(page.locator("[id='self_service-wrong']")).to_contain_text("Can only be 1 with HS256")


def test_generate_a_secret(admin: Person) -> None:
    """One click generates a strong secret, which is shown until the form is saved."""
    name, page = name_for(admin, "strong"), admin.open("new-application")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Generate").click()
    made = page.get_by_role("textbox", name="Shared secret").input_value()
    assert len(made) == 43
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_contain_text(f"Created {name}.")
    assert made not in page.content()
    assert record_of(admin.server.config_dir, admin.server.data_dir, name)["secret"] == made
    assert page.locator(".warning").count() == 0


def test_trust(admin: Person) -> None:
    """The tab Trust stores what is typed, and clears what is emptied."""
    name = name_for(admin, "trust")
    register(admin.server, name=name)
    page = admin.open(f"applications/{name}/trust")
    page.get_by_label("Issuer", exact=True).fill("https://id.example.com")
    page.get_by_label("Audience", exact=True).fill("reports\nportal\n")
    page.get_by_label("Maximum lifetime", exact=True).fill("2")
    page.get_by_label("Unit: Maximum lifetime").select_option("days")
    page.get_by_label("Required claims", exact=True).fill(
        'azp = portal\n/org/id = 7\nlevel = "7"\ngroups = ["Sales", true]'
    )
    page.get_by_label("Networks", exact=True).fill("10.0.0.0/8")
    page.get_by_label("Accepted users", exact=True).select_option("own")
    page.get_by_role("group", name="Update from tokens").get_by_label("Email").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text(f"Saved the changes of {name}.")
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    expected = {
        "issuer": "https://id.example.com", "audience": ["reports", "portal"], "max_lifetime": 172800,
        "require": {"azp": "portal", "/org/id": 7, "level": "7", "groups": ["Sales", True]},
        "networks": ["10.0.0.0/8"], "users": "own", "sync": ["email"],
    }  # fmt: skip
    assert {field: stored.get(field) for field in expected} == expected
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("main")).to_contain_text("Trust: issuer https://id.example.com, audience reports, portal")
    page = admin.open(f"applications/{name}/trust")
    for label in ("Issuer", "Audience", "Maximum lifetime", "Required claims", "Networks"):
        page.get_by_label(label, exact=True).fill("")
    page.get_by_label("Accepted users", exact=True).select_option("all")
    page.get_by_role("group", name="Update from tokens").get_by_label("Email").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text(f"Saved the changes of {name}.")
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    assert not stored.keys() & expected.keys()


def test_change(admin: Person) -> None:
    """The form shows the stored values and saves changes; secret and password are not shown, but kept."""
    name = name_for(admin, "change")
    register(admin.server, name=name, initpwd="kept-password", expire=93784)
    page = admin.open(f"applications/{name}/settings")
    assert STRONG_SECRET not in page.content()
    assert "kept-password" not in page.content()
    expect(page.get_by_label("Token lifetime", exact=True)).to_have_value("93784")
    page.get_by_label("Token lifetime", exact=True).fill("2")
    page.get_by_label("Unit: Token lifetime").select_option("hours")
    page.get_by_label("Create unknown users").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text(f"Saved the changes of {name}.")
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    assert (stored["expire"], stored["inituser"]) == (7200, "0")
    assert (stored["secret"], stored["initpwd"]) == (STRONG_SECRET, "kept-password")
    page.get_by_role("link", name="Activity").click()
    row = page.get_by_role("row", name="application changed")
    expect(row).to_contain_text("Token lifetime: 1 day 2 hours 3 minutes 4 seconds → 2 hours")


def test_concurrent_changes(admin: Person) -> None:
    """The second to save sees what the first changed; what only the first changed is taken over."""
    name = name_for(admin, "overtaken")
    register(admin.server, name=name)
    page = admin.open(f"applications/{name}/settings")
    register(admin.server, name=name, token_name="theirs", expire=7200)
    page.get_by_label("URL parameter").fill("mine")
    page.get_by_label("User name claim").fill("login")
    page.get_by_role("button", name="Save").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Another user has changed this application")
    expect(alert.get_by_role("listitem").filter(has_text="URL parameter")).to_contain_text(
        "token → theirs (you entered"
    )
    expect(alert.get_by_role("listitem").filter(has_text="Token lifetime")).to_contain_text("(taken over below)")
    assert record_of(admin.server.config_dir, admin.server.data_dir, name)["token_name"] == "theirs"
    expect(page.get_by_label("URL parameter")).to_have_value("mine")
    expect(page.get_by_label("Token lifetime", exact=True)).to_have_value("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text(f"Saved the changes of {name}.")
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    assert (stored["token_name"], stored["expire"], stored["fieldmap"]["username"]) == ("mine", 7200, "login")


def test_undo_of_settings(admin: Person) -> None:
    """Undo restores the former settings; after a change by somebody else, it shows theirs instead."""
    name = name_for(admin, "restored")
    register(admin.server, name=name, initroles=["SYS_Reader", "Sales"])
    for overtaken in (False, True):
        page = admin.open(f"applications/{name}/settings")
        page.get_by_label("URL parameter").fill("changed")
        page.get_by_label("Roles of new users").fill("SYS_Creator")
        page.get_by_role("button", name="Save").click()
        if overtaken:
            register(admin.server, name=name, token_name="theirs", initroles=["SYS_Creator"])
        page.get_by_role("button", name="Undo").click()
        expected = ("theirs", ["SYS_Creator"]) if overtaken else ("token", ["SYS_Reader", "Sales"])
        stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
        assert (stored["token_name"], stored["initroles"]) == expected
        if overtaken:
            expect(page.get_by_role("alert")).to_contain_text("Another user has changed this application")
        else:
            expect(page.get_by_label("URL parameter")).to_have_value("token")


def rotate(page: Page, **fields: str) -> None:
    """Follow the question of the tab Secret, and send its form with fields by their labels."""
    page.get_by_role("link", name="Rotate secret…").click()
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)
    page.get_by_role("button", name="Rotate secret").click()


def test_rotate(admin: Person) -> None:
    """A rotation asks first, shows the new secret once, and then the grace period and the old secret's last use."""
    name = name_for(admin, "rotated")
    register(admin.server, name=name)
    page = admin.open(f"applications/{name}/secret")
    rotate(page, Grace_period="2")
    made = page.locator("#generated").inner_text()
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    assert stored["secret"] == made
    assert stored["previous"]["secret"] == STRONG_SECRET
    assert round((stored["previous"]["until"] - stored["lastModifiedDate"]) / 1000) == 7200
    page.reload()
    assert made not in page.content()
    expect(page.get_by_role("main")).to_contain_text("The new secret was shown already")
    page.get_by_role("link", name=f"Back to {name}").click()
    assert made not in page.content()
    expect(page.get_by_role("main")).to_contain_text("It has not been used since the rotation.")
    assert admin.server.post("generate", {"name": name, "privateKey": STRONG_SECRET}).status == 200
    page.reload()
    expect(page.get_by_role("main")).to_contain_text(re.compile("Last used: .*20"))


def test_end_a_grace_period(admin: Person) -> None:
    """A grace period ends after a question: the old secret is refused at once, and the new one is accepted."""
    name = name_for(admin, "ended")
    register(admin.server, name=name)
    page = admin.open(f"applications/{name}/secret")
    rotate(page, New_shared_secret=STRONG_SECRET[::-1])
    page.get_by_role("link", name="End the grace period…").click()
    expect(page.get_by_role("main").or_(page.get_by_role("dialog")).last).to_contain_text("It has not been used")
    page.get_by_role("button", name="End the grace period").click()
    expect(page.get_by_role("status")).to_contain_text(f"The grace period of {name} has ended")
    for secret, status in ((STRONG_SECRET, 403), (STRONG_SECRET[::-1], 200)):
        assert admin.server.post("generate", {"name": name, "privateKey": secret}).status == status
    page.get_by_role("link", name="Activity").click()
    expect(page.get_by_role("row", name="application changed")).to_contain_text("Previous secret accepted until")


def test_rotate_twice(admin: Person) -> None:
    """A rotation form that is sent a second time rotates nothing, and the page says so."""
    name = name_for(admin, "twice")
    register(admin.server, name=name)
    page = admin.open(f"applications/{name}/rotate")
    other = admin.page.context.new_page()
    other.goto(page.url)
    page.get_by_role("button", name="Rotate secret").click()
    made = page.locator("#generated").inner_text()
    other.get_by_role("button", name="Rotate secret").click()
    expect(other.get_by_role("alert").first).to_contain_text("Nothing was rotated")
    other.close()
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    assert (stored["secret"], stored["previous"]["secret"]) == (made, STRONG_SECRET)


def test_rotate_a_key_pair(admin: Person) -> None:
    """An application with a key pair is rotated to the public key that was typed; an empty field is an error."""
    name = name_for(admin, "keys")
    register(admin.server, name=name, algorithm="ES256", secret=public_pem(key_for("ES256")))
    page = admin.open(f"applications/{name}/secret")
    rotate(page)
    expect(page.locator("[id='new-public_key-wrong']")).to_contain_text("the service makes none for ES256")
    page.get_by_label("New public key").fill(public_pem(key_for("ES256", "-other")))
    page.get_by_role("button", name="Rotate secret").click()
    expect(page.get_by_role("status")).to_have_text(f"Rotated the secret of {name}.")


def test_the_secret_before_a_rotation(admin: Person) -> None:
    """The secret before a rotation is refused with a message; an empty field keeps the new secret."""
    name = name_for(admin, "undone")
    register(admin.server, name=name)
    admin.server.post("rotate", {"name": name, "secret": STRONG_SECRET[::-1]})
    page = admin.open(f"applications/{name}/keys")
    page.get_by_label("Shared secret", exact=True).fill(STRONG_SECRET)
    page.get_by_role("button", name="Change keys").click()
    expect(page.locator("[id='secret-wrong']")).to_contain_text("This is the secret before the rotation of 20")
    assert record_of(admin.server.config_dir, admin.server.data_dir, name)["secret"] == STRONG_SECRET[::-1]
    page.get_by_label("Shared secret", exact=True).fill("")
    page.get_by_role("button", name="Change keys").click()
    expect(page.get_by_role("status")).to_contain_text(f"Changed the keys of {name}.")
    assert record_of(admin.server.config_dir, admin.server.data_dir, name)["secret"] == STRONG_SECRET[::-1]


def test_only_the_tab_of_the_secret_changes_it(admin: Person) -> None:
    """The forms of a stored application have no field of a secret or key, and no button that generates one."""
    name = name_for(admin, "unchanged")
    register(admin.server, name=name)
    for tab in ("", "/settings", "/trust", "/secret"):
        page = admin.open(f"applications/{name}{tab}")
        for field in ("secret", "public_key", "jwks_uri", "algorithm", "generate"):
            assert page.locator(f"[name={field}]").count() == 0


def test_another_algorithm(admin: Person) -> None:
    """From a key pair to a shared secret, the service generates the secret and shows it once."""
    name = name_for(admin, "algorithm")
    register(admin.server, name=name, algorithm="ES256", secret=public_pem(key_for("ES256")))
    page = admin.open(f"applications/{name}/keys")
    page.get_by_label("Algorithm").select_option("HS512")
    page.get_by_role("button", name="Change keys").click()
    made = page.locator("#generated").inner_text()
    stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
    assert (stored["algorithm"], stored["secret"]) == ("HS512", made)


def test_a_suspicious_secret(admin: Person) -> None:
    """A suspicious secret is stored as typed; the overview has a warning with a link, until it is rotated."""
    name = name_for(admin, "suspicious")
    register(admin.server, name=name)
    page = admin.open(f"applications/{name}")
    assert page.locator(".warning").count() == 0
    page.get_by_role("link", name="Secret", exact=True).click()
    rotate(page, New_shared_secret=f'"{STRONG_SECRET} "')
    expect(page.get_by_role("status")).to_have_text(f"Rotated the secret of {name}.")
    page.get_by_role("link", name="Overview").click()
    expect(page.locator(".warning").last).to_contain_text("Secret is in quotes")
    assert record_of(admin.server.config_dir, admin.server.data_dir, name)["secret"] == f'"{STRONG_SECRET} "'
    page.locator(".warning").last.get_by_role("link", name="Rotate the secret").click()
    page.get_by_label("New shared secret").fill(STRONG_SECRET[::-1])
    page.get_by_role("button", name="Rotate secret").click()
    expect(page.get_by_role("status")).to_have_text(f"Rotated the secret of {name}.")
    page.get_by_role("link", name="Overview").click()
    assert page.locator(".warning").count() == 0


def test_enable_and_disable(admin: Person) -> None:
    """A question with the impact disables an application; Undo or one click enables it; the secret does not change."""
    name = name_for(admin, "switch")
    register(admin.server, name=name)
    token_of(admin.server, name, "lena")
    for button in ("Undo", "Enable"):
        page = admin.open(f"applications/{name}/danger")
        page.get_by_role("link", name="Disable…").click()
        expect(page.locator("#question").last).to_contain_text("1 valid token of the last 24 hours")
        page.get_by_role("button", name=f"Disable {name}").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("disabled")
        assert record_of(admin.server.config_dir, admin.server.data_dir, name)["enable"] == "0"
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("enabled")
        stored = record_of(admin.server.config_dir, admin.server.data_dir, name)
        assert (stored["enable"], stored["secret"]) == ("1", STRONG_SECRET)


def test_delete_after_typing_the_name(admin: Person) -> None:
    """An application is deleted only after its exact name was typed."""
    name = name_for(admin, "gone")
    register(admin.server, name=name)
    page = admin.open(f"applications/{name}/delete")
    for typed in ("", name.upper()):
        page.get_by_label(f"Type {name} to confirm").evaluate("one => one.required = false")
        page.get_by_label(f"Type {name} to confirm").fill(typed)
        page.get_by_role("button", name=f"Delete {name}").click()
        expect(page.locator("#typed_name-wrong")).to_contain_text("nothing was changed")
    page.get_by_label(f"Type {name} to confirm").fill(name)
    page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.get_by_role("status").first).to_have_text(f"Deleted {name}.")
    assert admin.server.request("GET", f"/plugin/datafor-modeler/api/token/content?name={name}").status == 404


def test_several_at_once(admin: Person) -> None:
    """Selected applications are enabled at once, and disabled or deleted after a question; Undo is exact."""
    stem = name_for(admin, "several")
    names = [f"{stem}-{number}" for number in range(4)]
    for name in names:
        register(admin.server, name=name)
    register(admin.server, name=names[1], enable="0")

    def enabled() -> list[str]:
        return [record_of(admin.server.config_dir, admin.server.data_dir, name)["enable"] for name in names]

    def select() -> Page:
        page = admin.open(f"applications?q={stem}")
        for name in names[:3]:
            page.get_by_role("checkbox", name=name).check()
        return page

    page = select()
    page.get_by_role("button", name="Disable…").click()
    question = page.locator("#question").last
    for name in names[:3]:
        expect(question).to_contain_text(name)
    expect(question).to_contain_text("0 valid sessions")
    page.get_by_role("button", name="Disable 3 applications").click()
    expect(page.get_by_role("status").first).to_contain_text("Disabled 2 applications.")
    assert enabled() == ["0", "0", "0", "1"]
    page.get_by_role("button", name="Undo").click()
    assert enabled() == ["1", "0", "1", "1"]
    page = select()
    page.get_by_role("button", name="Enable", exact=True).click()
    expect(page.get_by_role("status").first).to_contain_text("Enabled 1 application.")
    expect(page).to_have_url(re.compile(f"q={stem}"))
    assert enabled() == ["1", "1", "1", "1"]
    page = select()
    page.get_by_role("button", name="Delete…").click()
    page.get_by_label("Type 3 to confirm").fill("2")
    page.get_by_role("button", name="Delete 3 applications").click()
    expect(page.locator(".wrong").first).to_contain_text("nothing was changed")
    page.get_by_label("Type 3 to confirm").fill("3")
    page.get_by_role("button", name="Delete 3 applications").click()
    expect(page.get_by_role("status").first).to_contain_text("Deleted 3 applications.")
    left = admin.server.request("GET", "/plugin/datafor-modeler/api/token/list").json["data"]
    assert [one["name"] for one in left if one["name"] in names] == names[3:]


def test_one_of_several_is_damaged(admin: Person) -> None:
    """An application that cannot be changed is named; the others are changed and counted."""
    stem = name_for(admin, "torn")
    names = [f"{stem}-{number}" for number in range(3)]
    for name in names:
        register(admin.server, name=name)
    page = admin.open(f"applications?q={stem}")
    for name in names:
        page.get_by_role("checkbox", name=name).check()
    record = admin.server.data_dir / "applications" / f"{names[1]}.json"
    whole = record.read_text()
    record.write_text("{broken")
    page.get_by_role("button", name="Disable…").click()
    page.get_by_role("button", name="Disable 3 applications").click()
    expect(page.get_by_role("status").first).to_contain_text("Disabled 2 applications.")
    expect(page.get_by_role("status").last).to_contain_text(f"Not changed: {names[1]}. Storage is unavailable")
    record.write_text(whole)
    states = [record_of(admin.server.config_dir, admin.server.data_dir, name)["enable"] for name in names]
    assert states == ["0", "1", "0"]


def test_a_unit_that_is_none() -> None:
    """A unit of time that the form does not have makes no other lifetime: it is refused as what it is."""
    values = {**application_form.new_values(), "name": "Unit", "secret": STRONG_SECRET, "unit": "evil"}
    with pytest.raises(InvalidInput, match="expire must be a whole number"):
        application_form.read_new(values)


def test_nothing_selected(admin: Person) -> None:
    """The actions on selected rows appear with the first selection."""
    page = admin.open("applications")
    expect(page.get_by_role("button", name="Delete…")).to_be_hidden()
    page.get_by_role("checkbox", name="ERP", exact=True).check()
    expect(page.get_by_role("button", name="Delete…")).to_be_visible()


def test_the_list(admin: Person) -> None:
    """The list has state, algorithm, lifetime, last change and last use; search and state filter it."""
    stem = name_for(admin, "list")
    register(admin.server, name=f"{stem}-on", expire=93784)
    register(admin.server, name=f"{stem}-off", enable="0", algorithm="HS512", secret=STRONG_SECRET * 2)
    admin.server.post("generate", {"name": f"{stem}-on"})
    page = admin.open("applications")
    page.get_by_label("Search").fill(stem.upper())
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row")).to_have_count(3)
    on, off = page.get_by_role("row", name=f"{stem}-on"), page.get_by_role("row", name=f"{stem}-off")
    expect(on).to_contain_text("1 day 2 hours 3 minutes 4 seconds")
    cells = on.get_by_role("cell")
    assert cells.nth(1).inner_text() == "enabled"
    assert cells.nth(2).inner_text() == "HS256"
    assert re.search("20[0-9][0-9]", cells.nth(4).inner_text())
    assert off.get_by_role("cell").nth(5).inner_text() == "never"
    for link, first in (("Name", "on"), ("Name", "off"), ("Token lifetime", "off"), ("Token lifetime", "on")):
        page.get_by_role("columnheader", name=link).get_by_role("link").click()
        expect(page.get_by_role("row").nth(1)).to_contain_text(f"{stem}-{first}")
    page.get_by_label("State").select_option("disabled")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("main")).to_contain_text(f"{stem}-off")


def test_filter_as_you_type(person: Callable[..., Person]) -> None:
    """With JavaScript the list is filtered while typing, and the field keeps the focus."""
    one = person()
    one.sign_in()
    for number in range(3):
        register(one.server, name=f"typing-{number}")
    page = one.open("applications")
    page.get_by_label("Search").press_sequentially("typing-1")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page.get_by_label("Search")).to_be_focused()
    expect(page).to_have_url(re.compile("q=typing-1"))
    assert page.locator("[data-all] input").count() == 1


def test_one_field_for_the_key(person: Callable[..., Person]) -> None:
    """With JavaScript only the key field for the chosen algorithm is shown."""
    one = person()
    one.sign_in()
    page = one.open("new-application")
    expect(page.get_by_label("Shared secret")).to_be_visible()
    expect(page.get_by_label("Public key")).to_be_hidden()
    page.get_by_label("Algorithm").select_option("RS256")
    expect(page.get_by_label("Shared secret")).to_be_hidden()
    expect(page.get_by_label("Public key")).to_be_visible()


def test_names_of_any_script(admin: Person) -> None:
    """A name of 64 Chinese characters, and names that are also paths of the console, have a working page."""
    for name in (LONG_NAME, "several-applications", "new-application"):
        register(admin.server, name=name)
        page = admin.open(f"applications/{name}")
        expect(page.get_by_role("heading", level=1)).to_contain_text(name)
        for tab in ("How to use it", "Settings", "Trust", "Secret", "Tokens", "Activity", "Danger zone"):
            link = page.get_by_role("navigation", name="Pages of this application").get_by_role("link", name=tab)
            link.click()
            expect(link).to_have_attribute("aria-current", "page")
        page.get_by_role("link", name="Disable…").click()
        page.get_by_role("button", name=f"Disable {name}").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("disabled")


def test_a_weak_secret(admin: Person) -> None:
    """The page of an application with a weak secret has a warning."""
    name = name_for(admin, "weak")
    register(admin.server, name=name, secret="abcd")
    page = admin.open(f"applications/{name}")
    expect(page.locator(".warning")).to_contain_text("4 bytes, where HS256 asks for at least 32")


def test_a_damaged_record_is_named(person: Callable[..., Person], tmp_path_factory: pytest.TempPathFactory) -> None:
    """A record that cannot be read is named on the list, and its page is an error."""
    server = Server(tmp_path_factory.mktemp("damaged")).start()
    register(server, name="Broken")
    (server.data_dir / "applications" / "broken.json").write_text("{")
    one = person(server)
    one.sign_in()
    page = one.open("applications")
    expect(page.get_by_role("alert")).to_contain_text("broken")
    one.open("applications/Broken")
    expect(page.get_by_role("heading", level=1)).to_have_text("Temporarily unavailable")
    server.stop()


def test_an_unreadable_audit_log(admin: Person) -> None:
    """Pages with parts of the audit log say that it cannot be read, and show all else; the list needs none."""
    name = name_for(admin, "shown")
    register(admin.server, name=name)
    admin.open("applications")
    log, aside = admin.server.data_dir / "audit.log", admin.server.data_dir / "audit.aside"
    log.rename(aside)
    log.mkdir()
    try:
        page = admin.open(f"applications/{name}")
        expect(page.get_by_role("alert").first).to_have_text("The audit log cannot be read.")
        expect(page.get_by_role("main")).to_contain_text(name)
        page = admin.open(f"applications/{name}/disable")
        expect(page.get_by_role("main")).to_contain_text("unknown, because the audit log cannot be read")
        # The list does not need it.
        page = admin.open(f"applications?q={name}")
        expect(page.get_by_role("row", name=name)).to_be_visible()
        assert page.get_by_role("alert").count() == 0
    finally:
        log.rmdir()
        aside.rename(log)


def test_an_outage_loses_no_input(admin: Person) -> None:
    """If the store cannot be written, the form is shown again with its input and an error."""
    name, page = name_for(admin, "outage"), admin.open("new-application")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Shared secret").fill(STRONG_SECRET)
    page.get_by_label("User name claim").fill("login")
    folder, aside = admin.server.data_dir / "applications", admin.server.data_dir / "aside"
    folder.rename(aside)
    try:
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_role("alert")).to_contain_text("Storage is unavailable. Your input is below")
    finally:
        aside.rename(folder)
    expect(page.get_by_label("Name", exact=True)).to_have_value(name)
    expect(page.get_by_label("User name claim")).to_have_value("login")
    page.get_by_label("Shared secret").fill(STRONG_SECRET)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("status")).to_contain_text(f"Created {name}.")
