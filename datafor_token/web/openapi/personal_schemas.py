"""Marshmallow schemas of the responses about personal tokens (see ``response_schemas``)."""

from typing import ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import OneOf, Range

from datafor_token.applications.rules import LONGEST_LABEL
from datafor_token.web.openapi.response_schemas import SuccessResponse, TokenResponse


def _text(description: str = "") -> fields.String:
    return fields.String(required=True, metadata={"description": description} if description else {})


def _milliseconds(*, allow_none: bool = False) -> fields.Integer:
    metadata = {"description": "Milliseconds since 1970."}
    return fields.Integer(strict=True, required=True, allow_none=allow_none, validate=Range(0), metadata=metadata)


class PersonalConfigResponse(SuccessResponse):
    """`name` and `expire` are present only if `enabled` is true."""

    example: ClassVar = {"enabled": True, "name": "ERP", "expire": 86400}
    enabled = fields.Boolean(required=True)
    name = fields.String()
    expire = fields.Integer(strict=True)


class PersonalTokenResponse(TokenResponse):
    """A personal token, its user and its application. The token is not shown again; `jti` identifies it."""

    example: ClassVar = {
        **TokenResponse.example,
        "username": "admin",
        "name": "ERP",
        "jti": "3nV9pQ0mT2aXcWfL7sYk1g",
        "label": "nightly export",
        "issued_at": 1722929516000,
        "expires_at": 1723015916000,
    }
    username = _text()
    name = _text("The application.")
    jti = _text()
    label = _text(f"At most {LONGEST_LABEL} characters; empty without one.")
    issued_at = _milliseconds()
    expires_at = _milliseconds()


class PersonalTokenObject(Schema):
    """A personal token without the token itself. `last_used_at` is null if it was never used.

    `status` says whether it has expired or was revoked. An active one is still refused while, for example, its
    application is disabled.
    """

    example: ClassVar = {
        "jti": "3nV9pQ0mT2aXcWfL7sYk1g",
        "label": "nightly export",
        "name": "ERP",
        "issued_at": 1722929516000,
        "expires_at": 1723015916000,
        "last_used_at": 1722933116000,
        "status": "active",
    }
    jti = _text()
    label = _text()
    name = _text("The application.")
    issued_at = _milliseconds()
    expires_at = _milliseconds()
    last_used_at = _milliseconds(allow_none=True)
    status = fields.String(required=True, validate=OneOf(("active", "expired", "revoked")))


class PersonalListResponse(SuccessResponse):
    """The personal tokens of a user, newest first."""

    example: ClassVar = {"data": [PersonalTokenObject.example]}
    data = fields.List(fields.Nested(PersonalTokenObject), required=True)
