"""Marshmallow schemas of the responses about personal tokens (see ``response_schemas``)."""

from typing import ClassVar

from marshmallow import Schema, fields

from datafor_token.applications.rules import LONGEST_LABEL, TokenStatus
from datafor_token.web.openapi.members import milliseconds, text
from datafor_token.web.openapi.response_schemas import SuccessResponse, TokenResponse


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
    username = text()
    name = text(description="The application.")
    jti = text()
    label = text(description=f"At most {LONGEST_LABEL} characters; empty without one.")
    issued_at = milliseconds()
    expires_at = milliseconds()


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
    jti = text()
    label = text()
    name = text(description="The application.")
    issued_at = milliseconds()
    expires_at = milliseconds()
    last_used_at = milliseconds(allow_none=True)
    status = text(*TokenStatus)


class PersonalListResponse(SuccessResponse):
    """The personal tokens of a user, newest first."""

    example: ClassVar = {"data": [PersonalTokenObject.example]}
    data = fields.List(fields.Nested(PersonalTokenObject), required=True)
