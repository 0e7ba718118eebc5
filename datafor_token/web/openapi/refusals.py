"""What is no success, for the API description: the envelope as schemas, and examples made from the errors."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, fields
from marshmallow.validate import Equal

from datafor_token import errors
from datafor_token.errors import DataforTokenError


class Refusal(Schema):
    """The envelope of everything that is no success."""

    success = fields.Boolean(required=True, validate=Equal(False))  # noqa: FBT003 - the only value
    code = fields.String(required=True, metadata={"pattern": "^[45][0-9][0-9]$", "description": "the status as text"})
    msg = fields.String(required=True, metadata={"minLength": 1, "description": "one sentence"})


class InvalidRefusal(Refusal):
    """``errors`` holds all sentences by field, where a field is to blame."""

    errors = fields.Dict(fields.String(), fields.List(fields.String()))


class LoginRefusal(Refusal):
    """``data`` only for a wrong password at ``auth/login``."""

    data = fields.String(validate=Equal("0"))


class BugRefusal(Refusal):
    """``request_id`` stands in the log, too."""

    request_id = fields.String(required=True)


# What the errors say that have no fixed sentence.
_SENTENCES: Mapping[type[DataforTokenError], str] = {
    errors.InvalidInput: "expire must be a whole number of seconds from 1 to 315360000",
    errors.Conflict: "name already exists as 'ERP'",
    errors.RotationUndone: (
        "this is the secret before the rotation of 2024-08-06T07:31:56Z; leave `secret` out to keep the new one"
    ),
}
_MORE: Mapping[type[DataforTokenError], Mapping[str, Any]] = {
    errors.InvalidInput: {"errors": {"expire": [_SENTENCES[errors.InvalidInput]]}},
    DataforTokenError: {"request_id": "0123456789abcdef0123456789abcdef"},
}
_REFUSALS: Mapping[int, type[Refusal]] = {400: InvalidRefusal, 500: BugRefusal}


def _by_status() -> dict[int, list[type[DataforTokenError]]]:
    found: dict[int, list[type[DataforTokenError]]] = defaultdict(list)
    kinds: list[type[DataforTokenError]] = [DataforTokenError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        found[kind.status].append(kind)
    return dict(found)


KINDS = _by_status()


def schema_of(status: int) -> type[Refusal]:
    """The envelope of a status, as most calls answer it."""
    return _REFUSALS.get(status, Refusal)


def examples(status: int) -> dict[str, dict[str, Any]]:
    """An example for each of the sentences of a status, by the name of its error."""
    shown: dict[str, type[DataforTokenError]] = {}
    for kind in KINDS[status]:
        shown.setdefault(_SENTENCES.get(kind, kind.message), kind)
    return {
        kind.__name__: {"value": {"success": False, "code": str(status), "msg": sentence, **_MORE.get(kind, {})}}
        for sentence, kind in shown.items()
    }
