"""``user/sessions`` and ``user/sessions/end``, and the commands for them."""

import json
import threading
from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.users.sessions import record_name
from datafor_token.web.services import services
from tests.cli.shell import Shell
from tests.conftest import Caller
from tests.console.client import Client
from tests.handmade_tokens import NOW
from tests.stores import Record, records_in
from tests.support import ADMIN_PASSWORD, API, STRONG_SECRET, Clock, Server, application, basic
from tests.web.api.test_gate import check, enter, gate_of, identity, signed, ticket_of

USER = API.removesuffix("/token") + "/user"
SESSIONS, END, DETAIL = f"{USER}/sessions", f"{USER}/sessions/end", f"{USER}/detail"
LOGIN = "/plugin/datafor/api/extension/auth/login"
PASSWORD = "long enough"
ERP = application(secret=STRONG_SECRET)


@pytest.fixture(autouse=True)
def _users(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        return
    caller, app = request.getfixturevalue("caller"), request.getfixturevalue("app")
    assert caller.post("update", ERP).status_code == 200
    with app.app_context():
        for name in ("lena", "paul"):
            services().accounts.add(name, PASSWORD)


def login(app: Flask, name: str = "lena", **options: Any) -> dict[str, str]:
    """Return the header of a new session of a user."""
    client = app.test_client(use_cookies=False)
    body = {"username": name, "password": ADMIN_PASSWORD if name == "admin" else PASSWORD}
    return {"Cookie": f"JSESSIONID={client.post(LOGIN, json=body, **options).get_json()['jsessionid']}"}


def by_token(app: Flask, **claims: Any) -> str:
    """Return the cookie of a gate session that a token opens."""
    return gate_of(check(app, f"/?token={signed(**claims)}"))


def listed(caller: Caller, headers: dict[str, str] | None = None, user: str = "") -> list[dict[str, Any]]:
    response = caller.get(SESSIONS + (f"?username={user}" if user else ""), headers)
    assert response.status_code == 200, response.json
    found: list[dict[str, Any]] = response.json["data"]
    return found


def works(caller: Caller, headers: dict[str, str]) -> bool:
    return caller.get(DETAIL, headers).status_code == 200


@pytest.fixture
def plain(app: Flask) -> Caller:
    """Return a caller without a cookie jar."""
    return Caller(app.test_client(use_cookies=False))


def test_the_list(app: Flask, plain: Caller, clock: Clock) -> None:
    """It has the sessions of every kind, newest first, and marks the one that makes the call."""
    first = login(app, environ_base={"REMOTE_ADDR": "::ffff:10.1.2.3"})
    clock.advance(1)
    gate = by_token(app)
    clock.advance(1)
    linked = gate_of(enter(app, f"ticket={ticket_of(plain)}"))
    clock.advance(1)
    console = Client(app)
    console.sign_in("lena", PASSWORD)
    cookie = console.client.get_cookie("JSESSIONID")
    assert cookie is not None
    second = {"Cookie": f"JSESSIONID={cookie.value}"}
    login(app, "paul")
    clock.advance(70)
    assert works(plain, first)
    start = int((clock() - 73) * 1000)
    own = listed(plain, first)
    assert [(one["kind"], one["since"], one["address"], one["application"], one["current"]) for one in own] == [
        ("console", start + 3000, "127.0.0.1", "", False),
        ("gate", start + 2000, "127.0.0.1", "ERP", False),
        ("gate", start + 1000, "127.0.0.1", "ERP", False),
        ("api", start, "10.1.2.3", "", True),
    ]
    assert [one["last_seen"] - start for one in own] == [3000, 2000, 1000, 73000]
    names = [cookie.partition("=")[2][:43] for cookie in (second["Cookie"], linked, gate, first["Cookie"])]
    assert [one["id"] for one in own] == [record_name(name) for name in names]
    # A session of the console is one of the calls, too.
    assert [one["current"] for one in listed(plain, second)] == [True, False, False, False]
    assert [one["current"] for one in listed(plain, basic("lena", PASSWORD))] == [False] * 4
    assert listed(plain, {"Authorization": f"Bearer {signed()}"}) == listed(plain, user="LENA")


def test_who_may_call(app: Flask, plain: Caller) -> None:
    """Users see and end their own sessions only; Administrators those of everybody."""
    lena, paul = login(app), login(app, "paul")
    for response in (plain.get(f"{SESSIONS}?username=paul", lena), plain.post(END, {"username": "paul"}, lena)):
        assert (response.status_code, response.json["msg"]) == (403, "no permission")
    for response in (plain.get(SESSIONS, {}), plain.post(END, {"username": "lena"}, {})):
        assert (response.status_code, response.json["msg"]) == (401, "not logged in")
    for response in (plain.get(f"{SESSIONS}?username=nobody"), plain.post(END, {"username": "nobody"})):
        assert (response.status_code, response.json["msg"]) == (404, "name does not exist")
    assert plain.post(END, {"username": "Lena"}, lena).json == {"success": True, "msg": "success"}
    assert (works(plain, lena), works(plain, paul)) == (False, True)
    assert plain.post(END, {"username": "paul"}).status_code == 200
    assert not works(plain, paul)


def test_one_session_is_ended(app: Flask, plain: Caller) -> None:
    """With an id, one session ends; what is not a valid session of the caller is one and the same 404."""
    lena, other, paul = login(app), login(app), login(app, "paul")
    (current,) = [one["id"] for one in listed(plain, lena) if one["current"]]
    (last,) = [one["id"] for one in listed(plain, lena) if not one["current"]]
    (pauls,) = [one["id"] for one in listed(plain, paul)]
    refusals = [plain.post(END, {"id": one}, lena) for one in (pauls, "0" * 64, "x/../y", "lena", current.upper())]
    assert {(one.status_code, json.dumps(one.json)) for one in refusals} == {
        (404, '{"success": false, "code": "404", "msg": "session not found"}')
    }
    assert works(plain, paul)
    assert plain.post(END, {"id": last}, lena).status_code == 200
    assert (works(plain, lena), works(plain, other)) == (True, False)
    assert plain.post(END, {"id": last}, lena).status_code == 404
    assert plain.post(END, {"id": pauls}).status_code == 200
    assert not works(plain, paul)
    assert plain.post(END, {"id": current}, lena).status_code == 200
    assert not works(plain, lena)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "username is missing: send it to end all sessions of a user, or id to end one session"),
        ({"username": "lena", "id": "0" * 64}, "id cannot be given together with username: send one of them"),
    ],
)
def test_either_a_user_or_a_session(plain: Caller, body: dict[str, str], message: str) -> None:
    """Neither or both of username and id is 400, and ends nothing."""
    response = plain.post(END, body)
    assert (response.status_code, response.json["msg"]) == (400, message)


