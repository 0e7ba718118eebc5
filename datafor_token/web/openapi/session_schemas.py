"""Marshmallow schemas of the responses about sessions; see ``response_schemas``."""

from typing import ClassVar

from marshmallow import Schema, fields

from datafor_token.users.session_list import KINDS
from datafor_token.web.openapi.members import milliseconds, text
from datafor_token.web.openapi.response_schemas import SuccessResponse


class SessionObject(Schema):
    """One session."""

    example: ClassVar = {
        "id": "0f3b2c7de0b1bd7c20d28a1b8e6c4a5f9d1c3e7f5a2b4c6d8e0f1a3b5c7d9e1f",
        "kind": "console",
        "since": 1722929516000,
        "last_seen": 1722933116000,
        "address": "10.0.0.7",
        "application": "",
        "current": True,
    }
    id = text(description="Identifier for `user/sessions/end`. It does not open the session.")
    kind = text(*KINDS, description="Where the session was opened: by `auth/login`, in the console, or by the gate.")
    since = milliseconds("When the session was opened")
    last_seen = milliseconds("The last request, to the minute")
    address = text(
        description="The client's address when the session was opened. Empty if an earlier version opened it."
    )
    application = text(description="The application whose token or one-time link opened a gate session, else empty.")
    current = fields.Boolean(required=True, metadata={"description": "Whether this session makes the call."})


class SessionsResponse(SuccessResponse):
    """The valid sessions of a user, newest first."""

    example: ClassVar = {"data": [SessionObject.example]}
    data = fields.List(fields.Nested(SessionObject), required=True)
