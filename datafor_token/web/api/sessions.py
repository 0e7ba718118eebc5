"""Sign in for a session, and sign out."""

from flask import Blueprint, Response

from datafor_token.audit.events import Event, Kind
from datafor_token.errors import WrongPassword
from datafor_token.requests.schemas import LoginSchema
from datafor_token.users.users import User
from datafor_token.web.api.gate_cookies import end_gate_session
from datafor_token.web.api.inputs import fields_of_body
from datafor_token.web.api.paths import EXTENSION, cookie_attributes
from datafor_token.web.auth import SESSION_COOKIE, client_address, session_cookie
from datafor_token.web.current import current
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("sessions", __name__)
_login = LoginSchema()


@blueprint.post(f"{EXTENSION}/auth/login")
def login() -> Response:
    """Open a session for a name and password; the cookie is always a new one."""
    wanted = fields_of_body(_login)
    before = services().sessions.find(session_cookie())
    user, cookie = open_session(wanted["username"], wanted["password"])
    again = before is not None and before.user.name == user.name
    response = success(msg="login success", data="2" if again else "1", jsessionid=cookie)
    response.set_cookie(SESSION_COOKIE, cookie, **cookie_attributes())
    return response


@blueprint.route(f"{EXTENSION}/auth/logout", methods=["GET", "POST"])
def logout() -> Response:
    """End the session and the gate session of this browser, if there are any."""
    services().sessions.close(session_cookie())
    response = success(code="200")
    response.delete_cookie(SESSION_COOKIE, **cookie_attributes())
    end_gate_session(response)
    return response


def open_session(username: str, password: str) -> tuple[User, str]:
    """A session for a name and password, in place of the request's own one: whose it is, and its cookie."""
    current().way = "login"
    user = services().users.with_password(username, password, client_address(), record_success=False)
    if user is None:
        refusal = WrongPassword()
        refusal.members = {"data": "0"}
        raise refusal
    with services().audit.change() as record:
        record(Event(kind=Kind.SIGN_IN, user=user.name))
        cookie = services().sessions.open(user)
    services().metrics.signed_in("login", "accepted")
    services().sessions.close(session_cookie())
    return user, cookie
