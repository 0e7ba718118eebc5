"""Warnings beside a new token that does not sign in."""

import html

import pytest
from flask import Flask

from tests.conftest import Caller
from tests.console.client import Client
from tests.support import STRONG_SECRET, application

SETTING = "TOKENS_MAY_ADMINISTER is false"
WEAK = "secret of ERP is weak"
ADVICE = "Let the Administrator sign in with a password."


def pages(app: Flask, caller: Caller, secret: str) -> list[str]:
    """Return the pages with a test token and a personal token of the Administrator, of an application."""
    caller.post("update", application(secret=secret, self_service="1"))
    client = Client(app)
    client.sign_in()
    tested = issued(client, "admin")
    assert client.post("me/token", {"name": "ERP"}).status_code == 303
    return [html.unescape(text) for text in (tested, client.get("me").text)]


def issued(client: Client, username: str, **fields: str) -> str:
    """Issue a token or a link with the form and return the page with the result."""
    response = client.post("tokens/issue", {"name": "ERP", "username": username, "next": "/", **fields})
    assert response.headers["Location"] == "/console/tokens/issue/result"
    return client.get("tokens/issue/result").text


def test_a_token_of_an_administrator(app: Flask, caller: Caller) -> None:
    """Beside an Administrator's token, the console names the setting that lets it sign in, and says what to do."""
    for page in pages(app, caller, STRONG_SECRET):
        assert f"This token does not sign in here. Tokens cannot sign in an Administrator: {SETTING}. {ADVICE}" in page


@pytest.mark.tokens_may_administer
def test_an_administrator_and_a_weak_secret(app: Flask, caller: Caller) -> None:
    """With the setting, the console says so only of a weak secret."""
    for page in pages(app, caller, "abcd"):
        assert f"{WEAK}: it cannot sign in an Administrator. {ADVICE}" in page
    for page in pages(app, caller, STRONG_SECRET):
        assert "does not sign in here" not in page


def test_a_token_that_signs_in(app: Flask, caller: Caller) -> None:
    """Beside a token or link that signs in there is no warning; an unknown user without inituser gets one."""
    client = Client(app)
    client.sign_in()
    for inituser, warned in (("1", False), ("0", True)):
        caller.post("update", application(secret=STRONG_SECRET, inituser=inituser))
        page = issued(client, "lena")
        assert ("This token does not sign in here. The user lena does not exist" in page) == warned
        page = issued(client, "lena", form="link")
        assert ("This link does not sign in now. The user lena does not exist" in page) == warned
