"""The tab Check of the page of tokens, without a browser: every kind of text gets a sentence that helps."""

import html
import json
import re
from pathlib import Path

import pytest
from flask import Flask

from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.tokens.issued import IssuedFilter
from datafor_token.tokens.signin import SignIn
from datafor_token.web.services import services
from tests.console.client import Client, Page, api
from tests.console.test_access import notice, signs_in
from tests.handmade_tokens import NOW, base64url, claims, token
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, Clock, application

MARKED = '<script>alert("x")</script>'


@pytest.fixture
def admin(app: Flask) -> Client:
    client = Client(app)
    assert client.sign_in().status_code == 303
    api(app, "update", application())
    return client


def check(client: Client, text: str, **fields: str) -> str:
    """Return the page about a pasted text."""
    response = client.post("tokens", {"token": text, **fields}, page="tokens")
    assert response.status_code in (200, 400, 404), response.text
    return response.text


def result(page: str) -> str:
    """Return the text of the result on the page."""
    found = page.partition('<section aria-labelledby="result">')[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found)).split())


def message(page: str) -> str:
    """Return the message beside the box."""
    return Page(page).messages.get("token", "")


def revocation(page: str) -> str | None:
    """Return the link to the question before revoking, below the console, if the page has one."""
    found = re.search(r'href="/console/(tokens/revoke[^"]*)"', page)
    return None if found is None else html.unescape(found[1])


def test_a_step_that_is_only_reported(app: Flask, admin: Client) -> None:
    """A rule that is only reported has a badge of its own and says what it would refuse; the token is accepted."""
    api(app, "update", application(issuer="portal", report="issuer", inituser="1"))
    shown = result(check(admin, token(claims(iss="other"))))
    assert 'only reported Not refused, as issuer is only reported: iss is "other"; ERP accepts "portal"' in shown
    assert "failed" not in shown


def test_an_accepted_token(admin: Client) -> None:
    """An accepted token is shown with application, user, steps, times and meanings, and a link to revoke it."""
    page = check(admin, f"Authorization: Bearer {token(claims(jti='a1'))}")
    shown = result(page)
    assert shown.startswith(
        "Token accepted: ERP Revoke token… Found in: the header Authorization. Application ERP User"
    )
    assert "Signature passed Signed with the secret of ERP" in shown
    assert "exp 1722929516" not in shown
    assert re.search(r"exp \d+ The expiry time: 20\d\d-\d\d-\d\d \d\d:\d\d UTC", shown)
    assert "jti a1 The identifier that the issuer gave to the token." in shown
    assert "Not verified" not in shown
    assert revocation(page) is not None


def test_an_unsigned_token(admin: Client) -> None:
    """The content of a token that no application signed is shown as unverified, and nothing can be revoked."""
    page = check(admin, f"{token(claims())[:-4]}AAAA")
    shown = result(page)
    assert shown.startswith("Token refused: ERP")
    assert "Not verified: no key of an application here signed this text" in shown
    assert "loginname" in shown or "ERP lena" in shown
    assert revocation(page) is None


def test_advice_with_a_link(admin: Client, app: Flask) -> None:
    """The failed step has advice, and links to where the cause can be removed."""
    api(app, "update", application(audience=["portal"]))
    page = check(admin, token(claims(aud="other")))
    assert "What to do:</strong> If the token is meant for this application, add its aud" in page
    assert 'href="/console/applications/ERP/trust#audience">Open the Trust tab of ERP</a>' in page
    page = check(admin, token(claims(aud="portal", exp=NOW - 600)))
    assert re.search(r'href="/console/tokens/issue\?name=ERP">Issue a new token', page)


def test_one_application(admin: Client, app: Flask) -> None:
    """With an application, only that one is asked; an unknown or wrong name is an error beside its field."""
    api(app, "update", application(name="CRM", secret=STRONG_SECRET))
    page = check(admin, token(claims()), name="CRM")
    assert result(page).startswith("Token refused: CRM")
    for name, says in (("nobody", "does not exist"), ("a/b", "May only contain")):
        page = check(admin, token(claims()), name=name)
        assert says in Page(page).messages["name"]
        assert "The pasted text was not stored: paste it again." in page
        assert Page(page).values["name"] == name


