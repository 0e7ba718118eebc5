"""Errors of the gate in a browser: a page that says what to do, or a redirect to the page for signing in.

Scripts, images and other clients get the usual envelope.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from flask import Response, g
from markupsafe import Markup

from datafor_token.errors import (
    CookieNotSent,
    DataforTokenError,
    Forbidden,
    NotAuthenticated,
    Overloaded,
    TooManyAttempts,
)
from datafor_token.gate import check_options, forwarded
from datafor_token.validation import logs
from datafor_token.validation.names import display_text
from datafor_token.web.api import gate_frames, gate_targets
from datafor_token.web.api.gate_form import sign_in_form
from datafor_token.web.api.gate_pages import form_page, link, page, paragraph, sign_in_link, text
from datafor_token.web.current import current
from datafor_token.web.services import services

log = logging.getLogger(__name__)
_TRY_AGAIN = 10  # seconds
# The message of the error, for the administrator or the author of the link.
_DETAIL = Markup('<p lang="en"><small>{status}: {message}</small></p>\n')


def error_response(status: int, message: str, members: Mapping[str, Any]) -> Response | None:
    """Return the page or redirect for an error of these calls in a browser, or ``None`` for the usual envelope."""
    del members
    environ, checks = current().environ, current().endpoint == "gate.check"
    if not (forwarded.shows_page(environ) if checks else forwarded.accepts_html(environ)):
        return None
    response = _redirect_to_sign_in() if checks and status == NotAuthenticated.status else None
    if response is None:
        response = _check_page(status, message) if checks else _own_page(status, message)
    if status == 503:
        # Where the error itself states another time, it replaces this one.
        response.headers["Retry-After"] = str(_TRY_AGAIN)
    return response


def _redirect_to_sign_in() -> Response | None:
    """Return a redirect to ``SIGN_IN_URL`` for a navigation, if the option asks for it, or ``None``.

    Not for a form, whose fields would be lost, nor for a frame, in which few sign-in pages can be shown.
    """
    environ = current().environ
    options = check_options.parse(environ.get("QUERY_STRING", ""))
    if not services().settings.sign_in_url or not options.redirect or not forwarded.is_navigation(environ):
        return None
    if forwarded.method(environ) not in ("GET", "HEAD") or forwarded.is_in_frame(environ):
        return None
    if _is_sign_in_page():
        # The browser would be redirected in a loop.
        own = gate_targets.own_url(gate_targets.SIGN_IN)
        advice = f"exempt its path from the check; the sign-in page of this service is {own}"
        log.warning(logs.event("SIGN_IN_URL is behind the check", advice=advice))
        return None
    response = Response(status=302)
    response.headers["Location"] = gate_targets.sign_in_url(gate_targets.way_back())
    return response


def _is_sign_in_page() -> bool:
    """Return whether the original request is for ``SIGN_IN_URL`` itself."""
    request, url = current(), services().settings.sign_in_url
    hosts = {request.host, request.environ.get("HTTP_X_FORWARDED_HOST", "")}
    # With TRUSTED_HOSTS the host was checked, so the proxy passes it on.
    is_known = bool(services().settings.trusted_hosts)
    return bool(url) and forwarded.is_request_for(request.environ, url, hosts, hosts_are_known=is_known)


def _check_page(status: int, message: str) -> Response:
    """Return the page for an error of the check, which a browser shows in place of a page of the application."""
    if status == NotAuthenticated.status:
        return _not_signed_in(status, message)
    if status == Forbidden.status and current().signed_in is not None:
        return _no_access(status, message)
    if status >= 500:
        return _page("unavailable", paragraph("later"), status, message)
    return _page("request_refused", paragraph("ask_administrator"), status, message)


def _not_signed_in(status: int, message: str) -> Response:
    environ = current().environ
    if _is_sign_in_page():
        return _page("not_signed_in", paragraph("sign_in_page_is_protected"), status, message)
    if forwarded.method(environ) not in ("GET", "HEAD"):
        # The browser still has the form: reloading the page sends it again.
        found = sign_in_link(None, "sign_in_new_tab", new_tab=True)
        return _page("ended", paragraph("ended_text") + found, status, message)
    in_frame = forwarded.is_in_frame(environ)
    found = sign_in_link(gate_targets.way_back(), "sign_in_new_tab" if in_frame else "sign_in", new_tab=in_frame)
    return _page("not_signed_in", paragraph("sign_in_first" if found else "get_a_link") + found, status, message)


def _no_access(status: int, message: str) -> Response:
    target = gate_targets.way_back()
    body = paragraph("no_access_as", user=display_text(current().caller.user.name)) + paragraph("no_access_advice")
    body += sign_in_link(target, "sign_in_as_other", new_tab=forwarded.is_in_frame(current().environ))
    if current().caller.way == "gate":
        # A link, not a form: with a form, a Referer could carry the address of this page, and a token in it.
        body += link(gate_targets.own_url(gate_targets.LEAVE), "sign_out")
    return _page("no_access", body, status, message)


def _own_page(status: int, message: str) -> Response:
    """Return the page for an error of one of our own pages."""
    refusal, target = current().refusal, gate_targets.asked_target()
    signs_in = current().endpoint in ("gate.show_sign_in", "gate.sign_in")
    if "sign_in_form" in g and isinstance(refusal, DataforTokenError) and status in (401, 429, 503):
        username, target = g.sign_in_form
        return _page("sign_in", sign_in_form(username, target, _sentence(refusal)), status, "", form=True)
    if isinstance(refusal, CookieNotSent):
        body = paragraph("no_cookie_text") + link(target or "/", "continue")
        if current().environ.get("HTTP_SEC_FETCH_DEST") != "document":
            body += link(target or "/", "new_tab", new_tab=True)
        return _page("no_cookie", body, status, message)
    if status >= 500:
        title = "unavailable" if current().endpoint == "gate.leave" else "outage"
        return _page(title, paragraph("later"), status, message)
    if current().endpoint == "gate.leave":
        return _page("request_refused", paragraph("ask_administrator"), status, message)
    again = link(gate_targets.own_url(gate_targets.SIGN_IN, target), "sign_in") if signs_in else sign_in_link(target)
    foreign = signs_in and status == Forbidden.status
    return _page("refused", paragraph("foreign_form" if foreign else "invalid_link") + again, status, message)


def _sentence(refusal: DataforTokenError) -> str:
    """Return what the sign-in form says about an error."""
    if isinstance(refusal, TooManyAttempts):
        return text("throttled", minutes=math.ceil((refusal.retry_after or 1) / 60))
    if isinstance(refusal, Overloaded):
        return text("overloaded")
    return text("wrong_password" if refusal.status == NotAuthenticated.status else "form_outage")


def _page(title: str, body: Markup, status: int, message: str, *, form: bool = False) -> Response:
    """Return an error as a page, with the identifier of the request, which the audit log and the log have."""
    body += paragraph("reference", id=current().id)
    if message:
        body += _DETAIL.format(status=status, message=message)
    if form:
        return form_page(text(title), body, status)
    return page(text(title), body, status, gate_frames.teller("refused", status=status))
