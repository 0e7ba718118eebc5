"""Signing in and out, the language switch, and the page for unknown paths."""

from flask import g, make_response
from flask.typing import ResponseReturnValue

from datafor_token.console import csrf, flashes, guard, language, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, sentence
from datafor_token.errors import NotFound, Overloaded, TooManyAttempts, WrongPassword
from datafor_token.users.sessions import CONSOLE
from datafor_token.web.api.gate_cookies import end_gate_session
from datafor_token.web.api.paths import cookie_attributes, proxy_prefix
from datafor_token.web.api.sessions import open_session
from datafor_token.web.auth import SESSION_COOKIE, session_cookie
from datafor_token.web.current import Caller, current
from datafor_token.web.services import services

_A_YEAR = 31_536_000  # seconds


@blueprint.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Show the form for user name and password."""
    return pages.render("sign_in.html", next=current().args.get("next", ""))


@blueprint.post("/sign-in")
def sign_in_now() -> ResponseReturnValue:
    """Open a session, as ``auth/login`` does, and return to the page or form that the reader came from."""
    path, typed, target = guard.text("path"), guard.text("typed"), guard.text("next")
    fields = {"next": target, "path": path, "typed": typed, "username": guard.text("username")}
    try:
        user, cookie = open_session(guard.text("username"), guard.text("password"), CONSOLE)
    except (WrongPassword, TooManyAttempts, Overloaded) as error:
        page = pages.render("sign_in.html", error=error, refusal=sentence(error.message), **fields)
        return pages.with_retry_after(page, error)
    caller = current().signed_in = Caller(user, "session")
    csrf.use_session(cookie)
    flashes.use_session(cookie)
    g.notice = "again"
    shown = guard.redisplay(path, typed, caller) if path else None
    if shown is None:
        allowed = guard.allowed_target(target, caller) if target else None
        if path:
            flashes.add(N_("You are signed in again. Your last request was not carried out: please repeat it."))
            # The page of that path, if it has one, is the one to repeat it on.
            allowed = guard.allowed_target(path, caller)
        shown = pages.redirect_to_path(proxy_prefix() + allowed if allowed else pages.link_to("home"))
    response = make_response(shown)
    response.set_cookie(SESSION_COOKIE, cookie, **cookie_attributes())
    return response


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session and the gate session of this browser."""
    services().sessions.close(session_cookie())
    response = pages.redirect_to_sign_in("signed_out")
    response.delete_cookie(SESSION_COOKIE, **cookie_attributes())
    end_gate_session(response)
    return response


@blueprint.post("/language")
def switch_language() -> ResponseReturnValue:
    """Switch the language of all pages and return to the page that the reader was on."""
    chosen = guard.text("language")
    caller = current().signed_in
    back = guard.allowed_target(guard.text("back"), caller) if caller else None
    response = make_response(pages.redirect_to_path(proxy_prefix() + back if back else pages.link_to("home")))
    if chosen in language.LANGUAGES:
        response.set_cookie(language.COOKIE, chosen, max_age=_A_YEAR, **cookie_attributes())
    return response


@blueprint.route("/<path:rest>", methods=["GET", "POST"])
def not_found(rest: str) -> ResponseReturnValue:
    """Return an error page for every other path."""
    del rest
    raise NotFound("not found")
