"""Rehearsals in the console, without a browser: before a form is saved, on questions, and of rules only reported."""

import html
import re
from typing import Any

import pytest
from flask import Flask

from datafor_token.console import rehearsals
from datafor_token.errors import DataforTokenError, Overloaded, StoreUnavailable
from tests.conftest import services_in
from tests.console.client import Client, Page, api, flashes
from tests.console.test_forms import browser_fields, client, stored
from tests.handmade_tokens import claims, token
from tests.support import STRONG_SECRET, application

__all__ = ["client"]

DETAIL = "/plugin/datafor-modeler/api/user/detail"
REHEARSED = "<h2>Rehearsal</h2>"
REFUSED = "1 of 1 sign-in in 1 day would have been refused"


@pytest.fixture
def used(app: Flask, client: Client) -> Client:
    """Return the Administrator's browser, beside an application with one sign-in, by lena without an audience."""
    sign_in(app)
    return client


def sign_in(app: Flask, **changes: Any) -> None:
    api(app, "update", application(secret=STRONG_SECRET, **changes))
    use(app, token(claims(), STRONG_SECRET))


def use(app: Flask, text: str) -> None:
    """Sign in with a token."""
    response = app.test_client().get(DETAIL, headers={"Authorization": f"Bearer {text}"})
    assert response.status_code == 200, response.text


def fields_of(text: str) -> dict[str, str]:
    """Return the fields of the form of a page as a browser sends them."""
    page = Page(text)
    hidden = {name: page.values.get(name) or "" for name in ("rehearsed", "field")}
    return {**browser_fields(page), **hidden}


def send(client: Client, tab: str, base: str = "", **changes: str) -> str:
    """Send the form of a tab with changes, that of the page ``base`` if it is given; return the next page."""
    path = f"applications/ERP/{tab}"
    if not base:
        client.get(path)  # shows the message about the last change, whose Undo has fields of the same names
    fields = fields_of(base or client.get(path).text)
    response = client.post(path, {**fields, **changes}, page=path)
    return response.text if response.status_code == 200 else client.get(path).text


def test_a_change_that_would_have_refused_somebody(app: Flask, used: Client) -> None:
    """Saving such a change shows the sign-ins, users and addresses first, and saves when the same is sent again."""
    page = send(used, "trust", issuer="https://id.example.com")
    assert REFUSED in page
    assert "ERP: wrong issuer" in page
    assert "Nothing was saved yet." in page
    assert 'href="/console/user?name=lena"' in page
    assert stored(app, "ERP").issuer is None
    assert Page(page).values["issuer"] == "https://id.example.com"
    assert "Save anyway" in page
    send(used, "trust", page)
    assert stored(app, "ERP").issuer == "https://id.example.com"


def test_another_change_after_a_rehearsal(app: Flask, used: Client) -> None:
    """A form that was changed after its rehearsal is rehearsed again."""
    page = send(used, "trust", issuer="https://id.example.com")
    page = send(used, "trust", page, issuer="https://other.example.com")
    assert REFUSED in page
    assert stored(app, "ERP").issuer is None


@pytest.mark.parametrize(
    ("tab", "field", "value", "reason"),
    [
        ("trust", "networks", "10.0.0.0/8", "wrong network"),
        ("trust", "require", "azp = portal", "required claim missing"),
        ("settings", "token_name", "other", None),
        ("settings", "fieldmap[username]", "sub", "no user name in the token"),
        ("settings", "expire", "2", None),
    ],
)
def test_fields(app: Flask, used: Client, tab: str, field: str, value: str, reason: str | None) -> None:
    """Each field that can refuse a token is rehearsed before it is saved; what refused nobody is saved at once."""
    before = stored(app, "ERP")
    page = send(used, tab, **{field: value})
    assert (REHEARSED in page) == (stored(app, "ERP") == before) == (reason is not None)
    if reason:
        assert f"ERP: {reason}" in page


def test_what_is_not_known(app: Flask, used: Client) -> None:
    """A change of which it is not known whom it would have refused is not saved at once, either."""
    use(app, token(claims(azp="portal"), STRONG_SECRET))
    page = send(used, "trust", require="azp = portal")
    assert "Of 1 sign-in it is not known: ERP asks for values of claims that are not kept: azp<" in page
    assert not stored(app, "ERP").require


