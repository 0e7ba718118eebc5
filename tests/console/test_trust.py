"""The Trust section of an application's form, without a browser: what is stored is shown, and saved unchanged."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datafor_token.applications import policy
from datafor_token.applications.record import POLICY, Application
from datafor_token.console import application_form, trust_form
from datafor_token.errors import RuleError
from datafor_token.providers.key_sets import KeySets, Status
from tests.console.client import Client, Page, api
from tests.console.test_forms import browser_fields, client, shown, stored
from tests.support import STRONG_SECRET, Clock, application, key_for, public_pem

__all__ = ["client"]

pytestmark = pytest.mark.slow

PROVIDER: dict[str, Any] = {
    "algorithm": "ES256",
    "jwks_uri": "https://id.example.com/keys",
    "issuer": "https://id.example.com",
}
ENTRA = "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"
# Values of each field that could be shown or read as something else.
POLICIES: list[dict[str, Any]] = [
    {"audience": ["*"]},
    {"audience": ["a, b", ' blanks "and" quotes ', '"quoted"', "[1]", "true", "受众"]},
    {"issuer": " https://id.example.com/?a=b "},
    {"require": {"azp": "portal"}},
    {"require": {"a": True, "b": "true", "c": 7, "d": "7", "e": 1.5, "f": "null", "g": -1e300, "h": 1.0, "i": False}},
    {"require": {ENTRA: ["Sales", "7", 7, True], "/realm_access/roles": ["a", "b"], "x.y": "{}", "z": '"q"'}},
    {"require": {"a=b": "c", "a = b": "c = d", " a ": " b ", '"a" = b': "c", "=": "=", "[": "[", "/a~1b/0": "[1"}},
    {"token_types": ["JWT", "at+jwt", "application/at+jwt"]},
    {"max_lifetime": 93784},
    {"max_lifetime": 86400},
    {"networks": ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]},
    {"users": "any"},
    {"users": "own"},
    {"sync": ["email"]},
    {"report": ["token_types", "networks"]},
    {"report": list(policy.REPORTABLE)},
    {"sync": ["name", "email", "roles"], "roles_claim": "/realm/roles", "roles_map": {"a": "A"}},
    {"roles_claim": ENTRA},
    {"origins": ["https://portal.example:8443", "http://localhost"]},
    {"session_idle": 90},
    {"session_max": 604800},
    {"rate": "600/minute"},
    {"roles_map": {"CN=Sales,OU=Groups,DC=example": "Sales", "a = b": "A=B", "7": "true", '"x"': '"Y" = Z'}},
]


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeySets, "start", lambda _: None)


def policy_of(application: Application) -> dict[str, Any]:
    """Return the fields of the policy in a record."""
    return {name: value for name, value in application.to_document().items() if name in POLICY}


def save(client: Client, name: str, **changes: str | None) -> Page:
    """Save the form of a stored application with changes; ``None`` is a box that is not checked. Return the page."""
    return _send(client, f"applications/{name}/trust", changes)


def save_settings(client: Client, name: str, **changes: str | None) -> Page:
    """Save the form of the settings in the same way."""
    return _send(client, f"applications/{name}/settings", changes)


def change_keys(client: Client, name: str, **changes: str | None) -> Page:
    """Send the form of the question about other keys in the same way."""
    return _send(client, f"applications/{name}/keys", changes)


def _send(client: Client, path: str, changes: Mapping[str, str | None]) -> Page:
    client.get(path)  # shows the message about the last change, whose Undo has fields of the same names
    fields = {**browser_fields(shown(client, path)), **changes}
    sent = {field: value for field, value in fields.items() if value is not None}
    return Page(client.post(path, sent, page=path).text)


@pytest.mark.parametrize("wanted", POLICIES, ids=lambda one: next(iter(one)))
def test_an_unchanged_form_changes_nothing(app: Flask, client: Client, wanted: dict[str, Any]) -> None:
    """Whatever the API stored in a field of the policy, saving the form unchanged stores the same record."""
    api(app, "update", application(secret=STRONG_SECRET, **wanted))
    before = stored(app, "ERP").to_document()
    assert {name: before[name] for name in wanted} == wanted
    assert save(client, "ERP").messages == {}
    after = stored(app, "ERP").to_document()
    assert {**after, "lastModifiedDate": 0} == {**before, "lastModifiedDate": 0}
    assert repr(after.get("require")) == repr(before.get("require"))


def without_errors(rule: Any, value: Any) -> bool:
    """Return whether a value follows a rule."""
    try:
        rule(value)
    except RuleError:
        return False
    return True


TEXTS = st.text(st.characters(exclude_categories=["C"]) | st.sampled_from('= "[{,\\/.'), min_size=1, max_size=12)
VALUES = TEXTS | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    st.fixed_dictionaries(
        {
            "audience": st.lists(TEXTS, min_size=1, max_size=3, unique=True),
            "require": st.dictionaries(
                TEXTS, VALUES | st.lists(VALUES, min_size=2, max_size=3), min_size=1, max_size=4
            ),
            "roles_map": st.dictionaries(TEXTS, TEXTS, min_size=1, max_size=4),
        }
    )
)
def test_every_text_survives_its_lines(fields: dict[str, Any]) -> None:
    """Lists and objects of any texts, numbers and truth values are read from the lines that show them."""
    rules = {"audience": policy.audience, "require": policy.requirements, "roles_map": policy.roles_map}
    valid = {name: value for name, value in fields.items() if without_errors(rules[name], value)}
    found, errors = trust_form.to_call(trust_form.to_form(valid))
    assert errors == {}
    assert repr({name: found[name] for name in valid}) == repr(valid)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("azp=portal", {"azp": "portal"}),
        ("  azp =  portal  \r\n\r\n /org/id = 7 ", {"azp": "portal", "/org/id": 7}),
        ('level = "7"', {"level": "7"}),
        ('groups = ["Sales", "North"]', {"groups": ["Sales", "North"]}),
        ("scope = read = write", {"scope": "read = write"}),
        ("name = Lena Wu", {"name": "Lena Wu"}),
        ("id = 123456789012345678901234", {"id": "123456789012345678901234"}),
    ],
)
def test_typed_requirements(lines: str, expected: dict[str, Any]) -> None:
    """A required claim is typed with or without blanks around the equals sign; its value is plain text or JSON."""
    fields, errors = trust_form.to_call({**application_form.new_values(), "require": lines})
    assert (fields["require"], errors) == (expected, {})


@pytest.mark.parametrize(
    ("field", "lines", "message"),
    [
        ("require", "azp = a\nportal", "Must have a name, an equals sign and a value in line 2"),
        ("require", "azp = ", "Must have a name, .* in line 1"),
        ("require", "= a", "Must have a name, .* in line 1"),
        ("require", "\ngroups = [a, b]", "line 2; what begins with a quote or bracket must be valid JSON"),
        ("require", '"azp = a', "line 1; what begins with a quote or bracket must be valid JSON"),
        ("require", "azp = a\naud = b\nazp = c", "same name in lines 1 and 3"),
        ("require", "azp = null", "Must have texts, numbers, true or false as values"),
        ("require", 'azp = {"a": 1}', "Must have texts, numbers, true or false as values"),
        ("roles_map", "editors", "Must have a name, .* in line 1"),
        ("roles_map", "editors = a, b", "comma"),
        ("audience", 'a\n"a', "Must have valid JSON in line 2"),
    ],
)
def test_unreadable_lines(app: Flask, client: Client, field: str, lines: str, message: str) -> None:
    """Lines that cannot be read have an error that names the line, what was typed is kept, and nothing is stored."""
    api(app, "update", application(secret=STRONG_SECRET))
    page = save(client, "ERP", **{field: lines, "rate": "often"})
    assert page.messages.keys() == {"rate", field}
    assert re.search(message, page.messages[field])
    assert page.values[field] == lines.removeprefix("\n") or page.values[field] == lines
    assert policy_of(stored(app, "ERP")) == {}


def test_emptied_fields_are_cleared(app: Flask, client: Client) -> None:
    """A field of the policy that is emptied in the form is cleared, and is no longer in the record."""
    whole = {name: value for wanted in POLICIES for name, value in wanted.items()}
    api(app, "update", application(secret=STRONG_SECRET, **whole))
    assert policy_of(stored(app, "ERP")).keys() == set(POLICY) - {"jwks_uri"}
    inputs = dict.fromkeys([*set(POLICY) - trust_form.BOXES.keys()], "")
    boxes = {f"{name}[{member}]": None for name, members in trust_form.BOXES.items() for member in members}
    assert save(client, "ERP", **inputs, **boxes).messages == {}
    assert policy_of(stored(app, "ERP")) == {}


def test_an_application_from_before_audiences(app: Flask, client: Client, clock: Clock) -> None:
    """Saving the form does not end what an application from before the rule about aud may do; its warning is shown."""
    clock.advance(-7200)
    api(app, "update", application(secret=STRONG_SECRET))
    clock.advance(7200)
    text = client.get("applications/ERP").text
    assert "Audience is not set: tokens for any audience are accepted, as before this rule" in text
    assert save_settings(client, "ERP", token_name="other").messages == {}
    assert save(client, "ERP", rate="5/day").messages == {}
    assert (stored(app, "ERP").token_name, stored(app, "ERP").audience) == ("other", None)
    assert save(client, "ERP", audience="reports").messages == {}
    assert "as before this rule" not in client.get("applications/ERP").text
    assert save(client, "ERP", audience="").messages == {}
    assert stored(app, "ERP").audience == ()
    assert save(client, "ERP").messages == {}
    assert stored(app, "ERP").audience == ()


def test_keys_of_a_provider_replace_the_public_key(app: Flask, client: Client) -> None:
    """A key set URL replaces the stored key, and a key that is typed beside the stored URL replaces the URL."""
    key = public_pem(key_for("ES256"))
    api(app, "update", application(algorithm="ES256", secret=key))
    assert save(client, "ERP", audience="portal").messages == {}
    assert change_keys(client, "ERP", jwks_uri=PROVIDER["jwks_uri"]).messages.keys() == {"issuer"}
    provider = {"jwks_uri": PROVIDER["jwks_uri"], "issuer": PROVIDER["issuer"]}
    assert change_keys(client, "ERP", **provider).messages == {}
    assert (stored(app, "ERP").secret, stored(app, "ERP").jwks_uri) == ("", PROVIDER["jwks_uri"])
    assert change_keys(client, "ERP").messages == {}
    page = client.get("applications/ERP").text
    assert PROVIDER["jwks_uri"] in page
    assert 'class="warning"' not in page
    both = change_keys(client, "ERP", jwks_uri="https://other.example.com/keys", public_key=key)
    assert both.messages == {"jwks_uri": "Cannot be given together with secret: one replaces the other"}
    assert change_keys(client, "ERP", jwks_uri="").messages == {
        "public_key": "Is missing: without jwks_uri, the application has no keys"
    }
    assert change_keys(client, "ERP", public_key=key).messages == {}
    assert (stored(app, "ERP").secret.strip(), stored(app, "ERP").jwks_uri) == (key.strip(), None)


def test_keys_over_plain_http(app: Flask, client: Client) -> None:
    """The page of an application whose keys come over plain http has a warning."""
    api(app, "update", {**application(), **PROVIDER, "jwks_uri": "http://127.0.0.1/keys", "secret": None})
    assert "Jwks_uri is plain http" in client.get("applications/ERP").text


def test_a_new_application_with_keys_of_a_provider(app: Flask, client: Client) -> None:
    """A new application needs either a secret or a key set URL, and cannot have both."""
    values = browser_fields(shown(client, "new-application"))
    sent = {**values, **PROVIDER, "name": "New"}
    page = Page(client.post("new-application", {**sent, "public_key": public_pem(key_for("ES256"))}, "me").text)
    assert page.messages.keys() == {"jwks_uri"}
    assert client.post("new-application", sent, page="me").status_code == 303
    assert stored(app, "New").jwks_uri == PROVIDER["jwks_uri"]


def test_keys_that_were_fetched(app: Flask, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page of an application with keys of a provider shows them, when they were fetched, and the last error."""
    api(app, "update", {**application(), **PROVIDER} | {"secret": None})
    assert "Last fetched" in client.get("applications/ERP").text
    assert "failed" not in client.get("applications/ERP").text
    status = Status(["k-1", "<k>"], 1722929516000, "the URL cannot be reached")
    monkeypatch.setattr(KeySets, "status", lambda *_: status)
    text = client.get("applications/ERP").text
    assert re.search("<code>k-1</code>.*<code>&lt;k&gt;</code>", text, re.DOTALL)
    assert "2024-08-06 07:31 UTC" in text
    assert "The last fetch failed: the URL cannot be reached" in text


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, []),
        ({"audience": ["*"]}, ["Trust"]),
        ({"audience": ["a"]}, ["Trust"]),
        ({"sync": ["name"]}, ["Trust"]),
        ({"rate": "5/day"}, ["Gate and limits"]),
        ({"issuer": "x", "session_idle": 60}, ["Trust", "Gate and limits"]),
    ],
)
def test_a_section_is_open_if_one_of_its_fields_is_set(
    app: Flask, client: Client, wanted: dict[str, Any], expected: list[str]
) -> None:
    """A section of a new application is folded if no field is set, and open if one has a value or an error."""

    def opened(text: str) -> list[str]:
        return re.findall(r'<details class="fields" open>\s*<summary>([^<]+)', text)

    api(app, "update", application(secret=STRONG_SECRET, **wanted))
    assert opened(client.get("new-application?like=ERP").text) == expected
    sent = browser_fields(shown(client, "new-application?like=ERP"))
    for field, value, section in (("audience", "a\x7fb", "Trust"), ("origins", "*", "Gate and limits")):
        text = client.post("new-application", {**sent, field: value}, page="me").text
        assert set(opened(text)) == {*expected, section}


