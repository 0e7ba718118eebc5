"""Applications that accept tokens of their own users only: the field ``users``."""

from typing import Any

import pytest
from flask import Flask

from datafor_token.settings import Settings
from tests.conftest import Caller, put_user
from tests.handmade_tokens import claims, token
from tests.stores import records_in
from tests.support import STRONG_SECRET, application
from tests.web.api.test_gate import check, enter, gate_of

DETAIL = "/plugin/datafor-modeler/api/user/detail"
SECRETS = {"ERP": STRONG_SECRET, "CRM": STRONG_SECRET[::-1]}


def store(caller: Caller, name: str, **changes: Any) -> None:
    """Store an application with a secret and a token_name of its own."""
    body = application(name=name, token_name=name.lower(), secret=SECRETS[name], **changes)
    assert caller.post("update", body).status_code == 200


@pytest.fixture(autouse=True)
def _two_applications(caller: Caller) -> None:
    store(caller, "ERP", users="own")
    store(caller, "CRM")


def signed(name: str, by: str) -> str:
    return token(claims(loginname=name), SECRETS[by])


def status(caller: Caller, name: str, by: str) -> int:
    return caller.get(DETAIL, {"Authorization": f"Bearer {signed(name, by)}"}).status_code


def test_users_that_tokens_created(caller: Caller) -> None:
    """A token signs in the users that the application's tokens created, and no others, however they are spelled."""
    assert status(caller, "lena", "ERP") == 200
    assert status(caller, "otto", "CRM") == 200
    assert [status(caller, name, "ERP") for name in ("lena", "LENA", "otto", "Otto")] == [200, 200, 401, 401]
    # CRM accepts everybody.
    assert [status(caller, name, "CRM") for name in ("lena", "otto")] == [200, 200]
    store(caller, "CRM", users="own")
    assert [status(caller, name, "CRM") for name in ("lena", "otto")] == [401, 200]
    store(caller, "ERP", users="any")
    assert [status(caller, name, "ERP") for name in ("lena", "otto")] == [200, 200]


def test_users_without_an_application(app: Flask, caller: Caller) -> None:
    """Users that a command or an earlier version created belong to no application."""
    put_user(app, "berta")
    assert (status(caller, "berta", "ERP"), status(caller, "berta", "CRM")) == (401, 200)
    for spelling in ("ERP", "erp"):
        put_user(app, "berta", application=spelling)
        assert status(caller, "berta", "ERP") == 200
    put_user(app, "berta", application="CRM")
    assert status(caller, "berta", "ERP") == 401


def test_a_cached_token(app: Flask, caller: Caller) -> None:
    """A token that is cached is refused as soon as its user belongs to another application."""
    assert status(caller, "lena", "ERP") == 200
    put_user(app, "lena", application="CRM")
    assert status(caller, "lena", "ERP") == 401
    put_user(app, "lena", application="ERP")
    assert status(caller, "lena", "ERP") == 200


def test_sessions_and_links(app: Flask, caller: Caller) -> None:
    """Gate sessions and links are for own users only, too; the session of another user ends."""
    put_user(app, "berta", application="CRM")
    assert check(app, f"/?erp={signed('berta', 'ERP')}").status_code == 401
    link = caller.post("link", {"name": "ERP", "username": "berta"}).json
    assert "the user berta does not belong to ERP" in link["warnings"][0]
    assert enter(app, link["url"].partition("?")[2]).status_code == 401
    cookie = gate_of(check(app, f"/?erp={signed('lena', 'ERP')}"))
    assert check(app, Cookie=cookie).status_code == 200
    put_user(app, "lena", application="CRM")
    assert check(app, Cookie=cookie).status_code == 401
    put_user(app, "lena", application="ERP")
    assert check(app, Cookie=cookie).status_code == 401


def test_explain(app: Flask, caller: Caller, settings: Settings) -> None:
    """``explain`` names the reason, and creates nobody."""
    put_user(app, "berta")
    explained = caller.post("explain", {"token": signed("berta", "ERP")}).json
    assert (explained["accepted"], explained["reason"], explained["application"]) == (False, "not_own_user", "ERP")
    assert explained["steps"][-1] == {
        "step": "user",
        "ok": False,
        "detail": "the user berta does not belong to ERP, which accepts only its own users",
    }
    assert caller.post("explain", {"token": signed("lena", "ERP")}).json["accepted"] is True
    assert len(records_in(settings.data_dir, "users")) == 2


def test_one_key_for_both(app: Flask, caller: Caller) -> None:
    """Of two applications with the same key, the user's own one accepts the token, cached or not."""
    secret = STRONG_SECRET
    for name in ("ERP", "CRM"):
        body = application(name=name, secret=secret, users="own" if name == "CRM" else "any", inituser="0")
        assert caller.post("update", body).status_code == 200
    users = {"lena": "CRM", "otto": ""}
    for name, own in users.items():
        put_user(app, name, application=own)
    text = {name: token(claims(loginname=name), secret) for name in users}
    for _ in range(2):
        # CRM is asked first.
        for name, application_name in (("lena", "CRM"), ("otto", "ERP")):
            response = check(app, query=f"?application={application_name}", Authorization=f"Bearer {text[name]}")
            assert response.status_code == 200
    put_user(app, "otto", application="CRM")
    response = check(app, query="?application=CRM", Authorization=f"Bearer {text['otto']}")
    assert response.status_code == 200
