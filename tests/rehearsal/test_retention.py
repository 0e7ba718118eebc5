"""Kept sign-ins: in several workers, in an outage, damaged, and how long they stay."""

import dataclasses
import itertools
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from datafor_token.audit.events import Origin
from datafor_token.factory import create_app
from datafor_token.operations import backup
from datafor_token.operations.services import Services
from datafor_token.rehearsal import history, records
from datafor_token.rehearsal.fingerprints import Fingerprints
from datafor_token.rehearsal.history import SignInHistory
from datafor_token.rehearsal.records import DAY, Circumstances, KeptSignIn, UserRecord
from datafor_token.settings import Settings
from datafor_token.store.base import Change, Document
from datafor_token.store.files.store import FileStore
from datafor_token.tokens.networks import Client
from datafor_token.users.users import COLLECTION as USERS
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, services_in
from tests.handmade_tokens import NOW, token
from tests.stores import Record, records_in, unavailable
from tests.support import STRONG_SECRET, Clock, application

DETAIL = "/plugin/datafor-modeler/api/user/detail"
DELETE = "/plugin/datafor-modeler/api/user/delete"


def signed(user: str = "lena", **changes: Any) -> str:
    return token({"loginname": user, "exp": NOW + 5 * DAY, **changes}, STRONG_SECRET)


def sign_in(caller: Caller, text: str, address: str = "10.0.0.7", status: int = 200) -> None:
    headers = {"Authorization": f"Bearer {text}"}
    assert caller.get(DETAIL, headers, environ_overrides={"REMOTE_ADDR": address}).status_code == status


def kept(services: Services) -> list[KeptSignIn]:
    return [one for record in services.history.every(0, services.users.get) for one in record.sign_ins.values()]


def stored_record(settings: Settings, name: str = "lena") -> Record:
    return Record(settings.data_dir, records.COLLECTION, name)


def remove_old(services: Services) -> None:
    """Remove what is over, as the thread does on each day, without its pauses."""
    pause = threading.Event()
    pause.set()
    services.sign_in_retention.remove_old(pause)


@pytest.fixture
def services(app: Flask, caller: Caller) -> Services:
    """Return the services of an installation with an application."""
    found = services_in(app)
    assert caller.post("update", application(secret=STRONG_SECRET)).status_code == 200
    return found


@pytest.fixture
def other(services: Services, settings: Settings, clock: Clock) -> Iterator[Flask]:
    """Yield another worker on the same store."""
    del services
    app = create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    yield app
    found = services_in(app)
    found.activity.stop()
    found.history.stop()
    found.audit.finish()


def flushed(app: Flask) -> Services:
    found = services_in(app)
    found.history.flush()
    return found


def test_two_workers(services: Services, caller: Caller, other: Flask) -> None:
    """A token that both workers accept from one address on one day is one sign-in, with the first request."""
    text = signed()
    sign_in(caller, text)
    sign_in(Caller(other.test_client()), text)
    sign_in(Caller(other.test_client()), text, "192.0.2.9")
    flushed(other)
    assert sorted(one.address for one in kept(services)) == ["10.0.0.7", "192.0.2.9"]


