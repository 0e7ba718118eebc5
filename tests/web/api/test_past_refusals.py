"""Refused requests, looked up in the audit log by the identifier that an error page shows (``explain``)."""

import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from datafor_token.audit import repeats
from datafor_token.audit.events import ACCESS_REASONS, REASONS, SIGN_IN_REASONS
from datafor_token.settings import Settings
from datafor_token.tokens import refusals
from datafor_token.web.services import services
from tests.conftest import Caller, Reply, put_user, services_in
from tests.handmade_tokens import NOW, claims, token
from tests.stores import audit_text, unavailable
from tests.support import API, Clock, HttpResponse, Server, application, basic

EXTENSION = "/plugin/datafor/api/extension/auth"
NOT_FOUND = "no refusal in the audit log has this reference"
EXPIRED = token(claims(exp=NOW - 600))


@pytest.fixture(autouse=True)
def _applications(request: pytest.FixtureRequest) -> None:
    if "settings" in request.fixturenames:
        caller: Caller = request.getfixturevalue("caller")
        assert caller.post("update", application()).status_code == 200


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def reference(response: TestResponse | Reply | HttpResponse) -> str:
    """Return the identifier of the request of a response."""
    found: str | None = response.headers["X-Request-ID"]
    assert found is not None
    assert re.fullmatch("[0-9a-f]{32}", found)
    return found


def explained(caller: Caller, response: TestResponse | Reply) -> dict[str, Any]:
    """Return the explanation of a refused request, which must exist."""
    found = caller.post("explain", {"request_id": reference(response)})
    assert found.status_code == 200, found.json
    members: dict[str, Any] = found.json
    assert (members.pop("success"), members.pop("accepted")) == (True, False)
    return members


def test_an_expired_token(app: Flask, caller: Caller) -> None:
    """A refused token is explained with its reason, application, user, time, way, address and steps with values."""
    put_user(app, "lena")
    refused = caller.get("/auth/check", bearer(token(claims(loginname="lena"), header={"alg": "HS256", "typ": "x"})))
    assert refused.status_code == 401
    assert explained(caller, refused) == {
        "reason": "header",
        "application": "ERP",
        "time": "2024-08-06T07:31:56.000Z",
        "way": "bearer",
        "address": "127.0.0.1",
        "steps": [
            {"step": "read", "ok": True, "detail": "the token can be read; its alg is HS256"},
            {"step": "algorithm", "ok": True, "detail": "ERP expects HS256"},
            {"step": "signature", "ok": True, "detail": "signed with the secret of ERP"},
            {"step": "header", "ok": False, "detail": "the header's typ is x; ERP accepts JWT"},
        ],
    }
    expired = caller.get("/auth/check", bearer(EXPIRED))
    *_, step = explained(caller, expired)["steps"]
    assert step == {
        "step": "time",
        "ok": False,
        "detail": "expired 600 s ago; this server's clock says 2024-08-06T07:31:56Z, with a leeway of 30 s",
    }


def test_the_spelling_of_a_reference(caller: Caller) -> None:
    """A reference may be in capital letters and have blanks around it, in JSON and in a form."""
    found = reference(caller.get("/auth/check", bearer(EXPIRED)))
    for spelled in (found.upper(), f"  {found}\n"):
        assert caller.post("explain", {"request_id": spelled}).json["reason"] == "expired"
    assert caller.post("explain", f"request_id=+{found}").json["reason"] == "expired"


@pytest.mark.parametrize("wrong", ["", "x", "0" * 31, "0" * 33, "g" * 32, "0" * 16 + " " + "0" * 16, "\u0660" * 32])
def test_a_malformed_reference(caller: Caller, wrong: str) -> None:
    """A reference that is not 32 hex digits is 400, names the field, and does not repeat the value."""
    response = caller.post("explain", {"request_id": wrong})
    assert response.status_code == 400
    assert (
        response.json["msg"]
        == "request_id must be the 32 hex digits that an error page or the header X-Request-ID shows"
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"request_id": "0" * 32, "token": EXPIRED}, "token"),
        ({"request_id": "0" * 32, "name": "ERP"}, "name"),
        ({"name": "ERP"}, "token"),
        ({}, "token"),
    ],
)
def test_one_of_two_forms(caller: Caller, body: dict[str, Any], field: str) -> None:
    """Neither a token nor a reference, or both, is 400 and names the field."""
    response = caller.post("explain", body)
    assert (response.status_code, list(response.json["errors"])) == (400, [field])
    assert "send token, with or without name; or request_id" in response.json["msg"]


