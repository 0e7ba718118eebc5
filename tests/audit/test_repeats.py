"""Repeated refusals: one line for the first, one with a count for the others; none is lost."""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from datafor_token.audit import repeats
from datafor_token.audit.events import Event, Kind, Origin
from datafor_token.audit.filters import Filter
from datafor_token.audit.log import Audit
from datafor_token.audit.repeats import Repeats
from datafor_token.audit.writer import AuditLog
from datafor_token.metrics.counters import Metrics
from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.commands import invoke
from tests.conftest import Caller, services_in
from tests.log_lines import read
from tests.support import ADMIN_PASSWORD, Clock, Server, basic

JUNK = {"Authorization": "Bearer e30.e30.AAAA"}


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the refusals in a log, oldest first."""
    found = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    return [line for line in found if line["event"] == "sign_in_refused"]


def total(found: Sequence[dict[str, Any]]) -> int:
    """Return the number of refusals in the lines."""
    return sum(line.get("count", 1) for line in found)


class Refused:
    """An audit log with events from the addresses that a test chooses."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self.folder, self.address = folder, "10.0.0.7"
        (folder / "audit.log").touch()
        self.audit = Audit(
            AuditLog(folder), clock, lambda: Origin(None, "basic", self.address, "00"), Metrics("test"), b"key"
        )

    def note(self, address: str = "10.0.0.7", **about: Any) -> bool:
        self.address = address
        return self.audit.record(Event(kind=Kind.SIGN_IN_REFUSED, **{"reason": "wrong_password", **about}))

    def lines(self) -> list[dict[str, Any]]:
        return lines(self.folder)


@pytest.fixture
def refused(tmp_path: Path, clock: Clock) -> Refused:
    return Refused(tmp_path, clock)


def test_one_line_for_the_first_refusal_and_one_with_a_count(
    app: Flask, caller: Caller, settings: Settings, clock: Clock, log: io.StringIO
) -> None:
    """Junk tokens from one address are two lines a minute: the first with its request, the others as a count."""
    replies = []
    for _ in range(40):
        replies.append(caller.get("/auth/check", headers=JUNK))
        clock.advance(1)
    (first,) = lines(settings.data_dir)
    assert first["request_id"] == replies[0].headers["X-Request-ID"]
    assert "count" not in first
    clock.advance(30)
    caller.get("/auth/check", headers=JUNK)
    _, counted, next_one = lines(settings.data_dir)
    assert (counted["count"], counted["reason"], counted["way"]) == (39, first["reason"], "bearer")
    assert (counted["address"], counted["request_id"], counted["actor"]) == ("127.0.0.1", None, None)
    assert (counted["first"], counted["time"]) == ("2024-08-06T07:31:57.000Z", "2024-08-06T07:32:35.000Z")
    assert counted["target"] == first["target"]
    assert next_one["request_id"] is not None
    # Each is counted as a metric, and logged as one request with its reason.
    metrics = services_in(app).metrics.exposition("")[0].decode()
    refusals = [line for line in metrics.splitlines() if line.startswith("datafor_token_sign_ins_total{")]
    assert sum(float(line.rpartition(" ")[2]) for line in refusals) == 41
    logged = [(line["event"], line["status"], line["reason"], line["way"]) for line in read(log.getvalue())]
    assert logged == [("request", 401, "header", "bearer")] * 41


def test_different_refusals_have_counts_of_their_own(refused: Refused, clock: Clock) -> None:
    """Refusals with another reason, application, user, way or address have lines and counts of their own."""
    kinds: list[dict[str, Any]] = [
        {},
        {"reason": "throttled"},
        {"user": "lena"},
        {"user": "otto"},
        {"unknown_user": "lena"},
        {"application": "ERP"},
        {"address": "10.0.0.8"},
        {"address": "2001:db8::1"},
    ]
    for kind in kinds:
        assert refused.note(**kind) is True
    for kind in kinds:
        assert refused.note(**kind) is False
    clock.advance(60)
    refused.note()
    counted = [line for line in refused.lines() if "count" in line]
    assert [line["count"] for line in counted] == [1] * len(kinds)
    assert [line["target"].get("user") for line in counted[2:4]] == ["lena", "otto"]
    found = refused.audit.page(Filter(user="lena")).events
    assert total(found) == 4


def test_the_addresses_of_one_client_share_a_count(refused: Refused, clock: Clock) -> None:
    """The addresses of an IPv6 /64 are counted together, under the network."""
    refused.note("2001:db8:0:1::1")
    for last in range(2, 12):
        refused.note(f"2001:db8:0:1::{last}")
    clock.advance(60)
    refused.note("10.0.0.1")
    first, counted, _ = refused.lines()
    assert first["address"] == "2001:db8:0:1::1"
    assert (counted["address"], counted["count"]) == ("2001:db8:0:1::/64", 10)


