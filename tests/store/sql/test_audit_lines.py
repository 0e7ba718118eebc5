"""Audit log in a database: written with the change, in one order on all nodes, searched and kept like the file."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from datafor_token.audit.events import Event, Kind, Origin
from datafor_token.audit.filters import Filter
from datafor_token.audit.log import Audit
from datafor_token.audit.writer import AuditLog
from datafor_token.errors import AuditUnavailable, InvalidInput, MaybeStored, StoreNotReady
from datafor_token.metrics.counters import Metrics
from datafor_token.store.base import Document
from datafor_token.store.lines import LimitReached, LineLog
from datafor_token.store.sql import audit_lines, schema
from datafor_token.store.sql.engine import Database
from datafor_token.store.sql.store import SqlStore
from datafor_token.validation.logs import timestamp
from tests.audit.test_filters import line
from tests.store.conftest import lose_response, opened
from tests.support import Clock

NAMES = ["lena", "L\u00c9NA", "\u738b", 'a"b', "karl"]


def audit_of(log: LineLog, clock: Clock | None = None, node: str = "node-a") -> Audit:
    origin = Origin("admin", "basic", "10.0.0.7", "00")
    return Audit(log, clock or Clock(), lambda: origin, Metrics("test"), b"key", node=node)


def all_of(store: SqlStore) -> list[dict[str, Any]]:
    """Return all events, oldest first."""
    return list(reversed(audit_of(store.line_log).page(Filter(), 1000).events))


def kinds(store: SqlStore) -> list[tuple[str, str | None]]:
    return [(event["event"], event.get("outcome")) for event in all_of(store)]


def sql(store: SqlStore, statement: str) -> None:
    with store._database.engine.begin() as connection:
        connection.execute(sa.text(statement))


ADDED = Event(Kind.USER_MADE, user="lena")
LENA: Document = {"name": "lena"}


def test_a_change_and_its_line(store: SqlStore) -> None:
    """The line of a change is stored with it, whether it is recorded before the write or within it."""
    audit = audit_of(store.line_log)
    with audit.change() as record:
        record(ADDED)
        assert kinds(store) == []
        store.create("users", LENA)
        assert kinds(store) == [("user_made", None)]
    with audit.change() as record:

        def change(document: Document | None) -> Document:
            record(Event(Kind.USER_CHANGED, user="lena"))
            return {**(document or {}), "name": "lena"}

        store.update("users", "lena", change)
    with audit.change() as record:
        record(Event(Kind.USER_DELETED, user="lena"))
        store.delete("users", "lena")
    assert kinds(store) == [("user_made", None), ("user_changed", None), ("user_deleted", None)]
    assert {event["node"] for event in all_of(store)} == {"node-a"}


@pytest.mark.parametrize("within", [False, True])
def test_a_change_that_fails(store: SqlStore, *, within: bool) -> None:
    """Of a change that is rolled back, only the line with the outcome stays."""

    def fail() -> None:
        with audit_of(store.line_log).change() as record:
            if not within:
                record(ADDED)

            def change(_: Document | None) -> Document:
                if within:
                    record(ADDED)
                raise ZeroDivisionError

            store.update("users", "lena", change)

    with pytest.raises(ZeroDivisionError):
        fail()
    assert kinds(store) == [("user_made", "not stored")]
    store.put("users", LENA)
    assert kinds(store) == [("user_made", "not stored")]


def test_a_change_of_nothing(store: SqlStore) -> None:
    """An event of a change that wrote nothing, such as a record deleted meanwhile, is recorded when the change ends."""
    with audit_of(store.line_log).change() as record:
        record(Event(Kind.USER_DELETED, user="lena"))
        assert not store.delete("users", "lena")
    assert kinds(store) == [("user_deleted", None)]


def test_several_writes_of_a_change(store: SqlStore) -> None:
    """The line is stored with the first write of a change, once; if a later one fails, a further line says so."""

    def fail() -> None:
        with audit_of(store.line_log).change() as record:
            record(ADDED)
            store.create("users", LENA)
            store.create("users", {"name": "karl"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert kinds(store) == [("user_made", None), ("user_made", "not stored")]


class Broken(Exception):
    """An error of a driver."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("broken")
        self.sqlstate = sqlstate


class Failures:
    """Makes the next statements that contain a text fail, as after a deadlock, or else as if a connection broke."""

    def __init__(self, store: SqlStore, text: str, number: int, sqlstate: str | None = None) -> None:
        self.left = number
        self._text = text
        self._sqlstate = sqlstate
        sa.event.listen(store._database.engine, "before_cursor_execute", self._fail)

    def _fail(self, _: object, __: object, statement: str, *___: object) -> None:
        if self.left and self._text in statement:
            self.left -= 1
            error, is_gone = Broken(self._sqlstate), self._sqlstate is None
            raise sa.exc.OperationalError(statement, {}, error, connection_invalidated=is_gone)


