"""Rules that every page and form of the console obeys: who may use it, forged forms, hostile parameters.

They are about each route of the console, so that a new page is covered too.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from flask import Flask

from datafor_token.console import guard
from datafor_token.settings import Settings
from tests.console.client import Client, Page, api
from tests.stores import COLLECTIONS, records_in
from tests.support import STRONG_SECRET, application

# An example of each argument in the path of a page.
ARGUMENTS = {"<name>": "ERP", "<version>": "0", "<path:rest>": "nothing"}
# What is not for Administrators only. A page that is added here shows or does nothing for another user.
FOR_USERS = {
    "home", "own_page", "change_password", "personal_token", "ask_revoke_own_token", "revoke_own_token",
    "ask_end_own_sessions", "end_own_sessions",
}  # fmt: skip
FOR_ANYONE = {"sign_in", "sign_in_now", "sign_out", "switch_language", "switch_theme", "asset", "not_found"}
# What changes while pages are read.
_VOLATILE = ("sessions", "activity", "sign_ins")
# JSON, so that a field can have any type; the last ones are texts for every kind of field.
HOSTILE: list[Any] = [
    5, [5, None, ["x"]], {"a": {"b": 5}}, "\x00\n<script>%(name)s %s {{7*7}}\u202e", "9" * 40,
    '{"name": 5, "id": {}, "seen": []}',
]  # fmt: skip


class Route(NamedTuple):
    """A method and a path of the console, with its view."""

    method: str
    path: str
    view: str


def routes(app: Flask) -> Iterator[Route]:
    """Yield each route, with examples as arguments."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda one: one.rule):
        blueprint, _, view = rule.endpoint.partition(".")
        if blueprint == "console":
            path = re.sub("<[^>]+>", lambda found: ARGUMENTS[found[0]], rule.rule)
            yield from (Route(method, path, view) for method in sorted((rule.methods or set()) - {"OPTIONS"}))


@pytest.fixture
def lena(app: Flask) -> Client:
    """Return the browser of a user who is no Administrator, beside an application."""
    api(app, "update", application(secret=STRONG_SECRET, initpwd="a-password-of-lena", self_service="1"))
    token = api(app, "generate", {"name": "ERP", "username": "lena"})["token"]
    whoami = "/plugin/datafor-modeler/api/user/detail"
    signed_in = app.test_client().get(whoami, headers={"Authorization": f"Bearer {token}"})
    assert signed_in.status_code == 200
    client = Client(app)
    assert client.sign_in("lena", "a-password-of-lena").status_code == 303
    return client


@pytest.fixture
def admin(app: Flask, lena: Client) -> Client:
    """Return the browser of an Administrator, beside an application and another user."""
    del lena
    client = Client(app)
    assert client.sign_in().status_code == 303
    return client


def stored(settings: Settings) -> dict[str, Any]:
    """Return all records that a request may change on purpose only."""
    return {
        name: {one.name: one.read_text() for one in records_in(settings.data_dir, name)}
        for name in COLLECTIONS
        if name not in _VOLATILE
    }


def test_pages_for_others_than_administrators() -> None:
    """Which pages are not for Administrators only is decided here as well, not in the code alone."""
    assert guard.SIGNED_IN == FOR_USERS
    assert guard.ANYONE == FOR_ANYONE


def test_another_user(app: Flask, lena: Client, settings: Settings) -> None:
    """For a user who is no Administrator, every other page and form is 403, shows nothing and changes nothing."""
    before = stored(settings)
    form_token = Page(lena.get("me").text).form_token
    for method, path, view in routes(app):
        if view not in FOR_USERS | FOR_ANYONE:
            data = {"form_token": form_token, "confirmed": "1", "typed_name": "ERP"} if method == "POST" else None
            response = lena.client.open(f"{path}?name=lena", method=method, data=data)
            assert (path, response.status_code) == (path, 403)
            assert method == "HEAD" or "No permission" in response.text
    assert stored(settings) == before