def test_revoking(app: Flask, admin: Client) -> None:
    """A pasted token is revoked by its identifier, after a question, and the page then says that it is revoked."""
    text = api(app, "generate", {"name": "ERP", "username": "lena"})["token"]
    page = check(admin, text)
    link = revocation(page)
    assert link is not None
    assert text not in page.partition('id="result"')[2]
    question = admin.get(link).text
    assert "Revoke the token of lena for ERP?" in question
    identifier = Page(question).values["id"]
    assert signs_in(app, text)
    response = admin.post(link, {"id": identifier, "confirmed": "1"})
    assert response.headers["Location"] == f"/console/tokens?id={identifier}"
    assert notice(admin, response.headers["Location"]) == "Revoked 1 token."
    assert not signs_in(app, text)
    page = admin.get(f"tokens?id={identifier}").text
    assert result(page).startswith("Token revoked Application ERP User lena Issued 2024-08-06 07:31 UTC admin Expires")
    assert "token revoked admin" in result(page)
    assert revocation(page) is None
    page = check(admin, text)
    assert "Revocation failed The token was revoked on" in result(page)
    assert revocation(page) is None


def test_the_token_is_nowhere(
    app: Flask, admin: Client, settings: Settings, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A pasted text is in no URL, no header, no log, no audit line and no record, and not in the page itself."""
    valid = api(app, "generate", {"name": "ERP", "username": "lena"})["token"]
    forged, ticket = f"{token(claims())[:-4]}AAAA", "Q" * 43
    for text in (
        valid,
        f"Bearer {valid}",
        forged,
        ticket,
        f"JSESSIONID={ticket}",
        f"https://h/?token={valid}",
        "x" * 50,
    ):
        response = admin.post("tokens", {"token": text}, page="tokens")
        assert "Location" not in response.headers
        secret = text.rpartition("=")[2].rpartition(" ")[2]
        assert secret not in response.text
    written = capfd.readouterr()
    everywhere = written.out + written.err + caplog.text
    everywhere += "".join(path.read_text(errors="replace") for path in _files(settings))
    for secret in (valid, forged, ticket):
        assert secret not in everywhere
        assert secret.rpartition(".")[2] not in everywhere


def _files(settings: Settings) -> list[Path]:
    return [path for path in settings.data_dir.rglob("*") if path.is_file()]


def test_an_identifier(app: Flask, admin: Client, clock: Clock) -> None:
    """The identifier of a token shows what happened to it; pasted, it leads to a URL with it."""
    text = api(app, "generate", {"name": "ERP", "username": "lena"})["token"]
    assert signs_in(app, text)
    with app.app_context():
        identifier = services().issued.page(IssuedFilter()).events[0]["id"]
    for pasted in (identifier, json.dumps({"event": "sign_in", "target": {"token": identifier}})):
        response = admin.post("tokens", {"token": pasted}, page="tokens")
        assert response.headers["Location"] == f"/console/tokens?request_id={identifier}"
    shown = result(admin.get(f"tokens?request_id={identifier}").text)
    assert shown.startswith("Token active Revoke token… Application ERP User lena Issued")
    assert "signed in lena" in shown
    assert "token issued admin" in shown
    api(app, "update", application(expire=60))
    text = api(app, "generate", {"name": "ERP", "username": "lena"})["token"]
    with app.app_context():
        identifier = services().issued.page(IssuedFilter()).events[0]["id"]
    clock.advance(60)
    assert result(admin.get(f"tokens?id={identifier}").text).startswith("Token expired Application")
    response = admin.get(f"tokens?id={identifier[::-1]}")
    assert response.status_code == 404
    assert "No line of the audit log of this node names this token" in message(response.text)
    assert admin.get("tokens?id=x").status_code == 400


def test_a_foreign_token(app: Flask, admin: Client) -> None:
    """A token of another issuer with the application's key is known by its use, and can be revoked."""
    text = token(claims())
    assert signs_in(app, text)
    page = check(admin, text)
    link = revocation(page)
    assert link is not None
    identifier = re.search(r"id=([0-9a-f]{32})", link)
    assert identifier is not None
    page = admin.get(f"tokens?id={identifier[1]}").text
    assert "No line of the audit log of this node issued it" in result(page)
    admin.post(link, {"id": identifier[1], "confirmed": "1"})
    assert result(admin.get(f"tokens?id={identifier[1]}").text).startswith("Token revoked")
    assert not signs_in(app, text)


def test_a_one_time_link(app: Flask, admin: Client, clock: Clock) -> None:
    """A link shows for whom it is, until when it can be used, whether it was, and can be revoked."""
    first = api(app, "link", {"name": "ERP", "username": "lena", "next": "/"})["url"]
    second = api(app, "link", {"name": "ERP", "username": "lena", "next": "/"})["url"]
    page = check(admin, first)
    shown = result(page)
    assert shown.startswith("One-time link Revoke link… Application ERP User lena Issued")
    assert "Can be used until 2024-08-06 07:32 UTC" in shown
    assert "one-time link created admin" in shown
    opened = app.test_client(use_cookies=False)
    assert opened.get(f"/auth/enter?{first.partition('?')[2]}").status_code == 303
    # The ticket alone is recognised too.
    shown = result(check(admin, first.partition("ticket=")[2]))
    assert shown.startswith("One-time link used Revoke link…")
    assert "Can be used until" not in shown
    link = revocation(check(admin, second))
    assert link is not None
    question = admin.get(link).text
    assert "Revoke the one-time link of lena for ERP?" in question
    admin.post(link, {"id": Page(question).values["id"], "confirmed": "1"})
    assert result(check(admin, second)).startswith("One-time link revoked")
    assert opened.get(f"/auth/enter?{second.partition('?')[2]}").status_code != 303
    assert result(check(admin, "https://h/auth/enter?ticket=" + "Q" * 43)).startswith("An unknown one-time link")


def test_a_session_cookie(app: Flask, admin: Client) -> None:
    """The cookie of a session shows whose it is, and where it can be ended; an unknown one says so."""
    cookie = admin.client.get_cookie("JSESSIONID")
    assert cookie is not None
    for text in (cookie.value, f"Cookie: a=b; JSESSIONID={cookie.value}"):
        page = check(admin, text)
        assert result(page).startswith("The cookie of a session Anybody who has this cookie is signed in as admin.")
        assert 'href="/console/user/sessions?name=admin"' in page
        assert cookie.value not in page
    assert result(check(admin, f"JSESSIONID={'Q' * 43}")).startswith("An unknown session cookie")
    assert result(check(admin, "Q" * 43)).startswith("An unknown one-time link or cookie")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..bb.cc.dd", "An encrypted token (JWE)"),
        ("v4.public.eyJkYXRhIjoidGhp.Zm9v", "PASETO"),
        ("<saml:Assertion/>", "A SAML response"),
        ('{"keys":[{"kty":"RSA","n":"x"}]}', "A public key or a set of keys (JWKS)"),
        ('{"jwks_uri":"https://id/keys"}', "The configuration of an identity provider"),
        ("-----BEGIN PUBLIC KEY-----", "A public key (PEM)"),
        ("-----BEGIN CERTIFICATE-----", "A certificate (PEM)"),
        ("-----BEGIN PRIVATE KEY-----", "A private or secret key"),
        ('{"sub":"x"}', "The content of a token without its signature"),
        ("curl -u admin:secret https://h/", "A user name and a password"),
        ("https://h/reports", "A URL without a token"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "A text that only its issuer can read"),
        ("5ff2b8c59c1f", "An identifier of an earlier version"),
    ],
)
def test_other_texts(admin: Client, text: str, says: str) -> None:
    """The page names the kind of a text of another system, and says what to do with it; the text is not repeated."""
    page = check(admin, text)
    assert says in result(page)
    assert text not in html.unescape(page)
    assert "Invalid request" not in page


