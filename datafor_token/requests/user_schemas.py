"""Schemas of the fields of calls about users, and the rules of these fields."""

from typing import Any, ClassVar, NamedTuple

from datafor_token.applications import rules
from datafor_token.errors import RuleError
from datafor_token.requests.fields import CallSchema, Flag, Integer, RuleField, Structure, Text
from datafor_token.requests.forms import Body
from datafor_token.validation import names

MOST_LISTED = 1000  # users in one response
COLUMNS = ("username", "name", "usertype", "create_time")
# Values of ``withRole`` that ask for the roles, which every response has; any other value is a role.
_WITH_ROLES = ("true", "false", "")


class Order(NamedTuple):
    """Column by which users are sorted, and direction."""

    column: str = "username"
    descending: bool = False


def order(value: object) -> Order:
    """Read an order: a column, with ``-`` in front or ``desc`` behind it for descending."""
    text = rules.text(value)
    column, _, direction = text.removeprefix("-").partition(" ")
    if column not in COLUMNS or direction not in (("",) if text.startswith("-") else ("", "asc", "desc")):
        raise RuleError("must be one of %(values)s, with '-' in front for descending", values=", ".join(COLUMNS))
    return Order(column, text.startswith("-") or direction == "desc")


def page_start(value: object) -> int:
    """Return the number of entries before a page."""
    if type(value) is not int or value < 0:
        raise RuleError("must be a whole number from 0")
    return value


def profile_text(value: object) -> str:
    """Return a text about a user; ``names.new_profile_text`` has the rule for a new one."""
    return rules.text(value)


def user_roles(value: object) -> str | tuple[str, ...]:
    """Return the roles of a user, joined with ``&`` or as a list.

    ``names.new_user_role_name`` has the rule for each new name.
    """
    if isinstance(value, list) and all(isinstance(role, str) for role in value):
        return tuple(value)
    if not isinstance(value, str):
        raise RuleError("must be names joined with '&', or a list of names")
    return value


def user_type(value: object) -> str:
    """Return a user type, spelled exactly."""
    if not isinstance(value, str) or value not in names.USER_TYPES:
        raise RuleError("must be one of %(values)s", values=", ".join(names.USER_TYPES))
    return value


def application_or_none(text: str) -> str:
    """Check the name of an application; empty for none."""
    return names.application_name(text) if text else ""


def role_filter(value: object) -> str | None:
    """Return the role that users must have; ``None`` for a value that names none."""
    text = names.new_profile_text(rules.text(value))
    return None if text in _WITH_ROLES else text


class ShownFlag(Flag):
    """A flag that a response shows as JSON ``true`` or ``false``: a form may send these back as text."""

    def from_form(self, value: Any) -> Any:
        """Read ``true`` and ``false``; any other text is unchanged."""
        return value == "true" if value in ("true", "false") else value


class UsersSchema(CallSchema):
    """``user/list``: a filter of users, and a page of the result."""

    start = Integer(page_start, "Number of users before the first one of the response.", load_default=0)
    count = Integer(rules.page_size, "Maximum number of users.", load_default=MOST_LISTED)
    withRole = RuleField(  # noqa: N815 - documented
        role_filter, "Only users with this role or user type. `true` and `false`: all users."
    )
    enabled = Flag(description="Only users who are enabled, or only those who are not.")
    filter = Text(names.new_profile_text, "Words that all occur in the name, email address or other texts of a user.")
    orderBy = RuleField(  # noqa: N815 - documented
        order, "Column, with `-` in front for descending.", load_default=Order()
    )


class Roles(Structure[str | tuple[str, ...]]):
    """Roles joined with ``&``, or a list, in a form also as JSON text."""

    def from_form(self, value: Any) -> Any:
        """Read a list in JSON; any other text is joined roles."""
        try:
            return super().from_form(value)
        except RuleError:
            return value


class SaveUserSchema(CallSchema):
    """``user/insertOrUpdate``: the fields of a user.

    On an existing user, a field that is left out keeps its value; so does an empty ``password``, ``usertype`` or
    ``enabled``. Other empty texts clear it.
    """

    example: ClassVar = {
        "username": "lena",
        "name": "Lena Li",
        "email": "lena@example.com",
        "usertype": "SYS_Creator",
        "roles": "Sales&Finance",
        "enabled": "1",
        "mobile": "12345678910",
        "dept": "IT",
        "title": "Manager",
    }
    # Members of responses beside the fields of a user, so that a user can be sent back whole. ``type`` is read first.
    ignored = ("userid", "type", "rolesList", "canEdit", "cut_offs", "success", "code", "msg", "warnings")

    username = Text(names.user_name, required=True)
    name = RuleField(profile_text, "Display name.")
    email = RuleField(profile_text, "Email address.")
    usertype = RuleField(user_type, "User type. Left out for a new user: SYS_Reader.")
    enabled = ShownFlag(description="Whether the user can sign in. Left out for a new user: 1.")
    password = Text(rules.initial_password, "New password. Left out for a new user: none.")
    roles = Roles(user_roles, "Roles, joined with `&`. Empty: none.")
    mobile = RuleField(profile_text, "Telephone number.")
    dept = RuleField(profile_text, "Department.")
    title = RuleField(profile_text, "Title.")
    application = Text(application_or_none, "Application to which the user belongs. Empty: none.")

    def read(self, body: Body) -> dict[str, Any]:
        """Return the checked fields, without the empty ones that say nothing."""
        if isinstance(body.values, dict):
            # ``user/detail`` calls the user type by another name.
            sent = {"usertype": body.values.get("type"), **body.values}
            says_nothing = [name for name in ("password", "usertype", "enabled") if sent.get(name) == ""]
            body = body._replace(values={name: value for name, value in sent.items() if name not in says_nothing})
        return super().read(body)


class DeleteUserSchema(CallSchema):
    """``user/delete``: the name of a user."""

    example: ClassVar = {"username": "lena"}

    username = Text(names.user_name, required=True)


class UpdatePasswordSchema(CallSchema):
    """``user/updatePassword``: the fields of ``user/password`` under other names."""

    example: ClassVar = {"oldPwd": "the current password", "newPwd": "the new password"}

    oldPwd = Text(required=True)  # noqa: N815 - documented
    newPwd = Text(  # noqa: N815 - documented
        rules.new_password, "At least MIN_PASSWORD_LENGTH characters, and not the user name.", required=True
    )
    username = Text(names.user_name, "The caller.")
