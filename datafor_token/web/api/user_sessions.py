"""API calls that list and end the sessions of a user."""

from typing import Any

from flask import Blueprint, Response

from datafor_token.errors import NotFound
from datafor_token.requests.schemas import EndSessionsSchema, UserSchema
from datafor_token.users.sessions import name_of_cookie
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import session_cookie, user_or_caller
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.response_schemas import MessageResponse
from datafor_token.web.openapi.session_schemas import SessionsResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("user_sessions", __name__)


@blueprint.get(f"{MODELER}/user/sessions")
@Call(
    id="list_sessions",
    access=Access.SIGNED_IN,
    query=UserSchema,
    response=SessionsResponse,
    errors=(NotFound,),
)
def list_sessions(fields: dict[str, Any]) -> Response:
    """List the caller's sessions, or as an Administrator those of another user."""
    caller = current().caller
    own = name_of_cookie(session_cookie()) if caller.way == "session" else None
    listed = services().session_list.of(user_or_caller(fields.get("username")))
    return success(data=[{**one.to_response(), "current": one.identifier == own} for one in listed])


@blueprint.post(f"{MODELER}/user/sessions/end")
@Call(
    id="end_sessions",
    access=Access.SIGNED_IN,
    body=EndSessionsSchema,
    response=MessageResponse,
    errors=(NotFound,),
)
def end_sessions(fields: dict[str, Any]) -> Response:
    """End one session, or all sessions of a user, the current one too.

    Sessions of other users: as an Administrator.
    """
    caller = current().caller
    if "id" in fields:
        services().session_list.end(fields["id"], None if caller.is_administrator else caller.user.name)
    else:
        services().session_list.end_all(user_or_caller(fields["username"]))
    return success(msg="success")
