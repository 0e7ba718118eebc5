"""``token/update``: shapes of the body, rules of the fields, and values that are kept."""

import dataclasses
import io
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from datafor_token import create_app
from datafor_token.applications.record import Application
from datafor_token.errors import RecordDamaged
from datafor_token.settings import Settings
from tests.conftest import CHEAP_FOR_TESTS_ONLY, Caller
from tests.stores import Record, records_in
from tests.support import (
    SAMPLE_APPLICATION,
    STRONG_SECRET,
    Clock,
    application,
    key_for,
    private_pem,
    public_base64,
    public_pem,
    record_of,
)
from tests.validation.test_strict_json import JSON_VALUES


def stored(settings: Settings, name: str = "erp") -> dict[str, Any]:
    return record_of(settings.config_dir, settings.data_dir, name)


def records(settings: Settings) -> list[Record]:
    return records_in(settings.data_dir, "applications")


def as_form(body: dict[str, Any]) -> str:
    """Return the documented example as a form with nested fields."""
    pairs: list[tuple[str, Any]] = []
    for name, value in body.items():
        if isinstance(value, dict):
            pairs += [(f"{name}[{member}]", inner) for member, inner in value.items()]
        elif isinstance(value, list):
            pairs += [(f"{name}[]", item) for item in value]
        else:
            pairs.append((name, value))
    return urlencode(pairs)


def as_json_text(body: dict[str, Any]) -> str:
    """Return the documented example as a form with JSON text."""
    return urlencode(
        {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in body.items()}
    )


FORM = "application/x-www-form-urlencoded"
SHAPES: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "form with brackets": (as_form, FORM),
    "form with JSON text": (as_json_text, FORM),
    "JSON under the form's type": (json.dumps, FORM),
    "JSON": (json.dumps, "application/json"),
}