def test_an_unknown_reference(caller: Caller) -> None:
    """A reference without a refusal is 404, and the sentence says what that can mean."""
    for path in ("/auth/check", "/healthz"):
        response = caller.post("explain", {"request_id": reference(caller.get(path, {}))})
        assert response.status_code == 404
        assert response.json["msg"].startswith(f"{NOT_FOUND}: the request was accepted, it had no credential, its ses")
    # A request of another event, and a token with these digits.
    changed = reference(caller.post("update", application(name="CRM")))
    assert caller.post("explain", {"request_id": changed}).status_code == 404
    assert caller.post("explain", {"request_id": "ab" * 16}).status_code == 404


def test_only_administrators(app: Flask, caller: Caller) -> None:
    """Somebody else than an Administrator, or nobody, learns nothing by a reference."""
    found = reference(caller.get("/auth/check", bearer(EXPIRED)))
    response = caller.post("explain", {"request_id": found}, bearer(token(claims())))
    assert (response.status_code, response.json["msg"]) == (403, "no permission")
    assert caller.post("explain", {"request_id": found}, {}).status_code == 401


def _ticket(_: Caller, app: Flask) -> TestResponse:
    return app.test_client().get("/auth/enter?ticket=unknown")


def _used_ticket(caller: Caller, app: Flask) -> TestResponse:
    url = caller.post("link", {"name": "ERP", "username": "lena"}).json["url"]
    client = app.test_client()
    assert client.get(url).status_code == 303
    return client.get(url)


def _old_ticket(caller: Caller, app: Flask) -> TestResponse:
    url = caller.post("link", {"name": "ERP", "username": "nobody"}).json["url"]
    assert caller.post("delete", {"name": "ERP"}).status_code == 200
    return app.test_client().get(url)


def _ticket_of_nobody(caller: Caller, app: Flask) -> TestResponse:
    url = caller.post("link", {"name": "ERP", "username": "nobody"}).json["url"]
    assert caller.post("update", application(inituser="0")).status_code == 200
    return app.test_client().get(url)


def _revoked_session(caller: Caller, app: Flask) -> TestResponse:
    client, text = app.test_client(), token(claims())
    assert client.get(f"/auth/enter?token={text}").status_code == 303
    assert caller.post("revoke", {"token": text}).status_code == 200
    return client.get("/auth/check")


def _throttled(caller: Caller, _: Flask) -> Reply:
    for _number in range(10):
        caller.get("/auth/check", basic("otto", "wrong"))
    return caller.get("/auth/check", basic("otto", "wrong"))


def _network(caller: Caller, _: Flask) -> Reply:
    caller.post("update", application(networks=["10.0.0.0/8"]))
    return caller.get("/auth/check", bearer(token(claims())))


def _network_of_a_session(caller: Caller, app: Flask) -> TestResponse:
    client = app.test_client()
    assert client.get(f"/auth/enter?token={token(claims())}").status_code == 303
    caller.post("update", application(networks=["127.0.0.1/32"]))
    client = app.test_client()
    assert client.get(f"/auth/enter?token={token(claims())}").status_code == 303
    return client.get("/auth/check", environ_base={"REMOTE_ADDR": "10.0.0.1"})


def _bearer(text: str) -> Callable[[Caller, Flask], Reply]:
    return lambda caller, _: caller.get("/auth/check", bearer(text))


def _basic(name: str) -> Callable[[Caller, Flask], Reply]:
    return lambda caller, _: caller.get("/auth/check", basic(name, "wrong"))


