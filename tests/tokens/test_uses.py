"""Last uses of personal tokens: noted in memory, stored in the background."""

import dataclasses
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask

from datafor_token.errors import LockTimeout, StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.store.files.locking import exclusive
from datafor_token.tokens import uses
from datafor_token.tokens.personal import PersonalTokens
from datafor_token.tokens.uses import Use, Uses
from datafor_token.tokens.verifier import VerifiedToken
from tests.conftest import Caller, services_in
from tests.handmade_tokens import token as handmade
from tests.stores import Record, unavailable
from tests.support import STRONG_SECRET, Clock, application, basic

DETAIL = "/plugin/datafor-modeler/api/user/detail"
JTI = "x" * 22


def verified(identifier: str = "hmac-1", username: str = "lena", jti: Any = JTI) -> VerifiedToken:
    nothing: Any = None
    return VerifiedToken(nothing, username, 0.0, {"jti": jti}, nothing, identifier, 0.0, (identifier,))


class Written:
    """The writes of ``Uses``, of which the next ones fail with ``errors``."""

    def __init__(self) -> None:
        self.found: list[tuple[str, list[tuple[str | None, float]]]] = []
        self.errors: list[Exception] = []

    def __call__(self, user: str, found: Sequence[Use]) -> None:
        if self.errors:
            raise self.errors.pop()
        self.found.append((user, sorted((one.token.identifier, one.time) for one in found)))


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def noted(clock: Clock, written: Written) -> Any:
    found = Uses(clock, written)
    yield found
    found.stop()


def test_the_last_use_of_each_token_is_written_once_for_each_user(noted: Uses, written: Written, clock: Clock) -> None:
    """One write for each user has the last use of each of the user's tokens; a second one has nothing."""
    start = clock.now
    for identifier, username in (("1", "lena"), ("2", "Lena"), ("3", "otto"), ("1", "lena")):
        noted.note(verified(identifier, username))
        clock.advance(1)
    noted.flush()
    noted.flush()
    assert sorted(written.found) == [("lena", [("1", start + 3), ("2", start + 1)]), ("otto", [("3", start + 2)])]


@pytest.mark.parametrize("jti", [None, 5, "", "x" * 21, "2f1c0a9e-54c5-4ac1-9a3a-5f4e3b2a1c0d"])
def test_other_tokens_are_not_noted(noted: Uses, written: Written, jti: Any) -> None:
    """Only a token whose jti can be that of a personal token is noted."""
    noted.note(verified(jti=jti))
    noted.note(dataclasses.replace(verified(), identifier=None))
    noted.flush()
    assert written.found == []