@pytest.mark.parametrize("text", ["", "   ", "what is this", "\0", "{", MARKED, "[" * 1000])
def test_nonsense(admin: Client, text: str) -> None:
    """Of anything else, the page says what it expects."""
    response = admin.post("tokens", {"token": text}, page="tokens")
    assert response.status_code == 400
    expected = "Nothing here is known. Paste a token" if text.strip() else "Paste something first"
    assert message(response.text).startswith(expected)


def payload(text: str, header: str = '{"typ":"JWT","alg":"HS256"}') -> str:
    """Return an unsigned token with this payload, byte for byte."""
    return f"{base64url(header.encode())}.{base64url(text.encode('utf-8', 'surrogatepass'))}.{base64url(b'x' * 32)}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (payload('{"a":' * 40 + "1" + "}" * 40), "nested deeper than 32 levels"),
        (payload('{"a":"\\ud800"}'), "half of a surrogate pair"),
        (payload('{"a":"\ud800"}'), "not UTF-8 text"),
        (payload('{"a":1,"a":2}'), "a member that is given twice"),
        (payload("[1]"), "is not a JSON object"),
        (payload("{"), "is not valid JSON"),
        (payload('{"exp":NaN}'), "a number that JSON does not know"),
        (payload('{"exp":1e308,"iat":-5,"nbf":99999999999999999}'), "not signed with the secret"),
        (payload('{"exp":"tomorrow","iat":true}'), "A time; it must be a JSON number of seconds"),
        (payload('{"a":1}', '{"alg":"none"}'), "the token says none"),
        (payload('{"a":1}', '{"alg":5}'), "header has no alg"),
        (payload(json.dumps({f"claim{number}": number for number in range(300)})), "100 more members are not shown"),
        (payload(json.dumps({"a": "x" * 48_000})), "at most 8192 are read"),
        (payload(json.dumps({"zero\u200bwidth": "right\u202eto left"})), "right\\u202eto left"),
        ("eyJhbGciOiJIUzI1NiJ9", "a token is three parts"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ", "a token is three parts"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.", "this one has no signature"),
        ("...", "nothing here is known"),
        ("a.b.c", "is not base64url"),
    ],
)
def test_strange_tokens(admin: Client, text: str, says: str) -> None:
    """A token that cannot be read, or has strange content, is explained."""
    assert says.lower() in (result(check(admin, text)) or message(check(admin, text))).lower()


