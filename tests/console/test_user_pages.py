"""The pages of users without a browser: create, edit, reset, disable and delete; nothing dangerous by one click."""

import html
import re
from typing import Any

import pytest
from flask import Flask

from datafor_token.errors import StoreUnavailable
from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import services_in
from tests.console.client import Client, Page, api
from tests.support import ADMIN_PASSWORD, STRONG_SECRET, application, basic

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LONGEST = "企业资源计划系统用户" * 12 + "企业资源计划系统"  # 128 characters
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
# As ``accounts.add`` takes them, by the field of the form.
TYPED = {
    "username": "lena",
    "name": "Lena Li",
    "email": "lena@example.com",
    "usertype": "SYS_Creator",
    "roles": "Sales\r\n Finance \r\n\r\nSales",
    "application": "erp",
    "mobile": "+49 1",
    "dept": "IT",
    "title": "Boss",
}
STORED: dict[str, Any] = {
    "name": "lena",
    "full_name": "Lena Li",
    "email": "lena@example.com",
    "type": "SYS_Creator",
    "roles": ("Sales", "Finance"),
    "application": "ERP",
    "mobile": "+49 1",
    "dept": "IT",
    "title": "Boss",
}


@pytest.fixture
def admin(app: Flask) -> Client:
    api(app, "update", application(secret=STRONG_SECRET))
    client = Client(app)
    assert client.sign_in().status_code == 303
    return client


def add(app: Flask, name: str = "lena", password: str | None = None, **members: Any) -> User:
    """Create a user."""
    with app.app_context():
        return services().accounts.add(name, password, **members)


def stored(app: Flask, name: str = "lena") -> User:
    """Return a user as it is stored."""
    with app.app_context():
        return services().accounts.get(name)


def exists(app: Flask, name: str) -> bool:
    with app.app_context():
        return services().users.get(name) is not None


def signs_in(app: Flask, name: str, password: str) -> bool:
    return app.test_client(use_cookies=False).get(DETAIL, headers=basic(name, password)).status_code == 200


def follow(client: Client, response: Any) -> str:
    """Return the page that a redirect leads to."""
    assert response.status_code == 303, response.text
    text: str = client.client.get(response.headers["Location"], headers={"Accept-Language": client.language}).text
    return text


def notices(text: str) -> list[str]:
    """Return the messages of a page."""
    found = re.findall(r'<div class="notice[^"]*" role="status">\s*<p>(.*?)</p>', text, flags=re.DOTALL)
    return [html.unescape(one) for one in found]


def undo(client: Client, text: str) -> Any:
    """Press the button of the first message with one."""
    pattern = r'<form method="post"[^>]* action="([^"]*)">(?:(?!</form>).)*Undo\s*</button>'
    form = re.search(pattern, text, flags=re.DOTALL)
    assert form is not None
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', form[0]):
        fields.setdefault(html.unescape(name), []).append(html.unescape(value))
    return client.client.post(html.unescape(form[1]), data=fields)