def test_nobody(app: Flask, admin: Client, settings: Settings) -> None:
    """Without a session, every page leads to the sign-in, and every form is 401 and changes nothing."""
    before = stored(settings)
    stranger = Client(app)
    form_token = Page(stranger.get("sign-in").text).form_token
    for method, path, view in routes(app):
        if view not in FOR_ANYONE:
            data = {"form_token": form_token, "confirmed": "1", "typed_name": "ERP"} if method == "POST" else None
            response = stranger.client.open(f"{path}?name=lena", method=method, data=data)
            assert (path, response.status_code) == (path, 401 if method == "POST" else 303)
            assert "/console/sign-in" in (response.headers.get("Location") or response.text)
    assert stored(settings) == before
    assert admin.get("me").status_code == 200


def test_forged_forms(app: Flask, admin: Client, settings: Settings) -> None:
    """A form without a token, or with that of another browser or session, changes nothing and redirects nowhere."""
    other = Client(app)
    other.sign_in()
    before = stored(settings)
    tokens = (None, "x", Page(Client(app).get("sign-in").text).form_token, Page(other.get("me").text).form_token)
    fields = {"confirmed": "1", "typed_name": "ERP", "name": "ERP", "action": "delete", "enable": "1", "all": "1"}
    for method, path, _ in routes(app):
        for token in tokens if method == "POST" else ():
            sent = {**fields, **({"form_token": token} if token is not None else {})}
            response = admin.client.post(f"{path}?name=lena&to=zh-Hans", data=sent)
            # 200 is the form or the question, shown again to be sent on purpose.
            assert response.status_code in (200, 400, 403, 404), path
            if response.status_code == 200:
                assert 'name="form_token"' in response.text, path
            assert "Location" not in response.headers, path
            assert "Set-Cookie" not in response.headers, path
    assert stored(settings) == before
    assert admin.get("me").status_code == 200


def test_a_forged_sign_in(app: Flask) -> None:
    """Another site cannot sign a browser in or out: the form needs a token of the same browser."""
    victim = Client(app)
    token = Page(Client(app).get("sign-in").text).form_token
    victim.get("sign-in")
    for sent in ({}, {"form_token": token}):
        response = victim.client.post("/console/sign-in", data={**sent, "username": "admin", "password": "x"})
        assert (response.status_code, response.headers.get("Set-Cookie")) == (403, None)


@pytest.mark.slow
def test_hostile_forms(app: Flask, admin: Client) -> None:
    """No value or type of a field makes a form fail, whether it is carried out or shown again."""
    names = _names(app, admin)
    form_token = Page(admin.get("me").text).form_token
    for method, path, view in routes(app):
        # Not those that end one's own session.
        if method == "POST" and view not in ("sign_out", "end_own_sessions", "change_password"):
            for value in HOSTILE:
                fields = dict.fromkeys(names, value) | {"typed_name": "no"}
                # The second one is outdated, and the last a switch of the header: both show the form again.
                for target, token in (
                    (f"{path}?name=lena", form_token),
                    (f"{path}?name=lena", "outdated"),
                    (f"/console/language?to=en&form={path}%3Fname%3Dlena", form_token),
                ):
                    response = admin.client.post(target, json={**fields, "form_token": token})
                    assert response.status_code < 500, (target, value)
    assert admin.get("me").status_code == 200


def test_hostile_queries(app: Flask, admin: Client) -> None:
    """No parameter of a URL makes a page fail, and none is markup on it."""
    names = {*_names(app, admin), "sort", "like", "with", "as", "role", "origin", "back", "to"} - {"name"}
    for method, path, view in routes(app):
        if method == "GET" and view != "asset":
            for value in HOSTILE:
                if isinstance(value, str):
                    response = admin.client.get(path, query_string=dict.fromkeys(names, value) | {"name": "lena"})
                    assert response.status_code < 500, (path, value)
                    assert "<script>%" not in response.text, path
            assert admin.client.get(f"{path}?name=%ff%00&q=%ed%a0%80&page=%c2%b2&sort=%ff").status_code < 500


def _names(app: Flask, admin: Client) -> set[str]:
    """Return the names of all fields of all pages."""
    found = {"id", "jti", "path", "typed", "next", "username", "confirmed", "generate", "age", "q"}
    for method, path, view in routes(app):
        if method == "GET" and view not in ("asset", "sign_in"):
            found |= set(re.findall(r'\sname="([A-Za-z_]+)[\["]', admin.client.get(f"{path}?name=lena").text))
    return found - {"form_token"}
