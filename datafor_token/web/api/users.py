"""API calls about users."""

from typing import Any

from flask import Blueprint, Response

from datafor_token.errors import Forbidden, NotFound
from datafor_token.requests.schemas import PasswordSchema, UserSchema
from datafor_token.validation.names import fold
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import client_address
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.response_schemas import MessageResponse, UserResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("users", __name__)


@blueprint.get(f"{MODELER}/user/detail")
@Call(id="get_user", access=Access.SIGNED_IN, query=UserSchema, response=UserResponse, errors=(NotFound,))
def detail(fields: dict[str, Any]) -> Response:
    """Get the caller, or another user as an Administrator."""
    caller = current().caller
    user = caller.user
    name = fields.get("username", user.name)
    if fold(name) != fold(user.name):
        if not caller.is_administrator:
            raise Forbidden
        found = services().users.get(name)
        if found is None:
            raise NotFound
        user = found
    return success(data={"user": {"userid": fold(user.name), **user.to_response()}})


@blueprint.post(f"{MODELER}/user/password")
@Call(
    id="change_password",
    access=Access.PASSWORD_OR_SESSION,
    token_refusal="a session opened with a token cannot change the password",  # noqa: S106 - a sentence
    body=PasswordSchema,
    response=MessageResponse,
)
def password(fields: dict[str, Any]) -> Response:
    """Change the caller's own password; all sessions of the user end."""
    services().accounts.change_own_password(current().caller.user, fields["old"], fields["new"], client_address())
    return success(msg="success")
