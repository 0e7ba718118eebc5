"""The audit log: every event is recorded once and found by each filter; no change without a line; no secrets."""

import datetime as dt
import gzip
import hashlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.audit import writer as audit_log
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.filters import Filter
from datafor_token.audit.reader import newest_first
from datafor_token.errors import AuditUnavailable, InvalidInput
from datafor_token.settings import Settings
from datafor_token.store.files.locking import exclusive
from datafor_token.validation.names import fold
from tests.commands import invoke
from tests.conftest import Caller, services_in
from tests.handmade_tokens import NOW, claims
from tests.handmade_tokens import token as handmade
from tests.support import (
    ADMIN_PASSWORD,
    API,
    ROOT,
    STRONG_SECRET,
    Clock,
    Server,
    application,
    audit_in,
    need,
)

EXTENSION = "/plugin/datafor/api/extension"
OTHER_SECRET = "Qm3-rT8yUiOp_aS5dFgHjKlZxCvBnM1qWeRtY2uIoP4"
PASSWORD = "lenas-Password-marked-secret"


def events(app: Flask, **wanted: Any) -> list[dict[str, Any]]:
    """Return the events that a filter finds, oldest first."""
    return list(reversed(services_in(app).audit.page(Filter(**wanted), 1000).events))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def command(app: Flask, *words: str, given_input: str = "") -> str:
    result = invoke(app, words, put=given_input)
    assert result.exit_code == 0, result.output
    return result.output


def everything(app: Flask, caller: Caller, tmp_path: Path) -> dict[str, str]:
    """Cause every kind of event at least once; return texts that must not be in the log."""
    rules = {"issuer": "portal", "report": "issuer"}
    caller.post("update", application(secret=STRONG_SECRET, self_service="1", sync=["email"], **rules))
    caller.post("update", application(secret=STRONG_SECRET, self_service="1", expire=60))
    token = caller.post("generate", {"username": "lena"}).json["token"]
    assert caller.get(f"{API.removesuffix('token')}user/detail", headers=bearer(token)).status_code == 200
    later = handmade(claims(iat=NOW + 10, email="lena@example.com"), STRONG_SECRET)
    assert caller.get("/auth/check", headers=bearer(later)).status_code == 200
    assert caller.get("/auth/check?role=Nobody", headers=bearer(later)).status_code == 403
    old = caller.post("generate", {"username": "old"}).json["token"]
    caller.post("revoke", {"token": old})
    assert caller.get("/auth/check", headers=bearer(old)).status_code == 401
    personal = caller.post("personal").json["token"]
    url = caller.post("link", {"username": "lena", "next": "/"}).json["url"]
    assert caller.get(url, headers={}).status_code == 303
    assert caller.get(url, headers={}).status_code == 401
    caller.post(f"{EXTENSION}/auth/login", {"username": "admin", "password": ADMIN_PASSWORD}, headers={})
    caller.post(f"{EXTENSION}/auth/login", {"username": "admin", "password": "Wrong-Marked"}, headers={})
    caller.post(f"{EXTENSION}/auth/login", {"username": "Typed-In-The-Wrong-Field", "password": "x"}, headers={})
    caller.post(f"{API.removesuffix('token')}user/sessions/end", {"username": "lena"})
    caller.post("rotate", {"name": "ERP", "secret": OTHER_SECRET})
    command(app, "user", "add", "otto", given_input=PASSWORD)
    command(app, "user", "set", "otto", "--email", "otto@example.com")
    command(app, "user", "delete", "otto", "--yes")
    file = tmp_path / "backup.gz"
    command(app, "store", "backup", str(file))
    command(app, "store", "restore", str(file), "--yes")
    command(app, "store", "check", "--repair")
    command(app, "store", "rekey")
    services_in(app).assertion_keys.maintain()
    caller.post("delete", {"name": "ERP"})
    return {
        "tokens": f"{token} {later} {old} {personal} {url.partition('=')[2]}",
        "texts": f"{STRONG_SECRET} {OTHER_SECRET} {PASSWORD} {ADMIN_PASSWORD} Wrong-Marked Typed-In-The-Wrong-Field",
    }


