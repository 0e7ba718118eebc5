"""Personal tokens and sessions on the page of their user, without a browser."""

import html
import io
import re

import pytest
from flask import Flask

from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.tokens.personal import PersonalTokens
from datafor_token.web.services import services
from tests.conftest import services_in
from tests.console.client import Client, Page, api, flashes
from tests.stores import records_in
from tests.support import STRONG_SECRET, Clock, application

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LOGIN = "/plugin/datafor/api/extension/auth/login"
PASSWORD = "long enough"


@pytest.fixture(autouse=True)
def _people(app: Flask) -> None:
    api(app, "update", application(self_service="1", secret=STRONG_SECRET))
    with app.app_context():
        for name in ("lena", "paul"):
            services().accounts.add(name, PASSWORD)


@pytest.fixture
def lena(app: Flask) -> Client:
    return signed_in(app, "lena")


def signed_in(app: Flask, name: str) -> Client:
    client = Client(app)
    assert client.sign_in(name, PASSWORD).status_code == 303
    return client


def issue(client: Client, **fields: str) -> str:
    """Issue a personal token with the form and return it."""
    response = client.post("me/token", {"label": "", "name": "ERP", "expire": "", **fields})
    assert response.status_code == 303, response.text
    found = re.search(r'<pre id="token"[^>]*><code>([^<]+)', client.get("me").text)
    assert found is not None
    return found[1]