@pytest.mark.parametrize(("issuer", "result"), [("", "would have been accepted"), ("https://id.example.com", REFUSED)])
def test_the_button(app: Flask, used: Client, issuer: str, result: str) -> None:
    """The button "Rehearse" shows the result and saves nothing, whatever the result is and however often it is used."""
    before = stored(app, "ERP")
    page = send(used, "trust", issuer=issuer, networks="127.0.0.1", rehearse="1")
    assert result in page
    page = send(used, "trust", page, rehearse="1")
    assert result in page
    assert stored(app, "ERP") == before
    assert ("Save anyway" in page) == bool(issuer)


def test_undo_needs_no_rehearsal(app: Flask, used: Client) -> None:
    """Undo restores what was in force, also if that refuses somebody."""
    send(used, "trust", send(used, "trust", issuer="https://id.example.com"))
    page = send(used, "trust", issuer="")
    assert stored(app, "ERP").issuer is None
    undo = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page[: page.index("Undo</button>")])
    used.post("applications/ERP/trust", {name: html.unescape(value) for name, value in undo if name != "form_token"})
    assert stored(app, "ERP").issuer == "https://id.example.com"


def test_a_password_is_no_part_of_a_page(app: Flask, used: Client) -> None:
    """The hidden fields of a rehearsed form have no password."""
    page = send(used, "settings", initpwd="a-new-password", **{"fieldmap[username]": "sub"})
    assert REHEARSED in page
    send(used, "settings", page, initpwd="another-password")
    assert stored(app, "ERP").initpwd == "another-password"


@pytest.mark.parametrize("path", ["disable", "delete"])
def test_questions(used: Client, path: str) -> None:
    """The questions before an application is disabled or deleted say whom it would have refused."""
    assert REFUSED in used.get(f"applications/ERP/{path}").text


