"""The table of an application's fields."""

import dataclasses

from datafor_token.applications.record import DEFAULTS, FIELDS, MASK, SECRETS, Application, FieldMap, Previous

APPLICATION = Application(
    name="ERP",
    token_name="jwt",
    secret="a-secret-of-more-than-32-characters",
    expire=60,
    fieldmap=FieldMap("u", "n", "e", {"later": 1}),
    algorithm="HS384",
    enable=False,
    inituser=True,
    initroles=("SYS_Creator", "Boss"),
    initpwd="initial-password",
    self_service=True,
    created_date=1,
    last_modified_date=2,
    creator_id="admin",
    disabled_date=3,
    previous=Previous("old", 4, 5, 6, {"later": 2}),
    extra={"later": 3},
)


def test_a_record_has_every_attribute() -> None:
    """An application that is written and read again is equal, so no attribute is left out of its record."""
    different = [
        field.name
        for field in dataclasses.fields(Application)
        if field.default == getattr(APPLICATION, field.name) and field.name != "format"
    ]
    assert different == []
    assert Application.from_document(APPLICATION.to_document()) == APPLICATION


def test_defaults_follow_the_rules() -> None:
    """Each default is the JSON form of a valid value, and a record may leave out a field that is not required."""
    for name, default in DEFAULTS.items():
        assert FIELDS[name].to_json(FIELDS[name].rule(default)) == default
    document = APPLICATION.to_document()
    for name, field in FIELDS.items():
        if not field.required:
            del document[name]
    assert {name: getattr(Application.from_document(document), name) for name in ("token_name", "initpwd")} == {
        "token_name": "token",
        "initpwd": "",
    }


def test_secrets_are_hidden() -> None:
    """No secret is in the repr of an application or in a response."""
    assert SECRETS == ("secret", "initpwd")
    response = APPLICATION.to_response(now=0.001)
    assert [response[name] for name in SECRETS] == [MASK, MASK]
    for text in (repr(APPLICATION), repr(response)):
        assert not any(secret in text for secret in (APPLICATION.secret, APPLICATION.initpwd, "'old'"))
    assert set(response) == {*FIELDS, "createdDate", "lastModifiedDate", "creatorId", "previous"}
