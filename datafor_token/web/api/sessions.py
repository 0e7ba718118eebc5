"""API calls that open and end sessions."""

from typing import Any

from flask import Blueprint, Response

from datafor_token.audit.events import Event, Kind
from datafor_token.errors import TooManyAttempts, WrongPassword
from datafor_token.requests.schemas import LoginSchema
from datafor_token.users.users import User
from datafor_token.web.api.gate_cookies import end_gate_session
from datafor_token.web.api.paths import EXTENSION, cookie_attributes
from datafor_token.web.auth import SESSION_COOKIE, client_address, session_cookie
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.response_schemas import LoginResponse, LogoutResponse, WrongPasswordResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("sessions", __name__)


@blueprint.post(f"{EXTENSION}/auth/login")
@Call(
    id="login",
    access=Access.ANYONE,
    body=LoginSchema,
    response=LoginResponse,
    headers=("Set-Cookie",),
    errors=(WrongPassword, TooManyAttempts),
    error_responses={401: WrongPasswordResponse},
)
def login(fields: dict[str, Any]) -> Response:
    """Open a session with user name and password.

    The session cookie is always a new one.
    """
    before = services().sessions.find(session_cookie())
    user, cookie = open_session(fields["username"], fields["password"])
    again = before is not None and before.user.name == user.name
    response = success(msg="login success", data="2" if again else "1", jsessionid=cookie)
    response.set_cookie(SESSION_COOKIE, cookie, **cookie_attributes())
    return response


@blueprint.route(f"{EXTENSION}/auth/logout", methods=["GET", "POST"])
@Call(id="logout", access=Access.ANYONE, response=LogoutResponse, headers=("Set-Cookie",))
def logout() -> Response:
    """End the session and the gate session of this browser, if any."""
    services().sessions.close(session_cookie())
    response = success(code="200")
    response.delete_cookie(SESSION_COOKIE, **cookie_attributes())
    end_gate_session(response)
    return response


def open_session(username: str, password: str, opened_in: str | None = None) -> tuple[User, str]:
    """Replace the request's session by a new one for a user name and password; ``opened_in`` is as in ``Sessions``.

    Return the user and the new cookie; raise ``WrongPassword``.
    """
    current().way = "login"
    try:
        user = services().users.with_password(username, password, client_address(), record_success=False)
    except WrongPassword as error:
        error.members = {"data": "0"}
        raise
    with services().audit.change() as record:
        record(Event(kind=Kind.SIGN_IN, user=user.name))
        cookie = services().sessions.open(user, client_address(), opened_in)
    services().metrics.signed_in("login", "accepted")
    services().sessions.close(session_cookie())
    return user, cookie