def test_the_number_of_noted_tokens_is_bounded(
    noted: Uses, written: Written, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many tokens, further ones are not noted until the next write; those that are noted still are."""
    monkeypatch.setattr(uses, "_MOST", 2)
    for identifier in "123":
        noted.note(verified(identifier))
    clock.advance(1)
    noted.note(verified("1"))
    noted.flush()
    noted.note(verified("3"))
    noted.flush()
    assert written.found == [
        ("lena", [("1", clock.now), ("2", clock.now - 1)]),
        ("lena", [("3", clock.now)]),
    ]


@pytest.mark.parametrize("error", [StoreUnavailable(), LockTimeout()])
def test_what_cannot_be_written_is_tried_again(noted: Uses, written: Written, clock: Clock, error: Exception) -> None:
    """In an outage the uses are kept for the next write, except where a later use is known by then."""
    noted.note(verified("1"))
    noted.note(verified("2"))
    written.errors.append(error)
    noted.flush()
    assert written.found == []
    clock.advance(40)
    noted.note(verified("1"))
    noted.flush()
    assert written.found == [("lena", [("1", clock.now), ("2", clock.now - 40)])]


def test_the_write_at_the_exit_is_limited(noted: Uses, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the exit of the process, writes end after their time, and none is tried again."""
    for user in ("lena", "otto"):
        noted.note(verified(user, user))
    written.errors.append(StoreUnavailable())
    noted.flush(60)
    noted.flush(60)
    noted.note(verified())
    noted.flush(0)
    assert written.found == []


def test_uses_are_written_in_the_background(noted: Uses, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """A use is written without a further call, in a thread that starts with the first use after each write."""
    monkeypatch.setattr(Uses, "seconds", 0.02)
    for number in (1, 2):
        noted.note(verified())
        while len(written.found) < number:
            time.sleep(0.01)


def test_a_fork_forgets_what_its_parent_noted(noted: Uses, written: Written) -> None:
    """A forked process writes its own uses only, even if the parent holds the lock."""
    noted.note(verified("1"))
    with noted._lock:
        child = os.fork()
        if not child:
            # Skips the exit handlers of pytest.
            noted.note(verified("2"))
            timer = noted._timer
            noted.flush()
            is_right = [identifier for _, found in written.found for identifier, _ in found] == ["2"]
            os._exit(0 if is_right and timer is not None else 1)
    assert os.waitpid(child, 0)[1] == 0
    noted.flush()
    assert [identifier for _, found in written.found for identifier, _ in found] == ["1"]


def test_a_waiting_write_does_not_keep_the_store_open(clock: Clock) -> None:
    """The thread that waits for the next write has no reference to the service."""
    found = Uses(clock, Written())
    found.note(verified())
    timer = found._timer
    assert timer is not None
    here = weakref.ref(found)
    del found
    assert here() is None
    timer.cancel()


class TestInTheService:
    """Uses of tokens of the running service."""

    @pytest.fixture
    def tokens(self, app: Flask) -> PersonalTokens:
        return services_in(app).personal_tokens

    @pytest.fixture
    def lena(self, caller: Caller, clock: Clock) -> dict[str, str]:
        caller.post("update", application(self_service="1", secret=STRONG_SECRET, inituser="1", initpwd="the password"))
        first = handmade({"loginname": "lena", "exp": int(clock.now) + 60}, STRONG_SECRET)
        assert caller.get(DETAIL, {"Authorization": f"Bearer {first}"}).status_code == 200
        return basic("lena", "the password")

    @pytest.fixture
    def use(self, caller: Caller, lena: dict[str, str]) -> Callable[[], int]:
        token = caller.post("personal", {}, lena).json["token"]

        def call() -> int:
            return caller.get(DETAIL, {"Authorization": f"Bearer {token}"}).status_code

        call.token = token  # type: ignore[attr-defined]
        return call

    @pytest.fixture
    def last(self, caller: Caller, lena: dict[str, str]) -> Callable[[], int | None]:
        def call() -> int | None:
            found: int | None = caller.get("personal/list", lena).json["data"][0]["last_used_at"]
            return found

        return call

    def test_a_use_is_shown_after_the_write(self, tokens: PersonalTokens, clock: Clock, use: Any, last: Any) -> None:
        """The list shows the last use that was written."""
        assert last() is None
        assert use() == 200
        clock.advance(5)
        assert use() == 200
        tokens.uses.flush()
        assert last() == int(clock.now) * 1000

    def test_uses_within_half_a_minute_are_one_write(
        self, tokens: PersonalTokens, clock: Clock, use: Any, last: Any, settings: Settings
    ) -> None:
        """A use is not written while the stored one is less than 30 seconds older, whichever worker stored it."""
        record = Record(settings.data_dir, "personal_tokens", "lena")
        use()
        tokens.uses.flush()
        stored, first = record.read_text(), last()
        clock.advance(29)
        use()
        tokens.uses.flush()
        assert record.read_text() == stored
        clock.advance(1)
        use()
        tokens.uses.flush()
        assert last() == first + 30_000

    def test_questions_and_refusals_are_no_uses(
        self, caller: Caller, tokens: PersonalTokens, use: Any, last: Any
    ) -> None:
        """Neither introspect nor explain nor a refused request is a use."""
        for call in ("introspect", "explain"):
            assert caller.post(call, {"token": use.token}).status_code == 200
        caller.post("revoke", {"token": use.token})
        assert use() == 401
        tokens.uses.flush()
        assert last() is None

    def test_requests_of_a_gate_session_are_no_uses(
        self, app: Flask, tokens: PersonalTokens, clock: Clock, use: Any, last: Any
    ) -> None:
        """The token that opens a gate session is used once; requests with the session's cookie are no uses."""
        client = app.test_client()
        assert client.get(f"/auth/enter?token={use.token}&next=/").status_code == 303
        tokens.uses.flush()
        first = last()
        assert first == int(clock.now) * 1000
        clock.advance(60)
        assert client.get("/auth/check").status_code == 200
        tokens.uses.flush()
        assert last() == first

    def test_a_token_after_a_change_of_the_key(
        self, caller: Caller, tokens: PersonalTokens, clock: Clock, lena: dict[str, str], last: Any
    ) -> None:
        """A token is found by its identifier under a former key of the service too."""
        assert caller.post("personal", {}, lena).status_code == 200
        noted = dataclasses.replace(verified("hmac-new"), revocation_names=("hmac-new", _identifier(tokens)))
        tokens.uses.note(noted)
        tokens.uses.flush()
        assert last() == int(clock.now) * 1000

    @pytest.mark.file_store
    def test_an_outage(self, tokens: PersonalTokens, clock: Clock, use: Any, last: Any, settings: Settings) -> None:
        """Requests with a token succeed while its use cannot be stored, and it is stored after the outage."""
        with unavailable(settings.data_dir, "personal_tokens"):
            assert use() == 200
            tokens.uses.flush()
        tokens.uses.flush()
        assert last() == int(clock.now) * 1000

    @pytest.mark.file_store
    def test_a_stuck_writer(self, tokens: PersonalTokens, use: Any, last: Any, settings: Settings) -> None:
        """A writer that is stuck holds up neither the request nor the write for longer than a moment."""
        with exclusive(settings.data_dir / "personal_tokens/.lock", 5):
            use()
            flushing = threading.Thread(target=tokens.uses.flush)
            flushing.start()
            flushing.join()
            assert last() is None
        tokens.uses.flush()
        assert last() is not None

    def test_a_user_who_was_deleted_meanwhile(self, tokens: PersonalTokens, use: Any, settings: Settings) -> None:
        """A use of a token whose record was deleted creates no record."""
        use()
        tokens.remove_all("lena")
        tokens.uses.flush()
        assert not Record(settings.data_dir, "personal_tokens", "lena").exists()


def _identifier(tokens: PersonalTokens) -> str:
    (found,) = tokens._read("lena")
    return found.identifier
