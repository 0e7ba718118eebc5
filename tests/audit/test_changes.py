"""Changes in the audit log: the values of their fields, bounded, and never a secret or a key."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from jwt.algorithms import ECAlgorithm

from datafor_token.audit.changes import LONGEST_TEXT, MOST_BYTES, bounded
from tests.audit.test_audit import command, events
from tests.conftest import Caller
from tests.support import STRONG_SECRET, application, private_key, public_pem

OTHER_SECRET = "Qm3-rT8yUiOp_aS5dFgHjKlZxCvBnM1qWeRtY2uIoP4"
USERS = "/plugin/datafor-modeler/api/user"


def last(app: Flask, kind: str) -> dict[str, Any]:
    return events(app, event=kind)[-1]


def key_set(kid: str) -> str:
    """Return a JWK Set with one public key."""
    return json.dumps(
        {"keys": [{**ECAlgorithm.to_jwk(private_key("ES256-other").public_key(), as_dict=True), "kid": kid}]}
    )


def test_the_values_of_a_changed_application(app: Flask, caller: Caller) -> None:
    """A change of an application has the values of its changed fields, as calls have them, before and after."""
    caller.post("update", application(secret=STRONG_SECRET))
    caller.post(
        "update", application(secret=STRONG_SECRET, expire=60, enable="0", require={"azp": "p"}, networks="10.0.0.0/8")
    )
    event = last(app, "application_changed")
    assert event["fields"] == ["expire", "enable", "require", "networks"]
    assert event["before"] == {"expire": 86400, "enable": "1"}
    assert event["after"] == {"expire": 60, "enable": "0", "require": {"azp": "p"}, "networks": ["10.0.0.0/8"]}


def test_the_values_of_a_new_application(app: Flask, caller: Caller) -> None:
    """The event of a new application has its values that are no defaults."""
    caller.post("update", application(secret=STRONG_SECRET, initpwd="initial-Password"))
    event = last(app, "application_added")
    assert "fields" not in event
    assert event["after"] == {
        "fieldmap": {"username": "loginname", "name": "name", "email": "email"},
        "inituser": "1",
    }


@pytest.mark.parametrize("field", ["secret", "initpwd"])
def test_a_secret_is_only_named(app: Flask, caller: Caller, field: str) -> None:
    """A changed secret or initial password is only named, whether it was set, replaced or removed."""
    first = {"secret": STRONG_SECRET} | ({"initpwd": "initial-Password"} if field == "initpwd" else {})
    caller.post("update", application(**first))
    for value in (OTHER_SECRET, "" if field == "initpwd" else STRONG_SECRET[::-1]):
        caller.post("update", application(**{**first, field: value}))
        event = last(app, "application_changed")
        assert (event["fields"], "before" in event, "after" in event) == ([field], False, False)


def test_public_keys_are_named_by_their_kid(app: Flask, caller: Caller) -> None:
    """Of public keys, an event has the kid or thumbprint, and of a rotation the end of the grace period."""
    caller.post("update", application(algorithm="ES256", secret=public_pem(private_key("ES256"))))
    (thumbprint,) = last(app, "application_added")["after"]["secret"]["kids"]
    caller.post("rotate", {"name": "ERP", "secret": key_set("next"), "grace": 3600})
    event = last(app, "application_rotated")
    until = caller.get("list").json["data"][0]["previous"]["until"]
    assert event["fields"] == ["secret"]
    assert event["before"] == {"secret": {"kids": [thumbprint]}}
    assert event["after"] == {"secret": {"kids": ["next"]}, "previous": {"until": until}}


def test_a_rotation_of_a_shared_secret(app: Flask, caller: Caller) -> None:
    """The event of a rotation names the secret, and has nothing else without a grace period."""
    caller.post("update", application(secret=STRONG_SECRET))
    caller.post("rotate", {"name": "ERP", "grace": 0})
    event = last(app, "application_rotated")
    assert (event["fields"], "before" in event, "after" in event) == (["secret"], False, False)


def test_the_query_of_a_key_url_is_left_out(app: Flask, caller: Caller, settings: Any) -> None:
    """The query of a key set URL, which may have a secret, is not recorded."""
    url = "https://idp.example/keys?key=Marked-Secret"
    caller.post("update", application(algorithm="RS256", secret=None, jwks_uri=url, issuer="i", audience="a"))
    assert last(app, "application_added")["after"]["jwks_uri"] == "https://idp.example/keys?..."
    caller.post("update", application(algorithm="RS256", secret=None, jwks_uri=f"{url}2", issuer="i", audience="a"))
    assert last(app, "application_changed")["fields"] == ["jwks_uri"]
    assert "Marked-Secret" not in (settings.data_dir / "audit.log").read_text()


def test_the_values_of_a_changed_user(app: Flask, caller: Caller) -> None:
    """A change of a user has the values of its members; a password is only named."""
    command(app, "user", "add", "otto", "--email", "otto@example.com", given_input="ottos-Password")
    assert last(app, "user_made")["after"] == {"type": "SYS_Reader", "roles": []}
    body = {"username": "otto", "email": "o@example.com", "mobile": "1", "password": "another-Password"}
    assert caller.post(f"{USERS}/insertOrUpdate", body).status_code == 200
    event = last(app, "user_changed")
    assert event["fields"] == ["email", "mobile", "password"]
    assert event["before"] == {"email": "otto@example.com", "mobile": ""}
    assert event["after"] == {"email": "o@example.com", "mobile": "1"}
    command(app, "user", "passwd", "otto", given_input="third-Password")
    event = last(app, "user_changed")
    assert (event["fields"], "before" in event, "after" in event) == (["password"], False, False)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000,
        "\U0001f600" * 100_000,
        ["x" * 300] * 1000,
        ["\u4e2d"] * 10_000,
        {f"claim{number}": ["x" * 64] * 64 for number in range(64)},
        [1] * 100_000,
        [[]] * 10_000,
    ],
    ids=["text", "emoji", "texts", "characters", "object", "numbers", "lists"],
)
def test_a_value_is_bounded(value: Any) -> None:
    """A recorded value of any form is bounded, of the same type, and ends with a mark where it was cut."""
    cut = bounded(value)
    assert type(cut) is type(value)
    assert len(json.dumps(cut)) < MOST_BYTES + 12 * LONGEST_TEXT + 100
    assert "..." in str(cut)
    assert bounded(cut) == cut or isinstance(cut, dict | list)


@pytest.mark.parametrize("value", ["x" * 256, ["a", "b"], {"a": [1, True, None, {"b": "c"}]}, "", [], {}])
def test_a_short_value_is_unchanged(value: Any) -> None:
    """A value within the bounds is recorded as it is."""
    assert bounded(value) == value


def test_an_application_with_large_fields(app: Flask, caller: Caller, settings: Any) -> None:
    """The line of an application whose fields are as large as they can be is searched, and found."""
    texts = [f"{number:02}" + "x" * 250 for number in range(20)]
    large = {"require": {f"c{number}": texts for number in range(8)}, "audience": texts}
    assert caller.post("update", application(secret=STRONG_SECRET, **large)).status_code == 200
    (line,) = [one for one in Path(settings.data_dir / "audit.log").read_bytes().splitlines() if b"_added" in one]
    assert len(line) < 2 * (MOST_BYTES + LONGEST_TEXT + 100)
    assert last(app, "application_added")["after"]["audience"][0] == texts[0]
