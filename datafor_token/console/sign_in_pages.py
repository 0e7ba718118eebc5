"""Sign in and out, and the switch of the language; and the page for whatever is no page."""

from flask import g
from flask.typing import ResponseReturnValue

from datafor_token.console import csrf, guard, language, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.errors import NotFound, Overloaded, TooManyAttempts, WrongPassword
from datafor_token.web.api.gate_cookies import end_gate_session
from datafor_token.web.api.paths import cookie_attributes, proxy_prefix
from datafor_token.web.api.sessions import open_session
from datafor_token.web.auth import SESSION_COOKIE, session_cookie
from datafor_token.web.current import Caller, current
from datafor_token.web.services import services

_A_YEAR = 31_536_000  # seconds


@blueprint.get("/sign-in")
def sign_in() -> ResponseReturnValue:
    """The form for name and password."""
    return pages.render("sign_in.html", next=current().args.get("next", ""))


@blueprint.post("/sign-in")
def sign_in_now() -> ResponseReturnValue:
    """Open a session, as ``auth/login`` does it, and go on to where the reader came from."""
    path, kept, target = guard.text("path"), guard.text("kept"), guard.text("next")
    typed = {"next": target, "path": path, "kept": kept, "username": guard.text("username")}
    try:
        user, cookie = open_session(guard.text("username"), guard.text("password"))
    except (WrongPassword, TooManyAttempts, Overloaded) as error:
        return pages.retrying(pages.render("sign_in.html", status=error.status, refusal=error.message, **typed), error)
    caller = current().signed_in = Caller(user, "session")
    csrf.use_session(cookie)
    g.notice = "again"
    again = guard.show_again(path, kept, caller) if path else None
    if again is None:
        there = guard.page_to_go_to(target, caller) if target else None
        home = pages.link_to("home", **({"done": "unsent"} if path else {}))
        again = pages.go_to(proxy_prefix() + there if there else home)
    response = pages.made(again)
    response.set_cookie(SESSION_COOKIE, cookie, **cookie_attributes())
    return response


@blueprint.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session and the gate session of this browser."""
    services().sessions.close(session_cookie())
    response = pages.made(pages.redirect_to("sign_in", "signed_out"))
    response.delete_cookie(SESSION_COOKIE, **cookie_attributes())
    end_gate_session(response)
    return response


@blueprint.post("/language")
def switch_language() -> ResponseReturnValue:
    """Show everything in another language from now on, beginning with the page that the reader was on."""
    chosen = guard.text("language")
    caller = current().signed_in
    back = guard.page_to_go_to(guard.text("back"), caller) if caller else None
    response = pages.made(pages.go_to(proxy_prefix() + back if back else pages.link_to("home")))
    if chosen in language.LANGUAGES:
        response.set_cookie(language.COOKIE, chosen, max_age=_A_YEAR, **cookie_attributes())
    return response


@blueprint.route("/<path:rest>", methods=["GET", "POST"])
def not_found(rest: str) -> ResponseReturnValue:
    """Whatever is no page says so as a page."""
    del rest
    raise NotFound("not found")