def test_an_ended_gate_session_stays_ended(app: Flask, plain: Caller, settings: Settings) -> None:
    """Images of a page with its token do not open an ended session again; going to the page opens another one."""
    gate = by_token(app)
    linked = gate_of(enter(app, f"ticket={ticket_of(plain)}"))
    assert {check(app, Cookie=one).status_code for one in (gate, linked)} == {200}
    assert plain.post(END, {"username": "lena"}).status_code == 200
    assert {check(app, Cookie=one).status_code for one in (gate, linked)} == {401}
    assert listed(plain, user="lena") == []
    image = check(app, f"/i.png?token={signed()}", Sec_Fetch_Mode="no-cors")
    assert (identity(image)[0], gate_of(image)) == ("lena", "")
    assert listed(plain, user="lena") == []
    page = check(app, f"/?token={signed()}", Sec_Fetch_Mode="navigate")
    assert gate_of(page) not in ("", gate)
    (again,) = listed(plain, user="lena")
    assert plain.post(END, {"id": again["id"]}).status_code == 200
    assert check(app, Cookie=gate_of(page)).status_code == 401
    # What prevents that the session is opened again is kept as long as its token.
    assert len(records_in(settings.data_dir, "sessions")) == 1


def account(app: Flask, method: str, *arguments: Any, **members: Any) -> None:
    """Change the account of lena."""
    with app.app_context():
        getattr(services().accounts, method)("lena", *arguments, **members)


