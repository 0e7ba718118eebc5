"""Revoking all tokens issued until now, on the pages of users and applications, without a browser."""

import html
import re

import pytest
from flask import Flask

from datafor_token.web.services import services
from tests.console.client import Client, Page, api
from tests.support import STRONG_SECRET, Clock, application

DETAIL = "/plugin/datafor-modeler/api/user/detail"
CONFIRMED = {"typed_name": "lena"}


@pytest.fixture
def admin(app: Flask) -> Client:
    client = Client(app)
    assert client.sign_in().status_code == 303
    api(app, "update", application(secret=STRONG_SECRET))
    api(app, "update", application(name="CRM", secret=STRONG_SECRET[::-1], expire=864000))
    with app.app_context():
        for name in ("lena", "paul"):
            services().accounts.add(name, "long enough")
    return client


def token_of(app: Flask, username: str = "lena", name: str = "ERP") -> str:
    token: str = api(app, "generate", {"name": name, "username": username})["token"]
    return token


def signs_in(app: Flask, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return app.test_client(use_cookies=False).get(DETAIL, headers=headers).status_code == 200


def panel(client: Client, path: str) -> str:
    """Return the text of the panel about revoking on a page."""
    found = re.search(r'<h2 id="revoke">.*?</section>', client.get(path).text, flags=re.DOTALL)
    assert found is not None
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", found[0])).split())


def test_all_tokens_of_a_user(app: Flask, admin: Client, clock: Clock) -> None:
    """They are refused after a question, those of others are not; the page then has the cut-off in a sentence."""
    tokens = [token_of(app, name=name) for name in ("ERP", "CRM")]
    others = token_of(app, "paul")
    question = admin.get("user/revoke-tokens?name=lena").text
    assert "refused until 2024-08-16 07:31 UTC at the latest" in question
    assert "3 valid tokens" not in question
    assert "2 valid tokens of the last 24 hours" in question
    assert "Set on" not in panel(admin, "user/tokens?name=lena")
    response = admin.post("user/revoke-tokens?name=lena", CONFIRMED)
    assert (response.status_code, response.headers["Location"]) == (303, "/console/user/tokens?name=lena")
    assert "Revoked all tokens of lena issued until now." in admin.get("user/tokens?name=lena").text
    assert [signs_in(app, one) for one in (*tokens, others)] == [False, False, True]
    clock.advance(1)
    assert signs_in(app, token_of(app))
    assert (
        "All applications: tokens issued up to 2024-08-06 07:31 UTC are refused, and until 2024-08-16 07:31 UTC also "
        "those that do not say when they were issued. Set on 2024-08-06 07:31 UTC by admin."
    ) in panel(admin, "user/tokens?name=lena")
    assert "Set on" not in panel(admin, "user/tokens?name=paul")


def test_tokens_of_a_user_from_one_application(app: Flask, admin: Client) -> None:
    """The tokens of the user from other applications remain valid; the sentence links to the application."""
    refused, accepted = token_of(app), token_of(app, name="CRM")
    admin.post("user/revoke-tokens?name=lena", {**CONFIRMED, "application": "erp"})
    assert (signs_in(app, refused), signs_in(app, accepted)) == (False, True)
    assert '<a href="/console/applications/ERP">ERP</a>: tokens issued up to' in admin.get("user/tokens?name=lena").text


@pytest.mark.parametrize(
    ("fields", "status", "messages"),
    [
        ({}, 400, {"typed_name": "The text does not match, so nothing was changed."}),
        ({"typed_name": "Lena"}, 400, {"typed_name": "The text does not match, so nothing was changed."}),
        ({**CONFIRMED, "application": "Gone"}, 404, {"application": "Name does not exist"}),
    ],
)
def test_a_mistyped_name(
    app: Flask, admin: Client, fields: dict[str, str], status: int, messages: dict[str, str]
) -> None:
    """Without the exact name of the user, or with an unknown application, nothing is revoked and the page says so."""
    token = token_of(app)
    response = admin.post("user/revoke-tokens?name=lena", fields)
    assert response.status_code == status
    page = Page(response.text)
    assert page.messages == messages
    assert page.values["application"] == fields.get("application", "")
    assert signs_in(app, token)


def test_the_check_of_a_revoked_token(app: Flask, admin: Client) -> None:
    """The check of a token names the cut-off, in the language of the page."""
    token = token_of(app)
    admin.post("user/revoke-tokens?name=lena", CONFIRMED)
    assert "evoked for lena on 2024-08-06" in admin.post("tokens", {"token": token}).text
    chinese = Client(app, language="zh")
    chinese.sign_in()
    text = chinese.post("tokens", {"token": token}).text
    assert re.findall(r"\b[a-z]+ [a-z]+ [a-z]+\b", re.sub("<[^>]+>", " ", text.partition('id="result"')[2])) == []


def test_all_tokens_of_an_application(app: Flask, admin: Client) -> None:
    """They are refused at once, those of other applications are not; the page then has the cut-off in a sentence."""
    refused = [token_of(app, name) for name in ("lena", "paul")]
    accepted = token_of(app, name="CRM")
    question = admin.get("applications/ERP/revoke-tokens").text
    assert "refused until 2024-08-07 07:31 UTC" in question
    assert "2 valid tokens of the last 24 hours" in question
    response = admin.post("applications/ERP/revoke-tokens", {"typed_name": "ERP"})
    assert (response.status_code, response.headers["Location"]) == (303, "/console/applications/ERP/danger")
    assert [signs_in(app, one) for one in (*refused, accepted)] == [False, False, True]
    assert "All users: tokens issued up to 2024-08-06 07:31 UTC are refused" in panel(admin, "applications/ERP/danger")
    assert "Set on" not in panel(admin, "applications/CRM/danger")


def test_a_mistyped_application(app: Flask, admin: Client) -> None:
    """Without the exact name of the application nothing is revoked, and the page says so."""
    token = token_of(app)
    response = admin.post("applications/ERP/revoke-tokens", {"typed_name": "erp"})
    assert response.status_code == 400
    assert Page(response.text).messages == {"typed_name": "The text does not match, so nothing was changed."}
    assert signs_in(app, token)


def test_a_cut_off_of_one_user(admin: Client) -> None:
    """The page of the application names the user of a cut-off for one user, with a link."""
    admin.post("user/revoke-tokens?name=lena", {**CONFIRMED, "application": "ERP"})
    assert (
        '<a href="/console/user?name=lena">lena</a>: tokens issued up to' in admin.get("applications/ERP/danger").text
    )
