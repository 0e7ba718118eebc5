"""Marshmallow schemas of responses that show or set cut-offs; see ``response_schemas``."""

from typing import ClassVar

from marshmallow import Schema, fields

from datafor_token.web.openapi.members import milliseconds, text
from datafor_token.web.openapi.response_schemas import ApplicationObject, MessageResponse, SuccessResponse, UserObject


class CutOffObject(Schema):
    """A cut-off in force: of the tokens of `user`, of `application`, or with both of the user from the application."""

    user = fields.String()
    application = fields.String()
    before = milliseconds("Tokens that were issued up to this second are refused")
    set = milliseconds("When it was set")
    by = text(description="Who set it.")


class RevokeResponse(MessageResponse):
    """The tokens are not accepted any more. `warnings`, if any, state which names or identifiers are not known here."""

    warnings = fields.List(fields.String())


class ContentResponse(SuccessResponse, ApplicationObject):
    """One application. `warnings` as in the list; `cut_offs`, if any are in force."""

    example: ClassVar = ApplicationObject.example
    warnings = fields.List(fields.String())
    cut_offs = fields.List(fields.Nested(CutOffObject))


class UserDetailObject(UserObject):
    """One user, without the password. For Administrators with `cut_offs`, if any are in force."""

    cut_offs = fields.List(fields.Nested(CutOffObject))


class UserResponse(SuccessResponse):
    """One user."""

    example: ClassVar = {"data": {"user": UserObject.example}}
    data = fields.Nested(
        Schema.from_dict({"user": fields.Nested(UserDetailObject, required=True)}, name="UserData"), required=True
    )
