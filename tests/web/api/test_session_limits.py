"""``session_idle`` and ``session_max`` of an application: how long its gate sessions last."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.handmade_tokens import NOW, claims, token
from tests.stores import Record, records_in
from tests.support import ADMIN_PASSWORD, API, STRONG_SECRET, Clock, application
from tests.web.api.test_gate import check, enter, gate_of, identity, signed, ticket_of

SESSIONS = API.removesuffix("/token") + "/user/sessions?username=lena"
HOUR, DAY = 3600, 86400
OPEN = Callable[..., str]


def store(caller: Caller, **changes: Any) -> None:
    response = caller.post("update", application(secret=STRONG_SECRET, expire=90 * DAY, **changes))
    assert response.status_code == 200, response.json


@pytest.fixture(params=["token", "ticket"])
def opened(request: pytest.FixtureRequest, app: Flask, caller: Caller) -> OPEN:
    """Return a function that opens a session and returns its cookie."""

    def by_token(exp: int = NOW + 90 * DAY) -> str:
        return gate_of(check(app, f"/?token={signed(exp=exp)}", Accept="text/html"))

    def by_ticket() -> str:
        return gate_of(enter(app, f"ticket={ticket_of(caller)}"))

    return by_token if request.param == "token" else by_ticket


def status(app: Flask, cookie: str) -> int:
    return check(app, Cookie=cookie).status_code


def record(settings: Settings) -> Record:
    (found,) = records_in(settings.data_dir, "sessions")
    return found


def listed(caller: Caller) -> int:
    return len(caller.get(SESSIONS).json["data"])


@pytest.mark.parametrize(
    ("limits", "end"),
    [
        ({}, 12 * HOUR), ({"session_max": 60}, 60), ({"session_max": HOUR}, HOUR),
        ({"session_max": 48 * HOUR}, 48 * HOUR), ({"session_idle": 48 * HOUR}, 12 * HOUR),
    ],
)  # fmt: skip
def test_the_absolute_limit(
    app: Flask, caller: Caller, clock: Clock, opened: OPEN, limits: dict[str, int], end: int
) -> None:
    """A session ends session_max after it was opened however it is used, else after SESSION_HOURS."""
    store(caller, **limits)
    cookie, start = opened(), clock.now
    while clock.now < start + end - 30:
        assert status(app, cookie) == 200
        clock.now = min(clock.now + 3000, start + end - 30)
    clock.now = start + end - 1
    assert (status(app, cookie), listed(caller)) == (200, 1)
    clock.now = start + end
    assert (status(app, cookie), listed(caller)) == (401, 0)


@pytest.mark.parametrize(
    ("limits", "idle"),
    [
        ({}, HOUR), ({"session_idle": 60}, 60), ({"session_idle": 900}, 900), ({"session_idle": 5 * HOUR}, 5 * HOUR),
        ({"session_idle": 60, "session_max": 365 * DAY}, 60), ({"session_max": 2 * HOUR}, HOUR),
        ({"session_idle": 30 * DAY, "session_max": 40 * DAY}, 30 * DAY),
    ],
)  # fmt: skip
def test_the_idle_limit(
    app: Flask, caller: Caller, clock: Clock, opened: OPEN, limits: dict[str, int], idle: int
) -> None:
    """A session ends session_idle after its last use, else after SESSION_IDLE_MINUTES."""
    store(caller, **limits)
    cookie = opened()
    clock.advance(idle - 1)
    assert (listed(caller), status(app, cookie)) == (1, 200)
    # The last use is stored.
    clock.advance(2)
    assert status(app, cookie) == 200
    clock.advance(idle)
    assert (status(app, cookie), listed(caller)) == (401, 0)


def test_steady_use_of_a_short_idle_limit(app: Flask, caller: Caller, clock: Clock, opened: OPEN) -> None:
    """A session that is used more often than its idle limit continues, whatever the rhythm of the requests."""
    store(caller, session_idle=60)
    for pause in (1, 5, 7, 29, 53):
        cookie = opened()
        for _ in range(4 * 60 // pause):
            clock.advance(pause)
            assert status(app, cookie) == 200


@pytest.mark.file_store
@pytest.mark.parametrize(("idle", "between"), [(60, 6), (300, 30), (600, 60), (5 * HOUR, 60)])
def test_the_last_use_is_not_written_each_time(
    app: Flask, caller: Caller, clock: Clock, settings: Settings, idle: int, between: int
) -> None:
    """The last use is stored after a tenth of the idle limit, at most once a minute, and not at each request."""
    store(caller, session_idle=idle)
    cookie = gate_of(check(app, f"/?token={signed(exp=NOW + DAY)}"))
    written = []
    for second in range(2 * between + 1):
        text = record(settings).read_text()
        assert status(app, cookie) == 200
        if record(settings).read_text() != text:
            written.append(second)
        clock.advance(1)
    assert written == [between, 2 * between]


@pytest.mark.parametrize(
    "change", [{"session_idle": 120}, {"session_max": 7200}, {"session_idle": ""}, {"session_max": 60}]
)
def test_a_changed_limit_ends_the_sessions(app: Flask, caller: Caller, opened: OPEN, change: dict[str, Any]) -> None:
    """A limit that is set, changed or cleared ends the sessions that were opened before; the same values end none."""
    limits = {"session_idle": 60, "session_max": 3600}
    store(caller, **limits)
    cookie = opened()
    store(caller, **limits)
    assert (status(app, cookie), listed(caller)) == (200, 1)
    store(caller, **limits | change)
    assert (status(app, cookie), listed(caller)) == (401, 0)
    assert status(app, opened()) == 200


def test_sessions_of_earlier_versions(app: Flask, caller: Caller, settings: Settings, opened: OPEN) -> None:
    """A session of a version without limits continues until its application gets one."""
    store(caller)
    cookie = opened()
    document = json.loads(record(settings).read_text())
    del document["grant"]["policy"]
    record(settings).write_text(json.dumps(document))
    assert status(app, cookie) == 200
    store(caller, session_max=7200)
    assert status(app, cookie) == 401


def test_the_sweeper(app: Flask, caller: Caller, clock: Clock, settings: Settings, opened: OPEN) -> None:
    """A record is removed when the session's own limits are over, and not by those of the settings."""
    store(caller, session_idle=30 * DAY, session_max=40 * DAY)
    long = opened()
    clock.advance(29 * DAY)
    sweep(app)
    assert (status(app, long), len(records_in(settings.data_dir, "sessions"))) == (200, 1)
    clock.advance(11 * DAY)
    sweep(app)
    assert records_in(settings.data_dir, "sessions") == []
    store(caller, session_idle=60)
    opened()
    clock.advance(60)
    sweep(app)
    assert records_in(settings.data_dir, "sessions") == []


