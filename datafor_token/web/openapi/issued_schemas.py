"""Marshmallow schemas of the response with issued tokens; see ``response_schemas``."""

from typing import ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import Regexp

from datafor_token.applications.rules import TokenStatus
from datafor_token.web.openapi.members import milliseconds, text
from datafor_token.web.openapi.response_schemas import SuccessResponse


class IssuedTokenObject(Schema):
    """An issued token, without the token itself."""

    example: ClassVar = {
        "id": "0f3a9c1d2b4e5f60718293a4b5c6d7e8",
        "kind": "generated",
        "user": "lena",
        "application": "ERP",
        "issued_at": 1722929516000,
        "expires_at": 1723015916000,
        "by": "admin",
        "status": "active",
    }
    id = fields.String(
        required=True,
        validate=Regexp("^[0-9a-f]{32}$"),
        metadata={"description": "Its identifier: `target.token` of the audit log, and the `id` for `token/revoke`."},
    )
    kind = text("generated", "personal")
    user = text()
    application = text()
    issued_at = milliseconds()
    expires_at = milliseconds()
    by = fields.String(required=True, allow_none=True, metadata={"description": "Who issued it."})
    status = text(*TokenStatus)


class IssuedResponse(SuccessResponse):
    """Issued tokens, newest first. With `next`, there may be more: send it as `page`, even if `data` is empty."""

    example: ClassVar = {"data": [IssuedTokenObject.example]}
    data = fields.List(fields.Nested(IssuedTokenObject), required=True)
    next = fields.String()
    looked_back_to = fields.String(metadata={"description": "With `next`: the time back to which the log was read."})