REFUSED: list[tuple[str, Callable[[Caller, Flask], TestResponse | Reply], str, str]] = [
    ("malformed", _bearer("my-password"), "read", "a token is three parts of A-Z"),
    ("header", _bearer(token(claims(), header={"alg": 1})), "header", "has no alg"),
    ("algorithm", _bearer(token(claims(), header={"alg": "my-password"})), "algorithm", "says (not recorded)"),
    ("signature", _bearer(token(claims(), "other")), "signature", "not signed with the secret of ERP"),
    ("expired", _bearer(EXPIRED), "time", "expired 600 s ago"),
    ("no_username", _bearer(token(claims(loginname=None))), "username", "the claim is called loginname"),
    ("audience", _bearer(token(claims(aud="x"))), "audience", 'aud is "x", and ERP has no audience'),
    ("disabled_user", _bearer(token(claims(loginname="off"))), "user", "the user off is disabled"),
    (
        "administrator_refused",
        _bearer(token(claims(loginname="admin"))),
        "administrator",
        "tokens cannot sign in an Administrator: TOKENS_MAY_ADMINISTER is false",
    ),
    ("network", _network, "network", "the client's address is 127.0.0.1; ERP accepts tokens only from 10.0.0.0/8"),
    ("network", _network_of_a_session, "network", "the client's address is 10.0.0.1"),
    ("revoked", _revoked_session, "revocation", "the token was revoked"),
    (
        "several_tokens",
        lambda _, app: app.test_client().get(f"/auth/enter?token={EXPIRED}&token={EXPIRED}"),
        "read",
        "the URL has more than one token",
    ),
    ("ticket", _ticket, "ticket", "the one-time link is unknown"),
    (
        "ticket",
        _used_ticket,
        "ticket",
        "the one-time link was used before: at 2024-08-06T07:31:56.000Z, from the address 127.0.0.1",
    ),
    ("ticket", _old_ticket, "ticket", "the one-time link of 2024-08-06T07:31:56.000Z was never used: it is too old"),
    ("unknown_user", _ticket_of_nobody, "user", "the user nobody does not exist, and ERP creates no users"),
    ("wrong_password", _basic("admin"), "password", "the password is wrong"),
    ("unknown_user", _basic("typed-a-password"), "user", "no user has this name"),
    ("disabled_user", _basic("off"), "user", "the user is disabled"),
    ("throttled", _throttled, "throttling", "the password was not checked"),
    (
        "malformed",
        lambda caller, _: caller.get("/auth/check", {"Authorization": "Basic x"}),
        "password",
        "Authorization: Basic has no user name and password",
    ),
    (
        "wrong_password",
        lambda caller, _: caller.post(f"{EXTENSION}/login", {"username": "admin", "password": "wrong"}, {}),
        "password",
        "the password is wrong",
    ),
    (
        "requirement",
        lambda caller, _: caller.get("/auth/check?role=Sales&role=Other", bearer(token(claims()))),
        "requirement",
        "the check requires the role Other, Sales; lena has SYS_Reader",
    ),
    (
        "requirement",
        lambda caller, _: caller.get("/auth/check?type=SYS_Creator", bearer(token(claims()))),
        "requirement",
        "the check requires the user type SYS_Creator; lena is SYS_Reader",
    ),
    (
        "requirement",
        lambda caller, _: caller.get("/auth/check?application=CRM", basic()),
        "requirement",
        "the check requires a sign-in by the application crm; admin signed in by password",
    ),
    (
        "unknown_requirement",
        lambda caller, _: caller.get("/auth/check?rolle=my-password", basic()),
        "requirement",
        "asks for a requirement that does not exist",
    ),
    (
        "expired",
        lambda _, app: app.test_client().get(f"/auth/enter?token={token(claims(exp=NOW - 10))}"),
        "time",
        "the token expires too soon for a session",
    ),
]


@pytest.mark.parametrize(
    ("reason", "refuse", "step", "says"), REFUSED, ids=[f"{number}-{case[0]}" for number, case in enumerate(REFUSED)]
)
def test_each_refusal(
    app: Flask,
    caller: Caller,
    settings: Settings,
    reason: str,
    refuse: Callable[[Caller, Flask], TestResponse | Reply],
    step: str,
    says: str,
) -> None:
    """Each refusal that a person sees is explained; no text that somebody sent unsigned is recorded or shown."""
    put_user(app, "off", enabled=False)
    response = refuse(caller, app)
    assert response.status_code in (401, 403)
    found = explained(caller, response)
    assert (found["reason"], found["steps"][-1]["step"], found["steps"][-1]["ok"]) == (reason, step, False)
    assert says in found["steps"][-1]["detail"]
    assert reason in (*REASONS, *SIGN_IN_REASONS, *ACCESS_REASONS)
    for text in (json.dumps(found), audit_text(settings.data_dir)):
        assert "my-password" not in text
        assert "typed-a-password" not in text
        assert "eyJ" not in text