@pytest.mark.file_store
def test_every_kind_of_event(app: Flask, caller: Caller, tmp_path: Path) -> None:
    """Every kind of event is recorded, and each filter finds it."""
    everything(app, caller, tmp_path)
    found = events(app)
    assert {event["event"] for event in found} == set(Kind)
    for event in found:
        kind, target = event["event"], event["target"]
        assert event in events(app, event=kind)
        for name in {target.get("user"), event["actor"]} - {None}:
            assert event in events(app, user=name.upper())
        if "application" in target:
            assert event in events(app, application=target["application"].lower())
        assert event not in events(app, event=next(other for other in Kind if other != kind))
        assert event not in events(app, user="nobody", event=kind)
    once = ("application_added", "application_changed", "application_rotated", "application_deleted", "token_revoked",
            "token_personal", "link_made", "user_deleted", "session_ended",
            "store_restored")  # fmt: skip
    assert {kind: len(events(app, event=kind)) for kind in once} == dict.fromkeys(once, 1)
    # By the deletion of the user.
    assert [event["target"]["user"] for event in events(app, event="tokens_cut_off")] == ["otto"]


@pytest.mark.file_store
def test_members_of_an_event(app: Flask, caller: Caller, tmp_path: Path) -> None:
    """Each event has time, actor, way, address, request id, target and node; a change has the names of its fields."""
    everything(app, caller, tmp_path)
    for event in events(app):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert list(event)[:8] == ["time", "event", "actor", "way", "address", "request_id", "target", "node"]
        assert event["node"] == socket.gethostname()
        if event["way"] not in ("command", None):
            assert (event["address"], len(event["request_id"])) == ("127.0.0.1", 32)
    (changed,) = events(app, event="application_changed")
    assert (changed["actor"], changed["way"], changed["fields"]) == ("admin", "basic", ["expire"])
    refused = [(event["way"], event["reason"]) for event in events(app, event="sign_in_refused")]
    assert refused == [
        ("bearer", "revoked"),
        ("ticket", "ticket"),
        ("login", "wrong_password"),
        ("login", "unknown_user"),
    ]
    (made,) = events(app, event="user_made", application="ERP", user="lena")
    assert (made["actor"], made["way"]) == ("lena", "bearer")
    assert events(app, event="user_changed", user="otto")[0]["fields"] == ["email"]
    assert {event["way"] for event in events(app, user="otto")} == {"command"}
    (redeemed,) = events(app, event="link_redeemed")
    assert (redeemed["actor"], redeemed["way"]) == ("lena", "ticket")


@pytest.mark.file_store
def test_nothing_secret(app: Flask, caller: Caller, settings: Settings, tmp_path: Path) -> None:
    """The log has no secret, password or token, nor a text that was typed in place of a user name."""
    marked = everything(app, caller, tmp_path)
    text = (settings.data_dir / "audit.log").read_text()
    for secret in " ".join(marked.values()).split():
        assert secret not in text
        assert secret.lower() not in text.lower()
    for token in marked["tokens"].split()[:2]:
        assert f'"token":"{hashlib.sha256(token.encode()).hexdigest()[:32]}"' not in text
    # A search for the name finds it.
    assert [event["reason"] for event in events(app, user="typed-in-the-wrong-field")] == ["unknown_user"]