def test_a_slow_rehearsal(app: Flask, used: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With many users, a question and the overview rehearse only if they are asked to, which changes nothing."""
    sign_in(app, report=["issuer"], issuer="https://id.example.com")
    monkeypatch.setattr(rehearsals, "MOST_AT_ONCE", -1)
    before = stored(app, "ERP")
    for path in ("disable", "delete", "enforce?field=issuer"):
        page = used.get(f"applications/ERP/{path}").text
        assert REHEARSED not in page
        assert 'name="rehearse"' in page
        fields = fields_of(page)
        page = used.post(f"applications/ERP/{path}", {**fields, "rehearse": "1"}, page=f"applications/ERP/{path}").text
        assert "would have been refused" in page
    assert "would-be refusal" not in used.get("applications/ERP").text
    assert "1 would-be refusal in 1 day" in used.get("applications/ERP?rehearse=1").text
    assert stored(app, "ERP") == before


@pytest.mark.parametrize("action", ["disable", "delete"])
def test_several(app: Flask, used: Client, action: str) -> None:
    """The question about several applications has one rehearsal of all, at once or after its button."""
    sent = {"name": ["ERP", "gone"], "action": action, "confirmed": "1", "typed_name": "2", "rehearse": "1"}
    page = used.post("several-applications", sent, page="applications").text
    assert REFUSED in page
    assert stored(app, "ERP").enable


def test_a_rotation(app: Flask, used: Client) -> None:
    """The question about a rotation says whom it refuses at once, and who needs the new secret by the end of grace."""
    path = "applications/ERP/rotate"
    fields = {**fields_of(used.get(path).text), "grace": "48"}
    page = used.post(path, {**fields, "rehearse": "1"}, page=path).text
    assert page.index("At once") < page.index("would have been accepted") < page.index("After the grace period")
    assert REFUSED in page[page.index("After the grace period") :]
    page = used.post(path, {**fields, "grace": "0", "rehearse": "1"}, page=path).text
    assert "ERP: wrong signature" in page
    page = used.post(path, {**fields, "grace": "x", "rehearse": "1"}, page=path).text
    assert Page(page).messages.keys() == {"grace"}
    assert stored(app, "ERP").secret == STRONG_SECRET


def test_the_end_of_a_grace_period(app: Flask, used: Client) -> None:
    """The question about the end of a grace period says whose tokens are signed with the old secret."""
    api(app, "rotate", {"name": "ERP", "grace": 3600})
    path = "applications/ERP/end-grace"
    assert REFUSED in used.get(path).text
    page = used.post(path, {**fields_of(used.get(path).text), "rehearse": "1"}, page=path).text
    assert REFUSED in page
    previous = stored(app, "ERP").previous
    assert previous is not None
    assert previous.until


def test_other_keys(app: Flask, used: Client) -> None:
    """The question about other keys rehearses them, and checks what was typed."""
    path = "applications/ERP/keys"
    fields = {**fields_of(used.get(path).text), "rehearse": "1"}
    assert "would have been accepted" in used.post(path, fields, page=path).text
    page = used.post(path, {**fields, "secret": STRONG_SECRET[::-1]}, page=path).text
    assert "ERP: wrong signature" in page
    assert Page(used.post(path, {**fields, "algorithm": "ES256", "public_key": "x"}, page=path).text).messages
    assert stored(app, "ERP").secret == STRONG_SECRET


@pytest.mark.parametrize(("issuer", "number"), [("https://id.example.com", 1), ("portal", 0)])
def test_a_rule_that_is_only_reported(app: Flask, client: Client, issuer: str, number: int) -> None:
    """The overview has the would-be refusals of each such rule, and a question that enforces it; Undo reports again."""
    api(app, "update", application(secret=STRONG_SECRET, issuer=issuer, report=["issuer", "users"], users="own"))
    use(app, token(claims(iss="portal"), STRONG_SECRET))
    page = client.get("applications/ERP").text
    assert f"{number} would-be refusal" in page
    assert page.count("Enforce now…") == 2 - number
    path = "applications/ERP/enforce?field=issuer"
    page = client.get(path).text
    assert (REFUSED in page) == bool(number)
    sent = client.post("applications/ERP/enforce", fields_of(page), page=path)
    assert sent.status_code == 303
    assert stored(app, "ERP").report == ("users",)
    assert flashes(client.get("applications/ERP").text) == ["The rule Issuer of ERP is enforced."]
    assert client.post("applications/ERP/report", {"field": "issuer"}).status_code == 303
    assert stored(app, "ERP").report == ("issuer", "users")


def test_a_rule_that_cannot_be_enforced(app: Flask, client: Client) -> None:
    """A rule that does not fit the other fields when it is enforced stays reported, and a message says why."""
    api(app, "update", application(secret=STRONG_SECRET, expire=7200, max_lifetime=60, report=["max_lifetime"]))
    client.post("applications/ERP/enforce", {"field": "max_lifetime"})
    (message,) = flashes(client.get("applications/ERP").text)
    assert message.startswith("Not changed: ERP. ")
    assert stored(app, "ERP").report == ("max_lifetime",)
    assert client.get("applications/ERP/enforce?field=issuer").status_code == 404
    assert client.post("applications/ERP/report", {"field": "expire"}).status_code == 404


@pytest.mark.parametrize("error", [StoreUnavailable, Overloaded])
def test_without_the_result(
    app: Flask, used: Client, monkeypatch: pytest.MonkeyPatch, error: type[DataforTokenError]
) -> None:
    """A change that cannot be rehearsed now can still be saved: the page says that it is not known whom it refuses."""

    def fail(*_: object) -> object:
        raise error

    monkeypatch.setattr(services_in(app).rehearsals, "rehearse", fail)
    assert "Not rehearsed: " in used.get("applications/ERP/disable").text
    page = send(used, "trust", issuer="https://id.example.com")
    assert "Not rehearsed: " in page
    send(used, "trust", page)
    assert stored(app, "ERP").issuer == "https://id.example.com"


def test_switched_off(app: Flask, used: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without kept sign-ins, no page offers a rehearsal, and forms are saved at once."""
    monkeypatch.setattr(services_in(app).history, "days", 0)
    for path in ("trust", "settings", "disable", "delete", "rotate", "keys"):
        assert 'name="rehearse"' not in used.get(f"applications/ERP/{path}").text
    send(used, "trust", issuer="https://id.example.com")
    assert stored(app, "ERP").issuer == "https://id.example.com"
