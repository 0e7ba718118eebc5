"""The header: navigation, who is signed in, and switches of language and theme that keep what was typed."""

import html
import re
from urllib.parse import urlencode

import pytest
from flask import Flask

from datafor_token.console import guard, header, language
from tests.console.client import Client, Page, api
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application

FIELDS = {"name": "Portal", "expire": "7", "unit": "hours", "initroles": "Sales", "secret": STRONG_SECRET}


@pytest.fixture
def admin(app: Flask) -> Client:
    api(app, "update", application(secret=STRONG_SECRET, self_service="1"))
    client = Client(app)
    assert client.sign_in().status_code == 303
    return client


def switch(client: Client, kind: str, fields: dict[str, str] | None = None, page: str = "me", **query: str) -> str:
    """Press a switch and return the page that follows; redirects are followed."""
    response = client.post(f"{kind}?{urlencode({'back': '/console/me', **query})}", fields, page=page)
    if response.status_code == 303:
        response = client.get(response.headers["Location"].removeprefix("/console/"))
    assert response.status_code == 200
    return response.text


def cookie(client: Client, name: str) -> str | None:
    found = client.client.get_cookie(name)
    return None if found is None else found.value


def test_navigation(admin: Client) -> None:
    """The navigation marks the section of the page, and the menu says who is signed in."""
    for path, label in {
        "applications/ERP": "Applications",
        "new-application": "Applications",
        "audit": "Audit",
    }.items():
        text = admin.get(path).text
        current = re.findall(r'<a href="[^"]*" title="([^"]*)" aria-current="page">', text)
        assert current == [label]
        assert '<span class="unseen">Signed in as </span><span class="who">admin</span>' in text
    assert 'title="Users"' not in Client(admin.client.application).get("sign-in").text


@pytest.mark.parametrize(("kind", "to"), [("language", "zh-Hans"), ("theme", "dark")])
def test_a_switch_returns_to_the_page(admin: Client, kind: str, to: str) -> None:
    """A switch returns to the page with its query; an address of another host or page leads to the start page."""
    response = admin.post(f"{kind}?{urlencode({'to': to, 'back': '/console/audit?user=lena'})}")
    assert (response.status_code, response.headers["Location"]) == (303, "/console/audit?user=lena")
    for back in ("//evil.example/", "https://evil.example", "/token/list"):
        response = admin.post(f"{kind}?{urlencode({'to': to, 'back': back})}")
        assert (response.status_code, response.headers["Location"]) == (303, "/console/")


def test_the_theme(admin: Client) -> None:
    """The chosen theme is kept in a cookie and is in each page; System removes the cookie."""
    assert "data-theme" not in admin.get("me").text
    switch(admin, "theme", to="dark")
    text = admin.get("me").text
    assert '<html lang="en" data-theme="dark">' in text
    assert '<meta name="color-scheme" content="dark">' in text
    switch(admin, "theme", to="blue")
    assert cookie(admin, header.THEME_COOKIE) == "dark"
    switch(admin, "theme", to="system")
    assert cookie(admin, header.THEME_COOKIE) is None
    admin.client.set_cookie(header.THEME_COOKIE, '"><script>')
    assert "data-theme" not in admin.get("me").text


@pytest.mark.parametrize(("kind", "to"), [("language", "zh-Hans"), ("theme", "dark")])
def test_a_switch_keeps_what_was_typed(admin: Client, kind: str, to: str) -> None:
    """A switch in a form shows the form again with all that was typed, except secrets, and says so."""
    form = Page(admin.get("new-application").text).action
    text = switch(admin, kind, FIELDS, "new-application", to=to, form=form)
    page = Page(text)
    assert {name: page.values[name] for name in ("name", "expire", "unit", "initroles", "secret")} == {
        **FIELDS,
        "secret": "",
    }
    assert STRONG_SECRET not in text
    assert ("密码和密钥未保留" if kind == "language" else "except passwords and secrets") in text
    assert ('lang="zh-Hans"' if kind == "language" else 'data-theme="dark"') in text
    # It is not stored: leaving the page asks.
    assert 'data-guard="changed"' in text
    without = switch(admin, kind, {**FIELDS, "secret": ""}, "new-application", to=to, form=form)
    assert "except passwords" not in without
    assert "密码和密钥未保留" not in without


