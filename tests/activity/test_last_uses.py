"""Last uses of applications and users: noted by requests, stored in the background for all workers."""

import json
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from datafor_token import create_app
from datafor_token.activity import last_uses
from datafor_token.activity.activity import Activity
from datafor_token.operations.services import Services
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller, services_in
from tests.handmade_tokens import NOW
from tests.processes import run_command
from tests.stores import Record, records_in, unavailable
from tests.support import STRONG_SECRET, Clock, application, basic
from tests.web.api.test_gate import check, enter, gate_of, signed, ticket_of

DETAIL = "/plugin/datafor-modeler/api/user/detail"
LOGIN = "/plugin/datafor/api/extension/auth/login"


@pytest.fixture
def other(services: Services, clock: Clock) -> Iterator[Activity]:
    """Return the activity of another worker."""
    found = Activity(services.store, clock)
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def _erp(request: pytest.FixtureRequest) -> None:
    if "caller" in request.fixturenames:
        request.getfixturevalue("caller").post("update", application(secret=STRONG_SECRET))


def uses(services: Services) -> tuple[dict[str, int], dict[str, int]]:
    """Store what was noted, and return the uses of all applications and users in seconds after the start."""
    services.activity.flush()
    found = services.last_uses.all_applications(), services.last_uses.all_users()
    applications, users = ({name: used // 1000 - NOW for name, used in one.items()} for one in found)
    return applications, users


def by_token(app: Flask, caller: Caller) -> None:
    assert check(app, f"/?token={signed()}").status_code == 200


def by_known_token(app: Flask, caller: Caller) -> None:
    """A token that a worker knows has no line in the audit log."""
    header = {"Authorization": f"Bearer {signed()}"}
    assert caller.get(DETAIL, header).status_code == 200
    services_in(app).activity.forget_noted()
    assert caller.get(DETAIL, header).status_code == 200


def by_session_of_the_gate(app: Flask, caller: Caller) -> None:
    cookie = gate_of(check(app, f"/?token={signed()}"))
    services_in(app).activity.forget_noted()
    assert check(app, Cookie=cookie).status_code == 200


def by_link(app: Flask, caller: Caller) -> None:
    assert enter(app, f"ticket={ticket_of(caller)}").status_code == 303


# Ways to use an application and a user.
WAYS: dict[str, Callable[[Flask, Caller], None]] = {
    "token": by_token,
    "known token": by_known_token,
    "gate session": by_session_of_the_gate,
    "link": by_link,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_sign_in_is_a_use(app: Flask, caller: Caller, services: Services, way: str) -> None:
    """Whatever an application's token or link signs in with is a use of it and of the user."""
    WAYS[way](app, caller)
    applications, users = uses(services)
    assert applications == {"erp": 0}
    assert users["lena"] == 0


def test_passwords_are_uses(app: Flask, caller: Caller, services: Services, clock: Clock) -> None:
    """A call with a password, a sign-in and a call with its session are uses of the user, and of no application."""
    assert uses(services) == ({}, {"admin": 0})
    services.accounts.add("lena", "long enough")
    clock.advance(600)
    assert caller.get(DETAIL, basic("lena", "long enough")).status_code == 200
    assert uses(services)[1]["lena"] == 600
    clock.advance(600)
    client = app.test_client()
    client.post(LOGIN, json={"username": "lena", "password": "long enough"})
    assert uses(services)[1]["lena"] == 1200
    clock.advance(600)
    assert client.get(DETAIL).status_code == 200
    assert uses(services) == ({}, {"admin": 0, "lena": 1800})


def test_issued_tokens_are_uses_of_the_application(caller: Caller, services: Services, clock: Clock) -> None:
    """Issuing a token or a link uses the application, and not the user whom it names."""
    services.accounts.add("lena", "long enough")
    caller.post("generate", {"username": "lena"})
    assert uses(services) == ({"erp": 0}, {"admin": 0})
    clock.advance(600)
    ticket_of(caller)
    assert uses(services) == ({"erp": 600}, {"admin": 600})


def test_refusals_are_no_uses(app: Flask, caller: Caller, services: Services) -> None:
    """A refused token or password uses nothing, and neither does a question about a token."""
    check(app, f"/?token={signed(exp=NOW - 100)}")
    caller.get(DETAIL, basic("lena", "wrong"))
    caller.post("introspect", {"token": signed()})
    caller.post("explain", {"token": signed()})
    assert uses(services) == ({}, {"admin": 0})


def test_one_of_many(services: Services, clock: Clock) -> None:
    """The last uses of some names are those of their folded names; what was never used is left out."""
    for number in range(50):
        services.activity.accepted(f"User{number}", f"App{number}")
    services.activity.flush()
    assert services.last_uses.of_users(["USER7", "user50"]) == {"user7": NOW * 1000}
    assert services.last_uses.of_applications(["app1", "App2", "Äpp"]) == {"app1": NOW * 1000, "app2": NOW * 1000}
    assert len(services.last_uses.all_users()) == 50
    assert len(records_in(services.settings.data_dir, "activity")) <= 2 * last_uses.SHARDS + 1


def test_the_latest_use_of_all_workers(services: Services, other: Activity, clock: Clock) -> None:
    """The later use remains, whichever worker stores first."""
    other.accepted("lena", "ERP")
    clock.advance(400)
    services.activity.accepted("lena", "ERP")
    assert uses(services) == ({"erp": 400}, {"lena": 400})
    other.flush()
    assert uses(services) == ({"erp": 400}, {"lena": 400})


def test_uses_within_five_minutes_are_one_write(services: Services, other: Activity, clock: Clock) -> None:
    """A use is not written while the stored one is less than five minutes older, whichever worker stored it."""
    services.activity.accepted("lena", None)
    services.activity.flush()
    texts = [record.read_text() for record in records_in(services.settings.data_dir, "activity")]
    clock.advance(299)
    for activity in (services.activity, other):
        activity.accepted("lena", None)
        activity.flush()
    assert [record.read_text() for record in records_in(services.settings.data_dir, "activity")] == texts
    clock.advance(1)
    other.accepted("lena", None)
    other.flush()
    assert services.last_uses.all_users() == {"lena": (NOW + 300) * 1000}


def test_a_clock_that_was_wrong(services: Services, clock: Clock) -> None:
    """A stored use that is far ahead is replaced by the next one."""
    clock.advance(365 * 86400)
    services.activity.accepted("lena", None)
    services.activity.flush()
    clock.now = NOW
    services.activity.accepted("lena", None)
    assert uses(services) == ({}, {"lena": 0})


class TestDeletion:
    """Uses of what was deleted."""

    @pytest.fixture(autouse=True)
    def _used(self, services: Services, clock: Clock) -> None:
        services.accounts.add("Lena", "long enough")
        services.activity.accepted("Lena", "ERP")
        services.activity.flush()
        clock.advance(1)

    def delete(self, caller: Caller, services: Services) -> None:
        caller.post("delete", {"name": "erp"})
        services.accounts.remove("lena")

    def create(self, caller: Caller, services: Services) -> None:
        caller.post("update", application(secret=STRONG_SECRET))
        services.accounts.add("LENA", "long enough")

    def test_the_use_goes_too(self, caller: Caller, services: Services) -> None:
        """The use of a deleted application or user is removed at once, and a new one of that name has none."""
        self.delete(caller, services)
        assert "lena" not in services.last_uses.all_users()
        assert services.last_uses.all_applications() == {}
        self.create(caller, services)
        assert uses(services) == ({}, {"admin": 0})

    def test_what_another_worker_has_noted(
        self, caller: Caller, services: Services, other: Activity, clock: Clock
    ) -> None:
        """A use from before the deletion that another worker stores later is not stored, also of a new one."""
        other.accepted("Lena", "ERP")
        clock.advance(1)
        self.delete(caller, services)
        other.flush()
        assert uses(services) == ({}, {"admin": 0})
        # By a request that was still running.
        clock.advance(400)
        other.accepted("Lena", "ERP")
        clock.advance(400)
        self.create(caller, services)
        other.flush()
        assert services.last_uses.of_users(["lena"]) == services.last_uses.of_applications(["erp"]) == {}
        services.activity.accepted("Lena", "ERP")
        assert uses(services)[0] == {"erp": 802}

    @pytest.mark.file_store
    def test_a_removal_that_fails(self, caller: Caller, services: Services, settings: Settings, clock: Clock) -> None:
        """If a use cannot be removed, the deletion succeeds; the use goes with the next sweep, or with a new one."""
        with unavailable(settings.data_dir, "activity"):
            self.delete(caller, services)
        assert "lena" in services.last_uses.all_users()
        services.accounts.add("lena", "long enough")
        assert "lena" not in services.last_uses.all_users()
        assert services.last_uses.all_applications() == {"erp": NOW * 1000}
        clock.advance(3600)
        services.activity.flush()
        assert services.last_uses.all_applications() == {}

    def test_a_sweep_keeps_what_exists(self, services: Services, clock: Clock) -> None:
        """The hourly sweep keeps the uses of what exists, and forgets deletions after a day."""
        services.accounts.add("otto", "long enough")
        services.accounts.remove("otto")
        clock.advance(3600)
        services.activity.flush()
        assert services.last_uses.of_users(["lena"]) == {"lena": NOW * 1000}
        texts = [record.read_text() for record in records_in(services.settings.data_dir, "activity")]
        assert any("otto" in text for text in texts)
        clock.advance(86400)
        services.activity.flush()
        texts = [record.read_text() for record in records_in(services.settings.data_dir, "activity")]
        assert not any("otto" in text for text in texts)
        assert uses(services)[1]["lena"] == 0


class TestSince:
    """The time since which uses are noted."""

    def test_the_first_start(self, services: Services, settings: Settings, clock: Clock) -> None:
        """It is that of the first start, after later ones too."""
        assert services.last_uses.since == NOW * 1000
        clock.advance(86400)
        again = services_in(create_app(settings, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY))
        assert again.last_uses.since == NOW * 1000
        again.key_sets.stop()

    @pytest.mark.file_store
    def test_it_cannot_be_stored(self, services: Services, settings: Settings, clock: Clock) -> None:
        """As long as it cannot be stored, it is the start of the process."""
        Record(settings.data_dir, "activity", "since").unlink()
        clock.advance(60)
        later = Activity(services.store, clock)
        with unavailable(settings.data_dir, "activity"):
            later.last_uses.begin()
        assert later.last_uses.since == (NOW + 60) * 1000


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"name": "users-0"}',
        '{"format": 1, "name": "users-0", "uses": 5, "deleted": {}}',
        '{"format": 1, "name": "users-0", "uses": {"a": "b"}, "deleted": {}}',
        '{"format": 2, "name": "users-0", "uses": {}, "deleted": {}}',
    ],
)
def test_a_damaged_record(services: Services, settings: Settings, clock: Clock, text: str) -> None:
    """Of a record that cannot be read nothing is known; it is not replaced, and no other one is affected."""
    names = [f"user{number}" for number in range(50)]
    for name in names:
        services.activity.accepted(name, None)
    services.activity.flush()
    record = Record(settings.data_dir, "activity", "users-0")
    lost = json.loads(record.read_text())["uses"].keys()
    record.write_text(text)
    assert services.last_uses.of_users(names).keys() == set(names) - lost
    clock.advance(3600)
    for name in names:
        services.activity.accepted(name, None)
    services.activity.flush()
    assert record.read_text() == text
    assert services.last_uses.all_users() == dict.fromkeys(set(names) - lost, (NOW + 3600) * 1000)


@pytest.mark.file_store
def test_an_outage(services: Services, settings: Settings, clock: Clock) -> None:
    """A use that cannot be stored in an outage is stored after it, unless a later use was noted."""
    services.activity.accepted("lena", "ERP")
    with unavailable(settings.data_dir, "activity"):
        services.activity.flush()
    clock.advance(1)
    services.activity.accepted("otto", "ERP")
    assert uses(services) == ({"erp": 1}, {"lena": 0, "otto": 1})


def test_at_exit(caller: Caller, services: Services, settings: Settings) -> None:
    """A process stores what it has noted when it exits."""
    done = run_command(settings.data_dir.parent, "token", "generate", "ERP", "--username", "lena")
    assert done.returncode == 0, done.stderr
    assert services.last_uses.all_applications().keys() == {"erp"}