def flat(body: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if isinstance(value, dict | list) else str(value) for name, value in body.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_stores_the_same(caller: Caller, settings: Settings, shape: str) -> None:
    """Every shape of the body stores the same record."""
    data, content_type = SHAPES[shape]
    response = caller.post("update", data(SAMPLE_APPLICATION), content_type=content_type)
    assert response.status_code == 200, response.json
    assert stored(settings) == {
        "format": 1,
        **SAMPLE_APPLICATION,
        "initpwd": "",
        "self_service": "0",
        "createdDate": 1722929516000,
        "lastModifiedDate": 1722929516000,
        "creatorId": "admin",
    }


def test_multipart_stores_the_same(caller: Caller, settings: Settings) -> None:
    """A multipart form with JSON text or brackets stores the same record."""
    caller.post("update", SAMPLE_APPLICATION)
    first = stored(settings)
    fields = flat(SAMPLE_APPLICATION)
    del fields["fieldmap"]
    fields |= {f"fieldmap[{name}]": claim for name, claim in FIELDMAP.items()}
    response = caller.post("update", fields, content_type="multipart/form-data")
    assert response.status_code == 200, response.json
    assert stored(settings) == first


def test_the_answer(caller: Caller) -> None:
    """The response has success and msg, and warnings about a weak secret, which do not repeat it."""
    response = caller.post("update", application(secret=STRONG_SECRET))
    assert response.json == {"success": True, "msg": "success"}
    response = caller.post("update", SAMPLE_APPLICATION)
    assert list(response.json) == ["success", "msg", "warnings"]
    assert len(response.json["warnings"]) == 1
    assert "abcd" not in response.json["warnings"][0]


LONG, CONTROL = "x" * 5000, "a\x01b"
FIELDMAP: dict[str, Any] = SAMPLE_APPLICATION["fieldmap"]


def wrong(field: str, *values: Any) -> list[tuple[str, Any, str]]:
    return [(field, value, field) for value in values]


WRONG: list[tuple[str, Any, str]] = [
    *wrong("name", "", " ", LONG, CONTROL, "../x", "a/b", 5, True, ["ERP"], {"a": 1}, "a\n", "\u0301x", None),
    *wrong("token_name", "", LONG, CONTROL, "tökén", "a b", "username", 5, []),
    *wrong("secret", "", 5, True, ["abcd"], {}, None, "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"),
    *wrong("expire", 0, -1, 315360001, 1.0, 1e300, "86400", "", True, [1], {}, None, 2**63),
    *wrong("fieldmap", "", "{}", 5, [], [FIELDMAP], None),
    ("fieldmap", {}, "fieldmap.username"),
    *[("fieldmap", {**FIELDMAP, "username": value}, "fieldmap.username") for value in (None, "")],
    ("fieldmap", {**FIELDMAP, "user_nane": "x"}, "fieldmap.user_nane"),
    *[
        ("fieldmap", {**FIELDMAP, member: value}, f"fieldmap.{member}")
        for member in FIELDMAP
        for _, value, _ in wrong(member, "x" * 129, CONTROL, "exp", "nbf", "iat", "/exp", "/aud", "iss", 5, ["x"], {})
    ],
    *wrong("algorithm", "", "none", "None", "hs256", "HS256 ", "HS257", "ES256K", LONG, CONTROL, "\uff28S256"),
    *wrong("algorithm", 5, ["HS256"], None),
    *wrong("enable", "", "2", "true", "yes", " 1", "\uff11", 2, 1.0, -1, [], None, LONG),
    *wrong("inituser", "", "2", "on", 2, {}, None),
    *wrong("initroles", "SYS_Reader", "", [""], ["a,b"], [CONTROL], ["x" * 65], ["r"] * 65, [5], [["r"]], [None]),
    *wrong("initroles", {}, 5, None, ["Administrator", "SYS_Reader"]),
    *wrong("initpwd", 5, ["x"], "x" * 1025, "a\nb", "************"),
    *wrong("self_service", "", "2", [], 5),
    *wrong("jwks_uri", 5, ["x"], "x", "ftp://id.example/", "https://u:p@id.example/", "https://id.example/#x"),
    *wrong("audience", 5, True, [5], [[]], {"x": 1}, [""], "x" * 513, CONTROL, ["x"] * 33),
    *wrong("issuer", 5, ["x"], {"x": 1}, "x" * 513, CONTROL),
    *wrong("require", 5, "x", ["x"], {"": 1}, {"a": []}, {"a": {}}, {"a": None}, {"a": [[1]]}, {"a": CONTROL}),
    *wrong("require", {"a": [1] * 33}, {f"a{number}": 1 for number in range(33)}, {"x" * 129: 1}),
    *wrong("token_types", 5, "a b", ["a/b/c"], [""], {"x": 1}, ["x"] * 33),
    *wrong("max_lifetime", 0, -1, 315360001, 1.0, "60", True, [60], {"x": 1}),
    *wrong(
        "networks", 5, "x", "fe80::1%eth0", "10.0.0.1/8", ["10.0.0.0/33"], [""], [5], {"x": 1}, "10.0.0.0/8,10.1.0.0/16"
    ),
    *wrong("users", 5, "all", ["own"], {"x": 1}),
    *wrong("sync", 5, "type", ["name", "x"], {"name": 1}),
    *wrong("roles_claim", 5, ["x"], {"x": 1}, "x" * 129, CONTROL),
    *wrong("roles_map", 5, "x", ["x"], {"": "x"}, {"x": ""}, {"x": "a,b"}, {"x": 5}, {"x": "administrator"}),
    *wrong("roles_map", {f"x{number}": "y" for number in range(257)}),
    *wrong("origins", 5, [5], {"x": 1}, [""], "null", [f"https://a{number}" for number in range(33)], CONTROL),
    *wrong("session_idle", 0, 59, 31536001, 60.0, "60", True, [60], {"x": 1}),
    *wrong("session_max", -1, 59, 31536001, 60.0, "60", False, [60], {"x": 1}),
    *wrong(
        "rate", 5, ["5/day"], {"x": 1}, "5", "0/day", "05/day", "-1/day", "1000001/day", "5/week", "5/Day", "5 /day"
    ),
    *wrong("fieldmaps", "x"),
    *wrong("init_role", {"x": 1}),
]


def test_a_wrong_value_is_named_and_changes_nothing(
    caller: Caller, settings: Settings, subtests: pytest.Subtests
) -> None:
    """An invalid value is 400 with a message that begins with the field, and nothing is stored."""
    for field, value, named in WRONG:
        with subtests.test(field=field, value=str(value)[:100]):
            response = caller.post("update", application(**{field: value}))
            assert response.status_code == 400
            assert list(response.json) == ["success", "code", "msg", "errors"]
            assert response.json["code"] == "400"
            assert response.json["msg"].startswith(named + " "), response.json["msg"]
            assert response.json["errors"][named] == [response.json["msg"]]
            assert records(settings) == []


WRONG_IN_A_FORM = {
    "expire": ("", "0", "-1", "+5", " 12 ", "1_000", "\uff11\uff12", "1.0", "1e3", "9" * 5000),
    "enable": ("true", "", "01", "1 "),
    "fieldmap": ("x", '{"username"', '{"username":"a","username":"b"}', "[]"),
    "initroles": ("", "[", '["a"', "[1]", '{"a":1}'),
}


def test_a_forms_text_is_read_strictly(caller: Caller, settings: Settings, subtests: pytest.Subtests) -> None:
    """In a form, a number is plain decimal digits and a structure is valid JSON; anything else is 400."""
    for field, text in ((field, text) for field, texts in WRONG_IN_A_FORM.items() for text in texts):
        with subtests.test(field=field, text=text[:100]):
            body = {name: value for name, value in flat(SAMPLE_APPLICATION).items() if name != field}
            response = caller.post("update", urlencode({**body, field: text}))
            assert response.status_code == 400
            assert response.json["msg"].startswith(f"{field} ")
            assert records(settings) == []


@pytest.mark.parametrize("field", list(SAMPLE_APPLICATION))
def test_a_scalar_that_is_given_twice_is_refused(caller: Caller, settings: Settings, field: str) -> None:
    """A repeated field is 400 in a form and in JSON, unless it is a list in a form."""
    form = caller.post("update", f"{as_form(SAMPLE_APPLICATION)}&{field}=x&{field}=y")
    assert form.status_code == (200 if field == "initroles" else 400)
    member = f'"{field}": {json.dumps(SAMPLE_APPLICATION[field])}'
    text = caller.post("update", json.dumps(SAMPLE_APPLICATION)[:-1] + f", {member}}}")
    assert text.status_code == 400
    assert "twice" in text.json["msg"]


def test_all_faults_are_named_at_once(caller: Caller) -> None:
    """The message is the first error; errors has those of all fields."""
    response = caller.post("update", application(name="", expire=0, enable="2", foo=1, fieldmap={"username": ""}))
    assert response.json["msg"] == "name can not be empty"
    assert list(response.json["errors"]) == [
        "name", "expire", "fieldmap.username", "fieldmap.name", "fieldmap.email", "enable", "fieldmap",
    ]  # fmt: skip


@pytest.mark.parametrize(("sent", "kept"), [("1", "1"), ("0", "0"), (True, "1"), (False, "0"), (1, "1"), (0, "0")])
def test_flags(caller: Caller, settings: Settings, sent: Any, kept: str) -> None:
    """JSON true, false, 1 and 0 are stored as "1" and "0"."""
    assert caller.post("update", application(enable=sent, inituser=sent)).status_code == 200
    assert (stored(settings)["enable"], stored(settings)["inituser"]) == (kept, kept)


def test_token_name_has_a_default(caller: Caller, settings: Settings) -> None:
    """The default of token_name is token, also for null."""
    assert caller.post("update", application(token_name=None)).status_code == 200
    assert stored(settings)["token_name"] == "token"
    assert caller.post("update", {**application(), "token_name": None}).status_code == 200


@pytest.mark.parametrize("secret", [" abcd ", "geheim\n", "ключ", "a\0b", "x]=y&z", "abcd+", '{"key":"oct"}'])
def test_a_shared_secret_is_kept_exactly(caller: Caller, settings: Settings, secret: str) -> None:
    """Any text is stored unchanged as a shared secret, from a form and from JSON."""
    assert caller.post("update", application(secret=secret)).status_code == 200
    assert stored(settings)["secret"] == secret
    form = as_form({name: value for name, value in SAMPLE_APPLICATION.items() if name != "secret"})
    assert caller.post("update", f"{form}&secret={quote(secret)}").status_code == 200
    assert stored(settings)["secret"] == secret


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
def test_public_keys_in_both_forms(caller: Caller, settings: Settings, algorithm: str) -> None:
    """A public key is stored as sent, in PEM or Base64; a private key is refused."""
    key = key_for(algorithm)
    for secret in (public_pem(key), public_base64(key)):
        assert caller.post("update", application(algorithm=algorithm, secret=secret)).json == {
            "success": True,
            "msg": "success",
        }
        assert stored(settings)["secret"] == secret
    response = caller.post("update", application(algorithm=algorithm, secret=private_pem(key)))
    assert response.status_code == 400
    assert "private" in response.json["msg"]


def test_self_service_needs_a_shared_secret(caller: Caller) -> None:
    """self_service is allowed with HS algorithms only."""
    assert caller.post("update", application(self_service="1")).status_code == 200
    key = public_pem(key_for("ES256"))
    response = caller.post("update", application(self_service="1", algorithm="ES256", secret=key))
    assert response.status_code == 400
    assert response.json["msg"].startswith("self_service ")


def test_a_change_keeps_what_is_not_sent(caller: Caller, settings: Settings, clock: Clock) -> None:
    """A secret that is left out or masked, a masked initpwd, and the bookkeeping are kept."""
    caller.post("update", application(initpwd="start", self_service="1"))
    clock.advance(10)
    response = caller.post("update", application(secret=None, initpwd="************", expire=60))
    assert response.status_code == 200
    record = stored(settings)
    assert (record["secret"], record["initpwd"], record["expire"], record["self_service"]) == ("abcd", "start", 60, "0")
    assert (record["createdDate"], record["lastModifiedDate"]) == (1722929516000, 1722929526000)
    caller.post("update", application(secret="************"))
    assert (stored(settings)["secret"], stored(settings)["initpwd"]) == ("abcd", "")


def test_a_record_can_be_sent_back_whole(caller: Caller, settings: Settings) -> None:
    """Bookkeeping members and those of the envelope are ignored, in JSON and in a form."""
    caller.post("update", SAMPLE_APPLICATION)
    extra = {"success": True, "createdDate": 1, "lastModifiedDate": 2, "creatorId": "eve", "previous": {"until": 5}}
    assert caller.post("update", {**application(secret="************"), **extra}).status_code == 200
    assert stored(settings)["creatorId"] == "admin"
    assert caller.post("update", as_form({**SAMPLE_APPLICATION, **extra})).status_code == 200


def test_a_kept_secret_must_fit_the_new_algorithm(caller: Caller, settings: Settings) -> None:
    """A new algorithm that the stored secret does not suit is 400, and nothing is stored."""
    caller.post("update", SAMPLE_APPLICATION)
    before = stored(settings)
    response = caller.post("update", application(secret=None, algorithm="RS256"))
    assert response.status_code == 400
    assert response.json["msg"].startswith("secret ")
    assert stored(settings) == before


def test_a_stored_public_key_never_becomes_a_secret(caller: Caller, settings: Settings) -> None:
    """A change from a public to a shared key needs a secret: otherwise the public key would sign."""
    caller.post("update", application(algorithm="RS256", secret=public_base64(key_for("RS256"))))
    before = stored(settings)
    for secret in (None, "************"):
        response = caller.post("update", application(secret=secret))
        assert (response.status_code, response.json["msg"].split()[0]) == (400, "secret")
    assert stored(settings) == before


def test_a_weak_secret_is_logged(caller: Caller, log: io.StringIO) -> None:
    """The log names the application of a weak secret, and not the secret."""
    caller.post("update", SAMPLE_APPLICATION)
    assert 'event="weak secret" application=ERP' in log.getvalue()
    assert "abcd" not in log.getvalue()


def test_faults_come_in_order(caller: Caller) -> None:
    """Errors list the call's fields first, then misspelled ones in their order, at most 100."""
    sent = json.dumps(application(tokenname=1, algoritm=1, initpw=2, expire=0))
    response = caller.post("update", sent, content_type="application/json")
    assert list(response.json["errors"]) == ["expire", "tokenname", "algoritm", "initpw"]
    response = caller.post("update", {f"token_nam{'e' * number}": 1 for number in range(2, 30)})
    assert 6 < len(response.json["errors"]) <= 100


def test_a_file_in_the_place_of_a_field(caller: Caller) -> None:
    """A file is refused, and its field is named."""
    files = {"name": "ERP", "secret": (io.BytesIO(b"x"), "key.pem")}
    response = caller.post("update", files, content_type="multipart/form-data")
    assert (response.status_code, response.json["msg"]) == (400, "secret cannot be a file")


def test_a_name_in_another_case_is_a_conflict(caller: Caller, settings: Settings) -> None:
    """A name that differs only by case is 409, and the message has the existing name."""
    caller.post("update", SAMPLE_APPLICATION)
    response = caller.post("update", application(name="erp"))
    assert (response.status_code, response.json) == (
        409,
        {"success": False, "code": "409", "msg": "name already exists as 'ERP'"},
    )
    assert stored(settings)["name"] == "ERP"


def test_names_are_kept_in_nfc(caller: Caller, settings: Settings) -> None:
    """A name in decomposed form (NFD) is the same application."""
    assert caller.post("update", application(name="Bu\u0308ro")).status_code == 200
    assert caller.post("update", application(name="B\u00fcro")).status_code == 200
    assert [json.loads(path.read_text())["name"] for path in records(settings)] == ["Büro"]


def test_unknown_members_of_a_record_are_kept(caller: Caller, settings: Settings) -> None:
    """Unknown members of the record survive an update."""
    caller.post("update", SAMPLE_APPLICATION)
    path = Record(settings.data_dir, "applications", "erp")
    fieldmap = {**FIELDMAP, "phone": "tel"}
    path.write_text(json.dumps({**stored(settings), "colour": {"red": 1}, "fieldmap": fieldmap}))
    caller.post("generate", {"name": "ERP"})
    caller.post("rotate", {"name": "ERP"})
    assert stored(settings)["fieldmap"] == fieldmap
    assert caller.get("content?name=ERP").json["fieldmap"] == FIELDMAP
    caller.post("update", application(secret=None, expire=60))
    assert stored(settings)["colour"] == {"red": 1}
    assert (stored(settings)["format"], stored(settings)["expire"]) == (1, 60)
    assert stored(settings)["fieldmap"] == fieldmap


def test_strong_secrets_can_be_required(settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With REQUIRE_STRONG_SECRETS a weak secret is 400, and the field is named."""
    monkeypatch.setenv("DATAFOR_TOKEN_ADMIN_PASSWORD", "the-Password-of-the-tests")
    strict = dataclasses.replace(settings, require_strong_secrets=True)
    caller = Caller(create_app(strict, clock=clock, hasher=CHEAP_FOR_TESTS_ONLY).test_client())
    response = caller.post("update", SAMPLE_APPLICATION)
    assert response.status_code == 400
    assert response.json["msg"].startswith("secret is weak")
    assert caller.post("update", application(secret=STRONG_SECRET)).status_code == 200


@pytest.mark.parametrize(
    "change",
    [{"expire": "x"}, {"fieldmap": {}}, {"enable": 5}, {"algorithm": "none"}, {"secret": ""}, {"initroles": "x"},
     {"algorithm": "RS256"}, {"createdDate": "x"}, {"creatorId": 5}, {"format": "x"}, {"format": 2},
     {"self_service": "2"}],
)  # fmt: skip
def test_a_damaged_record_is_an_outage_of_its_own(caller: Caller, settings: Settings, change: dict[str, Any]) -> None:
    """A damaged record is 503, is not overwritten, and does not affect others."""
    caller.post("update", SAMPLE_APPLICATION)
    path = Record(settings.data_dir, "applications", "erp")
    damaged = json.dumps({**stored(settings), **change})
    path.write_text(damaged)
    for call, body in (("update", SAMPLE_APPLICATION), ("generate", {"name": "ERP"})):
        response = caller.post(call, body)
        assert (response.status_code, response.json) == (
            503,
            {"success": False, "code": "503", "msg": "storage is unavailable"},
        )
    assert path.read_text() == damaged
    assert caller.post("update", application(name="CRM")).status_code == 200


def test_every_required_member_of_a_record_is_missed(app: Flask) -> None:
    """A record without a required member is damaged."""
    for name in SAMPLE_APPLICATION:
        if name != "token_name":
            with pytest.raises(RecordDamaged):
                Application.from_document({key: value for key, value in SAMPLE_APPLICATION.items() if key != name})


def test_an_application_does_not_show_its_secrets() -> None:
    """A repr has neither the secret nor the initial password."""
    shown = repr(Application.from_document({**SAMPLE_APPLICATION, "secret": "marked-1", "initpwd": "marked-2"}))
    assert "marked" not in shown


@given(field=st.sampled_from([*SAMPLE_APPLICATION, "initpwd", "self_service", "other"]), value=JSON_VALUES)
def test_a_field_of_any_kind(caller: Caller, field: str, value: Any) -> None:
    """Any value of a field is stored, or is 400 with the field."""
    response = caller.post("update", {**SAMPLE_APPLICATION, field: value})
    assert response.status_code in (200, 400, 409)
    if response.status_code == 400:
        assert response.json["msg"].split()[0].split(".")[0] in (field, "secret", "the", "an")
