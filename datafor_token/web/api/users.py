"""Calls about users."""

from flask import Blueprint, Response

from datafor_token.errors import Forbidden, NotFound
from datafor_token.requests.schemas import PasswordSchema, UserSchema
from datafor_token.validation.names import fold
from datafor_token.web.api.inputs import fields_of_body, fields_of_query
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import client_address, signed_in
from datafor_token.web.current import current
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("users", __name__)
_user, _password = UserSchema(), PasswordSchema()


@blueprint.get(f"{MODELER}/user/detail")
@signed_in
def detail() -> Response:
    """The caller, or another user for an Administrator; never a password."""
    caller = current().caller
    user = caller.user
    name = fields_of_query(_user).get("username", user.name)
    if fold(name) != fold(user.name):
        if not caller.is_administrator:
            raise Forbidden
        found = services().users.get(name)
        if found is None:
            raise NotFound
        user = found
    return success(data={"user": {"userid": fold(user.name), **user.to_response()}})


@blueprint.post(f"{MODELER}/user/password")
@signed_in
def password() -> Response:
    """Change one's own password; every session of the user ends."""
    caller = current().caller
    if caller.by_token:
        raise Forbidden("a session opened with a token cannot change the password")
    wanted = fields_of_body(_password)
    services().accounts.change_own_password(caller.user, wanted["old"], wanted["new"], client_address())
    return success(msg="success")