def signs_in(app: Flask, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return app.test_client(use_cookies=False).get(DETAIL, headers=headers).status_code == 200


def rows(text: str, caption: str) -> list[str]:
    """Return the text of each row of the table with this caption, without its head; times without the day."""
    table = re.search(rf"<caption[^>]*>{caption}</caption>.*?<tbody[^>]*>(.*?)</tbody>", text, flags=re.DOTALL)
    found = re.findall("<tr[^>]*>(.*?)</tr>", table[1], flags=re.DOTALL) if table else []
    plain = [re.sub("<[^>]+>|2024-08-06| UTC", " ", one).replace("\u2013", "-") for one in found]
    return [" ".join(one.split()) for one in plain]


def values(text: str, name: str) -> list[str]:
    """Return the values of the buttons with this name."""
    return re.findall(rf'<button[^>]*name="{name}" value="([^"]*)"', text)


def notice(client: Client, location: str) -> str:
    """Return the notice of the page that a redirect leads to."""
    found = flashes(client.get(location.removeprefix("/console/")).text)
    return found[0] if found else ""


def test_personal_tokens(app: Flask, lena: Client, clock: Clock) -> None:
    """A token is issued with label and lifetime and listed with times and status, newest first; one can be revoked."""
    assert "No personal tokens." in lena.get("me").text
    first = issue(lena)
    clock.advance(60)
    second = issue(lena, label="nightly <b>", expire="3600")
    assert signs_in(app, second)
    with app.app_context():
        services().personal_tokens.uses.flush()
    text = lena.get("me").text
    assert second not in text
    assert rows(text, "Personal tokens") == [
        "nightly &lt;b&gt; ERP 07:32 08:32 07:32 active Revoke nightly &lt;b&gt;",
        "no label ERP 07:31 2024-08-07 07:31 never active Revoke 07:31",
    ]
    response = lena.post("me/token/revoke", {"jti": values(text, "jti")[0], "confirmed": "1"})
    assert response.status_code == 303
    assert notice(lena, response.headers["Location"]) == "The token was revoked."
    clock.advance(86400)
    lena.sign_in("lena", PASSWORD)
    text = lena.get("me").text
    assert [one.split()[-1] for one in rows(text, "Personal tokens")] == ["expired", "expired"]
    assert values(text, "jti") == []
    assert (signs_in(app, first), signs_in(app, second)) == (False, False)


def test_a_revoked_token(app: Flask, lena: Client) -> None:
    """A revoked token is refused at once, says so in the list, and has no button."""
    token = issue(lena)
    (jti,) = values(lena.get("me").text, "jti")
    lena.post("me/token/revoke", {"jti": jti, "confirmed": "1"})
    text = lena.get("me").text
    assert rows(text, "Personal tokens")[0].endswith("never revoked")
    assert values(text, "jti") == []
    assert not signs_in(app, token)
    assert lena.post("me/token/revoke", {"jti": "x"}).status_code == 404


def test_questions_before_the_end(app: Flask, lena: Client) -> None:
    """Revoking a token and ending all sessions ask first, by a link and by a form, and do nothing before."""
    token = issue(lena, label="nightly")
    (jti,) = values(lena.get("me").text, "jti")
    sent = {"me/token/revoke": ("jti", jti, "Revoke nightly"), "me/sessions/end": ("all", "1", "End all sessions")}
    for path, (name, value, button) in sent.items():
        for response in (lena.get(f"{path}?{name}={value}"), lena.post(path, {name: value})):
            assert response.status_code == 200
            assert f'<button class="danger">{button}</button>' in response.text
            assert Page(response.text).values.items() >= {(name, value), ("confirmed", "1")}
    assert signs_in(app, token)
    assert lena.get("me").status_code == 200
    assert lena.get("me/token/revoke?jti=x").status_code == 404


def test_a_new_token_is_shown_once(app: Flask, lena: Client) -> None:
    """A token that was just issued is on the page after a redirect; a reload neither repeats it nor issues another."""
    token = issue(lena)
    text = lena.get("me").text
    assert signs_in(app, token)
    assert token not in text
    assert len(rows(text, "Personal tokens")) == 1


def test_tokens_of_others(app: Flask, lena: Client) -> None:
    """No form of one's own page revokes a token or ends a session of another user."""
    token = issue(lena)
    (jti,), (session,) = (values(lena.get("me").text, name) for name in ("jti", "id"))
    paul = signed_in(app, "paul")
    assert paul.post("me/token/revoke", {"jti": jti}).status_code == 404
    paul.post("me/sessions/end", {"id": session})
    assert signs_in(app, token)
    assert lena.get("me").status_code == 200


def test_lifetimes(app: Flask, lena: Client) -> None:
    """Lifetimes to choose from are shorter than the application's, which is the default; a longer one is an error."""
    for expire, offered in ((1800, []), (3600, []), (86400, ["3600"]), (10**8, ["31536000", "3600"])):
        api(app, "update", application(self_service="1", secret=STRONG_SECRET, expire=expire))
        found = re.search(r'<select id="expire".*?</select>', lena.get("me").text, flags=re.DOTALL)
        assert found is not None
        options = re.findall('value="([^"]*)"', found[0])
        assert options[0] == ""
        assert set(offered) <= set(options)
        assert all(int(one) < expire for one in options[1:])
    api(app, "update", application(self_service="1", secret=STRONG_SECRET, expire=60))
    response = lena.post("me/token", {"name": "ERP", "label": "x" * 65, "expire": "3600"})
    page = Page(response.text)
    assert response.status_code == 400
    assert page.messages == {"label": "Must be at most 64 characters long"}
    assert (page.values["label"], page.values["expire"]) == ("x" * 65, "")
    page = Page(lena.post("me/token", {"name": "ERP", "label": "kept", "expire": "3600"}).text)
    assert page.messages == {"expire": "Must be at most 60 seconds, as the tokens of ERP"}
    assert page.values["label"] == "kept"
    page = Page(lena.post("me/token", {"name": "Gone"}).text)
    assert page.messages == {"name": "Name does not exist"}


def test_too_many_tokens(app: Flask, lena: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of active tokens the page says what to do, and keeps the input."""
    monkeypatch.setattr("datafor_token.tokens.personal.MOST_ACTIVE", 1)
    issue(lena)
    response = lena.post("me/token", {"name": "ERP", "label": "second"})
    assert response.status_code == 409
    assert "Lena has 1 active" in response.text or "lena has 1 active personal tokens" in response.text
    assert Page(response.text).values["label"] == "second"


def test_without_personal_tokens(app: Flask, lena: Client) -> None:
    """Tokens of an application that allows no new ones can still be seen and revoked; without any, nothing is shown."""
    api(app, "update", application(self_service="0", secret=STRONG_SECRET))
    assert "ersonal tokens" not in lena.get("me").text
    api(app, "update", application(self_service="1", secret=STRONG_SECRET))
    issue(lena)
    api(app, "update", application(self_service="0", secret=STRONG_SECRET))
    text = lena.get("me").text
    assert 'id="expire"' not in text
    assert len(values(text, "jti")) == 1


def test_a_damaged_record(app: Flask, lena: Client, settings: Settings, log: io.StringIO) -> None:
    """With a damaged record of personal tokens, the page says so and works; the log has the reason."""
    issue(lena)
    record = next(one for one in records_in(settings.data_dir, "personal_tokens"))
    record.write_text('{"format": 1, "name": "lena", "tokens": 7}')
    response = lena.get("me")
    assert response.status_code == 200
    assert "The personal tokens cannot be read: the record is damaged" in response.text
    assert "tokens is not a list" in log.getvalue()
    assert len(rows(response.text, "Sessions")) == 1
    response = lena.post("me/token", {"name": "ERP", "label": "kept"})
    assert response.status_code == 503
    assert "the record of the personal tokens of lena is damaged" in response.text
    assert Page(response.text).values["label"] == "kept"


def test_an_outage(lena: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If personal tokens cannot be read because of an outage, the page is that of an outage."""

    def fail(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(PersonalTokens, "listed", fail)
    response = lena.get("me")
    assert response.status_code == 503
    assert "Storage is unavailable" in response.text


def test_sessions(app: Flask, lena: Client, clock: Clock) -> None:
    """Sessions are listed with kind, times, address and application; the reader's own is marked; one can be ended."""
    clock.advance(60)
    other = app.test_client()
    body = {"username": "lena", "password": PASSWORD}
    other.post(LOGIN, json=body, environ_base={"REMOTE_ADDR": "10.1.2.3"})
    text = lena.get("me").text
    assert rows(text, "Sessions") == [
        "API 07:32 07:32 10.1.2.3 - End API 07:32",
        "Console this session 07:31 07:32 127.0.0.1 - End Console 07:31",
    ]
    ended = values(text, "id")[0]
    response = lena.post("me/sessions/end", {"id": ended})
    assert notice(lena, response.headers["Location"]) == "The session has ended."
    assert other.get(DETAIL).status_code == 401
    response = lena.post("me/sessions/end", {"id": ended})
    assert notice(lena, response.headers["Location"]) == "The session had ended already."
    assert notice(lena, lena.post("me/sessions/end").headers["Location"]) == "Nothing was selected."


@pytest.mark.parametrize(
    ("chosen", "words"),
    [("id", "You are signed out."), ("all", "All your sessions have ended, including this one.")],
)
def test_ones_own_session(app: Flask, lena: Client, chosen: str, words: str) -> None:
    """Ending one's own session, or all, leads to the sign-in, which says so; the session is over everywhere."""
    other = signed_in(app, "lena")
    cookie = lena.client.get_cookie("JSESSIONID")
    assert cookie is not None
    first = values(lena.get("me").text, "id")
    mine = first[0] if "this session" in rows(lena.get("me").text, "Sessions")[0] else first[1]
    response = lena.post("me/sessions/end", {chosen: mine if chosen == "id" else "1", "confirmed": "1"})
    assert response.headers["Location"] == "/console/sign-in"
    assert lena.client.get_cookie("JSESSIONID") is None
    assert notice(lena, response.headers["Location"]) == words
    lena.client.set_cookie("JSESSIONID", cookie.value)
    assert lena.get("me").status_code == 303
    assert other.get("me").status_code == (200 if chosen == "id" else 303)


@pytest.fixture
def admin(app: Flask) -> Client:
    client = Client(app)
    assert client.sign_in().status_code == 303
    return client


def test_tokens_of_a_user(app: Flask, lena: Client, admin: Client) -> None:
    """An Administrator sees a user's personal tokens and revokes one."""
    token = issue(lena, label="export")
    text = admin.get("user/tokens?name=lena").text
    assert rows(text, "Personal tokens")[0].startswith("export ERP")
    (link,) = re.findall(r'href="/console/(user/token/revoke[^"]*)"', text)
    question = Page(admin.get(html.unescape(link)).text)
    assert signs_in(app, token)
    response = admin.post("user/token/revoke?name=lena", {"jti": question.values["jti"]})
    assert response.headers["Location"] == "/console/user/tokens?name=lena"
    assert notice(admin, response.headers["Location"]) == "The token was revoked."
    assert not signs_in(app, token)
    assert "user/token/revoke" not in admin.get("user/tokens?name=lena").text
    assert admin.get("user/token/revoke?name=lena&jti=x").status_code == 404


def test_a_damaged_record_of_a_user(lena: Client, admin: Client, settings: Settings) -> None:
    """With a damaged record of personal tokens, the page of the user's tokens says so and works."""
    issue(lena)
    next(iter(records_in(settings.data_dir, "personal_tokens"))).write_text('{"format": 1, "name": "lena"}')
    response = admin.get("user/tokens?name=lena")
    assert response.status_code == 200
    assert "The personal tokens cannot be read" in response.text
    assert len(values(admin.get("user/sessions?name=lena").text, "id")) == 1


def test_sessions_of_a_user(app: Flask, lena: Client, admin: Client) -> None:
    """An Administrator ends one session of a user, or all; the Administrator's own go on."""
    other = signed_in(app, "lena")
    sessions = values(admin.get("user/sessions?name=lena").text, "id")
    assert len(sessions) == 2
    response = admin.post("user/sessions/end?name=lena", {"id": sessions[0]})
    assert notice(admin, response.headers["Location"]) == "The session has ended."
    assert sorted(one.get("me").status_code for one in (lena, other)) == [200, 303]
    # That of another user.
    own = values(admin.get("me").text, "id")[0]
    response = admin.post("user/sessions/end?name=lena", {"id": own})
    assert notice(admin, response.headers["Location"]) == "The session had ended already."
    question = Page(admin.get("user/sessions/end?name=lena").text)
    response = admin.post("user/sessions/end?name=lena", {"all": question.values["all"]})
    assert notice(admin, response.headers["Location"]) == "All sessions of lena have ended."
    assert [one.get("me").status_code for one in (lena, other, admin)] == [303, 303, 200]
    assert "No sessions." in admin.get("user/sessions?name=lena").text
    response = admin.post("user/sessions/end?name=admin", {"all": "1"})
    assert response.headers["Location"] == "/console/sign-in"


def test_the_last_use_of_a_user(app: Flask, lena: Client, admin: Client) -> None:
    """The page of a user has their creation and, as the list of users, their last use."""
    services_in(app).activity.flush()
    assert '"2024-08-06T07:31:56Z"' in fact(admin, "Last use")
    assert "2024-08-06" in fact(admin, "Created by")
    assert "never" in fact(admin, "Last use", "paul")


def fact(client: Client, name: str, user: str = "lena") -> str:
    found = re.search(rf"<dt>{name}</dt><dd>(.*?)</dd>", client.get(f"user?name={user}").text, flags=re.DOTALL)
    assert found is not None
    return found[1]
