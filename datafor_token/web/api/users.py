"""API calls about users."""

from typing import Any

from flask import Blueprint, Response

from datafor_token.errors import Conflict, Forbidden, InvalidInput, NotFound
from datafor_token.requests.schemas import PasswordSchema, UserSchema
from datafor_token.requests.user_schemas import (
    DeleteUserSchema,
    SaveUserSchema,
    UpdatePasswordSchema,
    UsersSchema,
)
from datafor_token.users import joined_roles, listing
from datafor_token.users.users import User
from datafor_token.validation.names import USER_TYPES, fold
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import client_address, user_or_caller
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.cut_off_schemas import UserResponse
from datafor_token.web.openapi.response_schemas import MessageResponse
from datafor_token.web.openapi.user_responses import UserNameResponse, UsersResponse, UserTypesResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("users", __name__)

_NO_PASSWORD = "a session opened with a token cannot change the password"  # noqa: S105 - a sentence
# Fields of a request whose members of ``User`` have other names.
MEMBERS = {"name": "full_name", "usertype": "type"}
_EDITORS = ("Administrator", "SYS_Creator")


@blueprint.get(f"{MODELER}/user/detail")
@Call(id="get_user", access=Access.SIGNED_IN, query=UserSchema, response=UserResponse, errors=(NotFound,))
def detail(fields: dict[str, Any]) -> Response:
    """Get the caller, or another user as an Administrator."""
    caller = current().caller
    user = user_or_caller(fields.get("username"))
    further = {member: text for member, text in user.profile.items() if text}
    # Of no use to the user: every token from before is refused.
    cut_offs = services().cut_offs.of_user(user.name) if caller.is_administrator else ()
    shown = {"cut_offs": [one.to_response() for one in cut_offs]} if cut_offs else {}
    return success(data={"user": {"userid": fold(user.name), **user.to_response(), **further, **shown}})


@blueprint.get(f"{MODELER}/user/list")
@Call(id="list_users", query=UsersSchema, strict_query=True, response=UsersResponse)
def list_all(fields: dict[str, Any]) -> Response:
    """List users, sorted and in pages.

    Records that cannot be read are named in `damaged`.
    """
    users, damaged = services().accounts.all()
    words = fold(fields.get("filter", "")).split()
    wanted = listing.Wanted(fields.get("withRole"), fields.get("enabled"), words)
    order = fields["orderBy"]
    found = listing.select(users, wanted, order.column, descending=order.descending)
    page = found[fields["start"] : fields["start"] + fields["count"]]
    data = {"total": len(found), "list": [_listed(user) for user in page]}
    return success(data=data, **({"damaged": damaged} if damaged else {}))


def _listed(user: User) -> dict[str, Any]:
    return {
        "username": user.name,
        "name": user.full_name,
        "email": user.email,
        "usertype": user.type,
        "roles": joined_roles.join(user.roles),
        "rolesList": [
            {"rolename": user.type, "type": "2"},
            *({"rolename": role, "type": "0"} for role in user.roles),
        ],
        "enabled": "1" if user.enabled else "0",
        "canEdit": user.type in _EDITORS,
        **user.profile,
    }


@blueprint.post(f"{MODELER}/user/insertOrUpdate")
@Call(id="save_user", access=Access.SIGNED_IN, body=SaveUserSchema, response=UserNameResponse, errors=(Conflict,))
def save(fields: dict[str, Any]) -> Response:
    """Create a user, or change the given fields of an existing one.

    An Administrator may change everything. Other users may change their own `name`, `email`, `mobile`, `dept` and
    `title`.
    """
    caller = current().caller
    if caller.by_token and "password" in fields:
        raise Forbidden(_NO_PASSWORD)
    if caller.is_administrator and fields.get("application"):
        fields["application"] = existing_application(fields["application"])
    name, password = fields.pop("username"), fields.pop("password", "")
    members = {MEMBERS.get(field, field): value for field, value in fields.items()}
    return success(username=services().accounts.save(name, password, by=caller.user, **members).name)


def existing_application(name: str) -> str:
    """Return the name of an application as it is stored; raise ``InvalidInput`` if it does not exist."""
    try:
        return services().registry.get(name).name
    except NotFound:
        raise InvalidInput.of("application", "must be the name of an existing application") from None


@blueprint.post(f"{MODELER}/user/delete")
@Call(id="delete_user", body=DeleteUserSchema, response=UserNameResponse, errors=(NotFound, Conflict))
def delete(fields: dict[str, Any]) -> Response:
    """Delete a user, whose sessions end and whose tokens are revoked.

    It can be repeated if it fails.
    """
    return success(username=services().accounts.remove(fields["username"], by=current().caller.user).name)


@blueprint.get(f"{MODELER}/roles/types")
@Call(id="list_user_types", access=Access.SIGNED_IN, response=UserTypesResponse)
def user_types() -> Response:
    """List the user types."""
    return success(data={"total": len(USER_TYPES), "list": [{"authority": kind} for kind in reversed(USER_TYPES)]})


@blueprint.post(f"{MODELER}/user/password")
@Call(
    id="change_password",
    access=Access.PASSWORD_OR_SESSION,
    token_refusal=_NO_PASSWORD,
    body=PasswordSchema,
    response=MessageResponse,
)
def password(fields: dict[str, Any]) -> Response:
    """Change the caller's own password; all sessions of the user end."""
    services().accounts.change_own_password(current().caller.user, fields["old"], fields["new"], client_address())
    return success(msg="success")


@blueprint.post(f"{MODELER}/user/updatePassword")
@Call(
    id="update_password",
    access=Access.PASSWORD_OR_SESSION,
    token_refusal=_NO_PASSWORD,
    body=UpdatePasswordSchema,
    response=MessageResponse,
)
def update_password(fields: dict[str, Any]) -> Response:
    """Change the caller's own password, as `user/password` does."""
    user = current().caller.user
    if fold(fields.get("username", user.name)) != fold(user.name):
        raise Forbidden("username can only be your own; an Administrator uses user/insertOrUpdate")
    services().accounts.change_own_password(user, fields["oldPwd"], fields["newPwd"], client_address(), "newPwd")
    return success(msg="success")
