"""The form of an application, without a browser: every field is shown, stored, checked and never lost."""

import re
from ipaddress import ip_network
from typing import Any

import pytest
from flask import Flask

from datafor_token.applications.policy import REPORTABLE
from datafor_token.applications.record import DEFAULTS, MASK, Application
from datafor_token.requests.schemas import ApplicationSchema
from datafor_token.web.services import services
from tests.conftest import services_in
from tests.console.client import Client, Page, api
from tests.support import STRONG_SECRET, application

LABELS = {
    "name": "Name",
    "enable": "Enabled",
    "algorithm": "Algorithm",
    "secret": "Shared secret",
    "public_key": "Public key",
    "expire": "Token lifetime",
    "token_name": "URL parameter",
    "self_service": "Allow personal tokens",
    "fieldmap[username]": "User name claim",
    "fieldmap[name]": "Display name claim",
    "fieldmap[email]": "Email claim",
    "inituser": "Create unknown users",
    "initroles": "Roles of new users",
    "initpwd": "Password of new users",
    "jwks_uri": "Key set URL",
    "issuer": "Issuer",
    "audience": "Audience",
    "token_types": "Token types",
    "max_lifetime": "Maximum lifetime",
    "require": "Required claims",
    "networks": "Networks",
    "users": "Accepted users",
    **{
        f"report[{name}]": f"Only report: {label}"
        for name, label in {
            "token_types": "Token types",
            "audience": "Audience",
            "issuer": "Issuer",
            "require": "Required claims",
            "max_lifetime": "Maximum lifetime",
            "networks": "Networks",
            "users": "Accepted users",
        }.items()
    },
    "sync[name]": "Display name",
    "sync[email]": "Email",
    "sync[roles]": "Roles",
    "roles_claim": "Roles claim",
    "roles_map": "Role mapping",
    "origins": "Embedding origins",
    "session_idle": "Session idle timeout",
    "session_max": "Session lifetime",
    "rate": "Rate limit",
}
# A value of each field that differs from its default and from all others; without jwks_uri, which replaces the secret.
TYPED = {
    "name": "Typed",
    "algorithm": "HS384",
    "secret": STRONG_SECRET * 2,
    "expire": "90",
    "unit": "minutes",
    "token_name": "ticket_of",
    "self_service": "1",
    "fieldmap[username]": "login",
    "fieldmap[name]": "full",
    "fieldmap[email]": "mail",
    "inituser": "1",
    "initroles": "SYS_Creator\nSales",
    "initpwd": "first-password",
    "issuer": "https://id.example.com",
    "audience": "reports\nportal",
    "token_types": "JWT\nat+jwt",
    "max_lifetime": "30",
    "max_lifetime_unit": "days",
    "require": "azp = portal\n/org/id = 7",
    "networks": "10.0.0.0/8\n2001:db8::/32",
    "users": "own",
    **{f"report[{name}]": "1" for name in REPORTABLE},
    "sync[name]": "1",
    "sync[email]": "1",
    "sync[roles]": "1",
    "roles_claim": "/realm/roles",
    "roles_map": "CN=Sales = Sales\neditors = SYS_Creator",
    "origins": "https://portal.example\nhttp://localhost:8080",
    "session_idle": "20",
    "session_idle_unit": "minutes",
    "session_max": "7",
    "session_max_unit": "days",
    "rate": "600/minute",
}
STORED: dict[str, Any] = {
    "name": "Typed",
    "enable": False,
    "algorithm": "HS384",
    "secret": STRONG_SECRET * 2,
    "expire": 5400,
    "token_name": "ticket_of",
    "self_service": True,
    "inituser": True,
    "initroles": ("SYS_Creator", "Sales"),
    "initpwd": "first-password",
    "jwks_uri": None,
    "issuer": "https://id.example.com",
    "audience": ("reports", "portal"),
    "token_types": ("JWT", "at+jwt"),
    "max_lifetime": 2_592_000,
    "require": {"azp": ("portal",), "/org/id": (7,)},
    "networks": (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
    "users": "own",
    "report": REPORTABLE,
    "sync": ("name", "email", "roles"),
    "roles_claim": "/realm/roles",
    "roles_map": {"CN=Sales": "Sales", "editors": "SYS_Creator"},
    "origins": ("https://portal.example", "http://localhost:8080"),
    "session_idle": 1200,
    "session_max": 604_800,
    "rate": (600, 60),
}
UNITS = ("unit", "max_lifetime_unit", "session_idle_unit", "session_max_unit")
FORM_ONLY = {"public_key", *UNITS}
# The tabs of a stored application with a form, and the fields that are changed elsewhere: by a button, or as its keys.
TABS = ("settings", "trust")
KEYS = ("algorithm", "secret", "public_key", "jwks_uri")
NOT_ON_TABS = ("name", "enable", *KEYS)
SETTINGS = (
    "expire", "unit", "token_name", "self_service", "fieldmap[username]", "fieldmap[name]", "fieldmap[email]",
    "inituser", "initroles", "initpwd",
)  # fmt: skip


@pytest.fixture
def client(app: Flask) -> Client:
    browser = Client(app)
    assert browser.sign_in().status_code == 303
    return browser


def stored(app: Flask, name: str) -> Application:
    """Return an application as it is stored."""
    found: Application = services_in(app).registry.get(name)
    return found


def shown(client: Client, path: str) -> Page:
    """Return a page."""
    response = client.get(path)
    assert response.status_code == 200
    return Page(response.text)


def browser_fields(page: Page) -> dict[str, str]:
    """Return the fields of the application's form as a browser sends them."""
    sent = {name: page.values.get(name) for name in (*LABELS, *UNITS, "base", "seen")}
    return {name: value for name, value in sent.items() if value is not None}


def test_every_field_has_an_input() -> None:
    """The tables of this module name every field of the API."""
    fields = {name.partition("[")[0] for name in LABELS} - FORM_ONLY
    assert fields == set(ApplicationSchema().fields)
    assert set(STORED) | {"fieldmap"} == fields
    assert set(TYPED) - FORM_ONLY | {"enable", "jwks_uri"} == LABELS.keys() - FORM_ONLY


def test_labels(app: Flask, client: Client) -> None:
    """Each input of the form has its own label, for a new application and for a stored one."""
    assert {name: shown(client, "new-application").labels.get(name) for name in LABELS} == LABELS
    api(app, "update", application(secret=STRONG_SECRET))
    labels = {name: label for tab in TABS for name, label in shown(client, f"applications/ERP/{tab}").labels.items()}
    assert {name: labels.get(name) for name in LABELS if name not in NOT_ON_TABS} == {
        name: label for name, label in LABELS.items() if name not in NOT_ON_TABS
    }


def test_labels_in_chinese(app: Flask) -> None:
    """In Chinese too, each input has a label of its own."""
    client = Client(app, language="zh")
    client.sign_in()
    labels = shown(client, "new-application").labels
    assert len({labels[name] for name in LABELS}) == len(LABELS)
    assert (labels["expire"], labels["secret"], labels["inituser"]) == ("令牌有效期", "共享密钥", "自动创建未知用户")


def test_defaults(client: Client) -> None:
    """The form of a new application shows the defaults."""
    values = shown(client, "new-application").values
    for name in ("token_name", "algorithm", "enable", "initpwd"):
        assert values[name] == DEFAULTS[name]
    assert (values["inituser"], values["self_service"]) == (None, None)
    assert values["initroles"] == "SYS_Reader"
    assert (values["expire"], values["unit"]) == ("1", "days")
    assert {claim: values[f"fieldmap[{claim}]"] for claim in DEFAULTS["fieldmap"]} == DEFAULTS["fieldmap"]


def test_every_field_is_stored(app: Flask, client: Client) -> None:
    """A new application has each value in the field where it was typed."""
    assert client.post("new-application", TYPED, page="new-application").status_code == 303
    found = stored(app, "Typed")
    assert {name: getattr(found, name) for name in STORED} == STORED
    assert (found.fieldmap.username, found.fieldmap.name, found.fieldmap.email) == ("login", "full", "mail")
    assert found.creator_id == "admin"


def test_every_field_is_changed(app: Flask, client: Client) -> None:
    """A stored application has each changed value in the field where it was typed, on the tab that has the field."""
    api(app, "update", application(name="Typed", secret=STRONG_SECRET))
    for path in ("keys", "settings", "trust"):
        seen = Page(client.get(f"applications/Typed/{path}").text).values.get("seen")
        response = client.post(f"applications/Typed/{path}", {**TYPED, "seen": seen}, page=f"applications/Typed/{path}")
        assert response.status_code == 303, path
    client.post("applications/Typed/disable")
    found = stored(app, "Typed")
    assert {name: getattr(found, name) for name in STORED} == STORED
    assert (found.fieldmap.username, found.fieldmap.name, found.fieldmap.email) == ("login", "full", "mail")


def test_every_stored_value_is_shown(app: Flask, client: Client) -> None:
    """The form shows the stored values, except secrets; saving it unchanged changes nothing."""
    client.post("new-application", TYPED, page="new-application")
    before = stored(app, "Typed")
    pages = {tab: shown(client, f"applications/Typed/{tab}") for tab in TABS}
    fields = {name: value for page in pages.values() for name, value in browser_fields(page).items() if name != "base"}
    expected = {**{name: value for name, value in TYPED.items() if name not in NOT_ON_TABS}, "initpwd": MASK}
    assert fields == expected
    for tab, page in pages.items():
        path = f"applications/Typed/{tab}"
        assert client.post(path, browser_fields(page), page=path).status_code == 303
        assert "No changes of Typed to save." in client.get(path).text
    after = stored(app, "Typed")
    ignored = ("lastModifiedDate",)
    assert {name: value for name, value in after.to_document().items() if name not in ignored} == {
        name: value for name, value in before.to_document().items() if name not in ignored
    }


@pytest.mark.parametrize("path", ["new-application", "applications/ERP/settings"])
def test_nothing_typed_is_lost_after_an_error(app: Flask, client: Client, path: str) -> None:
    """After an error every field has the value that was typed, and only the wrong one has a message."""
    api(app, "update", application(secret=STRONG_SECRET))
    wrong = {**TYPED, "token_name": "not allowed"}
    response = client.post(path, wrong, page=path)
    assert response.status_code == 400
    page = Page(response.text)
    expected = {name: value for name, value in wrong.items() if name in page.values}
    assert len(expected) == (len(wrong) if path == "new-application" else len(SETTINGS))
    assert {name: page.values[name] for name in expected} == expected
    assert page.messages.keys() == {"token_name"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "a b", "May only contain letters"),
        ("algorithm", "none", "Must be one of HS256"),
        ("expire", "0", "Must be a whole number of seconds"),
        ("token_name", "", "not be empty"),
        ("fieldmap[username]", "exp", "sets that claim itself"),
        ("fieldmap[name]", "", "not be empty"),
        ("fieldmap[email]", "nbf", "sets that claim itself"),
        ("initroles", "Administrator\nSYS_Reader", "at most one of the user types"),
        ("initpwd", "a\x7fb", "control characters"),
        ("jwks_uri", "id.example.com", "Must be a URL"),
        ("issuer", "a\x7fb", "control or format characters"),
        ("audience", "a\x7fb", "control or format characters"),
        ("token_types", "JSON Web Token", "such as JWT"),
        ("max_lifetime", "two", "Must be a whole number of seconds"),
        ("require", "azp", "an equals sign and a value in line 1"),
        ("networks", "10.0.0.1/8", "10.0.0.1/8' has host bits"),
        ("users", "some", "Must be one of any, own"),
        ("roles_claim", "", "Is missing: sync has roles"),
        ("roles_map", "", "Is missing: sync has roles"),
        ("origins", "https://a.example\nhttps://b.example/", "number 2 has a path or a slash at its end"),
        ("session_idle", "0", "Must be a whole number of seconds from 60 to 31536000"),
        ("session_max", "366", "Must be a whole number of seconds from 60 to 31536000"),
        ("rate", "600 a minute", "such as 600/minute"),
    ],
)
def test_each_error_is_beside_its_field(client: Client, field: str, value: str, message: str) -> None:
    """A wrong value has its message beside the field, and nothing is stored."""
    response = client.post("new-application", {**TYPED, field: value}, page="new-application")
    page = Page(response.text)
    assert response.status_code == 400
    assert page.messages.keys() == {field.replace("[", ".").rstrip("]")}
    assert re.search(message, page.messages[field.replace("[", ".").rstrip("]")])
    assert page.values[field] == value
    assert client.get("applications/Typed").status_code == 404