def test_a_switch_on_the_sign_in_page(app: Flask) -> None:
    """On the sign-in page, a switch keeps the user name, the page to return to and an unsent form, but no password."""
    fields = {"username": "le<na", "password": "a-Password-to-lose", "next": "/console/audit", "path": "", "typed": ""}
    client = Client(app)
    text = switch(client, "language", fields, "sign-in", to="zh-Hans", form="/console/sign-in")
    page = Page(text)
    assert (page.values["username"], page.values["next"]) == ("le<na", "/console/audit")
    assert "a-Password-to-lose" not in text
    assert 'lang="zh-Hans"' in text


def test_a_switch_after_the_session_has_ended(admin: Client) -> None:
    """A switch in a form whose session has ended leads to the sign-in, which says so; then the form comes back."""
    page = Page(admin.get("new-application").text)
    admin.client.set_cookie("JSESSIONID", "x" * 43)
    sent = {**FIELDS, "form_token": page.form_token}
    query = urlencode({"to": "zh-Hans", "form": page.action})
    response = admin.client.post(f"/console/language?{query}", data=sent, headers={"Accept-Language": "en"})
    assert response.status_code == 401
    assert "Your session has ended" in response.text
    assert cookie(admin, language.COOKIE) is None
    hidden = {name: value or "" for name, value in Page(response.text).values.items()}
    again = admin.post("sign-in", {**hidden, "username": "admin", "password": ADMIN_PASSWORD}, page="sign-in")
    assert Page(again.text).values["initroles"] == "Sales"


def test_the_form_of_a_switch_is_that_of_a_page_one_may_see(app: Flask, admin: Client) -> None:
    """A switch shows no form whose page the reader may not see, and nothing that is no form of the console."""
    for form in ("/token/update", "/console/nothing", "//evil.example/", "https://evil.example", "/console/sign-out"):
        response = admin.post(f"theme?{urlencode({'to': 'dark', 'form': form, 'back': '/console/me'})}", FIELDS)
        assert (response.status_code, response.headers["Location"]) == (303, "/console/me")


def test_a_switch_needs_the_form_token(app: Flask) -> None:
    """Without the token of a form, a switch is refused."""
    assert app.test_client().post("/console/theme?to=dark").status_code == 403
    assert app.test_client().post("/console/language?to=en").status_code == 403


def test_the_ended_session(app: Flask, admin: Client) -> None:
    """The sign-in page says that the session has ended if the browser had one, and nothing if it had none."""
    words = "Your session has ended. Sign in again to continue."
    assert words not in Client(app).get("sign-in?next=/console/audit").text
    assert words not in admin.get("sign-in").text
    admin.client.set_cookie("JSESSIONID", "x" * 43)
    location = admin.get("audit").headers["Location"]
    assert words in admin.get(location.removeprefix("/console/")).text


def test_every_typed_form_is_kept(admin: Client) -> None:
    """Each page with fields to type has one main form, which the switches belong to and which can be shown again."""
    pages = ("new-application", "applications/ERP/settings", "applications/ERP/trust", "tokens/issue", "tokens", "me")
    for path in pages:
        text = html.unescape(admin.get(path).text)
        (form,) = re.findall(r'<form [^>]*id="main-form"[^>]*action="([^"]+)"', text)
        switches = re.findall(r"<button formaction=[^>]+data-switch[^>]*>", text)
        assert len(switches) == len(language.LANGUAGES) + len(header.THEMES)
        assert all('form="main-form"' in one for one in switches)
        endpoint, _ = admin.client.application.url_map.bind("").match(form, method="POST")
        assert endpoint in guard._REDISPLAYS


def test_enter_presses_the_default_button(admin: Client) -> None:
    """The first button of a main form in the document is the one without a name, so that Enter presses it."""
    for path in ("new-application", "applications/ERP/settings", "tokens/issue", "me"):
        text = admin.get(path).text
        first = re.search(r"<button[^>]*>", text)
        assert first is not None
        assert 'form="main-form"' in first[0]
        assert "name=" not in first[0]
        assert "formaction=" not in first[0]
