"""Marshmallow schemas of the responses of calls about users; see ``response_schemas``."""

from typing import Any, ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import OneOf, Range

from datafor_token.validation.names import USER_TYPES
from datafor_token.web.openapi.response_schemas import SuccessResponse


def _text(*values: str, **options: Any) -> fields.String:
    return fields.String(required=True, validate=[OneOf(values)] if values else [], **options)


def _total() -> fields.Integer:
    return fields.Integer(strict=True, required=True, validate=Range(0))


class RoleObject(Schema):
    """A role, or the user type."""

    rolename = _text()
    type = _text("2", "0", metadata={"description": "2 for a user type, 0 for any other role."})


class ListedUserObject(Schema):
    """One user of a list, without the password."""

    example: ClassVar = {
        "username": "lena",
        "name": "Lena Li",
        "email": "lena@example.com",
        "usertype": "SYS_Creator",
        "roles": "Sales&Finance",
        "rolesList": [
            {"rolename": "SYS_Creator", "type": "2"},
            {"rolename": "Sales", "type": "0"},
            {"rolename": "Finance", "type": "0"},
        ],
        "enabled": "1",
        "canEdit": True,
        "mobile": "12345678910",
        "dept": "IT",
        "title": "Manager",
    }
    username = _text()
    name = _text()
    email = _text()
    usertype = _text(*USER_TYPES)
    roles = _text(metadata={"description": "Joined with `&`."})
    rolesList = fields.List(fields.Nested(RoleObject), required=True)  # noqa: N815 - documented
    enabled = _text("0", "1")
    canEdit = fields.Boolean(  # noqa: N815 - documented
        required=True, metadata={"description": "True for Administrator and SYS_Creator."}
    )
    mobile = _text()
    dept = _text()
    title = _text()


class UserPageObject(Schema):
    """A page of users. `total` is the number of matching users on all pages."""

    total = _total()
    list = fields.List(fields.Nested(ListedUserObject), required=True)


class UsersResponse(SuccessResponse):
    """Users. `damaged`, if present, names the records that cannot be read."""

    example: ClassVar = {"data": {"total": 1, "list": [ListedUserObject.example]}}
    data = fields.Nested(UserPageObject, required=True)
    damaged = fields.List(fields.String())


class UserNameResponse(SuccessResponse):
    """The name of the user, as it is stored."""

    example: ClassVar = {"username": "lena"}
    username = _text()


class AuthorityObject(Schema):
    """A user type."""

    authority = _text(*USER_TYPES)


class UserTypesObject(Schema):
    """All user types."""

    total = _total()
    list = fields.List(fields.Nested(AuthorityObject), required=True)


class UserTypesResponse(SuccessResponse):
    """The values of `usertype`, the lowest first."""

    example: ClassVar = {"data": {"total": 3, "list": [{"authority": kind} for kind in reversed(USER_TYPES)]}}
    data = fields.Nested(UserTypesObject, required=True)
