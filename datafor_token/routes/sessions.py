"""Sign in for a session, and sign out."""

from typing import Any

from flask import Blueprint, Response, g, request

from datafor_token.auth import SESSION_COOKIE, client_address, session_cookie
from datafor_token.errors import WrongPassword
from datafor_token.events import Event, Kind
from datafor_token.responses import success
from datafor_token.routes.inputs import fields_of_body
from datafor_token.routes.paths import EXTENSION, root_path
from datafor_token.schemas import LoginSchema
from datafor_token.services import services

blueprint = Blueprint("sessions", __name__)
_login = LoginSchema()


@blueprint.post(f"{EXTENSION}/auth/login")
def login() -> Response:
    """Open a session for a name and password; the cookie is always a new one."""
    wanted = fields_of_body(_login)
    g.way = "login"
    user = services().users.with_password(wanted["username"], wanted["password"], client_address(), opens=True)
    if user is None:
        refusal = WrongPassword()
        refusal.members = {"data": "0"}
        raise refusal
    sessions = services().sessions
    before = sessions.find(session_cookie())
    with services().audit.change() as record:
        record(Event(kind=Kind.SIGN_IN, user=user.name))
        cookie = sessions.open(user)
    services().metrics.signed_in("login", "accepted")
    sessions.close(session_cookie())
    again = before is not None and before.user.name == user.name
    response = success(msg="login success", data="2" if again else "1", jsessionid=cookie)
    response.set_cookie(SESSION_COOKIE, cookie, **_attributes())
    return response


@blueprint.route(f"{EXTENSION}/auth/logout", methods=["GET", "POST"])
def logout() -> Response:
    """End the session, if there is one; its cookie counts nowhere any more."""
    services().sessions.close(session_cookie())
    response = success(code="200")
    response.delete_cookie(SESSION_COOKIE, **_attributes())
    return response


def _attributes() -> dict[str, Any]:
    return {"path": root_path() or "/", "httponly": True, "samesite": "Lax", "secure": request.is_secure}
