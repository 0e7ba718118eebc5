"""Marshmallow schemas of the responses of calls about users; see ``response_schemas``."""

from typing import ClassVar

from marshmallow import Schema, fields

from datafor_token.validation.names import USER_TYPES
from datafor_token.web.openapi.members import count, text
from datafor_token.web.openapi.response_schemas import SuccessResponse


class RoleObject(Schema):
    """A role, or the user type."""

    rolename = text()
    type = text("2", "0", description="2 for a user type, 0 for any other role.")


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
    username = text()
    name = text()
    email = text()
    usertype = text(*USER_TYPES)
    roles = text(description="Joined with `&`.")
    rolesList = fields.List(fields.Nested(RoleObject), required=True)  # noqa: N815 - documented
    enabled = text("0", "1")
    canEdit = fields.Boolean(  # noqa: N815 - documented
        required=True, metadata={"description": "True for Administrator and SYS_Creator."}
    )
    mobile = text()
    dept = text()
    title = text()


class UserPageObject(Schema):
    """A page of users. `total` is the number of matching users on all pages."""

    total = count()
    list = fields.List(fields.Nested(ListedUserObject), required=True)


class UsersResponse(SuccessResponse):
    """Users. `damaged`, if present, names the records that cannot be read."""

    example: ClassVar = {"data": {"total": 1, "list": [ListedUserObject.example]}}
    data = fields.Nested(UserPageObject, required=True)
    damaged = fields.List(fields.String())


class UserNameResponse(SuccessResponse):
    """The name of the user, as it is stored."""

    example: ClassVar = {"username": "lena"}
    username = text()


class AuthorityObject(Schema):
    """A user type."""

    authority = text(*USER_TYPES)


class UserTypesObject(Schema):
    """All user types."""

    total = count()
    list = fields.List(fields.Nested(AuthorityObject), required=True)


class UserTypesResponse(SuccessResponse):
    """The values of `usertype`, the lowest first."""

    example: ClassVar = {"data": {"total": 3, "list": [{"authority": kind} for kind in reversed(USER_TYPES)]}}
    data = fields.Nested(UserTypesObject, required=True)