def test_the_session_of_another_user_is_not_replaced_by_an_expiring_token(app: Flask, caller: Caller) -> None:
    """A token that expires too soon to replace another user's gate session is an explained refusal."""
    client = app.test_client()
    assert client.get(f"/auth/enter?token={token(claims(loginname='otto'))}").status_code == 303
    expiring = token(claims(exp=NOW - 10))
    response = client.get("/auth/check", headers={"X-Original-URI": f"/?token={expiring}", "Accept": "text/html"})
    assert response.status_code == 401
    found = explained(caller, response)
    assert (found["reason"], found["user"], found["application"]) == ("expired", "lena", "ERP")


def test_a_use_that_failed(app: Flask, caller: Caller, settings: Settings, clock: Clock) -> None:
    """A one-time link that was opened in an outage only was never used."""
    client, url = app.test_client(), caller.post("link", {"name": "ERP", "username": "lena"}).json["url"]
    with unavailable(settings.data_dir, "sessions"):
        assert client.get(url).status_code == 503
    clock.advance(61)
    (step,) = explained(caller, client.get(url))["steps"]
    assert "was never used" in step["detail"]


def test_only_users_who_exist_are_named(app: Flask, caller: Caller, settings: Settings) -> None:
    """The user of a refusal is named if one of that name exists: another name may be a password."""
    known = caller.get("/auth/check", basic("ADMIN", "wrong"))
    assert explained(caller, known)["user"] == "admin"
    assert "user" not in explained(caller, caller.get("/auth/check", basic("nobody", "wrong")))
    put_user(app, "lena")
    caller.post("update", application(users="own"))
    refused = caller.get("/auth/check", bearer(token(claims())))
    assert explained(caller, refused)["user"] == "lena"
    with app.app_context():
        services().store.delete("users", "lena")
    assert "user" not in explained(caller, refused)