# Calls and changes of lena's account, and the kinds of her sessions that are still valid then.
ENDINGS: dict[str, tuple[list[tuple[str, Any]], list[str]]] = {
    "nothing": ([], ["gate", "api"]),
    "a new name": ([("change", {"full_name": "L"})], ["gate", "api"]),
    "the time of the token": ([("wait", 1800)], ["api"]),
    "idle time": ([("wait", 3600)], []),
    "password": ([("set_password", {"password": "another one"})], []),
    "disabled": ([("change", {"enabled": False})], []),
    "disabled and enabled": ([("change", {"enabled": False}), ("change", {"enabled": True})], []),
    "enabled again": ([("change", {"enabled": True})], ["gate", "api"]),
    "deleted and created": ([("remove", {}), ("add", {"password": PASSWORD})], []),
    "application disabled and enabled": ([("update", {**ERP, "enable": "0"}), ("update", ERP)], ["api"]),
    "application deleted": ([("delete", {"name": "ERP"})], ["api"]),
    "a rule of the application": ([("update", {**ERP, "users": "own"})], ["api"]),
    "a cut-off": ([("cut_off", None)], ["api"]),
    "a revoked token": ([("revoke", {"token": signed(exp=NOW + 1800)})], ["api"]),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_only_valid_sessions(app: Flask, plain: Caller, clock: Clock, ending: str) -> None:
    """A session that ended for any reason is not in the list, although its record exists, and cannot be ended."""
    login(app)
    by_token(app, exp=NOW + 1800)
    clock.advance(1)
    before = listed(plain, user="lena")
    steps, kinds = ENDINGS[ending]
    for what, value in steps:
        if what == "wait":
            clock.advance(value)
        elif what == "cut_off":
            with app.app_context():
                services().cut_offs.set("lena", None, value)
        elif what in ("change", "set_password", "remove", "add"):
            account(app, what, **value)
        else:
            assert plain.post(what, value).status_code == 200
    after = listed(plain, user="lena")
    assert sorted(one["kind"] for one in after) == sorted(kinds)
    assert [plain.post(END, {"id": one["id"]}).status_code for one in before] == [
        200 if one in after else 404 for one in before
    ]


def test_a_deleted_user(app: Flask, plain: Caller) -> None:
    """A deleted user has no sessions to list or end."""
    login(app)
    (one,) = listed(plain, user="lena")
    account(app, "remove")
    assert plain.get(f"{SESSIONS}?username=lena").status_code == 404
    assert plain.post(END, {"username": "lena"}).status_code == 404
    assert plain.post(END, {"id": one["id"]}).json["msg"] == "session not found"


def test_another_network_does_not_matter(app: Flask, plain: Caller) -> None:
    """A gate session that is refused only in this network is listed."""
    gate = by_token(app)
    assert plain.post("update", {**ERP, "networks": ["10.0.0.0/8"]}).status_code == 200
    assert check(app, Cookie=gate).status_code == 401
    assert [one["kind"] for one in listed(plain, user="lena")] == ["gate"]


def test_records_of_the_version_before(app: Flask, plain: Caller, settings: Settings) -> None:
    """A session without the new members continues, and is listed without an address."""
    cookie, gate = login(app), by_token(app)
    for record in records_in(settings.data_dir, "sessions"):
        document = json.loads(record.read_text())
        for member in ("address", "password_hash_sha256"):
            del document[member]
        record.write_text(json.dumps(document))
    assert works(plain, cookie)
    assert check(app, Cookie=gate).status_code == 200
    assert {(one["kind"], one["address"]) for one in listed(plain, cookie)} == {("api", ""), ("gate", "")}


def test_damaged_records(app: Flask, plain: Caller, settings: Settings) -> None:
    """A damaged record among the sessions is neither listed nor ended, and does not hide or protect others."""
    cookie = login(app)
    (record,) = records_in(settings.data_dir, "sessions")
    document = json.loads(record.read_text())
    other = {**document, "name": "f" * 64, "opened": 1e300, "used": 1e300, "address": 1}
    Record(settings.data_dir, "sessions", "e" * 64).write_text("{")
    Record(settings.data_dir, "sessions", "f" * 64).write_text(json.dumps(other))
    assert [(one["id"], one["address"]) for one in listed(plain, cookie)] == [
        ("f" * 64, ""),
        (document["name"], "127.0.0.1"),
    ]
    for member, value in (("kind", "other"), ("user", 1), ("grant", None), ("opened", "x")):
        Record(settings.data_dir, "sessions", "f" * 64).write_text(json.dumps({**other, member: value}))
        assert [one["id"] for one in listed(plain, cookie)] == [document["name"]]
        assert plain.post(END, {"id": "f" * 64}).status_code == 404
    assert plain.post(END, {"id": "e" * 64}).json["msg"] == "session not found"
    assert plain.post(END, {"username": "lena"}, cookie).status_code == 200
    assert not works(plain, cookie)


def test_the_audit_log(app: Flask, plain: Caller) -> None:
    """Each session that is ended is an event with its user and application; a refusal records nothing."""
    login(app)
    by_token(app)
    assert plain.post(END, {"id": "0" * 64}).status_code == 404
    assert plain.post(END, {"username": "lena"}).status_code == 200
    events = plain.get("audit?event=session_ended").json["data"]
    assert {(one["actor"], one["way"], str(one["target"])) for one in events} == {
        ("admin", "basic", "{'application': 'ERP', 'user': 'lena'}"),
        ("admin", "basic", "{'user': 'lena'}"),
    }
    assert len(events) == 2


@pytest.mark.file_store
def test_nothing_ends_unrecorded(app: Flask, plain: Caller, settings: Settings) -> None:
    """If the audit log cannot be written, nothing ends, and the response is 503."""
    cookie = login(app)
    log = settings.data_dir / "audit.log"
    log.unlink()
    log.mkdir()
    assert plain.post(END, {"username": "lena"}).status_code == 503
    log.rmdir()
    assert works(plain, cookie)


def test_the_commands(app: Flask, plain: Caller, clock: Clock) -> None:
    """``user sessions`` shows the sessions, ``user end-sessions`` ends one or all."""
    shell = Shell(app)
    lena = login(app)
    clock.advance(1)
    paul = login(app, "paul")
    by_token(app)
    rows = json.loads(shell.done("user", "sessions", "LENA", "--json"))
    assert rows == [{name: one[name] for name in one if name != "current"} for one in listed(plain, user="lena")]
    table = shell.done("user", "sessions", "lena")
    assert "2024-08-06T07:31:56Z" in table
    assert all(row["id"] in table for row in rows)
    assert shell.done("user", "sessions", "admin") == ""
    (other,) = listed(plain, paul)
    for wrong in (other["id"], "x"):
        message = shell.refused("user", "end-sessions", "lena", "--id", wrong)
        assert message == "lena has no such session: `datafor-token user sessions lena` shows all\n"
    assert works(plain, paul)
    said = shell.said("user", "end-sessions", "lena", "--id", rows[-1]["id"])
    assert said == "1 session of lena ended\n"
    assert not works(plain, lena)
    login(app)
    assert json.loads(shell.done("user", "end-sessions", "lena", "--json")) == {"ended": 2, "warnings": []}
    assert shell.said("user", "end-sessions", "lena") == "0 sessions of lena ended\n"
    assert "does not exist" in shell.refused("user", "sessions", "nobody")


class Requests:
    """Requests with a cookie in four threads; their statuses, ``after`` those of requests that begin after an event."""

    def __init__(self, server: Server, headers: dict[str, str]) -> None:
        self.server, self.headers = server, headers
        self.ended = threading.Event()
        self.before: list[int] = []
        self.after: list[int] = []
        self.threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self.threads:
            thread.start()
        while len(self.before) < 40:
            self.ended.wait(0.01)

    def _run(self) -> None:
        while len(self.after) < 40:
            statuses = self.after if self.ended.is_set() else self.before
            statuses.append(self.server.request("GET", DETAIL, headers=self.headers).status)

    def finish(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.file_store
@pytest.mark.parametrize("member", ["id", "username"])
def test_both_workers(server: Server, member: str) -> None:
    """While requests run in both workers, each that begins after the end of the session is refused."""
    server.both_workers()
    body = {"username": "admin", "password": ADMIN_PASSWORD}
    cookies = [server.request("POST", LOGIN, body, {}).json["jsessionid"] for _ in range(2)]
    own, other = ({"Cookie": f"JSESSIONID={cookie}"} for cookie in cookies)
    rows = server.request("GET", SESSIONS, headers=own).json["data"]
    (current,) = [one["id"] for one in rows if one["current"]]
    running = Requests(server, own)
    try:
        sent = {"id": current} if member == "id" else {"username": "admin"}
        assert server.request("POST", END, sent, other).status == 200
    finally:
        running.finish()
    assert (running.before[0], set(running.after)) == (200, {401})
    statuses = {server.request("GET", DETAIL, headers=other).status for _ in range(20)}
    assert statuses == ({200} if member == "id" else {401})
