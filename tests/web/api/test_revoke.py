"""``token/revoke`` in its forms: by token, ``id``, ``jti``, or up to a time."""

import itertools
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import Caller, put_user
from tests.console.client import Client
from tests.handmade_tokens import NOW, claims, token
from tests.service import NEW, OLD, Service
from tests.stores import Record, records_in, unavailable
from tests.support import SAMPLE_APPLICATION, STRONG_SECRET, Clock, application, basic
from tests.web.api.test_gate import check, enter, gate_of

DETAIL = "/plugin/datafor-modeler/api/user/detail"
CHECK = "/auth/check"
SEND = "send token; or id; or jti and application; or before with user, application or both"
TWELVE = (
    "has 12 of the 32 digits: give all of them; where an earlier version wrote the line, it has no more: send the token"
    " itself, or before with its user and application"
)
MILLISECONDS = NOW * 1000


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def status(caller: Caller, text: str) -> int:
    return caller.get(DETAIL, bearer(text)).status_code


def events(caller: Caller, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.get(f"audit?event={kind}").json["data"]
    return found


def issued(caller: Caller, user: str = "lena") -> tuple[str, str]:
    """Return an issued token and its identifier in the audit log."""
    text = caller.post("generate", {"username": user}).json["token"]
    return text, events(caller, "token_generated")[0]["target"]["token"]


@pytest.fixture(autouse=True)
def _erp(request: pytest.FixtureRequest) -> None:
    if "service" not in request.fixturenames:
        request.getfixturevalue("caller").post("update", SAMPLE_APPLICATION)


FORMS = {
    ("token",), ("id",), ("jti", "application"), ("before", "user"), ("before", "application"),
    ("before", "user", "application"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field", "problem"),
    [
        ({}, "token", f"is missing: {SEND}"),
        ({"token_type_hint": "access_token"}, "token", f"is missing: {SEND}"),
        ({"token": "x", "id": "0" * 32}, "id", f"cannot be given together with token: {SEND}"),
        ({"token": "x", "before": "now"}, "before", f"cannot be given together with token: {SEND}"),
        ({"id": "0" * 32, "application": "ERP"}, "application", f"cannot be given together with id: {SEND}"),
        ({"jti": "1", "application": "ERP", "user": "lena"}, "user", f"cannot be given together with jti: {SEND}"),
        ({"jti": "1"}, "application", f"is missing: {SEND}"),
        ({"before": "now"}, "application", f"is missing: {SEND}"),
        ({"user": "lena"}, "before", f"is missing: {SEND}"),
        ({"user": "lena", "application": "ERP"}, "before", f"is missing: {SEND}"),
        ({"id": "0f3a9c1d2b4e"}, "id", TWELVE),
        ({"id": "0" * 31}, "id", "must be the 32 hex digits that the audit log shows as target.token"),
        ({"id": "hmac-" + "0" * 32}, "id", "must be the 32 hex digits that the audit log shows as target.token"),
        ({"token": ""}, "token", "can not be empty"),
        ({"token": " \n"}, "token", "can not be empty"),
        ({"jti": "", "application": "ERP"}, "jti", "can not be empty"),
        ({"user": "", "before": "now"}, "user", "can not be empty"),
        ({"user": "a:b", "before": "now"}, "user", "cannot contain ':'"),
        ({"application": "", "before": "now"}, "application", "can not be empty"),
        ({"user": "lena", "before": MILLISECONDS + 1}, "before",
         "must not be in the future: now revokes all tokens that were issued so far"),
        *[({"user": "lena", "before": seconds}, "before",
           "must be in milliseconds since 1970: append 000 to a number of seconds")
          for seconds in (0, 1, NOW, 10**11 - 1)],
        *[({"user": "lena", "before": wrong}, "before", "must be a whole number of milliseconds since 1970, or now")
          for wrong in ("", "tomorrow", "NOW", -1, 1.5, True, 10**15, "1e3", "\u0663", " 1")],
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_form", [False, True], ids=["json", "form"])
def test_forms_that_are_refused(
    caller: Caller, settings: Settings, body: dict[str, Any], field: str, problem: str, *, is_form: bool
) -> None:
    """A mixed or incomplete form, and a value that is not valid, are 400, name the field, and change nothing."""
    if is_form:
        sent = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        response = caller.post("revoke", urlencode(sent))
    else:
        response = caller.post("revoke", body)
    found = response.json
    assert (response.status_code, found["msg"]) == (400, f"{field} {problem}")
    assert found["errors"] == {field: [f"{field} {problem}"]}
    assert records_in(settings.data_dir, "cut_offs") == records_in(settings.data_dir, "revocations") == []


def test_the_forms(caller: Caller) -> None:
    """Of all combinations of the fields, six are accepted."""
    values = {"token": "x", "id": "0" * 32, "jti": "1", "before": 10**12, "user": "lena", "application": "ERP"}
    for number in range(len(values) + 1):
        for chosen in itertools.combinations(values, number):
            accepted = caller.post("revoke", {name: values[name] for name in chosen}).status_code == 200
            assert accepted is (chosen in FORMS), chosen


@pytest.mark.parametrize(
    "body",
    [{"id": "0" * 32}, {"jti": "1", "application": "ERP"}, {"before": "now", "user": "lena"}],
    ids=["id", "jti", "before"],
)
def test_only_administrators(app: Flask, caller: Caller, settings: Settings, body: dict[str, Any]) -> None:
    """Forms without the token are for Administrators, also for a user's own tokens; nothing is stored."""
    put_user(app, "lena")
    for headers, code, message in ((bearer(token(claims())), 403, "no permission"), ({}, 401, "not logged in")):
        response = caller.post("revoke", body, headers)
        assert (response.status_code, response.json["msg"]) == (code, message)
    assert records_in(settings.data_dir, "cut_offs") == records_in(settings.data_dir, "revocations") == []


def test_by_identifier(caller: Caller, settings: Settings) -> None:
    """A token is revoked by the identifier of its line in the audit log, whose names and expiry are stored."""
    text, identifier = issued(caller)
    other, _ = issued(caller, "otto")
    assert (status(caller, text), status(caller, other)) == (200, 200)
    for spelling in (identifier, f" {identifier.upper()}\n"):
        assert caller.post("revoke", {"id": spelling}).json == {"success": True, "msg": "success"}
    assert (status(caller, text), status(caller, other)) == (401, 200)
    (record,) = records_in(settings.data_dir, "revocations")
    found = json.loads(record.read_text())
    assert (found["expires"], found["application"], found["username"]) == (NOW + 86400, "ERP", "lena")
    (detail,) = [one["detail"] for one in caller.post("explain", {"token": text}).json["steps"] if not one["ok"]]
    assert detail == "the token was revoked on 2024-08-06T07:31:56Z by admin"
    event = events(caller, "token_revoked")[0]
    assert event["target"] == {"application": "ERP", "user": "lena", "token": identifier}
    # A signature in another spelling escapes no more than the claims do.
    assert caller.post("explain", {"token": text.rstrip("=")}).json["reason"] == "revoked"


def test_by_the_identifier_of_another_issuer(caller: Caller, settings: Settings) -> None:
    """A token of another issuer is revoked by the identifier of its sign-in, for ten years: its expiry is not known."""
    text = token(claims())
    assert status(caller, text) == 200
    identifier = events(caller, "sign_in")[0]["target"]["token"]
    assert "warnings" not in caller.post("revoke", {"id": identifier}).json
    assert status(caller, text) == 401
    (record,) = records_in(settings.data_dir, "revocations")
    assert json.loads(record.read_text())["expires"] == NOW + 315_360_000


@pytest.mark.file_store
def test_an_unknown_identifier(caller: Caller, settings: Settings) -> None:
    """An identifier without a line is stored with a warning: the token may be of another node."""
    text, identifier = issued(caller)
    (settings.data_dir / "audit.log").write_text("")
    assert caller.post("revoke", {"id": identifier}).json["warnings"] == [
        "no line of the audit log of this node has this id: it is revoked all the same"
    ]
    assert status(caller, text) == 401


def test_a_link_by_its_identifier(app: Flask, caller: Caller) -> None:
    """A one-time link is revoked by its identifier before and after it was redeemed; then its session ends."""
    put_user(app, "lena")
    urls = [caller.post("link", {"username": "lena"}).json["url"] for _ in range(3)]
    identifiers = [event["target"]["token"] for event in reversed(events(caller, "link_made"))]
    assert caller.post("revoke", {"id": identifiers[0]}).json == {"success": True, "msg": "success"}
    queries = [url.partition("?")[2] for url in urls]
    assert enter(app, queries[0]).status_code == 401
    sessions = [gate_of(enter(app, query)) for query in queries[1:]]
    assert caller.post("revoke", {"id": identifiers[1]}).json == {"success": True, "msg": "success"}
    assert [check(app, Cookie=cookie).status_code for cookie in sessions] == [401, 200]


def test_by_jti(caller: Caller) -> None:
    """All tokens of an application with this jti are refused, whatever else they say; other ones are accepted."""
    caller.post("update", application(name="CRM", secret="other"))
    revoked = [token(claims(jti="A", n=number)) for number in range(2)]
    others = [token(claims(jti="a")), token(claims(jti="A"), "other"), token(claims())]
    assert {status(caller, text) for text in (*revoked, *others)} == {200}
    assert caller.post("revoke", {"jti": "A", "application": "erp"}).json == {"success": True, "msg": "success"}
    assert [status(caller, text) for text in (*revoked, *others)] == [401, 401, 200, 200, 200]


@pytest.mark.parametrize("fields", [{"jti": "A"}, {"before": "now"}, {"before": "now", "user": "lena"}])
def test_another_application_has_the_secret(caller: Caller, fields: dict[str, str]) -> None:
    """A warning names the other applications that accept the tokens with the same secret, also in a grace period."""
    revoked, wanted = token(claims(jti="A")), {"application": "ERP", **fields}
    assert status(caller, revoked) == 200
    for name, changes in {"Off": {"enable": "0"}, "HR": {"secret": "other"}, "CRM": {}}.items():
        caller.post("update", application(name=name, **changes))
    caller.post("rotate", {"name": "CRM", "secret": STRONG_SECRET, "grace": 3600})
    warning = "CRM, with the same secret, may still accept the tokens: revoke them there too"
    assert caller.post("revoke", wanted).json["warnings"] == [warning]
    assert status(caller, revoked) == 200
    caller.post("revoke", {**wanted, "application": "CRM"})
    assert status(caller, revoked) == 401
    found = caller.post("revoke", {**wanted, "application": "HR"}).json
    assert found == {"success": True, "msg": "success"}


def test_names_that_are_not_known(caller: Caller) -> None:
    """Unknown names are stored with a warning each: they may concern tokens of another node or issuer."""
    late = {"loginname": "late", "exp": NOW + 3600}
    found = caller.post("revoke", {"user": "late", "application": "Portal", "before": "now"}).json
    assert found["warnings"] == ["no user is called late", "no application is called Portal"]
    found = caller.post("revoke", {"jti": "7", "application": "Portal"}).json
    assert found["warnings"] == ["no application is called Portal"]
    caller.post("update", application(name="Portal", secret=STRONG_SECRET))
    assert status(caller, token(late, STRONG_SECRET)) == 401
    assert status(caller, token({**late, "loginname": "lena", "jti": "7"}, STRONG_SECRET)) == 401
    assert status(caller, token({**late, "loginname": "lena"}, STRONG_SECRET)) == 200


@pytest.mark.parametrize(
    "body",
    [
        {"user": "lena", "before": MILLISECONDS},
        "user=lena&before=now",
        f"user=lena&before={MILLISECONDS}",
        '{"user":"lena","before":"now"}',
        "user=lena&before=now&token_type_hint=x&id=".removesuffix("&id="),
    ],
)
def test_ways_to_send_a_time(caller: Caller, body: Any) -> None:
    """The time is milliseconds or now, as JSON or as a form, with the same result."""
    assert caller.post("revoke", body).json["success"]
    caller.post("generate", {"username": "admin"})
    (event,) = events(caller, "tokens_cut_off")
    assert (event["target"], event["tokens_before"]) == ({"user": "lena"}, MILLISECONDS)


def test_where_they_are_shown(app: Flask, caller: Caller, clock: Clock) -> None:
    """content, and user/detail for Administrators, show the cut-offs in force; update ignores them."""
    with app.app_context():
        services().accounts.add("lena", "lenas password")
    for body in ({"user": "LENA"}, {"application": "erp"}, {"user": "lena", "application": "ERP"}):
        clock.advance(1)
        caller.post("revoke", {**body, "before": "now"})
    both, of_erp, of_lena = (
        {**names, "before": MILLISECONDS + after, "set": MILLISECONDS + after, "by": "admin"}
        for names, after in (
            ({"user": "lena", "application": "ERP"}, 3000), ({"application": "ERP"}, 2000), ({"user": "lena"}, 1000),
        )
    )  # fmt: skip
    content = caller.get("content?name=ERP").json
    assert content["cut_offs"] == [both, of_erp]
    assert caller.get(f"{DETAIL}?username=lena").json["data"]["user"]["cut_offs"] == [both, of_lena]
    assert "cut_offs" not in caller.get(DETAIL, basic("lena", "lenas password")).json["data"]["user"]
    assert "cut_offs" not in caller.get(DETAIL).json["data"]["user"]
    assert caller.post("update", content).json["success"]
    assert caller.get("content?name=ERP").json["cut_offs"] == [both, of_erp]
    clock.advance(86400 + 30)
    assert "cut_offs" not in caller.get("content?name=ERP").json


def personal(caller: Caller) -> Any:
    return caller.post("personal", {"name": "ERP"})


def link(caller: Caller) -> Any:
    return caller.post("link", {"username": "admin"})


def generate(caller: Caller) -> Any:
    return caller.post("generate", {"username": "admin"})


@pytest.mark.parametrize("issue", [generate, personal, link])
def test_issuing_in_the_second_of_a_cut_off(caller: Caller, clock: Clock, issue: Callable[[Caller], Any]) -> None:
    """Each way to issue is 503 with Retry-After in the second of the cut-off, and succeeds in the next one."""
    caller.post("update", application(self_service="1"))
    caller.post("revoke", {"user": "admin", "before": "now"})
    response = issue(caller)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    clock.advance(1)
    assert issue(caller).status_code == 200


def test_the_console_in_the_second_of_a_cut_off(app: Flask, caller: Caller, clock: Clock) -> None:
    """The page that generates a token says in the second of the cut-off that one can try again."""
    client = Client(app)
    client.sign_in()
    caller.post("revoke", {"user": "lena", "before": "now"})
    form = {"name": "ERP", "username": "lena", "next": "/"}
    response = client.post("tokens/issue", form, page="tokens/issue")
    assert (response.status_code, response.headers.get("Retry-After")) == (503, "1")
    assert "try again in a second" in response.text
    clock.advance(1)
    assert client.post("tokens/issue", form, page="tokens/issue").status_code == 303


@pytest.fixture
def opened(app: Flask, caller: Caller) -> Callable[[str], str]:
    """Return a function that opens a gate session in a way, and returns its cookie."""
    put_user(app, "lena")

    def open_session(way: str) -> str:
        if way == "ticket":
            response = enter(app, caller.post("link", {"username": "lena"}).json["url"].partition("?")[2])
        else:
            response = check(app, f"/?token={token(claims(iat=NOW if way == 'iat' else None))}")
        return gate_of(response)

    return open_session


@pytest.mark.parametrize("way", ["iat", "no iat", "ticket", "earlier version"])
def test_gate_sessions(
    app: Flask, caller: Caller, clock: Clock, settings: Settings, opened: Callable[[str], str], way: str
) -> None:
    """A cut-off ends the gate sessions whose token or ticket is from before, or of which that is not known."""
    cookie = opened(way)
    if way == "earlier version":
        (record,) = records_in(settings.data_dir, "sessions")
        stored = json.loads(record.read_text())
        del stored["grant"]["issued"]
        record.write_text(json.dumps(stored))
    assert check(app, Cookie=cookie).status_code == 200
    caller.post("revoke", {"user": "otto", "before": "now"})
    assert check(app, Cookie=cookie).status_code == 200
    clock.advance(1)
    caller.post("revoke", {"user": "lena", "before": "now"})
    assert check(app, Cookie=cookie).status_code == 401
    assert records_in(settings.data_dir, "sessions") == []


def test_gate_sessions_from_after(app: Flask, caller: Caller, clock: Clock, opened: Callable[[str], str]) -> None:
    """Sessions of tokens and tickets that were issued after the cut-off remain; a ticket from before is refused."""
    before = caller.post("link", {"username": "lena"}).json["url"].partition("?")[2]
    caller.post("revoke", {"user": "lena", "before": "now"})
    clock.advance(1)
    assert enter(app, before).status_code == 401
    text = caller.post("generate", {"username": "lena"}).json["token"]
    for cookie in (opened("ticket"), gate_of(check(app, f"/?token={text}"))):
        assert check(app, Cookie=cookie).status_code == 200
        caller.post("revoke", {"user": "lena", "before": MILLISECONDS})
        assert check(app, Cookie=cookie).status_code == 200


def test_the_log_and_the_audit_log(caller: Caller, log: Any) -> None:
    """A refusal is recorded as revoked; the log has the sentence of explain, with who revoked it."""
    text = token(claims())
    caller.post("revoke", {"user": "lena", "before": "now"})
    assert status(caller, text) == 401
    detail = caller.post("explain", {"token": text}).json["steps"][-1]["detail"]
    assert detail.startswith("revoked for lena on 2024-08-06T07:31:56Z by admin: tokens issued up to ")
    assert f'reason=revoked detail="{detail}"' in log.getvalue()
    assert events(caller, "sign_in_refused")[0]["reason"] == "revoked"
    assert caller.post("introspect", {"token": text}).json == {"success": True, "active": False}


@pytest.mark.parametrize("body", [{"user": "lena", "before": "now"}, {"id": "0" * 32}], ids=["cut-off", "id"])
def test_an_outage(caller: Caller, settings: Settings, body: dict[str, Any]) -> None:
    """Without the store, revoking is 503, nothing is stored, and no token is accepted."""
    collection = "cut_offs" if "user" in body else "revocations"
    text = token(claims())
    assert status(caller, text) == 200
    with unavailable(settings.data_dir, collection):
        assert caller.post("revoke", body).status_code == 503
        assert status(caller, text) == 503
    assert status(caller, text) == 200
    assert records_in(settings.data_dir, collection) == []


@pytest.mark.file_store
def test_no_audit_log(caller: Caller, settings: Settings) -> None:
    """A cut-off that cannot be recorded in the audit log is 503 and not stored."""
    (settings.data_dir / "audit.log").unlink()
    (settings.data_dir / "audit.log").mkdir()
    assert caller.post("revoke", {"user": "lena", "before": "now"}).status_code == 503
    assert records_in(settings.data_dir, "cut_offs") == []


def test_revoking_by_identifier_after_a_key_change(service: Service) -> None:
    """A token is revoked by the identifier of a line that the former key of the service made."""
    caller = service.start(OLD)
    caller.post("update", SAMPLE_APPLICATION)
    text, identifier = issued(caller)
    cookie = caller.get(f"/auth/enter?token={text}&next=/", headers={}).headers["Set-Cookie"].partition(";")[0]
    service.start(NEW, OLD)
    service.run("store", "rekey")
    caller = service.start(NEW)
    assert caller.get(CHECK, bearer(text)).status_code == caller.get(CHECK, {"Cookie": cookie}).status_code == 200
    assert caller.post("revoke", {"id": identifier}).json == {"success": True, "msg": "success"}
    assert caller.get(CHECK, bearer(text)).status_code == caller.get(CHECK, {"Cookie": cookie}).status_code == 401


def test_a_user_who_is_damaged(caller: Caller, settings: Settings) -> None:
    """The tokens of a user whose record cannot be read can be cut off."""
    assert status(caller, token(claims())) == 200
    record = Record(settings.data_dir, "users", "lena")
    whole = record.read_text()
    record.write_text("{")
    assert caller.post("revoke", {"user": "lena", "before": "now"}).json == {"success": True, "msg": "success"}
    record.write_text(whole)
    assert status(caller, token(claims())) == 401