def test_script_in_every_claim(admin: Client) -> None:
    """Markup in each place of a token is shown as text."""
    marked = json.dumps({MARKED: MARKED, "iss": [MARKED], "exp": {MARKED: MARKED}, "ERP": MARKED, "/a": None})
    page = check(admin, payload(marked, json.dumps({"alg": "HS256", "typ": MARKED, "kid": MARKED, MARKED: MARKED})))
    assert "<script>alert" not in page
    assert html.escape(MARKED, quote=True).replace("&quot;", "&#34;") in page


def test_a_text_that_is_too_large(admin: Client) -> None:
    """A text over the size of a request is refused with the form, and a sentence that says what to do."""
    response = admin.post("tokens", {"token": "x" * 70_000}, page="tokens")
    assert response.status_code == 413
    assert "Paste only the token" in response.text
    assert Page(response.text).values["token"] == ""


def test_a_session_that_ends(admin: Client) -> None:
    """After the sign-in the form is shown again with the application; the pasted text was not kept, and it says so."""
    text = token(claims())
    sent = {"token": text, "name": "ERP", "form_token": Page(admin.get("me").text).form_token}
    admin.client.delete_cookie("JSESSIONID")
    page = admin.client.post("/console/tokens", data=sent).text
    assert text not in page
    fields = {name: value for name, value in Page(page).values.items() if value is not None}
    fields |= {"username": "admin", "password": ADMIN_PASSWORD, "form_token": Page(page).form_token}
    page = admin.client.post("/console/sign-in", data=fields).text
    assert "The pasted text was not stored: paste it again." in page
    assert (Page(page).values["name"], Page(page).values["token"]) == ("ERP", "")


def test_an_outage(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an outage, the form is shown with the application, and the error."""

    def fail(*_: object) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(SignIn, "explain", fail)
    response = admin.post("tokens", {"token": token(claims()), "name": "ERP"}, page="tokens")
    assert response.status_code == 503
    assert Page(response.text).values["name"] == "ERP"


def test_in_chinese(app: Flask) -> None:
    """Kinds, steps and meanings are translated."""
    client = Client(app, language="zh-CN")
    client.sign_in()
    api(app, "update", application())
    for text in (f"Bearer {token(claims())}", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "<saml:Assertion/>", "what"):
        page = check(client, text)
        for english in ("The expiry time", "Found in", "This service", "Paste ", "It may be"):
            assert english not in page
