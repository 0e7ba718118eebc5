"""``token/generate``: its three forms and its rules."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.settings import Settings
from tests.conftest import Caller
from tests.stores import records_in, unavailable
from tests.support import Clock, application, key_for, private_pem, public_pem, token_parts
from tests.tokens.test_issuer import SAMPLE_TOKEN
from tests.validation.test_strict_json import JSON_VALUES


@pytest.fixture(autouse=True)
def _erp(caller: Caller) -> None:
    fieldmap = {"username": "ERP", "name": "name", "email": "email"}
    assert caller.post("update", application(fieldmap=fieldmap)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        "name=ERP&privateKey=abcd&username=admin",
        {"name": "ERP", "privateKey": "abcd", "username": "admin"},
        {"name": "ERP", "privateKey": "abcd", "payload": {"username": "admin"}},
        "name=ERP&privateKey=abcd&payload[username]=admin",
        "name=ERP&privateKey=abcd&payload.username=admin",
        "name=ERP&privateKey=abcd&" + urlencode({"payload": '{"username": "admin"}'}),
        json.dumps({"name": "ERP", "privateKey": "abcd", "username": "admin"}),
        {"privateKey": "abcd", "username": "admin"},
        {"name": "erp", "username": "admin"},
        {"username": "admin", "payload": {"username": "admin"}, "privateKey": None},
        {},
    ],
)
def test_all_forms_give_the_golden_token(caller: Caller, body: Any) -> None:
    """Every documented form of the request gives the documented sample token."""
    response = caller.post("generate", body)
    assert list(response.json.items()) == [("success", True), ("expire", 86400), ("token", SAMPLE_TOKEN)]


def test_no_body_at_all(caller: Caller) -> None:
    """A POST without body and content type is for the only application and the caller."""
    assert caller.post("generate").json["token"] == SAMPLE_TOKEN


def test_payload_in_a_form(caller: Caller) -> None:
    """Further claims can be sent with brackets or as JSON text; lists are kept."""
    response = caller.post("generate", "name=ERP&payload[email]=a@b&payload[roles][]=x&payload[roles][]=y")
    _, claims = token_parts(response.json["token"])
    assert list(claims.items())[:3] == [("ERP", "admin"), ("email", "a@b"), ("roles", ["x", "y"])]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": ""}, "name can not be empty"),
        ({"name": "ERP", "privateKey": ""}, "secret can not be empty"),
        ("name=ERP&privateKey=", "secret can not be empty"),
        ({"name": "ERP", "username": ""}, "username can not be empty"),
        ({"name": "ERP", "payload": {"username": ""}}, "username can not be empty"),
        (
            {"name": "ERP", "username": "lena", "payload": {"username": "paul"}},
            "username differs from payload.username",
        ),
        ({"name": "ERP", "foo": 1}, "an unknown field at the beginning of the request"),
        ({"name": "ERP", "user_name": 1}, "user_name is not a field of this call; did you mean 'username'?"),
    ],
)
def test_documented_messages(caller: Caller, body: Any, message: str) -> None:
    """Documented messages have the documented words."""
    response = caller.post("generate", body)
    assert (response.status_code, response.json["code"], response.json["msg"]) == (400, "400", message)


def wrong(field: str, *values: Any) -> list[tuple[str, Any]]:
    return [(field, value) for value in values]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *wrong("name", "../x", "a\n", "x" * 65, 5, [], True, "a\0"),
        *wrong("privateKey", 5, [], {}, True),
        *wrong("username", "a:b", " a", "x" * 129, "a\n", "\u2028", 5, [], {}, True),
        *wrong("payload", "x", 5, [], True, {"exp": 1}, {"username": ["a"]}, {"ERP": "x"}),
    ],
)
def test_a_wrong_value_is_named(caller: Caller, field: str, value: Any) -> None:
    """An invalid value is 400, and its field is named."""
    response = caller.post("generate", {"name": "ERP", field: value})
    assert response.status_code == 400
    assert response.json["msg"].startswith(field), response.json["msg"]
    assert all(name.startswith(field) for name in response.json["errors"])


def test_which_application(caller: Caller) -> None:
    """An unknown name is 404; without a name exactly one application must exist."""
    assert caller.post("generate", {"name": "CRM"}).json == {
        "success": False,
        "code": "404",
        "msg": "name does not exist",
    }
    caller.post("update", application(name="CRM"))
    response = caller.post("generate", {})
    assert (response.status_code, response.json["msg"]) == (400, "name can not be empty")


def test_the_only_application_is_damaged(caller: Caller, settings: Settings) -> None:
    """An unreadable only application is 503, with and without its name."""
    (path,) = records_in(settings.data_dir, "applications")
    path.write_text("x")
    for body in ({}, {"name": "ERP"}):
        assert caller.post("generate", body).status_code == 503


def test_a_store_that_is_gone_is_no_wrong_password(caller: Caller, settings: Settings) -> None:
    """With a missing folder calls are 503, not 'name does not exist' or 'wrong password'."""
    for folder in ("applications", "users"):
        with unavailable(settings.data_dir, folder):
            response = caller.post("generate", {"name": "ERP"})
        assert (response.status_code, response.json["msg"]) == (503, "storage is unavailable")


def test_a_wrong_key_is_403(caller: Caller) -> None:
    """A private key of another application is 403 with a sentence."""
    for wrong in ("abcde", "ABCD", "ä", "\0"):
        response = caller.post("generate", {"name": "ERP", "privateKey": wrong})
        assert response.status_code == 403
        assert response.json["msg"] == "privateKey does not belong to application ERP"


def test_a_disabled_application_is_403(caller: Caller) -> None:
    """A disabled application issues no tokens."""
    caller.post("update", application(enable="0"))
    response = caller.post("generate", {"name": "ERP", "privateKey": "abcd"})
    assert (response.status_code, response.json["msg"]) == (403, "application ERP is not enabled")


@pytest.mark.parametrize("algorithm", ["RS256", "PS512", "ES256", "ES512", "EdDSA"])
def test_private_keys_through_a_form(caller: Caller, algorithm: str) -> None:
    """A PEM private key signs; a missing or encrypted one is 400, another one 403."""
    key = key_for(algorithm)
    caller.post("update", application(name="P", algorithm=algorithm, secret=public_pem(key)))

    def status(**fields: str) -> int:
        return caller.post("generate", urlencode({"name": "P", **fields})).status_code

    assert status(privateKey=private_pem(key)) == 200
    assert status() == 400
    assert status(privateKey=private_pem(key_for(algorithm, "-other"))) == 403
    assert status(privateKey=private_pem(key, b"pw")) == 400
    assert status(privateKey=public_pem(key)) == 400


def test_exp_counts_from_whole_seconds(caller: Caller, clock: Clock) -> None:
    """exp is the current whole second plus expire."""
    clock.advance(0.999)
    assert caller.post("generate", {}).json["token"] == SAMPLE_TOKEN


def test_too_long_a_token(caller: Caller) -> None:
    """A token over 4,096 characters is 400."""
    response = caller.post("generate", {"payload": {"x": "y" * 4000}})
    assert response.status_code == 400
    assert "4096" in response.json["msg"]


@given(field=st.sampled_from(["name", "privateKey", "username", "payload", "other"]), value=JSON_VALUES)
def test_a_field_of_any_kind(caller: Caller, field: str, value: Any) -> None:
    """Any value of a field gives a token or a 4xx error."""
    assert caller.post("generate", {"name": "ERP", field: value}).status_code in (200, 400, 403, 404)