def test_errors_are_in_the_order_of_the_fields(client: Client) -> None:
    """The summary of errors lists the fields in the order of the page."""
    wrong = {
        **browser_fields(shown(client, "new-application")),
        "roles_map": "x", "networks": "x", "audience": '"', "issuer": "\x7f", "jwks_uri": "x", "name": "!",
        "require": "x", "max_lifetime": "x", "token_types": "a b", "users": "x", "roles_claim": "\x7f",
        "origins": "x", "session_idle": "x", "session_max": "x", "rate": "x",
    }  # fmt: skip
    text = client.post("new-application", wrong, page="me").text
    summary = re.findall(r'<li><a href="#([^"]+)">', text)
    places = [text.index(f' id="{field}"') for field in summary]
    assert len(summary) == len(wrong.keys() & {*POLICY, "name"}) + 1 - len({"sync"})
    assert places == sorted(places)


def test_a_summary_of_the_policy(app: Flask, client: Client) -> None:
    """The page of an application, and the list if any of its applications has one, show a summary of the policy."""
    api(app, "update", application(secret=STRONG_SECRET))
    assert "Trust:" not in client.get("applications/ERP").text
    assert ">Trust<" not in client.get("applications").text
    wanted = {
        **PROVIDER,
        "audience": ["reports"], "token_types": ["at+jwt"], "max_lifetime": 86400, "require": {"azp": "portal"},
        "networks": ["10.0.0.0/8", "::1"], "users": "own", "report": ["issuer", "users"], "sync": ["name"],
    }  # fmt: skip
    api(app, "update", {**application(name="CRM"), **wanted, "secret": None})
    summary = (
        "keys from id.example.com, issuer https://id.example.com, audience reports, token types at+jwt, at most 1 day, "
        "1 required claim, 2 networks, own users only, 2 rules only reported, users follow the token"
    )
    assert f"Trust: {summary}" in client.get("applications/CRM").text
    page = client.get("applications").text
    assert page.count(f">{summary}<") == page.count(">Trust<") == 1