def test_repeated_refusals_are_found(
    app: Flask, caller: Caller, clock: Clock, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every refusal that was only counted is found after the minute, also beyond the first 50 of each kind."""
    monkeypatch.setattr(repeats, "_MOST_REQUESTS", 3)
    replies = []
    for _ in range(6):
        replies.append(caller.get("/auth/check", bearer(EXPIRED)))
        clock.advance(1)
    assert "count" not in explained(caller, replies[0])
    assert caller.post("explain", {"request_id": reference(replies[1])}).status_code == 404
    services_in(app).audit.finish()
    for reply in replies[1:]:
        found = explained(caller, reply)
        assert (found["reason"], found["count"], found["way"]) == ("expired", 5, "bearer")
        assert (found["first"], found["time"]) == ("2024-08-06T07:31:57.000Z", "2024-08-06T07:32:01.000Z")
        assert found["steps"][-1]["detail"].startswith("expired 601 s ago")
        (event,) = caller.get(f"audit?request_id={reference(reply)}").json["data"]
        assert event["count"] == 5
    lines = [json.loads(line) for line in audit_text(settings.data_dir).splitlines()]
    (counted,) = [line for line in lines if "count" in line]
    assert counted["request_ids"] == [reference(reply) for reply in replies[1:4]]
    assert {reference(reply)[:12] for reply in replies[4:]} == {counted["request_prefix"]}


def test_refusals_of_others_have_no_steps(
    app: Flask, caller: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refusals of several users that are counted together do not show the values of one for another."""
    monkeypatch.setattr(repeats, "_MOST_OF_CLIENT", 0)
    replies = []
    for name in ("lena", "otto", "emil"):
        put_user(app, name, enabled=False)
        replies.append(caller.get("/auth/check", bearer(token(claims(loginname=name)))))
    services_in(app).audit.finish()
    assert explained(caller, replies[0])["steps"][-1]["detail"] == "the user lena is disabled"
    for reply in replies[1:]:
        found = explained(caller, reply)
        assert "user" not in found
        assert found["steps"] == [
            {"step": "details", "ok": False, "detail": "the audit log has no details of this refusal"}
        ]


def test_a_flood_of_unmet_requirements_is_counted(app: Flask, caller: Caller, settings: Settings) -> None:
    """Checks that a requirement refuses are one line, and one with a count, for each user in a minute."""
    text = token(claims())
    for _ in range(20):
        assert caller.get("/auth/check?role=Sales", bearer(text)).status_code == 403
    services_in(app).audit.finish()
    lines = [json.loads(line) for line in audit_text(settings.data_dir).splitlines()]
    found = [line for line in lines if line["event"] == "access_refused"]
    assert [line.get("count") for line in found] == [None, 19]
    assert (found[0]["actor"], found[0]["target"]) == ("lena", {"application": "ERP", "user": "lena"})


def test_lines_are_short(caller: Caller, settings: Settings) -> None:
    """A long value of a token is cut, so that the line of a refusal is short."""
    caller.post("update", application(audience=["a"]))
    reply = caller.get("/auth/check?role=" + "x" * 5000, bearer(token(claims(aud="a", loginname="l" * 128))))
    assert len(explained(caller, reply)["steps"][-1]["detail"]) < 500
    last = audit_text(settings.data_dir).splitlines()[-1]
    assert len(last) < 2500


@pytest.mark.file_store
def test_lines_of_other_versions(app: Flask, caller: Caller, settings: Settings) -> None:
    """A line without steps, or with steps that cannot be read, is explained by its reason."""
    line: dict[str, Any] = {
        "time": "2024-08-06T07:31:56.000Z",
        "event": "sign_in_refused",
        "actor": None,
        "way": "bearer",
        "address": None,
        "target": {},
    }
    cases: list[tuple[dict[str, Any], str]] = [
        ({"reason": "signature"}, "no secret fits"),
        ({"reason": "expired"}, "the audit log has no details"),
        ({"reason": None}, "the audit log has no details"),
        ({}, "the audit log has no details"),
    ]
    broken: list[Any] = [
        1,
        {},
        [1],
        ["x"],
        [{"step": "time"}],
        [{"step": "time", "ok": False, "detail": "%(x)s", "values": 1}],
    ]
    broken += [[{"step": "time", "ok": False, "detail": "%(x)s", "values": {"y": "1"}}]]
    broken += [[{"step": "time", "ok": False, "detail": "%(", "values": {"y": {"values": 1}}}]]
    cases += [({"reason": "signature", "steps": steps}, "no secret fits") for steps in broken]
    with (settings.data_dir / "audit.log").open("a") as log:
        for number, (members, _) in enumerate(cases):
            log.write(json.dumps({**line, "request_id": f"{number:032x}", **members}) + "\n")
    for number, (_, says) in enumerate(cases):
        response = caller.post("explain", {"request_id": f"{number:032x}"})
        assert response.status_code == 200, response.json
        assert says in response.json["steps"][0]["detail"]


@pytest.mark.file_store
def test_rotated_and_compressed_logs(caller: Caller, settings: Settings, clock: Clock) -> None:
    """A refusal is found in each file of the log, also in compressed ones, and no longer once its file is removed."""
    log, files = settings.data_dir / "audit.log", []
    found = []
    for number in (3, 2, 1):
        found.append(reference(caller.get("/auth/check", bearer(EXPIRED))))
        clock.advance(61)
        rotated = settings.data_dir / f"audit.log.{number}"
        if number == 1:
            log.rename(rotated)
        else:
            rotated = rotated.with_name(f"{rotated.name}.gz")
            rotated.write_bytes(gzip.compress(log.read_bytes()))
            log.unlink()
        files.append(rotated)
        assert caller.post("update", application(expire=1000 + number)).status_code == 200
    for one in found:
        assert caller.post("explain", {"request_id": one}).json["reason"] == "expired"
    files[0].unlink()
    assert caller.post("explain", {"request_id": found[0]}).status_code == 404
    assert caller.post("explain", {"request_id": found[1]}).status_code == 200


@pytest.mark.file_store
def test_a_search_is_bounded(caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request reads a limited part of the log, and says that the command searches all of it."""
    found = reference(caller.get("/auth/check", bearer(EXPIRED)))
    (settings.data_dir / "audit.log").rename(settings.data_dir / "audit.log.1")
    caller.post("update", application(name="CRM"))
    monkeypatch.setattr(refusals, "_MOST_READ", 100)
    response = caller.post("explain", {"request_id": found})
    assert response.status_code == 404
    assert "to search all of it, run datafor-token token explain --request" in response.json["msg"]


@pytest.mark.file_store
@pytest.mark.parametrize("further", [1, 100])
def test_the_newest_part_of_a_large_file(
    caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch, further: int
) -> None:
    """Of a file that is larger than a request reads, it is the newest part that is searched."""
    log = settings.data_dir / "audit.log"
    log.write_bytes(log.read_bytes() * further)
    found = reference(caller.get("/auth/check", bearer(EXPIRED)))
    monkeypatch.setattr(refusals, "_MOST_READ", 1000)
    assert caller.post("explain", {"request_id": found}).json["reason"] == "expired"
    missing = caller.post("explain", {"request_id": "0" * 32})
    assert missing.status_code == 404
    assert ("newest part" in missing.json["msg"]) == (log.stat().st_size > 1000)


@pytest.mark.file_store
@pytest.mark.parametrize("user", [5, {"a": 1}, ["lena"]])
def test_a_line_edited_by_hand(caller: Caller, settings: Settings, user: Any) -> None:
    """A user in a line of the log that is another JSON value than text is left out."""
    line = {"time": "2024-08-06T07:31:56.000Z", "event": "sign_in_refused", "request_id": "a" * 32}
    with (settings.data_dir / "audit.log").open("a") as file:
        file.write(json.dumps({**line, "reason": "expired", "target": {"user": user}}) + "\n")
    response = caller.post("explain", {"request_id": "a" * 32})
    assert (response.status_code, response.json["reason"], "user" in response.json) == (200, "expired", False)


def test_a_line_without_an_end(caller: Caller, settings: Settings) -> None:
    """Zeros without a line end, as a crash leaves them in the log, hide no later event."""
    log = settings.data_dir / "audit.log"
    with log.open("ab") as file:
        file.truncate(log.stat().st_size + 5 * 2**20)
    with log.open("ab") as file:
        file.write(b"\n")
    found = reference(caller.get("/auth/check", bearer(EXPIRED)))
    assert caller.post("explain", {"request_id": found}).json["reason"] == "expired"


@pytest.mark.file_store
def test_a_log_that_cannot_be_read(caller: Caller, settings: Settings) -> None:
    """If the log cannot be read, the response is 503, not 404."""
    log = settings.data_dir / "audit.log"
    log.rename(settings.data_dir / "moved")
    log.mkdir()
    assert caller.post("explain", {"request_id": "0" * 32}).status_code == 503


@pytest.mark.slow
def test_other_worker_and_restart(tmp_path: Path) -> None:
    """Each worker explains the refusals of the other, and so does the service after a restart."""
    server = Server(tmp_path).start()
    workers = {str(worker) for worker in server.both_workers()}
    server.post("update", application())
    expired = token(claims(exp=time.time() - 600))
    references: list[str] = []
    firsts: list[str] = []
    # Each worker writes a line for the first refusal of its own.
    while len(firsts) < 2:
        references.append(reference(server.request("GET", "/auth/check", headers=bearer(expired))))
        assert len(references) < 2000
        lines = map(json.loads, audit_text(tmp_path / "data").splitlines())
        firsts = [line["request_id"] for line in lines if line.get("reason")]
    for one in firsts:
        before = len(server.output)
        for _ in range(2000):
            response = server.request("POST", f"{API}/explain", {"request_id": one})
            assert (response.status, response.json["reason"]) == (200, "expired")
            logged = [line for line in server.output[before:].splitlines() if "/explain " in line]
            if workers <= {found[1] for line in logged if (found := re.search(r"pid=(\d+)", line))}:
                break
        else:
            pytest.fail("one worker served all requests")
    server.stop()
    restarted = Server(tmp_path).start()
    for one in references[:50]:
        response = restarted.request("POST", f"{API}/explain", {"request_id": one})
        assert (response.status, response.json["reason"]) == (200, "expired")
    restarted.stop()
