"""The page of issued tokens, without a browser."""

import re

import pytest
from flask import Flask

from datafor_token.errors import AuditUnavailable
from datafor_token.tokens.issued import IssuedTokens
from tests.console.client import Client, Page, api
from tests.console.test_access import notice, rows, signs_in, values
from tests.support import STRONG_SECRET, Clock, application


@pytest.fixture
def admin(app: Flask) -> Client:
    client = Client(app)
    assert client.sign_in().status_code == 303
    api(app, "update", application(secret=STRONG_SECRET, inituser="1", self_service="1"))
    api(app, "update", application(name="CRM", secret=STRONG_SECRET[::-1], inituser="1", expire=60))
    return client


def token_of(app: Flask, username: str = "lena", name: str = "ERP") -> str:
    token: str = api(app, "generate", {"name": name, "username": username})["token"]
    return token


def shown(client: Client, query: str = "") -> list[str]:
    """Return the rows of the list, without the identifiers."""
    return [
        re.sub(r"\b[0-9a-f]{12}…? ?", "", one).strip()
        for one in rows(client.get(f"issued{query}").text, "Issued tokens")
    ]


def test_the_list(app: Flask, admin: Client, clock: Clock) -> None:
    """It has the tokens with user, application, times, issuer and status, newest first; active ones have a button."""
    assert "No tokens yet." in admin.get("issued").text
    token_of(app, "<b>lena", "CRM")
    clock.advance(60)
    token_of(app)
    clock.advance(60)
    api(app, "personal", {"name": "ERP", "label": "export"})
    assert shown(admin) == [
        "personal admin ERP 07:33 2024-08-07 07:33 active Revoke",
        "lena ERP 07:32 admin 2024-08-07 07:32 active Revoke",
        "&lt;b&gt;lena CRM 07:31 admin 07:32 expired",
    ]


def test_the_filters(app: Flask, admin: Client, clock: Clock) -> None:
    """User, application and status select tokens; a wrong value is an error beside its field."""
    token_of(app, name="CRM")
    clock.advance(60)
    token_of(app)
    token_of(app, "paul")
    assert [one.split()[0] for one in shown(admin, "?user=LENA")] == ["lena", "lena"]
    assert [one.split()[1] for one in shown(admin, "?application=crm")] == ["CRM"]
    assert [one.split()[0] for one in shown(admin, "?status=active")] == ["paul", "lena"]
    text = admin.get("issued?status=revoked").text
    assert "No tokens match." in text
    assert Page(text).values["status"] == "revoked"
    response = admin.get("issued?user=a:b&status=x")
    assert response.status_code == 400
    assert Page(response.text).messages == {
        "user": "Cannot contain ':'",
        "status": "Must be one of active, expired, revoked",
    }
    assert admin.get("issued?page=x").status_code == 400


def test_the_pages(app: Flask, admin: Client) -> None:
    """A page has 100 tokens; the next one has older ones, and no token is on both."""
    for number in range(110):
        token_of(app, f"user{number:03d}")
    text = admin.get("issued?application=ERP").text
    newest = values(text, "id")
    older = re.search(r'rel="next" href="([^"]+)"', text)
    assert older is not None
    text = admin.get(f"issued{older[1].replace('&amp;', '&')}").text
    assert (len(newest), len(values(text, "id"))) == (100, 10)
    assert not {*newest} & {*values(text, "id")}
    assert 'href="?application=ERP"' in text


def test_revoking(app: Flask, admin: Client) -> None:
    """The button revokes exactly this token at once, and leads back to the same filters and page."""
    first, second = token_of(app), token_of(app, "paul")
    text = admin.get("issued?user=lena").text
    (action,) = re.findall(r'action="/console/(issued/revoke[^"]*)"', text)
    assert action == "issued/revoke?user=lena"
    response = admin.post(action, {"id": values(text, "id")[0]})
    assert response.headers["Location"] == "/console/issued?user=lena"
    assert notice(admin, response.headers["Location"]) == "The token was revoked."
    assert shown(admin, "?user=lena")[0].endswith("revoked")
    assert (signs_in(app, first), signs_in(app, second)) == (False, True)
    assert admin.post("issued/revoke", {"id": "x"}).status_code == 400


def test_an_outage(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the audit log cannot be read, the page is that of an outage and not an empty list."""

    def fail(*_: object) -> None:
        raise AuditUnavailable

    monkeypatch.setattr(IssuedTokens, "page", fail)
    assert admin.get("issued").status_code == 503


def test_links(app: Flask, admin: Client) -> None:
    """The audit log links to the page, and the pages of a user and an application to their tokens."""
    assert signs_in(app, token_of(app))
    assert 'href="/console/issued"' in admin.get("audit").text
    assert 'href="/console/issued?user=lena"' in admin.get("user?name=lena").text
    assert 'href="/console/issued?application=ERP"' in admin.get("applications/ERP").text
