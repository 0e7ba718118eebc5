"""A token that is verified while its user is deleted."""

import threading
from typing import Any

import pytest
from flask import Flask

from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.support import STRONG_SECRET, Clock, application

API = "/plugin/datafor-modeler/api"


@pytest.mark.parametrize("extra", [{}, {"iat": 1722929516}])
def test_tokens_of_a_deleted_user(app: Flask, caller: Caller, clock: Clock, extra: dict[str, int]) -> None:
    """No token from before a deletion signs its user in or creates the user again; a later one does."""
    caller.post("update", application(secret=STRONG_SECRET))
    bearer = {"Authorization": f"Bearer {token(claims(loginname='lena', **extra), STRONG_SECRET)}"}
    unused = {"Authorization": f"Bearer {token(claims(loginname='LENA', name='x', **extra), STRONG_SECRET)}"}
    assert caller.get(f"{API}/user/detail", bearer).status_code == 200
    clock.advance(1)
    assert caller.post(f"{API}/user/delete", {"username": "lena"}).status_code == 200
    assert [caller.get(f"{API}/user/detail", headers).status_code for headers in (bearer, unused)] == [401, 401]
    assert (
        caller.post("explain", {"token": bearer["Authorization"].removeprefix("Bearer ")}).json["reason"] == "revoked"
    )
    clock.advance(1)
    later = token(claims(loginname="lena", iat=int(clock())), STRONG_SECRET)
    assert caller.get(f"{API}/user/detail", {"Authorization": f"Bearer {later}"}).status_code == 200
    assert caller.get(f"{API}/user/detail", bearer).status_code == 401


def test_a_token_verified_before_a_deletion_creates_nobody(
    app: Flask, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that passed its checks before its user was deleted does not create the user again."""
    caller.post("update", application(secret=STRONG_SECRET))
    bearer = {"Authorization": f"Bearer {token(claims(loginname='lena'), STRONG_SECRET)}"}
    assert caller.get(f"{API}/user/detail", bearer).status_code == 200
    verified, deleted = threading.Barrier(2), threading.Barrier(2)
    with app.app_context():
        users = services().users
    get = users.get

    def slowly(name: str) -> User | None:
        # After the revocation was checked, and before the user is looked for.
        if threading.current_thread() is thread:
            verified.wait()
            deleted.wait()
        return get(name)

    statuses: list[Any] = []
    thread = threading.Thread(
        target=lambda: statuses.append(Caller(app.test_client()).get(f"{API}/user/detail", bearer).status_code)
    )
    monkeypatch.setattr(users, "get", slowly)
    thread.start()
    verified.wait()
    with app.app_context():
        services().accounts.remove("lena")
    deleted.wait()
    thread.join()
    assert statuses == [401]
    assert get("lena") is None


def test_a_token_without_iat_never_creates_a_deleted_user(app: Flask, caller: Caller, clock: Clock) -> None:
    """A deleted user is not created by a token that may be from before, however long another issuer made it valid."""
    caller.post("update", application(secret=STRONG_SECRET, expire=5))
    old = token(claims(loginname="lena", exp=int(clock()) + 10**8), STRONG_SECRET)
    bearer = {"Authorization": f"Bearer {old}"}
    assert caller.get(f"{API}/user/detail", bearer).status_code == 200
    caller.post(f"{API}/user/delete", {"username": "lena"})
    clock.advance(10**7)
    assert caller.get(f"{API}/user/detail", bearer).status_code == 401
    explained = caller.post("explain", {"token": old}).json
    assert explained["reason"] == "revoked"
    assert "does not create lena again" in explained["steps"][-1]["detail"]
    new = caller.post("generate", {"username": "lena"}).json["token"]
    assert caller.get(f"{API}/user/detail", {"Authorization": f"Bearer {new}"}).status_code == 200