@pytest.mark.file_store
def test_unrecorded_is_unchanged(
    app: Flask, caller: Caller, settings: Settings, log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is refused if it cannot be recorded; tokens are still issued and checked, and the log has a warning."""
    monkeypatch.setattr(audit_log, "_TRUSTED_SECONDS", 0)
    caller.post("update", application(secret=STRONG_SECRET))
    token = caller.post("generate", {"username": "lena"}).json["token"]
    caller.get("/auth/check", headers=bearer(token))
    url = caller.post("link", {"username": "lena"}).json["url"]
    file, aside = settings.data_dir / "audit.log", settings.data_dir / "aside"
    file.rename(aside)
    file.mkdir()
    before = {path: path.read_bytes() for path in settings.data_dir.rglob("*.json")}
    changes: list[tuple[str, dict[str, Any]]] = [
        ("update", application(name="CRM")),
        ("update", application(expire=60)),
        ("rotate", {"name": "ERP"}),
        ("delete", {"name": "ERP"}),
        ("deleteBatch", {"name": ["ERP"]}),
        ("revoke", {"token": token}),
        ("link", {"username": "lena"}),
        (f"{API.removesuffix('token')}user/password", {"old": ADMIN_PASSWORD, "new": "another-password"}),
        (f"{EXTENSION}/auth/login", {"username": "admin", "password": ADMIN_PASSWORD}),
    ]
    for call, body in changes:
        response = caller.post(call, body)
        assert (response.status_code, response.json["code"]) == (503, "503"), call
        assert response.json["msg"] == "storage is unavailable: the audit log cannot be written"
    assert caller.get(url, headers={}).status_code == 503
    newcomer = caller.post("generate", {"username": "newcomer"}).json["token"]
    assert caller.get("/auth/check", headers=bearer(newcomer)).status_code == 503
    assert caller.get("/auth/check", headers=bearer(token)).status_code == 200
    assert {path: path.read_bytes() for path in settings.data_dir.rglob("*.json")} == before
    assert "kind=token_generated" in log.getvalue()
    assert "Is a directory" in log.getvalue()
    file.rmdir()
    aside.rename(file)
    assert caller.get(url, headers={}).status_code == 303


@pytest.mark.file_store
def test_a_failed_change_has_an_outcome(app: Flask, caller: Caller, settings: Settings) -> None:
    """If the store fails after a change was recorded, a second line states that it was not stored."""
    caller.post("update", application())
    folder = settings.data_dir / "applications"
    temp = folder.rename(settings.data_dir / "away")
    folder.write_text("no folder")
    assert caller.post("link", {"name": "ERP"}).status_code == 503
    folder.unlink()
    temp.rename(folder)
    tickets = settings.data_dir / "tickets"
    tickets.rmdir() if not any(tickets.iterdir()) else tickets.rename(settings.data_dir / "tickets-away")
    assert caller.post("link", {"name": "ERP", "username": "lena"}).status_code == 503
    assert [event.get("outcome") for event in events(app, event="link_made")] == [None, "not stored"]


@pytest.mark.parametrize("kind", ["change", "note"])
def test_a_line_is_complete_or_absent(tmp_path: Path, kind: str) -> None:
    """A line that does not fit on the disk leaves nothing, and the next one is complete."""
    script = (
        "import resource, sys; from pathlib import Path; from datafor_token.audit.writer import AuditLog\n"
        "from datafor_token.errors import AuditUnavailable\n"
        "log = AuditLog(Path(sys.argv[1])); line = b'x' * 99 + b'\\n'\n"
        "append = log.append_durably if sys.argv[2] == 'change' else log.append\n"
        "append(line)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150, resource.RLIM_INFINITY))\n"
        "try: append(line)\n"
        "except AuditUnavailable as error: print(error.reason)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "append(line)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), kind], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "cannot write the audit log: No space left on device\n"
    assert (tmp_path / "audit.log").read_bytes() == (b"x" * 99 + b"\n") * 2


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_only_a_file_is_the_log(tmp_path: Path, clock: Clock, kind: str) -> None:
    """A folder, pipe or link in place of the file is refused: no call hangs, and no link is followed."""
    path = tmp_path / "audit.log"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(tmp_path / "elsewhere")
    trail = audit_in(tmp_path, clock)
    with pytest.raises(AuditUnavailable), trail.change() as record:
        record(Event(kind=Kind.SIGN_IN, user="lena"))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.file_store
def test_only_the_owner_reads_it(app: Flask, settings: Settings) -> None:
    """The log has the mode of all files of the data folder."""
    assert services_in(app).audit.page(Filter()).events
    assert (settings.data_dir / "audit.log").stat().st_mode & 0o777 == 0o600


def fill(folder: Path, clock: Clock, number: int, start: int = 0) -> None:
    trail = audit_in(folder, clock)
    for index in range(start, start + number):
        trail.record(Event(kind=Kind.SIGN_IN, user=f"user{index}"))
        clock.advance(1)


def users_of(found: list[dict[str, Any]]) -> list[str]:
    return [event["target"]["user"] for event in found]


@given(st.integers(1, 7), st.integers(0, 12))
def test_pages(tmp_path_factory: pytest.TempPathFactory, limit: int, number: int) -> None:
    """Consecutive pages have every event once, newest first, even if events are added and files are rotated."""
    folder, clock = tmp_path_factory.mktemp("audit"), Clock()
    fill(folder, clock, number)
    trail = audit_in(folder, clock)
    seen: list[str] = []
    page = None
    for turn in range(number + 2):
        found = trail.page(Filter(), limit, page)
        seen += users_of(list(found.events))
        page = found.next
        if page is None:
            break
        fill(folder, clock, 1, start=1000 + turn)
        if turn == 1:
            (folder / "audit.log").rename(folder / "audit.log.1")
        if turn == 2 and (folder / "audit.log.1").exists():
            with gzip.open(folder / "audit.log.1.gz", "wb") as packed:
                packed.write((folder / "audit.log.1").read_bytes())
            (folder / "audit.log.1").unlink()
    assert seen == [f"user{index}" for index in reversed(range(number))]


def test_a_page_that_is_not_valid(tmp_path: Path, clock: Clock) -> None:
    """A page that no response had, or of a deleted file, is refused with the name of the field."""
    fill(tmp_path, clock, 3)
    trail = audit_in(tmp_path, clock)
    for page in ("", "x", "x-1", "x-٣", "x-" + "9" * 40):
        with pytest.raises(InvalidInput, match="page is not the next"):
            trail.page(Filter(), 1, page)


def test_since_and_until(tmp_path: Path, clock: Clock) -> None:
    """since includes its time, until does not."""
    start = clock.now
    fill(tmp_path, clock, 10)
    trail = audit_in(tmp_path, clock)
    found = trail.page(Filter(since=start + 3, until=start + 6)).events
    assert users_of(list(found)) == ["user5", "user4", "user3"]


def test_lines_that_are_not_events_are_skipped(tmp_path: Path, clock: Clock) -> None:
    """A torn, foreign or huge line does not hide other events."""
    fill(tmp_path, clock, 1)
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'\n\n{"time":"x"}\nnull\n[1]\n\xff\xfe\n{"time":"2024-01-01T00:00:00Z","event":1,"target":{}}\n')
        file.write(b"x" * 300_000 + b"\n")
    fill(tmp_path, clock, 1, start=1)
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'{"time":"20')
    assert users_of(list(audit_in(tmp_path, clock).page(Filter()).events)) == ["user1", "user0"]


def test_a_rotated_file_that_cannot_be_read(tmp_path: Path, clock: Clock, log: Any) -> None:
    """The intact part of a compressed file that was cut off is read; an unreadable file is logged."""
    fill(tmp_path, clock, 30)
    packed = gzip.compress((tmp_path / "audit.log").read_bytes())
    (tmp_path / "audit.log").unlink()
    (tmp_path / "audit.log-20240806.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "audit.log.2.gz").write_bytes(b"nothing packed")
    (tmp_path / "audit.log.3.gz").write_bytes(packed[:15])
    (tmp_path / "audit.log.4").mkdir()
    (tmp_path / "audit.log.5").symlink_to("/nonexistent")
    fill(tmp_path, clock, 1, start=300)
    found = users_of(list(audit_in(tmp_path, clock).page(Filter(), 1000).events))
    assert found[0] == "user300"
    assert 5 < len(found) < 30
    assert found[1:] == [f"user{index}" for index in reversed(range(len(found) - 1))]
    for name in ("audit.log-20240806.gz", "audit.log.2.gz", "audit.log.3.gz", "audit.log.4", "audit.log.5"):
        assert f"file={name}" in log.getvalue()


@pytest.mark.parametrize("by", ["the same process", "another one"])
def test_a_torn_line_stays_apart(tmp_path: Path, clock: Clock, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that a power cut has torn is not joined to the next one, of the same or another process."""
    monkeypatch.setattr(audit_log, "_TRUSTED_SECONDS", 0)
    trail = audit_in(tmp_path, clock)
    trail.record(Event(kind=Kind.SIGN_IN, user="lena"))
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'{"time":"2026-11-21T23:2')
    later = trail if by == "the same process" else audit_in(tmp_path, clock)
    later.record(Event(kind=Kind.SIGN_IN, user="otto"))
    trail.record(Event(kind=Kind.SIGN_IN, user="uma"))
    assert users_of(list(trail.page(Filter()).events)) == ["uma", "otto", "lena"]


