"""The page of issued tokens, without a browser."""

import html
import re

import pytest
from flask import Flask

from datafor_token.audit import search
from datafor_token.errors import AuditUnavailable
from datafor_token.tokens.issued import IssuedTokens
from tests.console.client import Client, Page, api
from tests.console.test_access import notice, rows, signs_in
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application


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
        for one in rows(client.get(f"tokens/issued{query}").text, "Issued tokens")
    ]


def test_the_list(app: Flask, admin: Client, clock: Clock) -> None:
    """It has the tokens with user, application, times, issuer and status, newest first; active ones have a button."""
    assert "No tokens yet." in admin.get("tokens/issued").text
    token_of(app, "<b>lena", "CRM")
    clock.advance(60)
    token_of(app)
    clock.advance(60)
    api(app, "personal", {"name": "ERP", "label": "export"})
    assert shown(admin) == [
        "personal admin ERP 07:33 2024-08-07 07:33 active Revoke…",
        "lena ERP 07:32 admin 2024-08-07 07:32 active Revoke…",
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
    text = admin.get("tokens/issued?status=revoked").text
    assert "No tokens match." in text
    assert Page(text).values["status"] == "revoked"
    response = admin.get("tokens/issued?user=a:b&status=x")
    assert response.status_code == 400
    assert Page(response.text).messages == {
        "user": "Cannot contain ':'",
        "status": "Must be one of active, expired, revoked",
    }
    assert admin.get("tokens/issued?page=x").status_code == 400


def test_the_pages(app: Flask, admin: Client) -> None:
    """A page has 100 tokens; the next one has older ones, and no token is on both."""
    for number in range(110):
        token_of(app, f"user{number:03d}")
    text = admin.get("tokens/issued?application=ERP").text
    newest = identifiers(text)
    older = re.search(r'rel="next" href="([^"]+)"', text)
    assert older is not None
    text = admin.get(f"tokens/issued{older[1].replace('&amp;', '&')}").text
    assert (len(newest), len(identifiers(text))) == (100, 10)
    assert not {*newest} & {*identifiers(text)}
    assert 'href="?application=ERP"' in text


def identifiers(text: str) -> list[str]:
    """Return the identifiers of the tokens with a checkbox."""
    return re.findall(r'<input type="checkbox" name="id" value="([0-9a-f]{32})"', text)


def question(client: Client, path: str) -> tuple[str, Page]:
    """Return the text of a question and its form."""
    response = client.get(path)
    assert response.status_code == 200
    panel = response.text.partition('id="question"')[2].partition("</form>")[0]
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", panel)).split()), Page(panel)


def test_revoking(app: Flask, admin: Client) -> None:
    """Revoking asks first, revokes exactly this token, and leads back to the same filters."""
    first, second = token_of(app), token_of(app, "paul")
    enter(app, first)
    text = admin.get("tokens/issued?user=lena").text
    (link,) = re.findall(r'href="/console/(tokens/revoke[^"]*)" data-dialog', text)
    link = html.unescape(link)
    (identifier,) = identifiers(text)
    assert link == f"tokens/revoke?id={identifier}&user=lena"
    asked, form = question(admin, link)
    assert asked.startswith("> Revoke the token of lena for ERP? It is refused from now on")
    assert f"{identifier} valid until 2024-08-07 07:31 UTC 1 valid session" in asked
    assert form.values["id"] == identifier
    assert signs_in(app, first)
    response = admin.post(link, {"id": identifier, "confirmed": "1"})
    assert response.headers["Location"] == "/console/tokens/issued?user=lena"
    assert notice(admin, response.headers["Location"]) == "Revoked 1 token."
    assert shown(admin, "?user=lena")[0].endswith("revoked")
    assert (signs_in(app, first), signs_in(app, second)) == (False, True)
    assert admin.post("tokens/revoke", {"id": "x"}).status_code == 400


def enter(app: Flask, token: str) -> None:
    """Open a gate session with a token."""
    response = app.test_client(use_cookies=False).get(f"/auth/enter?token={token}&next=/")
    assert response.status_code == 303, response.text


def test_revoking_several(app: Flask, admin: Client, clock: Clock) -> None:
    """Of several selected tokens, the question names each; all are revoked and counted, also one that just expired."""
    tokens = [token_of(app), token_of(app, "paul"), token_of(app, "lena", "CRM")]
    text = admin.get("tokens/issued").text
    chosen = identifiers(text)
    response = admin.post("tokens/revoke?status=active", {"id": chosen})
    assert response.status_code == 200
    assert "Revoke 3 tokens?" in response.text
    for name in ("lena, CRM", "paul, ERP", "lena, ERP"):
        assert name in response.text
    assert all(signs_in(app, token) for token in tokens)
    # Meanwhile, one expires.
    clock.advance(61)
    response = admin.post("tokens/revoke", {"id": chosen, "confirmed": "1"})
    assert response.headers["Location"] == "/console/tokens/issued"
    assert notice(admin, response.headers["Location"]) == "Revoked 3 tokens."
    assert not any(signs_in(app, token) for token in tokens)
    admin.post("tokens/revoke", {"id": chosen[1:2], "confirmed": "1"})
    assert notice(admin, response.headers["Location"]) == "Revoked 0 tokens."
    response = admin.post("tokens/revoke", {})
    assert notice(admin, response.headers["Location"]) == "Nothing was selected."


def test_a_session_that_ends_before_revoking(app: Flask, admin: Client) -> None:
    """After the sign-in, the question about the selected tokens is asked again, with the same filters."""
    token_of(app)
    token_of(app, "paul")
    chosen = identifiers(admin.get("tokens/issued").text)
    sent = {"id": chosen, "form_token": Page(admin.get("me").text).form_token}
    admin.client.delete_cookie("JSESSIONID")
    page = Page(admin.client.post("/console/tokens/revoke?application=ERP", data=sent).text)
    fields = {name: value for name, value in page.values.items() if value is not None}
    fields |= {"username": "admin", "password": ADMIN_PASSWORD, "form_token": page.form_token}
    text = admin.client.post("/console/sign-in", data=fields).text
    assert "Revoke 2 tokens?" in text
    assert 'action="/console/tokens/revoke?application=ERP"' in text
    assert re.findall(r'name="id" value="([^"]+)"', text) == chosen


def test_an_identifier(app: Flask, admin: Client) -> None:
    """The filter by identifier finds one token; another text is an error beside its field."""
    token_of(app)
    token_of(app, "paul")
    (identifier, _) = identifiers(admin.get("tokens/issued").text)
    assert len(shown(admin, f"?id={identifier}")) == 1
    assert shown(admin, f"?id={identifier[::-1]}") == []
    response = admin.get("tokens/issued?id=5ff2")
    assert response.status_code == 400
    assert "32 hex digits" in Page(response.text).messages["id"]


def test_a_search_that_goes_on(app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the lines of one search have no token that fits, the page says how far it looked, and keeps looking."""
    monkeypatch.setattr(search, "_MOST_LINES", 3)
    token_of(app, "paul")
    for _ in range(5):
        token_of(app)
    text = admin.get("tokens/issued?user=paul").text
    assert "Nothing found back to" in text
    assert "No tokens match." not in text
    for _ in range(5):
        found = re.search(r'<p class="empty">.*href="([^"]+)">Keep looking', text, flags=re.DOTALL)
        if found is None:
            break
        text = admin.get(f"tokens/issued{html.unescape(found[1])}").text
    assert ["paul" in row for row in rows(text, "Issued tokens")] == [True]


def test_nothing_is_never_a_guess(app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a search ends before the log does, no page of an application or user says that there is nothing."""
    assert signs_in(app, token_of(app, "paul"))
    for _ in range(5):
        token_of(app)
    monkeypatch.setattr(search, "_MOST_LINES", 3)
    for path in ("applications/CRM", "applications/CRM/tokens", "applications/CRM/activity", "user/tokens?name=paul",
                 "user/history?name=paul"):  # fmt: skip
        text = admin.get(path).text
        assert "Nothing found yet, and the audit log goes further back." in text, path
        assert not re.search("No (tokens|events) (yet|match)", text), path
        assert ("Keep looking" in text) == (path.split("/")[-1] in ("tokens", "activity")), path


def test_an_outage(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the audit log cannot be read, the page is that of an outage and not an empty list."""

    def fail(*_: object) -> None:
        raise AuditUnavailable

    monkeypatch.setattr(IssuedTokens, "page", fail)
    assert admin.get("tokens/issued").status_code == 503


def test_links(app: Flask, admin: Client) -> None:
    """The audit log links to the page, and the page of a user to their tokens."""
    assert signs_in(app, token_of(app))
    assert 'href="/console/tokens/issued"' in admin.get("audit").text
    assert 'href="/console/tokens/issued?user=lena"' in admin.get("user/tokens?name=lena").text
