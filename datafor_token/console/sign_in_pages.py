"""Signing in and out, the switches of language and theme, and the page for unknown paths."""

from typing import Any

from flask import Response, g, make_response
from flask.typing import ResponseReturnValue

from datafor_token.console import csrf, flashes, guard, header, language, pages
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
    target = current().args.get("next", "")
    # The browser still sends the cookie of a session, and was sent here by a page that needs one.
    ended = bool(target and session_cookie()) and current().signed_in is None
    return pages.render("sign_in.html", next=target, ended=ended)


@blueprint.post("/sign-in")
def sign_in_now() -> ResponseReturnValue:
    """Open a session, as ``auth/login`` does, and return to the page or form that the reader came from."""
    path, typed, target = guard.text("path"), guard.text("typed"), guard.text("next")
    fields = {"next": target, "path": path, "typed": typed, "username": guard.text("username")}
    try:
        user, cookie = open_session(guard.text("username"), guard.text("password"), CONSOLE)
    except (WrongPassword, TooManyAttempts, Overloaded) as error:
        return pages.render("sign_in.html", error=error, refusal=sentence(error.message), **fields)
    caller = current().signed_in = Caller(user, "session")
    csrf.use_session(cookie)
    flashes.use_session(cookie)
    g.notice = "again"
    shown = guard.redisplay(path, typed, caller) if path else None
    if shown is None:
        if path:
            flashes.add(N_("You are signed in again. Your last request was not carried out: please repeat it."))
        # The page of that path, if it has one, is the one to repeat it on.
        shown = pages.redirect_to_path(guard.path_back(path or target, "home"))
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
    """Switch the language of all pages."""
    chosen = current().args.get("to", "")
    if chosen in language.LANGUAGES:
        g.language = chosen
        return _remember(_page_again(), language.COOKIE, chosen)
    return _page_again()


@blueprint.post("/theme")
def switch_theme() -> ResponseReturnValue:
    """Switch all pages to light or dark, or let the reader's system choose."""
    chosen = current().args.get("to", "")
    if chosen in header.THEMES:
        g.theme = chosen
        return _remember(_page_again(), header.THEME_COOKIE, "" if chosen == "system" else chosen)
    return _page_again()


def _remember(response: Response, cookie: str, value: str) -> Response:
    if value:
        response.set_cookie(cookie, value, max_age=_A_YEAR, **cookie_attributes())
    else:
        response.delete_cookie(cookie, **cookie_attributes())
    return response


def _page_again() -> Response:
    """Return the page that the reader was on: ``form`` of the URL is the path of its form, whose fields were sent.

    Without a form, this is a redirect to the path ``back`` of the URL.
    """
    caller = current().signed_in
    path = guard.switched_form()
    g.redisplayed = True
    if guard.has_secrets():
        g.notice = "switched"
    if caller is None:
        return _sign_in_again(path)
    shown = guard.redisplay(path, guard.typed_values(), caller) if path else None
    if shown is None:
        shown = pages.redirect_to_path(guard.path_back(current().args.get("back"), "home"))
    return make_response(shown)


def _sign_in_again(path: str) -> Response:
    """Return the sign-in page with what was typed there, or with a form of a session that has ended."""
    if proxy_prefix() + path == pages.link_to("sign_in_now"):
        fields: dict[str, Any] = {name: guard.text(name) for name in ("next", "path", "typed", "username")}
        return pages.render("sign_in.html", ended=bool(fields["path"]), **fields)
    if not path:
        return make_response(pages.redirect_to("sign_in"))
    return pages.render("sign_in.html", ended=True, path=path, typed=guard.typed_values())


@blueprint.route("/<path:rest>", methods=["GET", "POST"])
def not_found(rest: str) -> ResponseReturnValue:
    """Return an error page for every other path."""
    del rest
    raise NotFound("not found")