def test_a_line_in_progress_is_not_torn(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer waits for the end of a line that another one is writing: there is no blank line between them."""
    monkeypatch.setattr(audit_log, "_TRUSTED_SECONDS", 0)
    trail = audit_in(tmp_path, clock)
    trail.record(Event(kind=Kind.SIGN_IN, user="lena"))
    path = tmp_path / "audit.log"
    line = path.read_bytes()
    with path.open("ab", buffering=0) as file:
        file.write(line[:20])
        # Of this module only: threads of other tests sleep too.
        clock_of_writer = SimpleNamespace(sleep=lambda _: file.write(line[20:]), monotonic=time.monotonic)
        monkeypatch.setattr(audit_log, "time", clock_of_writer)
        trail.record(Event(kind=Kind.SIGN_IN, user="otto"))
    assert users_of([json.loads(each) for each in path.read_text().splitlines()]) == ["lena", "lena", "otto"]


def test_events_without_an_application(app: Flask, caller: Caller) -> None:
    """A filter for an application named none finds no events without an application."""
    caller.get("list")
    for name in ("none", "None", "null"):
        assert events(app, application=name) == []


@pytest.mark.file_store
def test_ready_to_record(caller: Caller, settings: Settings, clock: Clock) -> None:
    """The service is not writable if changes cannot be recorded."""
    assert caller.get("/readyz").json["writable"] is True
    (settings.data_dir / "audit.log").rename(settings.data_dir / "aside")
    (settings.data_dir / "audit.log").mkdir()
    clock.advance(1)
    assert caller.get("/readyz").json["writable"] is False


def test_a_long_search_is_limited(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page reads a limited number of lines and has a next; the pages together find everything."""
    monkeypatch.setattr("datafor_token.audit.search._MOST_LINES", 10)
    fill(tmp_path, clock, 25)
    trail = audit_in(tmp_path, clock)
    sizes, page = [], None
    while True:
        found = trail.page(Filter(user="user3"), 100, page)
        sizes.append(len(found.events))
        page = found.next
        if page is None:
            break
    assert sizes == [0, 0, 1]


def test_a_search_ends_at_its_start_time(tmp_path: Path, clock: Clock) -> None:
    """A search that nothing fits ends soon after the events of ``since``, not at the end of the log."""
    start = clock.now
    fill(tmp_path, clock, 1500)
    clock.advance(7200)
    fill(tmp_path, clock, 150, start=1500)
    reading = audit_in(tmp_path, clock).every(Filter(user="nobody", since=start + 8700))
    assert set(reading) == {None}
    # Lines are read in blocks.
    assert 0 <= reading.read - (len(lines_of(tmp_path)) - 500) < 500


def lines_of(folder: Path) -> list[bytes]:
    """Return the lines of the log, newest first."""
    return [line for lines in newest_first(folder) for line in reversed(lines.text.splitlines())]


@pytest.mark.parametrize(
    "name", ["Lena", "LENA", "le\u0301na", "\uff2cena", 'l"ena', "l\\ena", "\u212aarl", "karl", "KARL"]
)
def test_a_name_is_found_in_any_spelling(tmp_path: Path, clock: Clock, name: str) -> None:
    """A search finds the names that are equal after folding, whatever their characters, and no others."""
    names = ["Lena", "l\u00e9na", "l\u00c9NA", 'l"ena', "l\\ena", "Karl", "\uff2b\uff21\uff32\uff2c", "lenab"]
    trail = audit_in(tmp_path, clock)
    for each in names:
        trail.record(Event(kind=Kind.TOKEN_GENERATED, application=each, user="x"))
        trail.record(Event(kind=Kind.TOKEN_GENERATED, application="x", user=each))
    equal = [each for each in reversed(names) if fold(each) == fold(name)]
    assert equal
    assert users_of(list(trail.page(Filter(user=name)).events)) == equal
    found = trail.page(Filter(application=name)).events
    assert [event["target"]["application"] for event in found] == equal


def test_the_call(app: Flask, caller: Caller, clock: Clock) -> None:
    """token/audit gives Administrators pages of events, newest first; every wrong parameter is named."""
    caller.post("update", application(secret=STRONG_SECRET))
    for _ in range(5):
        clock.advance(60)
        token = caller.post("generate", {"username": "lena"}).json["token"]
    first = caller.get("audit?event=token_generated&limit=2").json
    rest = caller.get(f"audit?event=token_generated&page={first['next']}").json
    assert [len(first["data"]), len(rest["data"]), "next" in rest] == [2, 3, False]
    times = [event["time"] for event in first["data"] + rest["data"]]
    assert times == sorted(times, reverse=True)
    assert len(caller.get("audit?since=150s&event=token_generated").json["data"]) == 3
    for since in (
        "2024-08-06T07:35:00%2B00:00",
        "2024-08-06t07:35:00.123456789z",
        "2024-08-06 07:35:00Z",
        "2024-08-06",
    ):
        assert caller.get(f"audit?since={since}&until=2030-01-01").status_code == 200
    for query, field in (
        ("event=login", "event"), ("since=yesterday", "since"), ("until=2024-13-01", "until"), ("limit=0", "limit"),
        ("limit=1001", "limit"), ("page=1", "page"), ("user=", "user"), ("application=a%20b", "application"),
        ("since=99999999999d", "since"), ("USER=lena", "USER"), ("foo=1", "request"), ("event=sign_in,", "event"),
        ("id=0123456789", "id"), ("id=x", "id"), ("address=10.0.0", "address"), ("address=10.0.0.7/8", "address"),
        ("request_id=1", "request_id"), ("q=", "q"), (f"q={'x' * 201}", "q"),
    ):  # fmt: skip
        response = caller.get(f"audit?{query}")
        assert (response.status_code, list(response.json["errors"])) == (400, [field])
    assert caller.get("audit", headers=bearer(token)).status_code == 403
    assert caller.get("audit", headers={}).status_code == 401


def test_the_command(app: Flask, caller: Caller) -> None:
    """audit show prints the events of token/audit as a table or JSON, and refuses an unknown kind."""
    caller.post("update", application())
    shown = command(app, "audit", "show", "--since", "1h", "--user", "ADMIN", "--application", "erp")
    assert "application_added" in shown
    assert "127.0.0.1" in shown
    (event,) = json.loads(command(app, "audit", "show", "--json", "--event", "application_added"))
    assert event == events(app, event="application_added")[0]
    assert len(json.loads(command(app, "audit", "show", "--json", "--limit", "1"))) == 1
    refused = invoke(app, ["audit", "show", "--event", "nothing"])
    assert (refused.exit_code, refused.output.startswith("event must be one of application_added, ")) == (1, True)


STORM = """
import sys, time
from pathlib import Path
from datafor_token.audit.log import Event, Kind
from tests.support import audit_in
folder = Path(sys.argv[1])
trail = audit_in(folder, time.time)
number = 0
while number < int(sys.argv[3]) or not (folder / "enough").exists():
    trail.record(Event(kind=Kind.SIGN_IN, user=f"{sys.argv[2]} {number}"))
    number += 1
print(number)
"""


def configured(data: Path) -> str:
    """Return the shipped configuration of logrotate for a log in ``data``."""
    shipped = (ROOT / "config" / "logrotate.conf").read_text()
    config = re.sub(r"^\s*su .*\n", "", shipped, flags=re.MULTILINE).replace("/var/lib/datafor_token/data", str(data))
    assert str(data) in config
    return config


def test_logrotate_bounds_the_file(tmp_path: Path) -> None:
    """With the shipped configuration, a file above the limit is rotated at the next run, also within the week."""
    need("logrotate")
    (tmp_path / "conf").write_text(configured(tmp_path))
    rotated = []
    for size in (1, 105_000_000, 1, 105_000_000):
        log = tmp_path / "audit.log"
        log.touch()
        os.truncate(log, size)
        subprocess.run(["logrotate", "--state", str(tmp_path / "state"), str(tmp_path / "conf")], check=True)
        rotated.append(not log.exists())
    assert rotated == [False, True, False, True]


def is_written_by_all(file: Path, writers: int) -> bool:
    """Return whether the file has a line of each of so many writers of a storm."""
    text = file.read_text() if file.exists() else ""
    return all(f'"{number} ' in text for number in range(writers))


def test_logrotate_in_a_storm(tmp_path: Path) -> None:
    """With the shipped configuration, a rotation while four processes write does not lose or tear a line."""
    need("logrotate")
    data = tmp_path / "data"
    data.mkdir()
    config = configured(data)
    (tmp_path / "conf").write_text(config.replace("rotate 30", "rotate 5000"))
    writers, least = 4, 1000
    started = [
        subprocess.Popen(
            [sys.executable, "-c", STORM, str(data), str(number), str(least)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for number in range(writers)
    ]  # fmt: skip
    try:
        # However slow the machine is, the files move several times while all write. Each writer has left a file before
        # the next run, which compresses it, as in reality: runs are a day apart there, and here a busy machine can
        # keep a writer from its core during two of them.
        rotate = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(tmp_path / "conf")]
        for _ in range(5):
            while not is_written_by_all(data / "audit.log", writers):
                assert all(one.poll() is None for one in started)
                time.sleep(0.05)
            subprocess.run(rotate, check=True)
    finally:
        (data / "enough").touch()
        written = [int(one.communicate()[0]) for one in started]
    assert any(path.suffix == ".gz" for path in data.iterdir())
    found = [json.loads(line)["target"]["user"] for line in lines_of(data)]
    assert len(found) == sum(written)
    for writer in range(writers):
        own = [user for user in reversed(found) if user.startswith(f"{writer} ")]
        assert own == [f"{writer} {number}" for number in range(written[writer])]


def test_reading_while_files_move(tmp_path: Path, clock: Clock) -> None:
    """A reader finds each event exactly once while files are renamed."""
    fill(tmp_path, clock, 50)
    (tmp_path / "audit.log").rename(tmp_path / "audit.log.1")
    fill(tmp_path, clock, 50, start=50)
    over = threading.Event()

    def rotate() -> None:
        while not over.is_set():
            for old, new in (("audit.log.1", "audit.log.2"), ("audit.log", "audit.log.1")):
                (tmp_path / old).rename(tmp_path / new)
            for old, new in (("audit.log.1", "audit.log"), ("audit.log.2", "audit.log.1")):
                (tmp_path / old).rename(tmp_path / new)
            over.wait(0.002)

    mover = threading.Thread(target=rotate)
    mover.start()
    try:
        for _ in range(200):
            trail = audit_in(tmp_path, clock)
            assert users_of(list(trail.page(Filter()).events)) == [f"user{index}" for index in reversed(range(100))]
    finally:
        over.set()
        mover.join()


def test_two_workers_write_one_log(tmp_path: Path) -> None:
    """All workers write into one file, complete lines, in the order of their times up to a second."""
    server = Server(tmp_path).start()
    server.post("update", application(secret=STRONG_SECRET))
    threads = [
        threading.Thread(target=lambda: [server.post("generate", {"username": "lena"}) for _ in range(25)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    response = server.request("GET", f"{API}/audit?event=token_generated&limit=1000").json
    server.stop()
    assert len(response["data"]) == 200
    assert len({event["request_id"] for event in response["data"]}) == 200
    times = [dt.datetime.fromisoformat(event["time"]).timestamp() for event in reversed(response["data"])]
    assert all(later > earlier - 1 for earlier, later in itertools.pairwise(times))


@pytest.mark.file_store
def test_a_stuck_lock_does_not_stop_issuing(
    app: Flask, caller: Caller, settings: Settings, monkeypatch: pytest.MonkeyPatch, log: Any
) -> None:
    """While another process holds the lock of the log, changes are refused and tokens are issued."""
    monkeypatch.setattr(audit_log, "_LONGEST_WAIT", 0.05)
    caller.post("update", application())
    with exclusive(settings.data_dir / "audit.log", 1):
        assert caller.post("update", application(expire=1)).status_code == 503
        assert caller.post("generate", {"username": "lena"}).status_code == 200
    assert "the audit log is locked" in log.getvalue()
    assert caller.post("update", application(expire=1)).status_code == 200
