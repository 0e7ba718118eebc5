"""Sign-in page of the gate: user name and password instead of a token, on the host of the protected application."""

from typing import Any

from flask import Response, g

from datafor_token.audit.events import Event, Kind
from datafor_token.errors import Forbidden, InvalidInput, TooManyAttempts, WrongPassword
from datafor_token.gate import forwarded
from datafor_token.requests.gate_schemas import SignInPageSchema, SignInSchema
from datafor_token.validation.names import display_text
from datafor_token.web.api import gate_targets
from datafor_token.web.api.gate import blueprint, redirect_signed_in, refuse_lost_parameters
from datafor_token.web.api.gate_form import sign_in_form
from datafor_token.web.api.gate_pages import form_page, link, paragraph, text
from datafor_token.web.auth import all_gate_cookies, client_address, gate_session
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.services import services


@blueprint.get("/auth/sign-in")
@Call(
    id="show_sign_in",
    access=Access.ANYONE,
    query=SignInPageSchema,
    response=None,
    content_types=("text/html",),
    errors=(InvalidInput,),
)
def show_sign_in(fields: dict[str, Any]) -> Response:
    """Show the page for user name and password.

    For a user who is signed in already it has a link to `next` and the form for another user.
    """
    refuse_lost_parameters()
    target, session = _target(fields), gate_session()
    form = sign_in_form("", target)
    if session is None:
        return form_page(text("sign_in"), form)
    title = text("signed_in_as", user=display_text(session.user.name))
    return form_page(title, link(target, "continue") + paragraph("sign_in_as_other") + form)


@blueprint.post("/auth/sign-in")
@Call(
    id="sign_in",
    access=Access.ANYONE,
    body=SignInSchema,
    statuses=(303,),
    headers=("Location", "Set-Cookie"),
    errors=(Forbidden, WrongPassword, TooManyAttempts),
)
def sign_in(fields: dict[str, Any]) -> Response:
    """Sign in with user name and password, and redirect to `next`.

    The cookie of the gate holds the new session. In a browser, errors are the page with the form.
    """
    environ = current().environ
    # A client without the header Accept is not a browser.
    if "HTTP_ACCEPT" in environ and not forwarded.shows_page(environ) and gate_session() is not None:
        # The open page would mix two users.
        raise Forbidden("only a form of a page signs in here")
    target = _target(fields)
    # For the page of an error.
    g.sign_in_form = (fields["username"], target)
    current().way = "login"
    user = services().users.with_password(
        fields["username"], fields["password"], client_address(), record_success=False
    )
    with services().audit.change() as record:
        record(Event(kind=Kind.SIGN_IN, user=user.name))
        cookie = services().gate.open_by_password(user, client_address(), all_gate_cookies())
    services().metrics.signed_in("login", "accepted")
    return redirect_signed_in(cookie, target)


def _target(fields: dict[str, Any]) -> str:
    """Return the page to go to after the sign-in: ``next`` without a token, never one of our own pages."""
    return gate_targets.safe_target(fields["next"]) or "/"