@pytest.mark.parametrize("sqlstate", [None, "40P01"])
@pytest.mark.parametrize("within", [False, True])
def test_a_retried_transaction(store: SqlStore, *, within: bool, sqlstate: str | None) -> None:
    """A transaction that is retried after a deadlock or an interrupted connection has the line once."""
    Failures(store, "INSERT INTO datafor_audit", 2, sqlstate)
    calls = []
    with audit_of(store.line_log).change() as record:
        if not within:
            record(ADDED)

        def change(_: Document | None) -> Document:
            calls.append(1)
            if within:
                record(ADDED)
            return LENA

        store.update("users", "lena", change)
    assert (len(calls), kinds(store)) == (1, [("user_made", None)])


def test_a_lost_response_to_an_event(store: SqlStore) -> None:
    """If the connection breaks after an event was stored, the retry does not store it again."""
    lost = [1]

    def lose(_: object, __: object, statement: str, *___: object) -> None:
        if "INSERT INTO datafor_audit" in statement and lost:
            lost.pop()
            raise sa.exc.OperationalError(statement, {}, Broken(None), connection_invalidated=True)

    sa.event.listen(store._database.engine, "after_cursor_execute", lose)
    audit_of(store.line_log).record(ADDED)
    assert (lost, kinds(store)) == ([], [("user_made", None)])
    Failures(store, "INSERT INTO datafor_audit", 1)
    audit_of(store.line_log).record(Event(Kind.USER_MADE, user="mia"))
    assert kinds(store) == [("user_made", None)] * 2


def test_a_retry_on_another_record(url: str) -> None:
    """A retry that finds another record has the line of that record only, and counts one change."""
    store, other = opened(url), opened(url)
    store.put("users", {"name": "lena", "n": 1})
    happened: list[Event] = []
    audit = Audit(
        store.line_log, Clock(), lambda: Origin(None, None, None, None), Metrics("test"), b"key", happened.append
    )
    failures = Failures(store, "UPDATE datafor_records", 0)
    with audit.change() as record:

        def change(document: Document | None) -> Document:
            assert document is not None
            record(Event(Kind.USER_CHANGED, user="lena", reason=f"from {document['n']}"))
            failures.left = document["n"] == 1
            return {**document, "n": document["n"] + 10}

        # Between the attempts, the lock of the collection is free.
        attempt = store._transactions._try

        def attempting(*arguments: Any) -> Any:
            try:
                return attempt(*arguments)
            except sa.exc.OperationalError:
                other.put("users", {"name": "lena", "n": 2})
                raise

        store._transactions._try = attempting  # type: ignore[assignment,method-assign]
        store.update("users", "lena", change)
    assert store.get("users", "lena") == {"name": "lena", "n": 12}
    assert [event["reason"] for event in all_of(store)] == ["from 2"]
    assert [event.reason for event in happened] == ["from 2"]


def test_a_change_that_cannot_be_recorded(store: SqlStore) -> None:
    """A change is refused if its line cannot be written; other events are left out."""
    sql(store, "ALTER TABLE datafor_audit RENAME TO aside")
    audit = audit_of(store.line_log)

    def create() -> None:
        with audit.change() as record:
            record(ADDED)
            store.create("users", LENA)

    with pytest.raises(AuditUnavailable):
        create()
    assert store.get("users", "lena") is None
    assert audit.record(Event(Kind.SIGN_IN, user="lena"))
    with pytest.raises(AuditUnavailable):
        audit.check_writable()
    sql(store, "ALTER TABLE aside RENAME TO datafor_audit")
    audit.check_writable()
    assert kinds(store) == []


def test_another_writer_is_no_outage(store: SqlStore) -> None:
    """While another transaction writes a line and stays open, the store and the audit log are writable."""
    with store._database.writing(None) as connection:
        connection.execute(sa.text("INSERT INTO datafor_audit (at, line) VALUES (0, '{}')"))
        store.check_writable()
        audit_of(store.line_log).check_writable()


