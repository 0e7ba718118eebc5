"""A token that is verified while its user is deleted."""

import threading
from typing import Any

import pytest
from flask import Flask

from datafor_token.users.users import User
from datafor_token.web.services import services
from tests.conftest import Caller
from tests.handmade_tokens import claims, token
from tests.support import STRONG_SECRET, application

API = "/plugin/datafor-modeler/api"


def test_a_token_verified_before_a_deletion_creates_nobody(
    app: Flask, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that passed its checks before its user was deleted does not create the user again."""
    caller.post("update", application(secret=STRONG_SECRET))
    text = token(claims(loginname="lena"), STRONG_SECRET)
    bearer = {"Authorization": f"Bearer {text}"}
    assert caller.get(f"{API}/user/detail", bearer).status_code == 200
    verified, deleted = threading.Barrier(2), threading.Barrier(2)
    with app.app_context():
        users, signin = services().users, services().signin
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
        # A deletion revokes the user's tokens; here each of them by itself.
        services().accounts._cut_off = lambda _: signin.revoke(text, None)
        services().accounts.remove("lena")
    deleted.wait()
    thread.join()
    assert statuses == [401]
    assert get("lena") is None