def test_a_summary_of_the_limits(app: Flask, client: Client) -> None:
    """The page of an application shows a summary of its fields about the gate and limits, if one is set."""
    api(app, "update", application(secret=STRONG_SECRET))
    assert "Gate and limits:" not in client.get("applications/ERP").text
    wanted = {"origins": ["https://a.example"], "session_idle": 1800, "session_max": 28800, "rate": "600/minute"}
    api(app, "update", application(secret=STRONG_SECRET, **wanted))
    assert (
        "Gate and limits: may be embedded by https://a.example, sessions idle for at most 30 minutes,"
        " sessions of at most 8 hours, rate limit 600/minute"
    ) in client.get("applications/ERP").text


def test_origins_over_plain_http(app: Flask, client: Client) -> None:
    """The page of an application that a page over plain http may embed has a warning, but for a page of this host."""
    api(app, "update", application(secret=STRONG_SECRET, origins=["http://localhost:8080", "https://a.example"]))
    assert "plain http" not in client.get("applications/ERP").text
    api(app, "update", application(secret=STRONG_SECRET, origins=["http://portal.example"]))
    assert "An origin is plain http" in client.get("applications/ERP").text


def test_two_administrators_change_keys(app: Flask, client: Client, clock: Clock) -> None:
    """Of two forms about the keys that were opened at the same time, the second one changes nothing, and says so."""
    api(app, "update", application(secret=STRONG_SECRET))
    fields = browser_fields(shown(client, "applications/ERP/keys"))
    clock.advance(1)
    first = client.post("applications/ERP/keys", {**fields, "secret": STRONG_SECRET * 2}, page="me")
    assert first.status_code == 303
    second = client.post("applications/ERP/keys", {**fields, "secret": STRONG_SECRET[::-1]}, page="me")
    assert second.status_code == 409
    assert "Nothing was changed: this application has been changed meanwhile" in second.text
    assert stored(app, "ERP").secret == STRONG_SECRET * 2
    # Sent again on purpose, it is carried out.
    assert client.post("applications/ERP/keys", browser_fields(Page(second.text)), page="me").status_code == 303
    assert stored(app, "ERP").secret == STRONG_SECRET[::-1]
    for seen in ("", "x", "²", "9" * 400):
        response = client.post("applications/ERP/keys", {**fields, "secret": STRONG_SECRET, "seen": seen}, page="me")
        assert response.status_code == 409