@pytest.mark.parametrize("path", ["new-application", "applications/ERP/settings"])
@pytest.mark.parametrize("token", [None, "", "x"])
def test_without_the_form_token_nothing_is_stored(app: Flask, client: Client, path: str, token: str | None) -> None:
    """A form without its token, or with another one, is shown again and stores nothing."""
    api(app, "update", application(secret=STRONG_SECRET))
    before = stored(app, "ERP")
    sent = TYPED if token is None else {**TYPED, "form_token": token}
    response = client.client.post(f"/console/{path}", data=sent)
    assert "Location" not in response.headers
    assert "Nothing was saved yet" in response.text
    assert Page(response.text).values["token_name"] == "ticket_of"
    assert stored(app, "ERP") == before
    assert client.get("applications/Typed").status_code == 404


def test_nothing_typed_is_lost_after_the_session_ended(client: Client) -> None:
    """A form of an ended session is shown after sign-in with its values, except secrets."""
    sent = {**TYPED, "form_token": Page(client.get("new-application").text).form_token}
    client.client.delete_cookie("JSESSIONID")
    response = client.client.post("/console/new-application", data=sent)
    assert response.status_code == 401
    assert TYPED["secret"] not in response.text
    hidden = dict(re.findall(r'<input type="hidden" name="(path|typed)" value="([^"]*)"', response.text))
    hidden = {name: value.replace("&#34;", '"') for name, value in hidden.items()}
    response = client.post(
        "sign-in",
        {"username": "admin", "password": "the-Password-of-the-tests", "next": "", **hidden},
        page="sign-in",
    )
    page = Page(response.text)
    assert "Nothing was saved yet" in response.text
    expected = {**TYPED, "secret": "", "initpwd": ""}
    assert {name: page.values[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("number", "unit", "seconds"),
    [("7", "seconds", 7), ("7", "minutes", 420), ("7", "hours", 25200), ("7", "days", 604800)],
)
def test_units(app: Flask, client: Client, number: str, unit: str, seconds: int) -> None:
    """A lifetime is stored in seconds and shown again in the largest unit that divides it."""
    typed = {**TYPED, "expire": number, "unit": unit}
    assert client.post("new-application", typed, page="new-application").status_code == 303
    assert stored(app, "Typed").expire == seconds
    values = shown(client, "applications/Typed/settings").values
    assert (values["expire"], values["unit"]) == (number, unit)


@pytest.mark.parametrize("unit", ["", "evil", "weeks"])
def test_an_unknown_unit(client: Client, unit: str) -> None:
    """A unit that the form does not have is refused instead of counting seconds."""
    page = Page(client.post("new-application", {**TYPED, "unit": unit}, page="new-application").text)
    assert page.messages["expire"].startswith("Must be a whole number of seconds")


def test_a_key_pair(app: Flask, client: Client) -> None:
    """A value in the field of the other kind of key is checked instead of ignored."""
    typed = {**TYPED, "algorithm": "ES256", "self_service": "", "public_key": ""}
    page = Page(client.post("new-application", typed, page="new-application").text)
    assert page.messages["public_key"].startswith("Must be a public key")
    assert "secret" not in page.messages


def test_large_records_can_be_saved(app: Flask, client: Client) -> None:
    """A record that the API stores can be saved in its form, though Chinese takes more bytes in a form than in JSON."""
    roles = [f"{number:02}{'角' * 62}" for number in range(64)]
    groups = {f"CN=Team {number},OU=Groups,OU=Company,DC=corp,DC=example": roles[number % 64] for number in range(100)}
    api(app, "update", application(secret=STRONG_SECRET, roles_claim="groups", roles_map=groups))
    with app.app_context():
        services().accounts.change("admin", roles=tuple(roles))
    for path, changed in (("applications/ERP/trust", {"rate": "7/minute"}), ("user?name=admin", {"dept": "Sales"})):
        client.get("applications")  # shows the message about the last change, whose Undo has fields of the same names
        text = client.get(path).text
        kind = re.search(r'id="main-form" method="post" enctype="([^"]+)"', text)
        page = Page(text)
        sent = {name: value for name, value in page.values.items() if value is not None} | changed
        response = client.client.post(
            f"/console/{path}",
            data={**sent, "form_token": page.form_token},
            content_type=kind[1] if kind else "application/x-www-form-urlencoded",
        )
        assert response.status_code == 303, path
    assert stored(app, "ERP").rate
    with app.app_context():
        user = services().accounts.get("admin")
        assert (user.dept, list(user.roles)) == ("Sales", roles)
