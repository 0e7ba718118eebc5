"""Sessions and personal tokens of one user, on the user's own page and on the page that Administrators see."""

from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import flashes, guard, pages
from datafor_token.console.language import N_
from datafor_token.errors import NotFound, RecordDamaged
from datafor_token.users.sessions import name_of_cookie
from datafor_token.users.users import User
from datafor_token.web.api.paths import cookie_attributes
from datafor_token.web.auth import SESSION_COOKIE, session_cookie
from datafor_token.web.current import current
from datafor_token.web.services import services

# By the kind of a session, and by the status of a token.
KINDS = {"api": N_("API"), "console": N_("Console"), "gate": N_("Protected pages")}
STATUSES = {"active": N_("active"), "expired": N_("expired"), "revoked": N_("revoked")}


def of_user(user: User) -> dict[str, Any]:
    """Return the values of the template for the user's sessions and personal tokens."""
    return {**sessions_of(user), **tokens_of(user)}


def sessions_of(user: User) -> dict[str, Any]:
    """Return the values of the template for the user's sessions."""
    return {
        "sessions": services().session_list.of(user),
        "this_session": name_of_cookie(session_cookie()),
        "session_kinds": KINDS,
    }


def tokens_of(user: User) -> dict[str, Any]:
    """Return the values of the template for the user's personal tokens.

    If the tokens cannot be read, the page says so, and the log has the reason.
    """
    damaged = False
    try:
        tokens = services().personal_tokens.listed(user.name)
    except RecordDamaged as error:
        tokens, damaged, current().refusal = [], True, error
    return {"tokens": tokens, "tokens_damaged": damaged, "statuses": STATUSES}


def end_sessions(user: User, view: str, **values: Any) -> ResponseReturnValue:
    """End the session of the user that the form names, or all of them, and show the page ``view`` again.

    If the reader's own session has ended, the sign-in follows.
    """
    identifier, everywhere = guard.text("id"), bool(guard.text("all"))
    if everywhere:
        services().session_list.end_all(user)
    elif identifier:
        try:
            services().session_list.end(identifier, user.name)
        except NotFound:
            flashes.add(N_("The session had ended already."))
            return pages.redirect_to(view, **values)
    else:
        flashes.add(N_("Nothing was selected."))
        return pages.redirect_to(view, **values)
    is_own = everywhere and user.name == guard.caller().user.name
    if is_own or identifier == name_of_cookie(session_cookie()):
        response = pages.redirect_to_sign_in("own_sessions" if is_own else "signed_out")
        response.delete_cookie(SESSION_COOKIE, **cookie_attributes())
        return response
    if everywhere:
        flashes.add(N_("All sessions of %(name)s have ended."), name=user.name)
    else:
        flashes.add(N_("The session has ended."))
    return pages.redirect_to(view, **values)


def revoke_token(user: User, view: str, **values: Any) -> ResponseReturnValue:
    """Revoke the personal token of the user that the form names, and show the page ``view`` again."""
    services().personal_tokens.revoke(user.name, guard.text("jti"))
    flashes.add(N_("The token was revoked."))
    return pages.redirect_to(view, **values)