def sweep(app: Flask) -> None:
    with app.app_context():
        services().sessions.sweep()


@pytest.mark.parametrize("value", [None, True, "600", "x", [], {}, -1, 0, -(2**63), -1e308], ids=repr)
@pytest.mark.parametrize("name", ["session_idle", "session_max"])
def test_a_damaged_limit(app: Flask, caller: Caller, settings: Settings, opened: OPEN, name: str, value: Any) -> None:
    """A limit in a record that was damaged by hand ends the session, and is no internal error anywhere."""
    store(caller, session_idle=600, session_max=600)
    cookie = opened()
    document = json.loads(record(settings).read_text())
    document["grant"][name] = value
    record(settings).write_text(json.dumps(document))
    assert (status(app, cookie), listed(caller)) == (401, 0)
    sweep(app)
    assert status(app, opened()) == 200


@pytest.mark.parametrize("value", [2**64 - 1, 1e308, 600.5])
def test_a_limit_that_is_edited(app: Flask, caller: Caller, settings: Settings, opened: OPEN, value: float) -> None:
    """Any other number in a record is that limit."""
    store(caller, session_idle=600, session_max=600)
    cookie = opened()
    document = json.loads(record(settings).read_text())
    document["grant"] |= {"session_idle": value, "session_max": value}
    record(settings).write_text(json.dumps(document))
    assert (status(app, cookie), listed(caller)) == (200, 1)


def test_the_same_token_after_its_session(app: Flask, caller: Caller, clock: Clock) -> None:
    """After session_max a token that is still valid opens another session; its cookie is a new one."""
    store(caller, session_max=60)
    uri = f"/?token={signed(exp=NOW + DAY)}"
    first = gate_of(check(app, uri))
    clock.advance(59)
    assert gate_of(check(app, uri)) == first
    clock.advance(1)
    assert status(app, first) == 401
    second = gate_of(check(app, uri, Cookie=first))
    assert second not in ("", first)
    assert (status(app, first), status(app, second)) == (401, 200)
    clock.advance(60)
    assert status(app, second) == 401


def test_another_token_before_the_limit(app: Flask, caller: Caller, clock: Clock) -> None:
    """Before session_max the token of the session sets no cookie again, and another token opens another session."""
    store(caller, session_max=600)
    uris = [f"/?token={signed(exp=NOW + DAY, n=number)}" for number in range(2)]
    first = gate_of(check(app, uris[0], Accept="text/html"))
    clock.advance(590)
    assert check(app, uris[0], Cookie=first, Accept="text/html").headers.getlist("Set-Cookie") == []
    second = gate_of(check(app, uris[1], Cookie=first, Accept="text/html"))
    assert second not in ("", first)
    clock.advance(20)
    assert (status(app, first), status(app, second)) == (401, 200)


def test_a_token_that_ends_before_the_limits(app: Flask, caller: Caller, clock: Clock) -> None:
    """Limits do not make a session last longer than its token."""
    store(caller, session_idle=DAY, session_max=2 * DAY)
    cookie = gate_of(check(app, f"/?token={signed(exp=NOW + 100)}"))
    clock.now = NOW + 99
    assert status(app, cookie) == 200
    clock.now = NOW + 100
    assert status(app, cookie) == 401


def test_limits_of_another_application(app: Flask, caller: Caller, clock: Clock) -> None:
    """The limits are those of the application that opened the session, and none of the sessions by password."""
    store(caller, session_idle=60, session_max=60)
    caller.post("update", application(name="CRM", token_name="crm", secret=STRONG_SECRET + "x"))
    with app.app_context():
        user = services().users.get("admin")
        assert user is not None
        by_password = f"datafor_gate={services().gate.open_by_password(user, '')}"
    other = gate_of(check(app, f"/?crm={token(claims(exp=NOW + DAY), STRONG_SECRET + 'x')}"))
    login = caller.client.post(
        "/plugin/datafor/api/extension/auth/login", json={"username": "admin", "password": ADMIN_PASSWORD}
    )
    clock.advance(1000)
    assert [status(app, one) for one in (by_password, other)] == [200, 200]
    cookie = {"Cookie": f"JSESSIONID={login.get_json()['jsessionid']}"}
    assert app.test_client(use_cookies=False).get(SESSIONS, headers=cookie).status_code == 200
    assert identity(check(app, Cookie=by_password))[0] == "admin"
    clock.advance(HOUR)
    assert [status(app, one) for one in (by_password, other)] == [401, 401]