def test_an_event_within_an_update(store: SqlStore) -> None:
    """An event that changes nothing, recorded within an update, does not commit a part of it."""
    audit = audit_of(store.line_log)

    def change(_: Document | None) -> Document:
        audit.record(Event(Kind.SIGN_IN, user="lena"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.update("users", "lena", change)
    assert store.get("users", "lena") is None


@pytest.mark.sql
def test_an_event_does_not_wait_for_the_disk(postgres_url: str) -> None:
    """An event that changes nothing is committed without waiting for the disk, and the next transaction waits again."""
    store = opened(f"{postgres_url}?options=-csynchronous_commit%3Don")
    found: list[str] = []
    audit = audit_of(store.line_log)
    store.begin_request()

    def setting() -> str:
        return str(store._sessions.read(lambda one: one.connection.exec_driver_sql("SHOW synchronous_commit").scalar()))

    sql(
        store,
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.line = NEW.line || current_setting('synchronous_commit'); RETURN NEW; END $$;"
        " CREATE TRIGGER noted BEFORE INSERT ON datafor_audit FOR EACH ROW EXECUTE FUNCTION noted()",
    )
    audit.record(Event(Kind.SIGN_IN, user="lena"))
    found.append(setting())
    with audit.change() as record:
        record(ADDED)
        store.create("users", LENA)
    store.end_request()
    lines = [text.decode().rpartition("}")[2] for text in store.line_log.lines_with(b"lena")]
    assert (lines, found) == (["on", "off"], ["on"])


def filled(folder: Path, log: LineLog, number: int = 300) -> list[bytes]:
    """Fill a file and a log with the same events, and return them."""
    drawn = random.Random(7)  # noqa: S311 - test data
    lines = [
        line(
            time=timestamp(1_700_000_000 + count // 3 * 600),
            event=drawn.choice([*Kind]),
            address=drawn.choice(["10.0.0.7", "192.0.2.1", None]),
            target={"user": drawn.choice(NAMES), "application": "ERP"},
            node=f"node-{count % 2}",
        )
        for count in range(number)
    ]
    AuditLog(folder).append(b"".join(lines))
    assert log.add_missing(lines) == number
    return lines


def pages(audits: list[Audit], wanted: Filter, limit: int) -> list[Any]:
    """Return all pages, each from the next one of these logs."""
    found, page = [], None
    for audit in itertools.cycle(audits):
        one = audit.page(wanted, limit, page)
        found.append((one.events, one.looked_back_to))
        page = one.next
        if page is None:
            return found
    raise AssertionError


FILTERS: list[dict[str, Any]] = [
    {},
    {"user": "LENA"},
    {"user": "l\u00e9na"},
    {"user": "nobody"},
    {"event": "sign_in,user_made"},
    {"address": "10.0.0.0/8"},
    {"q": "erp node-1"},
    {"request_id": "90d7a6b2c35f41e8a4b8f0e6d1c2b3a4"},
    {"since": 1_700_020_000.0},
    {"until": 1_700_020_000.0},
    {"since": 1_700_020_000.0, "until": 1_700_031_000.0, "user": "karl"},
]


@pytest.mark.parametrize("limit", [7, 1000])
def test_searches_like_the_file(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Each filter finds the same events in the same order as in a file, also on pages read from alternating nodes."""
    monkeypatch.setattr(audit_lines, "_FIRST", 5)
    nodes = [opened(url), opened(url)]
    filled(tmp_path, nodes[0].line_log)
    for wanted in FILTERS:
        in_file = [
            event for events, _ in pages([audit_of(AuditLog(tmp_path))], Filter(**wanted), limit) for event in events
        ]
        found = pages([audit_of(node.line_log) for node in nodes], Filter(**wanted), limit)
        assert [event for events, _ in found for event in events] == in_file, wanted
        assert all(time is not None for _, time in found[:-1])


def test_a_limited_page(store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page reads a limited number of lines, says how far it looked back, and continues there."""
    monkeypatch.setattr("datafor_token.audit.search._MOST_LINES", 100)
    filled(tmp_path, store.line_log)
    found = pages([audit_of(store.line_log)], Filter(user="nobody"), 10)
    assert found == pages([audit_of(AuditLog(tmp_path))], Filter(user="nobody"), 10)
    assert len(found) == 4


def test_a_page_after_later_events(store: SqlStore, tmp_path: Path) -> None:
    """A page remains valid while events are added, and after older ones were removed."""
    filled(tmp_path, store.line_log, 30)
    audit = audit_of(store.line_log)
    first = audit.page(Filter(), 10)
    audit.record(Event(Kind.SIGN_IN, user="new"))
    second = audit.page(Filter(), 10, first.next)
    assert [*first.events, *second.events] == audit_of(AuditLog(tmp_path)).page(Filter(), 20).events
    sql(store, "DELETE FROM datafor_audit")
    assert audit.page(Filter(), 10, second.next).events == []


@pytest.mark.parametrize("page", ["", "x-1", "t-1", "t1-", "0123456789ab-7", "t1-99999999999999999999", "t1-\u0661"])
def test_a_page_of_another_log(store: SqlStore, page: str) -> None:
    """A page of a file, or an invented one, is refused."""
    with pytest.raises(InvalidInput):
        audit_of(store.line_log).page(Filter(), 10, page)


def test_lines_with(store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines with a text are found in all of the log, newest first, or in its newest part."""
    monkeypatch.setattr(audit_lines, "_SEARCHED", 50)
    lines = filled(tmp_path, store.line_log, 130)
    wanted = list(AuditLog(tmp_path).lines_with(b"node-1"))
    assert list(store.line_log.lines_with(b"node-1")) == wanted
    assert len(wanted) == 65
    assert list(store.line_log.lines_with(b"100%_")) == []
    newest = store.line_log.lines_with(b"karl", 1)
    found: list[bytes] = []
    with pytest.raises(LimitReached):
        found.extend(newest)
    assert found == [one.rstrip(b"\n") for one in reversed(lines[-50:]) if b"karl" in one]


def test_copies(url: str, tmp_path: Path) -> None:
    """A line that the log has already is not added again; equal lines are added as often as they occur."""
    store = opened(url)
    lines = filled(tmp_path, store.line_log, 50)
    again = [lines[3], *lines, line(time=timestamp(5)), line(time=timestamp(5))]
    assert store.line_log.add_missing(again) == 3
    assert store.line_log.add_missing(again) == 0
    copy = AuditLog(tmp_path)
    assert copy.add_missing(store.line_log.oldest_first()) == 3
    assert copy.add_missing(store.line_log.oldest_first()) == 0
    assert sorted(copy.oldest_first()) == sorted(store.line_log.oldest_first())
    assert list(store.line_log.oldest_first())[:2] == [line(time=timestamp(5))] * 2


def test_extent(store: SqlStore, tmp_path: Path) -> None:
    """The log has the time of its oldest line and, with PostgreSQL, its size."""
    assert store.line_log.extent()[1] is None
    filled(tmp_path, store.line_log, 10)
    size, since = store.line_log.extent()
    assert since == 1_700_000_000_000
    assert (size is None) == (not store._database.is_postgresql)
    assert size is None or size > 10_000


def test_retention(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines older than a number of days by the database's clock are deleted, some at once."""
    monkeypatch.setattr(audit_lines, "_ADDED", 4)
    with store._database.reading() as connection:
        now = connection.execute(sa.select(audit_lines._NOW[connection.dialect.name])).scalar_one() / 1000
    lines = [line(time=timestamp(now - days * 86400)) for days in (9, 8, 7.1, 7.1, 7.1, 6.9, 1)]
    store.line_log.add_missing(lines)
    assert [store.line_log.delete_older(7) for _ in range(3)] == [4, 1, 0]
    assert list(store.line_log.oldest_first()) == lines[-2:]


@pytest.mark.sql
def test_retention_by_one_node(postgres_url: str) -> None:
    """While one node deletes, another one does not."""
    store, other = opened(postgres_url), opened(postgres_url)
    store.line_log.add_missing([line(time=timestamp(5))])
    with other._database.engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(audit_lines._LOCK)))
        assert store.line_log.delete_older(1) == 0
    assert store.line_log.delete_older(1) == 1


def test_a_missing_table(url: str) -> None:
    """A database of an earlier version, without the table, is refused until `store init` has created it."""
    store = opened(url)
    store.put("users", LENA)
    sql(store, "DROP TABLE datafor_audit")
    database = Database(url, 30, 30)
    with pytest.raises(StoreNotReady, match=r"datafor_audit, is missing .* `datafor-token store init`"):
        schema.check(database)
    assert schema.create(database)
    schema.check(database)
    # The records and what nodes have cached of them are as they were.
    assert store.get("users", "lena") == LENA
    database.close()


def test_a_row_edited_by_hand(store: SqlStore) -> None:
    """A row that is no event, or has several lines, hides no other."""
    store.line_log.add_missing([line(time=timestamp(5)), line(time=timestamp(7))])
    sql(store, "INSERT INTO datafor_audit (at, line) VALUES (6000, 'no\n\nevent'), (6000, '')")
    assert [event["time"][18] for event in all_of(store)] == ["5", "7"]
    found = pages([audit_of(store.line_log)], Filter(), 1)
    assert [event["time"][18] for events, _ in found for event in events] == ["7", "5"]


@pytest.mark.sql
@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_response_to_a_commit(postgres_url: str, monkeypatch: pytest.MonkeyPatch, *, committed: bool) -> None:
    """A change whose commit got no response has its line once, whether it was committed or is done again."""
    store = opened(postgres_url)
    lose_response(monkeypatch, committed=committed)
    with audit_of(store.line_log).change() as record:
        record(ADDED)
        store.put("users", LENA)
    assert kinds(store) == [("user_made", None)]


def test_a_change_that_may_have_been_stored(store: SqlStore) -> None:
    """A change of which nobody knows whether it was stored has a line that says so."""

    def fail() -> None:
        with audit_of(store.line_log).change() as record:
            record(ADDED)
            raise MaybeStored

    with pytest.raises(MaybeStored):
        fail()
    assert kinds(store) == [("user_made", "may or may not have been stored")]