def test_midnight(services: Services, caller: Caller, clock: Clock) -> None:
    """A token that is used before and after midnight (UTC) is a sign-in of each day, also if the clock is set back."""
    text, midnight = signed(), (NOW // DAY + 1) * DAY
    for time in (midnight - 1, midnight - 0.1, midnight, midnight + 1, midnight - 2):
        clock.now = time
        sign_in(caller, text)
    clock.now = midnight + 10
    assert sorted(one.time for one in kept(services)) == [midnight - 2, midnight]


def test_deleted_in_another_worker(
    services: Services, caller: Caller, other: Flask, settings: Settings, clock: Clock
) -> None:
    """A worker does not store what it noted of a user who is deleted since, or created again."""
    for is_created_again in (False, True):
        clock.advance(60)
        sign_in(Caller(other.test_client()), signed(nonce=is_created_again, iat=clock.now))
        assert caller.post(DELETE, {"username": "lena"}).status_code == 200
        clock.advance(1)
        if is_created_again:
            services.accounts.add("lena", None)
        flushed(other)
        assert kept(services) == []
        assert not stored_record(settings).exists()


class Deleting:
    """A store in which the user is deleted before each write of sign-ins, after the writer has seen the user."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __getattr__(self, name: str) -> Any:
        return getattr(self._services.store, name)

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        self._services.accounts.remove(name)
        return self._services.store.update(collection, name, change, wait=wait)


def test_deleted_during_the_write(services: Services, caller: Caller, settings: Settings) -> None:
    """A writer that sees that the user was deleted while it stored a sign-in removes it."""
    sign_in(caller, signed())
    services.history.stop()
    origin = Origin(None, "bearer", "10.0.0.7", None)
    # Not a store by its type, but by its methods.
    store: Any = Deleting(services)
    slow = SignInHistory(store, services.users, Fingerprints([b"key"]), services.clock, lambda: origin, 14)
    verified = services.signin.verify(signed())
    assert verified.token is not None
    assert verified.user is not None
    slow.note(verified.token, lambda: Client("10.0.0.7"), verified.user)
    slow.flush()
    slow.stop()
    assert services.users.get("lena") is None
    assert not stored_record(settings).exists()


def test_another_user_of_the_name(services: Services, caller: Caller, clock: Clock, settings: Settings) -> None:
    """A user whose name another one had has no sign-ins of the other one, even if that one was removed by hand."""
    sign_in(caller, signed())
    services.history.flush()
    Record(settings.data_dir, USERS, "lena").unlink()
    clock.advance(1)
    assert kept(services) == []
    assert services.rehearsals.rehearse({"ERP": None}).sign_ins == 0
    services.accounts.add("lena", None)
    assert kept(services) == []
    sign_in(caller, signed(nonce="other"), "192.0.2.9")
    assert [one.address for one in kept(services)] == ["192.0.2.9"]
    assert "10.0.0.7" not in stored_record(settings).read_text()


def test_removed_by_hand(services: Services, caller: Caller, settings: Settings) -> None:
    """A sweep, as at each start, removes the sign-ins of users who do not exist, also invalid ones."""
    for user in ("lena", "mona", "nina"):
        sign_in(caller, signed(user))
    services.history.flush()
    stored_record(settings, "mona").write_text('{"format": 2, "name": "mona"}')
    for user in ("lena", "mona"):
        Record(settings.data_dir, USERS, user).unlink()
    services.sweep()
    assert [one.name for one in records_in(settings.data_dir, records.COLLECTION)] == ["nina"]


@pytest.mark.parametrize("content", [None, '{"format": 2, "name": "lena"}', '{"format": 1, "name": "lena"}'])
def test_switched_off(
    services: Services, caller: Caller, settings: Settings, clock: Clock, content: str | None
) -> None:
    """REHEARSAL_DAYS = 0 keeps nothing, and removes at the start what is kept, also invalid records."""
    sign_in(caller, signed())
    services.history.flush()
    if content is not None:
        stored_record(settings).write_text(content)
    app = create_app(dataclasses.replace(settings, rehearsal_days=0), clock=clock, hasher=CHEAP_FOR_TESTS_ONLY)
    flushed(app).sweep()
    assert records_in(settings.data_dir, records.COLLECTION) == []
    sign_in(Caller(app.test_client()), signed())
    flushed(app)
    assert records_in(settings.data_dir, records.COLLECTION) == []


def test_days_that_are_over(services: Services, caller: Caller, clock: Clock, settings: Settings) -> None:
    """Days that are over are not read any more, and are removed from disk although nobody signs in."""
    sign_in(caller, signed())
    services.history.flush()
    clock.advance(4 * DAY)
    sign_in(caller, signed())
    services.history.flush()
    clock.advance(10 * DAY)
    assert len(kept(services)) == 2
    clock.advance(DAY)
    assert [one.day for one in kept(services)] == [NOW // DAY + 4]
    remove_old(services)
    assert len(json.loads(stored_record(settings).read_text())["sign_ins"]) == 1
    clock.advance(4 * DAY)
    remove_old(services)
    assert not stored_record(settings).exists()


def test_a_clock_that_was_ahead(services: Services, caller: Caller, clock: Clock, settings: Settings) -> None:
    """Sign-ins of a clock that was ahead are removed once it is right."""
    clock.advance(400 * DAY)
    sign_in(caller, signed(exp=NOW + 500 * DAY))
    services.history.flush()
    clock.advance(-400 * DAY)
    assert kept(services) == []
    remove_old(services)
    assert not stored_record(settings).exists()


def sign_ins(number: int, day: int = 0) -> Iterator[KeptSignIn]:
    for one in range(number):
        known = [Circumstances(application="ERP", algorithm="HS256", key="k")]
        stored = {"circumstances": 0, "token": str(one), "time": NOW + day * DAY}
        yield KeptSignIn.from_document("lena", known, stored)


def test_many_in_a_day(services: Services, caller: Caller) -> None:
    """Of more than a hundred sign-ins of a user in a day, a rehearsal gives the number of the rest."""
    for number in range(records.MOST + 3):
        sign_in(caller, signed(nonce=number))
    found = services.rehearsals.rehearse({"ERP": None})
    assert (found.sign_ins, found.refused, found.not_kept) == (records.MOST, records.MOST, 3)


def test_many_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many sign-ins of a user, the oldest days are only counted."""
    monkeypatch.setattr(records, "MOST_OF_USER", 25)
    record = UserRecord("lena", 0)
    for day in range(3):
        record = record.add(list(sign_ins(10, day)))
    assert {one.day for one in record.sign_ins.values()} == {NOW // DAY + 1, NOW // DAY + 2}
    assert record.left_out == {NOW // DAY: 10}


def test_an_outage(
    services: Services,
    caller: Caller,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While sign-ins cannot be stored, tokens are accepted and sign-ins stored later; a loss is logged once."""
    monkeypatch.setattr(history, "_MOST_WAITING", 2)
    sign_in(caller, signed())
    services.history.flush()
    with unavailable(settings.data_dir, records.COLLECTION):
        for number in range(4):
            if settings.store == "file":
                sign_in(caller, signed(nonce=number))
            services.history.flush()
    expected = 3 if settings.store == "file" else 1
    assert len(kept(services)) == expected
    lost = [one for one in caplog.messages if "sign-ins not kept" in one]
    assert len(lost) == (1 if settings.store == "file" else 0)


@pytest.mark.file_store
def test_a_lock_that_is_held(services: Services, caller: Caller, settings: Settings) -> None:
    """A sign-in does not wait for a writer that holds the lock, and is stored after it."""
    store = FileStore(settings.data_dir, (records.COLLECTION,), 1)
    with store.locked(records.COLLECTION):
        sign_in(caller, signed())
        services.history.flush(0.1)
        assert not stored_record(settings).exists()
    services.history.flush()
    assert len(kept(services)) == 1


def damaged(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the document with each member, of itself and of a sign-in, of each other type, and without it."""
    values: tuple[Any, ...] = (
        None,
        True,
        -1,
        1e300,
        2**64 - 1,
        "x",
        [],
        [1],
        [{}],
        {},
        {"x": "x"},
        {"1": -1},
        {"exp": "x"},
        [["x"]],
    )
    (one,), (circumstances,) = document["sign_ins"], document["circumstances"]
    for name, value in itertools.product(document, values):
        if name != "name":
            yield {**document, name: value}
    for name, value in itertools.product((*one, "late", "unknown"), values):
        yield {**document, "sign_ins": [{**one, name: value}]}
    for name, value in itertools.product((*circumstances, "missing", "further", "unknown"), values):
        yield {**document, "circumstances": [{**circumstances, name: value}]}
    for name in document:
        if name != "name":
            yield {member: value for member, value in document.items() if member != name}
    for name in one:
        yield {**document, "sign_ins": [{member: value for member, value in one.items() if member != name}]}
    for name in circumstances:
        rest = {member: value for member, value in circumstances.items() if member != name}
        yield {**document, "circumstances": [rest]}


@pytest.mark.file_store  # one file is written a thousand times faster than a row
def test_damaged_records(services: Services, caller: Caller, settings: Settings) -> None:
    """Whatever a record holds, rehearsals and sign-ins go on, and those of other users are found."""
    caller.post("update", application(secret=STRONG_SECRET, require={"dept": ["a"]}, audience="*"))
    for user in ("lena", "mona"):
        sign_in(caller, signed(user, dept="a", aud="b", iat=NOW))
    services.history.flush()
    record = stored_record(settings)
    number = 0
    for document in damaged(json.loads(record.read_text())):
        record.write_text(json.dumps(document))
        for changed in ({}, {"ERP": None}):
            assert services.rehearsals.rehearse(changed).sign_ins in (1, 2), document
        services.sweep()
        remove_old(services)
        number += 1
        if not record.exists():
            record.write_text(json.dumps(document))
    assert number > 300


def test_a_damaged_record_is_not_known(services: Services, caller: Caller, settings: Settings) -> None:
    """A record that cannot be read counts as unknown: a rehearsal never says that its user would be accepted."""
    for user in ("lena", "mona"):
        sign_in(caller, signed(user))
    services.history.flush()
    assert services.rehearsals.rehearse({}).unknown == 0
    stored_record(settings).write_text("{")
    found = services.rehearsals.rehearse({})
    assert (found.sign_ins, found.refused, found.unknown) == (1, 0, 1)
    assert "datafor-token store check names the record" in found.unknown_because[0]


def test_a_damaged_record_stays(
    services: Services, caller: Caller, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged record is logged, and neither replaced nor deleted, as every damaged record; an invalid one is."""
    sign_in(caller, signed())
    services.history.flush()
    for content in ("{", '{"format": 1, "name": "lena"}'):
        caplog.clear()
        stored_record(settings).write_text(content)
        sign_in(caller, signed(nonce=content))
        assert kept(services) == []
        assert any("record damaged" in one for one in caplog.messages)
        assert stored_record(settings).read_text() == content
    stored_record(settings).write_text("{")
    services.history.remove("lena")
    assert "record damaged" in caplog.messages[-1]
    stored_record(settings).write_text(content)
    services.history.remove("lena")
    assert not stored_record(settings).exists()


def test_no_part_of_a_backup() -> None:
    """A backup has no sign-ins."""
    assert records.COLLECTION not in backup.COLLECTIONS


def test_writes_that_take_long(services: Services, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a write that takes long, the next one is later, but by no more than a minute."""
    update = services.store.update

    def slow(*arguments: Any, **options: Any) -> Document:
        threading.Event().wait(0.5)
        return update(*arguments, **options)

    sign_in(caller, signed())
    monkeypatch.setattr(services.store, "update", slow)
    services.history.flush()
    assert 10 <= services.history.seconds <= 60
    monkeypatch.setattr(history, "_TIMES", 1000)
    sign_in(caller, signed(nonce=1))
    services.history.flush()
    assert services.history.seconds == 60


def test_a_user_with_very_many(services: Services, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with a new token for each request does not take the place of others before the next write."""
    monkeypatch.setattr(history, "MOST", 3)
    monkeypatch.setattr(records, "MOST", 3)
    monkeypatch.setattr(history, "_MOST_WAITING", 6)
    for number in range(20):
        sign_in(caller, signed(nonce=number))
    for user in ("otto", "mia"):
        sign_in(caller, signed(user))
    # The same tokens again.
    for number in range(20):
        sign_in(caller, signed(nonce=number))
    rehearsal = services.rehearsals.rehearse({})
    assert (rehearsal.sign_ins, rehearsal.not_kept) == (3 + 2, 17)
    sign_in(caller, signed(nonce=20))
    assert services.rehearsals.rehearse({}).not_kept == 18
