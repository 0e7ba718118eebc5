"""Messages and one-time results of the console: shown once, from the session, never from the URL."""

import re
from urllib.parse import quote

import pytest
from flask import Flask

from datafor_token.errors import StoreUnavailable
from datafor_token.users.session_notes import SessionNotes
from tests.console.client import Client, Page, api, flashes
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application, basic


@pytest.fixture
def admin(app: Flask) -> Client:
    api(app, "update", application(secret=STRONG_SECRET))
    client = Client(app)
    client.sign_in()
    return client


def rotate(client: Client) -> str:
    """Rotate the secret with the form, and return where the response leads to."""
    seen = Page(client.get("applications/ERP/rotate").text).values["seen"]
    response = client.post("applications/ERP/rotate", {"grace": "1", "unit": "hours", "seen": seen, "confirmed": "1"})
    assert response.status_code == 303
    return response.headers["Location"].removeprefix("/console/")


def test_shown_once(admin: Client) -> None:
    """A message is shown by the next page, whichever it is, and not again."""
    assert admin.post("applications/ERP/disable", {"confirmed": "1"}).status_code == 303
    assert flashes(admin.get("users").text) == ["Disabled ERP."]
    assert flashes(admin.get("users").text) == []


def test_in_the_language_of_the_page(admin: Client) -> None:
    """A message is in the language that the page has when it is shown."""
    admin.post("applications/ERP/disable", {"confirmed": "1"})
    admin.language = "zh"
    assert flashes(admin.get("users").text) == ["已停用 ERP。"]


def test_undo(app: Flask, admin: Client) -> None:
    """The button beside the message does the exact reverse."""
    admin.post("applications/ERP/disable", {"confirmed": "1"})
    text = admin.get("applications").text
    undo = re.search(r'action="(/console/applications/ERP/[^"]*)">.{,400}<button[^>]*>Undo', text, flags=re.DOTALL)
    assert undo is not None
    assert undo[1] == "/console/applications/ERP/enable"
    assert admin.post("applications/ERP/enable").status_code == 303
    content = app.test_client().get("/plugin/datafor-modeler/api/token/content?name=ERP", headers=basic())
    assert content.get_json()["enable"] == "1"


def test_never_from_the_url(admin: Client) -> None:
    """No parameter of a URL is shown as a message."""
    for query in ("done=deleted", "notice=deleted", "flash=deleted", "message=x", "error=x", "done=own_password"):
        for page in ("applications", "users", "me", "sign-in"):
            text = admin.get(f"{page}?{query}").text
            assert 'class="notice' not in text, (page, query)


def test_another_browser_sees_nothing(app: Flask, admin: Client) -> None:
    """A message belongs to the session, not to the user."""
    other = Client(app)
    other.sign_in()
    admin.post("applications/ERP/disable", {"confirmed": "1"})
    assert flashes(other.get("applications").text) == []
    assert flashes(admin.get("applications").text) == ["Disabled ERP."]


def test_programs_that_look_ahead(admin: Client) -> None:
    """HEAD, a prefetch and a script that needs a part of a page take no message from the person who opens one."""
    admin.post("applications/ERP/disable", {"confirmed": "1"})
    admin.client.head("/console/users")
    for header, purpose in (
        ("Sec-Purpose", "prefetch;prerender"),
        ("Purpose", "prefetch"),
        ("X-Moz", "prefetch"),
        ("X-Requested-With", "fetch"),
    ):
        admin.get("users", {header: purpose})
    assert flashes(admin.get("users").text) == ["Disabled ERP."]


def test_a_new_secret_is_shown_once(app: Flask, admin: Client) -> None:
    """A generated secret is on a page of its own; a reload neither rotates again nor shows it again."""
    location = rotate(admin)
    text = admin.get(location).text
    found = re.search(r'<pre id="generated"[^>]*><code>([^<]+)', text)
    assert found is not None
    body = {"name": "ERP", "username": "admin", "privateKey": found[1]}
    assert (
        app.test_client().post("/plugin/datafor-modeler/api/token/generate", json=body, headers=basic()).status_code
        == 200
    )
    again = admin.get(location).text
    assert found[1] not in again
    assert "The new secret was shown already" in again


def test_a_result_is_for_its_page_and_browser(app: Flask, admin: Client) -> None:
    """Neither another page nor another Administrator's session takes a result."""
    location = rotate(admin)
    other = Client(app)
    other.sign_in()
    assert "shown already" in other.get(location).text
    admin.get("applications")
    assert 'id="generated"' in admin.get(location).text


def test_a_result_that_waits_too_long(admin: Client, clock: Clock) -> None:
    """A result that nobody opens within ten minutes is gone."""
    location = rotate(admin)
    clock.now += 601
    assert "shown already" in admin.get(location).text


@pytest.mark.own_app
def test_when_the_store_cannot_keep_it(app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an outage, a new secret is in the response itself, and an action whose message is lost has still been done."""

    def fails(*_: object, **__: object) -> None:
        raise StoreUnavailable(reason="disk full")

    seen = Page(admin.get("applications/ERP/rotate").text).values["seen"]
    monkeypatch.setattr(SessionNotes, "add", fails)
    monkeypatch.setattr(SessionNotes, "take", fails)
    response = admin.post("applications/ERP/rotate", {"grace": "1", "unit": "hours", "seen": seen, "confirmed": "1"})
    assert response.status_code == 200
    assert 'id="generated"' in response.text
    assert admin.post("applications/ERP/disable", {"confirmed": "1"}).status_code == 303
    assert admin.get("applications").status_code == 200


def test_the_notice_of_the_sign_in_page(app: Flask, admin: Client) -> None:
    """After signing out, the sign-in page says so once; a cookie of another content shows nothing."""
    response = admin.post("sign-out")
    assert response.headers["Location"] == "/console/sign-in"
    assert flashes(admin.get("sign-in").text) == ["You are signed out."]
    assert flashes(admin.get("sign-in").text) == []
    stranger = Client(app)
    stranger.client.set_cookie("datafor_notice", quote("<b>x"), path="/")
    assert flashes(stranger.get("sign-in").text) == []


def test_a_question_after_the_session_has_ended(app: Flask, admin: Client) -> None:
    """When the session ended meanwhile, the sign-in leads back to the question, and nothing was done."""
    token = Page(admin.get("applications/ERP/disable").text).form_token
    admin.client.delete_cookie("JSESSIONID")
    sent = {"form_token": token, "confirmed": "1"}
    response = admin.client.post("/console/applications/ERP/disable", data=sent)
    assert response.status_code == 401
    page = Page(response.text).values
    signed_in = admin.client.post(
        "/console/sign-in",
        data={**page, "form_token": Page(response.text).form_token, "username": "admin", "password": ADMIN_PASSWORD},
    )
    assert "You are signed in again." in signed_in.text
    assert "Disable ERP?" in signed_in.text
    content = app.test_client().get("/plugin/datafor-modeler/api/token/content?name=ERP", headers=basic())
    assert content.get_json()["enable"] == "1"


def test_a_question_shows_the_impact(app: Flask, admin: Client) -> None:
    """The question before disabling says how many sessions and tokens it affects, and does nothing."""
    api(app, "generate", {"name": "ERP", "username": "admin"})
    text = admin.get("applications/ERP/disable").text
    assert "0 valid sessions" in text
    assert "1 valid token of the last 24 hours" in text
