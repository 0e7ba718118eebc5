"""Impact of a change on an application or a user: their sessions and tokens are counted before they end."""

from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from datafor_token.tokens import impact
from datafor_token.tokens.impact import Impact
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.handmade_tokens import NOW
from tests.support import STRONG_SECRET, Clock, application
from tests.tokens.test_issued import line, write
from tests.web.api.test_gate import check, enter, gate_of, signed, ticket_of

CRM = application(name="CRM", token_name="crm", secret=STRONG_SECRET[::-1])


@pytest.fixture(autouse=True)
def _applications(caller: Caller) -> None:
    for body in (application(secret=STRONG_SECRET), CRM):
        assert caller.post("update", body).status_code == 200


def impacts(app: Flask, *names: str) -> list[Impact]:
    """Return the impact of ERP, CRM and of users."""
    with app.app_context():
        found = services().impact
        return [found.of_application("erp"), found.of_application("CRM"), *(found.of_user(name) for name in names)]


def test_sessions(app: Flask, caller: Caller, clock: Clock) -> None:
    """The gate sessions of an application's tokens and links are its own; a user's are those of all kinds."""
    check(app, f"/?token={signed()}")
    check(app, f"/?token={signed(loginname='paul', exp=NOW + 60)}")
    enter(app, f"ticket={ticket_of(caller)}")
    with app.app_context():
        lena = services().users.get("lena")
        assert lena is not None
        services().sessions.open(lena)
    assert [one.sessions for one in impacts(app, "LENA", "paul", "nobody")] == [3, 0, 3, 1, 0]
    clock.advance(60)
    assert [one.sessions for one in impacts(app, "lena", "paul")] == [2, 0, 3, 0]


def test_a_session_that_is_opened_again(app: Flask) -> None:
    """A session that was left is not counted, and is counted again once it was opened again."""
    cookie = gate_of(check(app, f"/?token={signed()}"))
    client = app.test_client(use_cookies=False)
    client.post("/auth/leave", headers={"Cookie": cookie, "Sec-Fetch-Site": "same-origin"})
    assert impacts(app, "lena")[0].sessions == impacts(app, "lena")[2].sessions == 0
    check(app, f"/?token={signed()}", Sec_Fetch_Mode="navigate")
    assert impacts(app, "lena")[0].sessions == impacts(app, "lena")[2].sessions == 1


def test_tokens(app: Flask, caller: Caller, clock: Clock) -> None:
    """Tokens that were issued in the last 24 hours are counted while they are neither over nor revoked."""
    for user in ("lena", "Lena", "paul"):
        caller.post("generate", {"name": "ERP", "username": user})
    caller.post("generate", {"name": "CRM", "username": "lena"})
    assert [one.tokens for one in impacts(app, "lena", "PAUL", "nobody")] == [3, 1, 3, 1, 0]
    with app.app_context():
        services().cut_offs.set("paul", None, None)
        services().cut_offs.set(None, "CRM", None)
    assert [one.tokens for one in impacts(app, "lena", "paul")] == [2, 0, 2, 0]
    caller.post("update", application(secret=STRONG_SECRET, expire=7 * 86400))
    caller.post("generate", {"name": "ERP", "username": "otto"})
    clock.advance(23 * 3600)
    assert [one.tokens for one in impacts(app, "otto")] == [3, 0, 1]
    # Those of otto are valid for a week: they are only older than what is counted.
    clock.advance(3601)
    assert [one.tokens for one in impacts(app, "otto")] == [0, 0, 0]


def test_several_users(app: Flask, caller: Caller) -> None:
    """The impact on several users is the sum; those of others and names without a user add nothing."""
    for user in ("lena", "Lena", "王明", "paul"):
        caller.post("generate", {"name": "ERP", "username": user})
    check(app, f"/?token={signed()}")
    check(app, f"/?token={signed(loginname='王明')}")
    check(app, f"/?token={signed(loginname='paul')}")
    with app.app_context():
        found = services().impact
        assert found.of_users(["LENA", "王明", "nobody"]) == Impact(2, 3, more=False)
        assert found.of_users(["nobody"]) == found.of_users([]) == Impact(0, 0, more=False)


@pytest.mark.parametrize(("number", "more"), [(4, False), (5, True)])
def test_more_than_are_counted(
    app: Flask, settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int, more: bool
) -> None:
    """At most so many are counted, and it is said that there are more."""
    monkeypatch.setattr(impact, "MOST_TOKENS", 4)
    monkeypatch.setattr(impact, "MOST_SESSIONS", 4)
    assert [one.more for one in impacts(app)] == [False, False]
    write(settings, *(line(one) for one in range(number)))
    assert impacts(app, "lena")[::2] == [Impact(0, 4, more)] * 2
    for exp in range(number):
        check(app, f"/?token={signed(exp=NOW + 100 + exp)}")
    assert impacts(app, "lena")[::2] == [Impact(4, 4, more)] * 2


@pytest.mark.file_store
def test_the_log_cannot_be_read(app: Flask, settings: Settings) -> None:
    """Without a readable audit log the number of tokens is unknown, and the sessions are counted."""
    check(app, f"/?token={signed()}")
    log = settings.data_dir / "audit.log"
    log.unlink()
    log.mkdir()
    expected: list[Any] = [Impact(1, None, more=False), Impact(0, None, more=False), Impact(1, None, more=False)]
    assert impacts(app, "lena") == expected