def summary(text: str) -> str:
    """Return the text of the first box about an error."""
    found = re.search(r'<(p|div) class="summary"[^>]*>(.*?)</\1>', text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", found[2])).split()) if found else ""


def test_every_field_of_a_new_user(app: Flask, admin: Client) -> None:
    """A new user has each value in the field where it was typed; roles are one per line."""
    response = admin.post("new-user", {**TYPED, "password": "typed-password"}, page="new-user")
    text = follow(admin, response)
    assert notices(text) == ["Created lena."]
    found = stored(app)
    assert {name: getattr(found, name) for name in STORED} == STORED
    assert signs_in(app, "lena", "typed-password")


def test_a_generated_password(app: Flask, admin: Client) -> None:
    """Without a typed password, one is generated, shown once after a redirect, and signs in."""
    response = admin.post("new-user", {"username": "lena"}, page="new-user")
    assert response.headers["Location"] == "/console/user/new-password?name=lena"
    text = follow(admin, response)
    found = re.search(r'<pre id="generated"[^>]*><code>([^<]+)', text)
    assert found is not None
    assert notices(text)[0] == "Created lena."
    assert signs_in(app, "lena", found[1])
    again = admin.get("user/new-password?name=lena").text
    assert found[1] not in again
    assert "was shown already" in again


def test_a_user_without_a_password(app: Flask, admin: Client) -> None:
    """Such a user signs in with tokens only, as both pages say; a password beside the tick is an error."""
    assert "signs in with tokens of applications only" in admin.get("new-user").text
    fields = {"username": "lena", "without_password": "1"}
    page = Page(admin.post("new-user", {**fields, "password": "long enough"}).text)
    assert page.messages == {"password": "Must be empty for a user without a password"}
    assert page.values["without_password"] == "1"
    assert "not set: signs in with tokens only" in follow(admin, admin.post("new-user", fields))
    assert not stored(app).password


def test_errors_of_a_new_user(app: Flask, admin: Client) -> None:
    """Each error is shown at its field, with everything that was typed except the password."""
    wrong = {
        "username": "a:b",
        "name": "x" * 257,
        "email": "a\tb",
        "usertype": "Boss",
        "roles": "A&B",
        "application": "Gone",
        "mobile": "\u202e",
        "password": "secretsecret",
    }
    response = admin.post("new-user", wrong, page="new-user")
    assert response.status_code == 400
    page = Page(response.text)
    assert page.messages.keys() == wrong.keys()
    assert page.messages["application"] == "Must be the name of an existing application"
    assert page.messages["password"] == "Enter the password again."
    assert {name: page.values[name] for name in wrong if name not in ("usertype", "password")} == {
        name: value for name, value in wrong.items() if name not in ("usertype", "password")
    }
    assert "secretsecret" not in response.text


def test_a_name_that_exists(app: Flask, admin: Client) -> None:
    """A name that is the same when folded is refused beside its field; nobody is overwritten."""
    add(app, "Straße", full_name="First")
    response = admin.post("new-user", {"username": "STRASSE", "name": "Second"}, page="new-user")
    assert response.status_code == 409
    assert Page(response.text).messages == {"username": "Name already exists as 'Straße'"}
    assert stored(app, "strasse").full_name == "First"


def form_of(client: Client, name: str = "lena") -> dict[str, str]:
    """Return the fields of the profile's form as a browser sends them."""
    page = Page(client.get(f"user?name={name}").text)
    return {field: page.values[field] or "" for field in (*TYPED, "seen") if field in page.values}


def test_the_stored_values_are_shown(app: Flask, admin: Client) -> None:
    """The form has the stored values; saving it unchanged changes nothing and says so."""
    before = add(app, **{**STORED, "application": "ERP"})
    sent = form_of(admin)
    assert sent == {
        **{name: value for name, value in TYPED.items() if name != "username"},
        "roles": "Sales\nFinance",
        "application": "ERP",
        "seen": sent["seen"],
    }
    sent["roles"] = "Sales\r\nFinance"
    assert notices(follow(admin, admin.post("user?name=lena", sent))) == ["There was nothing to save."]
    assert stored(app) == before


@pytest.mark.parametrize("field", [name for name in TYPED if name != "username"])
def test_each_field_is_changed(app: Flask, admin: Client, field: str) -> None:
    """A changed field is stored, the others are not touched, and Undo stores the former value again."""
    before = User(name="lena", full_name="Old", roles=("a&b",) if field != "roles" else (), created_date=1)
    with app.app_context():
        services().store.put("users", before.to_document())
    text = follow(admin, admin.post("user?name=lena", {**form_of(admin), field: TYPED[field]}))
    assert notices(text) == ["Saved the changes of lena."]
    member = {"name": "full_name", "usertype": "type"}.get(field, field)
    after = stored(app)
    assert {one: value for one, value in after.to_document().items() if before.to_document().get(one) != value} == {
        member: list(STORED[member]) if field == "roles" else STORED[member]
    }
    follow(admin, undo(admin, text))
    assert stored(app) == before


def test_roles_from_elsewhere(app: Flask, admin: Client) -> None:
    """Stored roles with separators or spaces at the ends survive an edit of the roles."""
    with app.app_context():
        services().store.put("users", User(name="lena", roles=("R&D", "a,b", " x ", "Sales")).to_document())
    sent = form_of(admin)
    assert sent["roles"] == "R&D\na,b\n x \nSales"
    follow(admin, admin.post("user?name=lena", {**sent, "roles": "a,b\r\n x \r\n R&D\r\n new "}))
    assert stored(app).roles == ("a,b", " x ", "R&D", "new")
    page = Page(admin.post("user?name=lena", {**form_of(admin), "roles": "c,d"}).text)
    assert page.messages == {"roles": "Cannot contain a comma within a name"}
    assert page.values["roles"] == "c,d"


def test_two_administrators(app: Flask, admin: Client) -> None:
    """The second to save sees what the first changed, keeps the own changes, and stores both by saving again."""
    add(app, full_name="Old", dept="IT", title="Old")
    second = {**form_of(admin), "name": "Second", "title": "Second"}
    follow(admin, admin.post("user?name=lena", {**form_of(admin), "name": "First", "dept": "First"}))
    response = admin.post("user?name=lena", second)
    assert response.status_code == 409
    assert "has changed this user meanwhile: Display name, Department." in summary(response.text)
    page = Page(response.text)
    assert page.messages == {"name": "Another Administrator has changed this to: First"}
    assert [page.values[field] for field in ("name", "dept", "title")] == ["Second", "First", "Second"]
    assert stored(app).full_name == "First"
    follow(admin, admin.post("user?name=lena", {name: page.values[name] or "" for name in second}))
    found = stored(app)
    assert (found.full_name, found.dept, found.title) == ("Second", "First", "Second")


def test_undo_after_another_change(app: Flask, admin: Client) -> None:
    """Undo does not take back what another Administrator has changed since; another field does not matter."""
    add(app, full_name="Old")
    text = follow(admin, admin.post("user?name=lena", {**form_of(admin), "name": "Mine"}))
    with app.app_context():
        services().accounts.change("lena", dept="Theirs", full_name="Theirs")
    response = undo(admin, text)
    assert response.status_code == 409
    assert Page(response.text).values["name"] == "Old"
    assert stored(app).full_name == "Theirs"
    text = follow(admin, admin.post("user?name=lena", {**form_of(admin), "name": "Mine"}))
    with app.app_context():
        services().accounts.change("lena", dept="IT")
    follow(admin, undo(admin, text))
    assert (stored(app).full_name, stored(app).dept) == ("Theirs", "IT")


def test_a_change_at_the_same_moment(app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change between the look at the record and the write is not overwritten."""
    add(app, dept="IT")
    accounts = services_in(app).accounts
    check = accounts.check

    def check_while_another_saves(*arguments: Any) -> None:
        check(*arguments)
        monkeypatch.undo()
        accounts.change("lena", dept="Theirs")

    sent = {**form_of(admin), "dept": "Mine"}
    monkeypatch.setattr(accounts, "check", check_while_another_saves)
    response = admin.post("user?name=lena", sent)
    assert (response.status_code, stored(app).dept) == (409, "Theirs")
    assert Page(response.text).messages == {"dept": "Another Administrator has changed this to: Theirs"}


def test_a_demotion(app: Flask, admin: Client) -> None:
    """An Administrator is demoted after a question, which keeps all that was typed; Undo promotes again."""
    add(app, "boss", type="Administrator")
    response = admin.post("user?name=boss", {**form_of(admin, "boss"), "usertype": "SYS_Reader", "name": "New"})
    assert response.status_code == 200
    assert "<h1>Demote boss to SYS_Reader?</h1>" in response.text
    assert stored(app, "boss").administers
    sent = {name: value or "" for name, value in Page(response.text).values.items()}
    text = follow(admin, admin.post("user?name=boss", {**sent, "confirmed": "1"}))
    found = stored(app, "boss")
    assert (found.type, found.full_name) == ("SYS_Reader", "New")
    follow(admin, undo(admin, text))
    assert (stored(app, "boss").type, stored(app, "boss").full_name) == ("Administrator", "")


def test_oneself(app: Flask, admin: Client) -> None:
    """No page has a button to disable, demote, delete or reset oneself, and the service refuses it with a sentence."""
    add(app, "boss", "long enough", type="Administrator")
    boss = Client(app)
    boss.sign_in("boss", "long enough")
    text = boss.get("user?name=boss").text
    assert "Only another Administrator can disable, demote or delete you" in text
    for part in ("user/disable", "user/delete", "user/password", 'name="usertype"'):
        assert part not in text
        assert part in boss.get("user?name=admin").text
    assert 'value="boss"><span' not in boss.get("users").text
    for path, fields, words in (
        ("user/disable", {}, "cannot delete or disable yourself"),
        ("user/delete", {"typed_name": "boss"}, "cannot delete or disable yourself"),
        ("user", {"usertype": "SYS_Reader"}, "change your own type"),
        ("user/password", {}, "Change your own password on the page of your account"),
    ):
        response = boss.post(f"{path}?name=boss", fields)
        assert (response.status_code, words in summary(response.text)) == (409, True), path
    assert stored(app, "boss").administers
    assert signs_in(app, "boss", "long enough")
    for path, fields in (("user/disable", {}), ("user/delete", {"typed_name": "admin"})):
        response = admin.post(f"{path}?name=ADMIN", fields)
        assert response.status_code == 409, path


def test_the_last_administrator(app: Flask, admin: Client) -> None:
    """The last enabled Administrator can be neither disabled nor demoted, and the page says why."""
    for path, fields in (("user/disable", {}), ("user", {"usertype": "SYS_Reader", "confirmed": "1"})):
        response = admin.post(f"{path}?name=admin", fields)
        assert response.status_code == 409
        assert summary(response.text) == "admin is the last enabled Administrator"


def test_a_new_password(app: Flask, admin: Client) -> None:
    """The question tells the impact; the typed password is set, without one a generated one is shown once."""
    add(app, password="first password")
    client = Client(app)
    client.sign_in("lena", "first password")
    text = admin.get("user/password?name=lena").text
    assert "<h1>Reset the password of lena?</h1>" in text
    assert "1 valid session" in text
    assert client.get("me").status_code == 200
    response = admin.post("user/password?name=lena", {"password": "short"})
    assert response.status_code == 400
    assert Page(response.text).messages == {"password": "Must be at least 8 characters long"}
    text = follow(admin, admin.post("user/password?name=lena", {"password": "typed password"}))
    assert notices(text) == ["Changed the password of lena. All sessions of this user have ended."]
    assert client.get("me").status_code == 303
    assert signs_in(app, "lena", "typed password")
    text = follow(admin, admin.post("user/password?name=lena", {"password": ""}))
    found = re.search(r'<pre id="generated"[^>]*><code>([^<]+)', text)
    assert found is not None
    assert signs_in(app, "lena", found[1])
    assert found[1] not in admin.get("user/new-password?name=lena").text


def test_disabling(app: Flask, admin: Client) -> None:
    """The question tells the impact and changes nothing; a message with Undo follows the action."""
    add(app, password="long enough")
    Client(app).sign_in("lena", "long enough")
    text = admin.get("user/disable?name=lena").text
    assert ("1 valid session" in text, stored(app).enabled) == (True, True)
    text = follow(admin, admin.post("user/disable?name=lena", {"confirmed": "1"}))
    assert (notices(text), stored(app).enabled) == (["Disabled lena."], False)
    text = follow(admin, undo(admin, text))
    assert (notices(text), stored(app).enabled) == (["Enabled lena."], True)
    follow(admin, undo(admin, text))
    assert not stored(app).enabled


def test_deleting(app: Flask, admin: Client) -> None:
    """A user is deleted after the exact name was typed, and the tokens are refused."""
    add(app, "Lena")
    token = api(app, "generate", {"name": "ERP", "username": "Lena"})["token"]
    assert "1 valid token of the last 24 hours" in admin.get("user/delete?name=lena").text
    for typed in ("", "lena"):
        response = admin.post("user/delete?name=lena", {"typed_name": typed})
        assert response.status_code == 400
        assert "typed_name" in Page(response.text).messages
    assert exists(app, "lena")
    text = follow(admin, admin.post("user/delete?name=lena", {"typed_name": "Lena"}))
    assert (notices(text), exists(app, "lena")) == (["Deleted Lena."], False)
    client = app.test_client(use_cookies=False)
    assert client.get(DETAIL, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_token_of_a_user(app: Flask, admin: Client) -> None:
    """A token that was issued for a user is listed with its status, and is revoked after a question."""
    add(app)
    token = api(app, "generate", {"name": "ERP", "username": "lena"})["token"]
    text = admin.get("user/tokens?name=lena").text
    (link,) = re.findall(r'href="/console/(tokens/revoke[^"]*)"', text)
    link = html.unescape(link)
    question = Page(admin.get(link).text)
    client, headers = app.test_client(use_cookies=False), {"Authorization": f"Bearer {token}"}
    assert client.get(DETAIL, headers=headers).status_code == 200
    response = admin.post(link, {"id": question.values["id"], "confirmed": "1"})
    assert response.headers["Location"] == "/console/user/tokens?name=lena"
    assert notices(follow(admin, response)) == ["Revoked 1 token."]
    assert client.get(DETAIL, headers=headers).status_code == 401
    assert "tokens/revoke" not in admin.get("user/tokens?name=lena").text


@pytest.mark.file_store
def test_an_audit_log_that_cannot_be_read(app: Flask, admin: Client) -> None:
    """Every tab says that the audit log cannot be read, and shows all else."""
    add(app)
    log = services_in(app).settings.data_dir / "audit.log"
    log.unlink()
    log.mkdir()
    for path in ("user", "user/tokens", "user/history"):
        response = admin.get(f"{path}?name=lena")
        assert (response.status_code, "The audit log cannot be read." in response.text) == (200, True), path


def test_a_history_in_words(app: Flask, admin: Client) -> None:
    """The history has the last events of the user in words."""
    follow(admin, admin.post("new-user", {"username": "lena", "without_password": "1"}))
    text = admin.get("user/history?name=lena").text
    assert "user created" in text
    assert "user_made" not in re.sub("<[^>]+>", "", text)


FORMS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    # The path, what is typed, and what is shown again.
    "create": ("new-user", {**TYPED, "username": "new"}, {"username": "new", "roles": "Sales\n Finance \n\nSales"}),
    "edit": ("user?name=lena", {"name": "Typed", "roles": "Typed"}, {"name": "Typed", "roles": "Typed"}),
    "demote": ("user?name=boss", {"name": "Typed", "usertype": "SYS_Reader"}, {"name": "Typed"}),
    "reset": ("user/password?name=lena", {"password": "typed password"}, {}),
    "disable": ("user/disable?name=lena", {}, {}),
    "delete": ("user/delete?name=lena", {"typed_name": "lena"}, {}),
    "end": ("user/sessions/end?name=lena", {"all": "1"}, {"all": "1"}),
    "revoke": ("user/revoke-tokens?name=lena", {"typed_name": "lena", "application": "ERP"}, {"application": "ERP"}),
    "issued": ("tokens/revoke?user=lena", {"id": "0" * 32}, {"id": "0" * 32}),
    "several": ("several-users", {"name": "lena", "action": "delete"}, {"name": "lena", "action": "delete"}),
    "several-enabled": ("several-users", {"name": "lena", "action": "enable"}, {"name": "lena", "action": "enable"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_ended_session(app: Flask, admin: Client, form: str) -> None:
    """A form or question that was sent in an ended session comes back after the sign-in, and can be sent again."""
    path, typed, shown = FORMS[form]
    add(app)
    add(app, "boss", type="Administrator")
    before = (stored(app), stored(app, "boss"))
    with app.app_context():
        services().session_list.end_all(services().accounts.get("admin"))
    sign_in = Page(admin.client.post(f"/console/{path}", data=typed).text)
    fields = {name: value or "" for name, value in sign_in.values.items() if name != "form_token"}
    response = admin.post("sign-in", {**fields, "username": "admin", "password": ADMIN_PASSWORD}, page="sign-in")
    assert "You are signed in again. Nothing was saved yet" in response.text
    page = Page(response.text)
    assert {name: page.values[name] for name in shown} == shown
    assert f'action="/console/{html.escape(path)}"' in response.text
    assert "typed password" not in response.text
    assert (stored(app), stored(app, "boss")) == before


@pytest.mark.parametrize("form", ["create", "edit", "disable", "delete", "several", "reset", "revoke"])
def test_an_outage(app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """In an outage of the store, the form comes back with what was typed, and the page says so."""
    path, typed, shown = FORMS[form]
    add(app)
    if form == "several":
        typed = {**typed, "confirmed": "1", "typed_name": "1"}

    def fail(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    found = services_in(app)
    for owner, method in ((found.accounts, "change"), (found.users, "create"), (found.cut_offs, "set")):
        monkeypatch.setattr(owner, method, fail)
    response = admin.post(path, {**typed})
    assert response.status_code == 503
    assert "Your input is below" in summary(response.text)
    page = Page(response.text)
    assert {name: page.values[name] for name in shown} == shown


NAMES = ["..", ".", "a/b", "a?b=c&d#e", "50%", "a b", "é", "e\u0323\u0301", LONGEST, SCRIPT, "ﬁ", "Ω", "user", "-"]


@pytest.mark.parametrize("name", NAMES)
def test_names(app: Flask, admin: Client, name: str) -> None:
    """A user of any valid name is created, edited, disabled and deleted, and each page escapes the name."""
    follow(admin, admin.post("new-user", {"username": name, "without_password": "1"}))
    listed = html.unescape("".join(re.findall(r'<th role="rowheader".*?</th>', admin.get("users").text)))
    (path,) = re.findall(r'href="/console/(user\?name=[^"]*)"', listed.replace("user?name=admin", ""))[:1]
    sent = Page(admin.get(path).text)
    query = path.partition("?")[2]
    assert sent.form_token
    follow(admin, admin.post(path, {"dept": "Typed"}))
    assert stored(app, name).dept == "Typed"
    for page in (
        "user",
        "user/sessions",
        "user/tokens",
        "user/history",
        "user/disable",
        "user/delete",
        "user/password",
    ):
        text = admin.get(f"{page}?{query}").text
        assert "<script>alert" not in text
        assert html.escape(stored(app, name).name, quote=False).split("&")[0] in text
    follow(admin, admin.post(f"user/disable?{query}"))
    assert not stored(app, name).enabled
    follow(admin, admin.post(f"user/delete?{query}", {"typed_name": stored(app, name).name}))
    assert not exists(app, name)


def test_script_in_every_field(app: Flask, admin: Client) -> None:
    """Markup in any field is text on each page, also in messages and questions."""
    fields = ("name", "email", "mobile", "dept", "title", "roles")
    sent = {"username": SCRIPT, "without_password": "1", **dict.fromkeys(fields, SCRIPT)}
    pages = [follow(admin, admin.post("new-user", sent)), admin.get("users").text, admin.get(f"users?q={SCRIPT}").text]
    add(app, "boss", type="Administrator", full_name=SCRIPT)
    pages += [
        admin.post("user?name=boss", {**form_of(admin, "boss"), "usertype": "SYS_Reader", "dept": SCRIPT}).text,
        admin.post("several-users", {"name": [SCRIPT, "boss"], "action": "delete", "back": SCRIPT}).text,
        follow(admin, admin.post("user?name=boss", {**form_of(admin, "boss"), "title": SCRIPT})),
        admin.post("new-user", {**sent, "application": SCRIPT}).text,
        admin.get(f"user?name={SCRIPT}").text,
    ]
    for text in pages:
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "alert(1)" in text


def test_other_users(app: Flask, admin: Client) -> None:
    """None of these pages is for users who are no Administrators."""
    add(app, password="long enough")
    lena = Client(app)
    lena.sign_in("lena", "long enough")
    rules = [rule for rule in app.url_map.iter_rules() if "user" in rule.rule and rule.rule.startswith("/console/")]
    assert len(rules) > 20
    for rule in rules:
        for method in rule.methods or ():
            if method in ("GET", "POST"):
                path = f"{rule.rule.removeprefix('/console/')}?name=lena"
                response = lena.get(path) if method == "GET" else lena.post(path, {"confirmed": "1"})
                assert response.status_code == 403, (method, path)
