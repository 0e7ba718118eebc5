"""``token/issued``: every issued token is listed once with its status, whatever happened to the log in between."""

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.audit import search
from datafor_token.audit.events import Origin
from datafor_token.settings import Settings
from datafor_token.validation import logs
from datafor_token.validation.names import fold
from datafor_token.validation.strict_json import compact
from tests.audit.test_audit import configured
from tests.commands import invoke
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, services_in
from tests.handmade_tokens import NOW
from tests.service import NEW, OLD, Service
from tests.support import API, STRONG_SECRET, Clock, Server, application, need


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def stamp(seconds: float) -> str:
    return logs.timestamp(seconds)


def line(number: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the event of an issued token; a change to ``None`` removes a member."""
    event = {
        "time": stamp(NOW + number + 0.25),
        "event": "token_generated",
        "actor": "admin",
        "way": "basic",
        "address": "10.0.0.7",
        "request_id": None,
        "target": {"application": "ERP", "user": "lena", "token": f"{number:032x}"},
        "expires": NOW + 86400,
        **changes,
    }
    return {name: value for name, value in event.items() if value is not None or name == "request_id"}


def write(settings: Settings, *events: dict[str, Any], name: str = "audit.log") -> None:
    """Append lines to the log."""
    with (settings.data_dir / name).open("ab") as file:
        file.writelines(f"{compact(event)}\n".encode() for event in events)


def listed(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    """Return the tokens of all pages."""
    found: list[dict[str, Any]] = []
    page = ""
    while True:
        response = caller.get(f"issued?{query}{page}")
        assert response.status_code == 200, response.json
        found += response.json["data"]
        if "next" not in response.json:
            return found
        page = f"&page={response.json['next']}"


def numbers(found: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of tokens of ``line``."""
    return [int(token["id"], 16) for token in found]


def test_an_issued_token_is_listed(app: Flask, caller: Caller, clock: Clock) -> None:
    """A generated and a personal token are listed, newest first, with whose they are, from when and until when."""
    caller.post("update", application(secret=STRONG_SECRET, self_service="1"))
    clock.advance(0.25)
    first = caller.post("generate", {"username": "Lena"}).json["token"]
    clock.advance(1)
    caller.post("personal")
    personal, generated = listed(caller)
    assert generated == {
        "id": json.loads(invoke(app, ["token", "decode", "--json"], put=first).stdout)["identifiers"][0],
        "kind": "generated",
        "user": "Lena",
        "application": "ERP",
        "issued_at": NOW * 1000 + 250,
        "expires_at": (NOW + 86400) * 1000,
        "by": "admin",
        "status": "active",
    }
    assert len(generated["id"]) == 32
    assert (personal["kind"], personal["user"], personal["by"]) == ("personal", "admin", "admin")


def test_who_may_list(app: Flask, caller: Caller) -> None:
    """Only Administrators list issued tokens."""
    caller.post("update", application(secret=STRONG_SECRET))
    token = caller.post("generate", {"username": "lena"}).json["token"]
    assert caller.get("issued", headers=bearer(token)).status_code == 403
    assert caller.get("issued", headers={}).status_code == 401


def test_statuses(app: Flask, caller: Caller, clock: Clock) -> None:
    """A token is revoked by its text, by its identifier or by a cut-off; once it is over, it is expired."""
    caller.post("update", application(secret=STRONG_SECRET))
    tokens = {}
    for user in ("text", "identifier", "cut", "short", "alive"):
        if user == "short":
            caller.post("update", application(secret=STRONG_SECRET, expire=100))
        if user == "alive":
            caller.post("update", application(secret=STRONG_SECRET))
        tokens[user] = caller.post("generate", {"username": user}).json["token"]
    ids = {token["user"]: token["id"] for token in listed(caller)}

    def statuses() -> dict[str, str]:
        return {token["user"]: token["status"] for token in listed(caller)}

    assert set(statuses().values()) == {"active"}
    caller.post("revoke", {"token": tokens["text"]})
    services_in(app).revocations.add_identifier(ids["identifier"])
    clock.advance(1)
    services_in(app).cut_offs.set("CUT", None, None)
    revoked = {"text": "revoked", "identifier": "revoked", "cut": "revoked"}
    assert statuses() == {**revoked, "short": "active", "alive": "active"}
    # The list says what a sign-in would find.
    for user, status in statuses().items():
        response = caller.get("/auth/check", headers=bearer(tokens[user]))
        assert response.status_code == (200 if status == "active" else 401), user
    clock.advance(100)
    assert statuses() == {**revoked, "short": "expired", "alive": "active"}
    clock.advance(86400)
    assert set(statuses().values()) == {"expired"}


def test_a_token_from_after_a_cut_off_is_active(app: Flask, caller: Caller, clock: Clock) -> None:
    """A cut-off concerns the tokens with an iat up to its second, those without iat, and no later ones."""
    caller.post("update", application(secret=STRONG_SECRET))
    caller.post("generate", {"username": "lena"})
    caller.post("generate", {"username": "otto"})
    clock.advance(5)
    services_in(app).cut_offs.set("lena", "erp", None)
    clock.advance(1)
    later = caller.post("generate", {"username": "lena"}).json["token"]
    found = [(token["user"], token["status"]) for token in listed(caller)]
    assert found == [("lena", "active"), ("otto", "active"), ("lena", "revoked")]
    assert caller.get("/auth/check", headers=bearer(later)).status_code == 200


NAMES = ["lena", "LENA", "otto", "l\u00e9na", "L\u00c9NA", 'l"ena', "back\\slash", "\u212aarl", "karl", "lenas"]
APPLICATIONS = ["ERP", "erp", "CRM", "\u00c9RP"]


def every_kind_of_line() -> Iterator[dict[str, Any]]:
    """Yield a token for each name, application, kind, and way of being over or revoked."""
    kinds: list[dict[str, Any]] = [
        {}, {"expires": NOW}, {"iat": NOW - 1}, {"iat": NOW - 100}, {"iat": NOW - 100, "jti": "other"},
        {"jti": "one"}, {"event": "token_personal"}, {"iat": NOW - 100, "expires": NOW - 50},
    ]  # fmt: skip
    number = 0
    for name in NAMES:
        for of in APPLICATIONS:
            for changes in kinds:
                target = {"application": of, "user": name, "token": f"{number:032x}"}
                yield line(number, target=target, **changes)
                number += 1


@pytest.mark.file_store
def test_each_filter(app: Flask, caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter finds exactly the tokens that the whole list shows with its value, whatever their names."""
    write(settings, *every_kind_of_line())
    found = services_in(app)
    for number in (0, 17, 101):
        found.revocations.add_identifier(f"{number:032x}", NOW + 1000)
    found.revocations.add_jti("CRM", "one")
    found.cut_offs.set("karl", "ERP", (NOW - 50) * 1000)
    found.cut_offs.set("l\u00e9na", None, (NOW - 50) * 1000)
    whole = listed(caller)
    assert len(whole) == len(NAMES) * len(APPLICATIONS) * 8
    assert {token["status"] for token in whole} == {"active", "expired", "revoked"}
    for status in ("active", "expired", "revoked"):
        assert listed(caller, f"status={status}") == [token for token in whole if token["status"] == status]
    for name in NAMES:
        expected = [token for token in whole if fold(token["user"]) == fold(name)]
        assert listed(caller, f"user={quote(name)}&limit=7") == expected
        revoked = [token for token in expected if token["status"] == "revoked"]
        assert listed(caller, f"user={quote(name)}&status=revoked") == revoked
    for of in APPLICATIONS:
        expected = [token for token in whole if fold(token["application"]) == fold(of)]
        assert listed(caller, f"application={quote(of)}") == expected


@pytest.mark.file_store
def test_when_it_was_issued(caller: Caller, settings: Settings) -> None:
    """since and until filter by the time of issuing; since includes its time, until does not."""
    write(settings, *(line(number * 1000) for number in range(1, 6)))
    query = f"since={stamp(NOW + 2000.25)}&until={stamp(NOW + 4000.25)}"
    assert numbers(listed(caller, query)) == [3000, 2000]


@pytest.mark.file_store
def test_lines_that_are_no_issued_tokens(caller: Caller, settings: Settings) -> None:
    """Lines of earlier versions, of other events and of other shapes are left out, whatever the filter."""
    target = line()["target"]
    write(
        settings,
        line(expires=None, target={**target, "token": "0f3a9c1d2b4e"}),
        line(target={**target, "token": "0f3a9c1d2b4e"}),
        line(target={**target, "token": "X" * 32}),
        line(target={"application": "ERP", "user": "lena"}),
        line(target={**target, "user": 1}),
        line(target={**target, "application": None}),
        line(expires="1"),
        line(expires=True),
        line(iat="1"),
        line(jti=1),
        line(event="sign_in"),
        line(event="token_revoked"),
        line(event="link_made"),
        line(7),
    )
    for query in ("", "user=lena", "status=active"):
        assert numbers(listed(caller, query)) == [7]


@pytest.mark.file_store
@pytest.mark.parametrize("text", [b"\xff", b"\\x", b"\\ud800", b"\\u12", b"\n", b"\0"])
def test_a_line_with_bad_text(caller: Caller, settings: Settings, text: bytes) -> None:
    """A line in the usual form whose names are not valid text is left out."""
    write(settings, line(1))
    with (settings.data_dir / "audit.log").open("ab") as file:
        file.write(compact(line(2)).encode().replace(b"lena", text) + b"\n")
        file.write(compact(line(3, jti="x")).encode().replace(b'"x"', b'"%b"' % text) + b"\n")
    for query in ("", "status=active", "user=lena", "user=otto&status=revoked"):
        assert numbers(listed(caller, query)) == ([] if "otto" in query else [1])


@pytest.mark.file_store
def test_a_half_written_line(caller: Caller, settings: Settings) -> None:
    """A line that is being written, or was torn, hides no other token."""
    write(settings, line(1))
    half = compact(line(2)).encode()
    with (settings.data_dir / "audit.log").open("ab") as file:
        file.write(half[:200])
    assert numbers(listed(caller)) == [1]
    with (settings.data_dir / "audit.log").open("ab") as file:
        file.write(b"\n")
    write(settings, line(3))
    for query in ("", "status=active", "user=lena"):
        assert numbers(listed(caller, query)) == [3, 1]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=valid", "status"), ("status=", "status"), ("status=active&status=revoked", "status"),
        ("limit=0", "limit"), ("limit=1001", "limit"), ("page=1", "page"), ("page=x-1", "page"), ("user=", "user"),
        ("application=a%20b", "application"), ("since=yesterday", "since"), ("until=x", "until"), ("users=x", "users"),
    ],
)  # fmt: skip
def test_wrong_parameters(caller: Caller, query: str, field: str) -> None:
    """A wrong parameter is 400 and named."""
    response = caller.get(f"issued?{query}")
    assert (response.status_code, list(response.json["errors"])) == (400, [field])


def test_the_statuses_are_named(caller: Caller) -> None:
    """The error about a status names those that exist."""
    assert caller.get("issued?status=valid").json["msg"] == "status must be one of active, expired, revoked"


@pytest.mark.file_store
def test_the_page_of_another_filter(caller: Caller, settings: Settings) -> None:
    """A page is a place in the log: with another filter, the older tokens of that filter follow."""
    users = ["lena", "otto"] * 3
    write(
        settings, *(line(number, target={**line(number)["target"], "user": user}) for number, user in enumerate(users))
    )
    page = caller.get("issued?user=lena&limit=1").json["next"]
    assert numbers(listed(caller, f"user=otto&page={page}")) == [3, 1]
    assert [event["target"]["user"] for event in caller.get(f"audit?page={page}").json["data"]][:4] == users[:4][::-1]


@pytest.mark.file_store
def test_a_page_that_does_not_find_enough(caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page reads a limited number of lines and has a next; the pages together find everything."""
    monkeypatch.setattr(search, "_MOST_LINES", 10)
    write(settings, *(line(number) for number in range(25)))
    last = {**line(25)["target"], "user": "otto"}
    write(settings, line(25, target=last))
    sizes, page = [], ""
    while True:
        response = caller.get(f"issued?user=lena&limit=9{page}").json
        sizes.append(len(response["data"]))
        if "next" not in response:
            break
        page = f"&page={response['next']}"
    # The first page also read the sign-in and the token of otto.
    assert sizes == [8, 9, 8]
    assert caller.get("issued?status=revoked").json["data"] == []
    assert "next" in caller.get("issued?status=revoked").json


@pytest.mark.file_store
def test_pages_over_rotated_files(app: Flask, settings: Settings, clock: Clock) -> None:
    """Pages have every token once, though the log is rotated, tokens are issued and the service restarts meanwhile."""
    caller = Caller(app.test_client())
    caller.post("update", application(secret=STRONG_SECRET))
    log = settings.data_dir / "audit.log"
    for number in range(12):
        clock.advance(1)
        caller.post("generate", {"username": f"user{number}"})
        if number == 5:
            log.rename(settings.data_dir / "audit.log.1")
    seen: list[str] = []
    page = ""
    for turn in range(4):
        response = caller.get(f"issued?limit=3{page}").json
        seen += [token["user"] for token in response["data"]]
        page = f"&page={response['next']}"
        clock.advance(1)
        caller.post("generate", {"username": "newcomer"})
        match turn:
            case 0:
                rotated = settings.data_dir / "audit.log.1"
                (settings.data_dir / "audit.log.2.gz").write_bytes(gzip.compress(rotated.read_bytes()))
                rotated.unlink()
            case 1:
                log.rename(settings.data_dir / "audit.log.1")
            case 2:
                restarted = create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
                caller = Caller(restarted.test_client())
                services_in(restarted).key_sets.stop()
    assert seen == [f"user{number}" for number in reversed(range(12))]


@pytest.mark.file_store
def test_logrotate(app: Flask, caller: Caller, settings: Settings, clock: Clock, tmp_path: Path) -> None:
    """After rotations with the shipped configuration, plain and compressed files are listed with the present status."""
    need("logrotate")
    (tmp_path / "conf").write_text(configured(settings.data_dir))
    caller.post("update", application(secret=STRONG_SECRET))
    first = ""
    for turn in range(4):
        clock.advance(1)
        token = caller.post("generate", {"username": f"user{turn}"}).json["token"]
        first = first or token
        run = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(tmp_path / "conf")]
        subprocess.run(run, check=True)
    assert any(path.suffix == ".gz" for path in settings.data_dir.iterdir())
    caller.post("revoke", {"token": first})
    found = [(token["user"], token["status"]) for token in listed(caller)]
    assert found == [("user3", "active"), ("user2", "active"), ("user1", "active"), ("user0", "revoked")]


def test_the_key_of_the_service_changes(service: Service) -> None:
    """A token from before a change of the key keeps its identifier, and revoking it under the new key shows."""
    caller = service.start(OLD)
    caller.post("update", application(secret=STRONG_SECRET))
    tokens = [caller.post("generate", {"username": user}).json["token"] for user in ("lena", "otto")]
    before = listed(caller)
    caller = service.start(NEW, OLD)
    service.run("store", "rekey")
    assert listed(caller) == before
    caller.post("revoke", {"token": tokens[0]})
    found = services_in(service.app)
    found.revocations.add_identifier(before[0]["id"])
    assert [token["status"] for token in listed(caller)] == ["revoked", "revoked"]
    for token in tokens:
        assert caller.get("/auth/check", headers=bearer(token)).status_code == 401


def test_the_command(app: Flask, caller: Caller, clock: Clock) -> None:
    """``token issued`` prints the tokens of token/issued as a table or JSON, and refuses an unknown status."""
    caller.post("update", application(secret=STRONG_SECRET))
    for user in ("lena", "otto", "lena"):
        clock.advance(1)
        caller.post("generate", {"username": user})
    whole = listed(caller)

    def shown(*options: str) -> Any:
        result = invoke(app, ["token", "issued", *options, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert shown() == whole
    assert shown("--user", "LENA", "--application", "erp", "--status", "active") == [whole[0], whole[2]]
    assert shown("--status", "revoked") == []
    assert shown("--limit", "2") == whole[:2]
    assert shown("--since", "0s") == [whole[0]]
    table = invoke(app, ["token", "issued"]).stdout
    assert whole[0]["id"] in table
    assert "2024-08-06T07:31:59Z" in table
    refused = invoke(app, ["token", "issued", "--status", "valid"])
    assert (refused.exit_code, "'active', 'expired', 'revoked'" in refused.output) == (2, True)


def test_by_whom(app: Flask, caller: Caller) -> None:
    """A token that a command issued names the system user."""
    caller.post("update", application(secret=STRONG_SECRET))
    assert invoke(app, ["token", "generate", "ERP", "--username", "lena"]).exit_code == 0
    (token,) = listed(caller)
    assert token["by"] == Origin.of_command().actor


@pytest.mark.slow
def test_a_killed_worker(tmp_path: Path) -> None:
    """A token whose response arrived is listed, also if its worker is killed right after it."""
    server = Server(tmp_path).start()
    try:
        server.both_workers()
        server.post("update", application(secret=STRONG_SECRET))
        tokens = []
        for turn in range(6):
            tokens.append(server.post("generate", {"username": f"user{turn}"}).json["token"])
            for worker in server.workers():
                os.kill(worker, signal.SIGKILL)
            server.both_workers()
        found = server.request("GET", f"{API}/issued").json["data"]
        assert [token["user"] for token in found] == [f"user{turn}" for turn in reversed(range(6))]
        assert {token["status"] for token in found} == {"active"}
    finally:
        server.stop()