def test_many_names_from_one_address_are_few_lines(refused: Refused, clock: Clock) -> None:
    """An address that tries many names is recorded, with a limited number of the names."""
    for number in range(5000):
        refused.note(unknown_user=f"name {number}")
    refused.note("10.0.0.8", user="lena")
    refused.note("10.0.0.8", user="lena")
    clock.advance(60)
    refused.note()
    found = refused.lines()
    assert len(found) < 60
    assert total(found) == 5003
    (of_many,) = [line for line in found if line.get("count", 0) > 1]
    assert (of_many["address"], of_many["target"]) == ("10.0.0.7", {})
    (other,) = [line for line in found if line.get("count") == 1]
    assert (other["address"], other["target"]) == ("10.0.0.8", {"user": "lena"})


def test_many_addresses_are_few_lines(refused: Refused, clock: Clock) -> None:
    """A flood from any number of addresses takes a limited number of lines and limited memory."""
    for number in range(20_000):
        refused.note(f"2001:db8:{number:x}::1")
    assert len(refused.audit._repeats._found) <= 301
    clock.advance(60)
    refused.note()
    found = refused.lines()
    assert len(found) < 310
    assert total(found) == 20_001
    (of_all,) = [line for line in found if "count" in line]
    assert of_all["address"] is None


def test_a_clock_that_is_set_back_loses_nothing(refused: Refused, clock: Clock) -> None:
    """A clock that is set back ends the minute, and the counts are recorded."""
    refused.note()
    refused.note()
    clock.advance(-3600)
    assert refused.note() is True
    assert total(refused.lines()) == 3


def test_a_count_is_recorded_without_a_further_refusal(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute without a further refusal, the count is recorded."""
    monkeypatch.setattr(repeats, "_SECONDS", 0.05)
    monkeypatch.setattr(refused.audit._repeats, "_clock", lambda: 5.0)
    # A third one could come after the minute that the second one begins.
    for _ in range(2):
        refused.note()
    while len(refused.lines()) < 2:
        time.sleep(0.01)
    assert [line.get("count") for line in refused.lines()] == [None, 1]


def test_a_log_that_cannot_be_written_stops_no_count(refused: Refused, clock: Clock) -> None:
    """If a count cannot be recorded, refusals continue."""
    refused.note()
    refused.note()
    (refused.folder / "audit.log").unlink()
    (refused.folder / "audit.log").mkdir()
    clock.advance(60)
    assert refused.note() is True
    assert refused.note() is False


def test_a_forked_process_counts_for_itself(clock: Clock) -> None:
    """The counts from before a fork are recorded by the parent process only."""
    found: list[int] = []
    counting = Repeats(clock, lambda over: found.extend(one.count for one in over))
    refusal = repeats.Refusal("sign_in_refused", "malformed", "bearer")
    event, origin = Event(Kind.SIGN_IN_REFUSED, reason="malformed"), Origin(None, "bearer", None, None)
    assert [counting.count(refusal, event, origin) is None for _ in range(3)] == [False, True, True]
    child = os.fork()
    if not child:
        # Skips the exit handlers of pytest.
        is_counted = counting.count(refusal, event, origin) is None
        counting.finish()
        os._exit(0 if not is_counted and not found else 1)
    assert os.waitpid(child, 0)[1] == 0
    counting.finish()
    assert found == [2]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=str)
def test_a_graceful_stop_loses_no_refusal(tmp_path: Path, how: signal.Signals) -> None:
    """All of many junk tokens and wrong passwords are in the audit log after a stop, in a few lines."""
    server = Server(tmp_path).start()
    try:
        before = server.both_workers()
        for number in range(200):
            header = JUNK if number % 50 else basic("nobody", "wrong")
            assert server.request("GET", "/auth/check", headers=header).status == 401
        if how == signal.SIGHUP:
            server.process.send_signal(how)
            while set(server.workers()) & set(before):
                time.sleep(0.05)
    finally:
        server.stop(signal.SIGTERM if how == signal.SIGHUP else how)
    found = lines(server.data_dir)
    assert total(found) == 200
    assert len(found) <= 8


def test_a_count_is_shown(app: Flask, caller: Caller, clock: Clock) -> None:
    """The API, the command and the console show the count of a line."""
    for _ in range(5):
        caller.get("/auth/check", headers=JUNK)
    clock.advance(60)
    caller.get("/auth/check", headers=JUNK)
    found = caller.get("audit?event=sign_in_refused").json["data"]
    assert [event.get("count") for event in found] == [None, 4, None]
    rows = json.loads(invoke(app, ["audit", "show", "--event", "sign_in_refused", "--json"]).output)
    assert [row.get("count") for row in rows] == [None, 4, None]
    table = invoke(app, ["audit", "show"]).output
    assert "count=4" in table
    client = app.test_client()
    client.post("/plugin/datafor/api/extension/auth/login", data={"username": "admin", "password": ADMIN_PASSWORD})
    page = client.get("/console/audit").get_data(as_text=True)
    assert "4 more times" in page
    with app.test_request_context():
        services().activity.flush()
        assert sum(hour.refused for hour in services().hours.last(24)) == 6
