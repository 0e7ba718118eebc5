"""Counts of each hour: tokens issued, sign-ins accepted and refused, of all workers."""

from collections.abc import Iterator

import pytest
from flask import Flask

from datafor_token.activity.activity import Activity
from datafor_token.activity.hours import KEPT, Hour
from datafor_token.audit.events import Event, Kind
from datafor_token.errors import MaybeStored, StoreUnavailable
from datafor_token.operations.services import Services
from datafor_token.settings import Settings
from tests.conftest import Caller
from tests.handmade_tokens import NOW
from tests.stores import Record, unavailable
from tests.support import STRONG_SECRET, Clock, application, basic
from tests.web.api.test_gate import check, enter, signed, ticket_of

DETAIL = "/plugin/datafor-modeler/api/user/detail"
HOUR = 3_600_000
THIS = NOW // 3600 * HOUR
ISSUED = Event(Kind.TOKEN_GENERATED, "ERP", "lena")


@pytest.fixture
def other(services: Services, clock: Clock) -> Iterator[Activity]:
    """Return the activity of another worker."""
    found = Activity(services.store, clock)
    yield found
    found.stop()


def counted(services: Services, number: int = 1) -> list[Hour]:
    services.activity.flush()
    return list(services.hours.last(number))


def test_what_is_counted(app: Flask, caller: Caller, services: Services) -> None:
    """Issued tokens, accepted sign-ins and refused ones are counted as the audit log records them."""
    caller.post("update", application(secret=STRONG_SECRET, self_service="1"))
    assert counted(services) == [Hour(THIS, 0, 1, 0)]
    caller.post("generate", {"username": "lena"})
    caller.post("personal")
    assert counted(services) == [Hour(THIS, 2, 1, 0)]
    assert caller.get(DETAIL, {"Authorization": f"Bearer {signed()}"}).status_code == 200
    assert counted(services) == [Hour(THIS, 2, 2, 0)]
    assert enter(app, f"ticket={ticket_of(caller)}").status_code == 303
    assert counted(services) == [Hour(THIS, 2, 3, 0)]
    caller.get(DETAIL, basic("lena", "wrong"))
    assert counted(services) == [Hour(THIS, 2, 3, 1)]


def test_repeated_refusals(app: Flask, services: Services) -> None:
    """A refusal that the audit log only counts is counted, too."""
    for _ in range(5):
        assert check(app, "/?token=x", Authorization="Bearer x").status_code == 401
    assert counted(services) == [Hour(THIS, 0, 0, 5)]


@pytest.mark.file_store
def test_what_was_not_stored(caller: Caller, services: Services, settings: Settings) -> None:
    """A link that could not be redeemed or a change that failed is not counted."""
    caller.post("update", application(secret=STRONG_SECRET))
    before = counted(services)
    ticket = ticket_of(caller)
    with unavailable(settings.data_dir, "sessions"):
        assert caller.get(f"/auth/enter?ticket={ticket}", {}).status_code == 503
    assert counted(services) == before


def test_hours_of_all_workers(services: Services, other: Activity, clock: Clock) -> None:
    """The counts of all workers are added, in the hour in which they happened."""
    services.activity.happened(ISSUED)
    other.happened(ISSUED)
    clock.advance(3600)
    other.happened(ISSUED)
    for activity in (services.activity, other, other):
        activity.flush()
    assert services.hours.last(3) == [Hour(THIS - HOUR, 0, 0, 0), Hour(THIS, 2, 0, 0), Hour(THIS + HOUR, 1, 0, 0)]


def test_hours_that_are_kept(services: Services, settings: Settings, clock: Clock) -> None:
    """Older hours are removed, and so are hours to come of a clock that was wrong."""
    clock.advance(100 * 3600)
    services.activity.happened(ISSUED)
    services.activity.flush()
    clock.now = NOW
    for _ in range(KEPT + 1):
        services.activity.happened(ISSUED)
        services.activity.flush()
        clock.advance(3600)
    record = Record(settings.data_dir, "activity", "hours").read_text()
    assert record.count("[") == KEPT
    assert sum(hour.issued for hour in services.hours.last(100)) == KEPT


@pytest.mark.file_store
def test_an_outage(services: Services, settings: Settings) -> None:
    """Counts that cannot be stored in an outage are stored after it."""
    services.activity.happened(ISSUED)
    with unavailable(settings.data_dir, "activity"):
        services.activity.flush()
        services.activity.happened(ISSUED)
        with pytest.raises(StoreUnavailable):
            services.hours.last(1)
    assert counted(services) == [Hour(THIS, 2, 0, 0)]


def test_nothing_is_counted_twice(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts that may be stored are not stored again."""
    services.activity.happened(ISSUED)
    update = services.activity.hours._store.update

    def stored(*arguments: object, **options: object) -> None:
        update(*arguments, **options)  # type: ignore[arg-type]
        raise MaybeStored

    with monkeypatch.context() as patched:
        patched.setattr(services.activity.hours._store, "update", stored)
        services.activity.flush()
    assert counted(services) == [Hour(THIS, 1, 0, 0)]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"format": 1, "name": "hours"}',
        '{"format": 1, "name": "hours", "hours": {"x": [1, 2, 3]}}',
        '{"format": 1, "name": "hours", "hours": {"1": [1, 2]}}',
        '{"format": 1, "name": "hours", "hours": {"1": [1, 2, "3"]}}',
        '{"format": 2, "name": "hours", "hours": {}}',
    ],
)
def test_a_damaged_record(services: Services, settings: Settings, text: str) -> None:
    """Of a record that cannot be read nothing is known, and it is not replaced."""
    services.activity.happened(ISSUED)
    services.activity.flush()
    record = Record(settings.data_dir, "activity", "hours")
    record.write_text(text)
    services.activity.happened(ISSUED)
    assert counted(services) == [Hour(THIS, 0, 0, 0)]
    assert record.read_text() == text
