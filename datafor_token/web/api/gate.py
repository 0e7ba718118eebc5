"""API calls of the gate: forward authentication for a reverse proxy, sign-in by link, and sign-out.

No response of these calls makes a browser ask for a password.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Rule
from werkzeug.urls import iri_to_uri

from datafor_token.audit.events import Event, Kind
from datafor_token.errors import (
    Forbidden,
    InvalidInput,
    InvalidToken,
    NotAuthenticated,
    Overloaded,
    StoreUnavailable,
    TooManyAttempts,
)
from datafor_token.gate import forwarded
from datafor_token.gate.gate import GateSession, NotAcceptedNow
from datafor_token.requests.schemas import LeaveSchema, NextSchema
from datafor_token.tokens.signin import Verification
from datafor_token.validation import logs
from datafor_token.validation.names import USER_TYPES, display_text, fold
from datafor_token.web import cookies, proxies
from datafor_token.web.api.gate_cookies import end_gate_session, set_gate_cookie
from datafor_token.web.api.gate_pages import ask_page, error_page, signed_out_page
from datafor_token.web.auth import (
    GATE_COOKIE,
    SESSION_COOKIE,
    client_address,
    gate_caller,
    gate_session,
    is_cross_site,
    record_refusal,
    refuse_several_tokens,
    tokens_among,
    url_caller,
)
from datafor_token.web.current import Caller, current
from datafor_token.web.openapi.call import Access, Call, header, query_list, query_option
from datafor_token.web.responses import success
from datafor_token.web.services import services

log = logging.getLogger(__name__)
blueprint = Blueprint("gate", __name__)
# Parameters of the check's own query. A requirement may be given several times, and any of its values is enough.
_REQUIREMENTS = {
    "role": query_list("role", "A role that the user must have, or a user type.", {"type": "string"}),
    "type": query_list("type", "The user type that the user must have.", {"enum": list(USER_TYPES)}),
    "application": query_list("application", "The application that signed the user in.", {"type": "string"}),
}
_OPTIONS = {
    "redirect": query_option("redirect", "1: for a page, the response is 302 to `SIGN_IN_URL` instead of 401."),
    "cookies": query_option(
        "cookies", "1: the header `Cookie` has all cookies of the request except those of this service."
    ),
}
# Reasons for the log.
_NOT_MET = "a requirement of the check is not met"
_UNKNOWN_REQUIREMENT = "unknown requirement in the URL of the check"
_ORIGINAL_URI = "The URI of the request that the proxy received. A token in it is a credential."
# Shorter than a ticket, and without the dots of a token.
_HARMLESS_NAME = re.compile(r"[A-Za-z0-9_\[\]-]{1,32}")


@Call(
    id="check",
    access=Access.GATE,
    parameters=(
        *_REQUIREMENTS.values(),
        *_OPTIONS.values(),
        header("X-Original-URI", _ORIGINAL_URI),
        header("X-Original-URL", _ORIGINAL_URI),
        header("X-Forwarded-Uri", _ORIGINAL_URI),
    ),
    headers=("Remote-User", "Remote-Name", "Remote-Email", "Remote-Groups", "Set-Cookie"),
)
def check() -> Response:
    """Authenticate the request that a proxy received, and return the user in headers.

    The status is 200, 401 or 403, or 503 in an outage. Proxies treat any other status as an error.
    """
    try:
        caller = gate_caller()
    except (TooManyAttempts, Overloaded) as error:
        refusal = NotAuthenticated(error.message)
        refusal.retry_after, refusal.reason = error.retry_after, error.reason
        raise refusal from None
    if not _meets_requirements(caller):
        raise Forbidden(reason=_NOT_MET)
    user = caller.user
    response = success()
    # All four are sent, also if empty, so that they replace those of a client. A record that was edited by hand can
    # have control characters.
    for name, value in (
        ("Remote-User", user.name),
        ("Remote-Name", display_text(user.full_name)),
        ("Remote-Email", display_text(user.email)),
        ("Remote-Groups", ",".join(user.groups)),
    ):
        # WSGI headers are bytes decoded as Latin-1 (PEP 3333).
        response.headers[name] = value.encode("utf-8").decode("latin-1")
    if _option("cookies"):
        # For proxies that copy response headers into the request; also if empty, to replace the client's header.
        sent = current().environ.get("HTTP_COOKIE", "")
        response.headers["Cookie"] = cookies.without(sent, (GATE_COOKIE,), (SESSION_COOKIE,))
    if caller.way == "url" and caller.verdict is not None:
        _open_gate_session(response, caller.verdict)
    return response


def _open_gate_session(response: Response, verdict: Verification) -> None:
    """Open a gate session for the token in the URL, unless a page would then mix two users.

    A navigation shows a page of the token's user, whose images and scripts are requested with the cookie. Therefore a
    navigation replaces another user's session, or is refused. Any other request belongs to a page that is open.
    """
    present = gate_session()
    environ = current().environ
    navigates, prefetches = forwarded.is_navigation(environ), forwarded.is_prefetch(environ)
    others = present is not None and not _is_same_sign_in(present, verdict)
    if others:
        _refuse_mixed_pages(navigates=navigates, prefetches=prefetches)
        if not navigates:
            return
    if not _expires_after(verdict, present.expires if present is not None and not others else services().clock()):
        if others:
            raise InvalidToken(reason="expired", log_detail="it cannot replace the session of another user")
        return
    try:
        cookie = services().gate.open(verdict, client_address(), again=navigates and not prefetches)
    except StoreUnavailable as error:
        if others:
            raise
        # The page itself can be shown. Without the cookie, its images cannot, until the store can be written again.
        log.warning(logs.event("gate session not stored", reason=error.reason))
        return
    if cookie is not None:
        set_gate_cookie(response, cookie)
    elif prefetches:
        raise Forbidden("a preview does not sign in again")
    elif others:
        raise NotAuthenticated


def _refuse_mixed_pages(*, navigates: bool, prefetches: bool) -> None:
    """Refuse a page of the token's user whose parts would be requested with the cookie of another user."""
    if prefetches:
        # The other user's page is still open. After an error, browsers repeat the request when the user opens the link.
        raise Forbidden("a preview does not change who is signed in")
    if not navigates and forwarded.shows_page(current().environ):
        raise Forbidden("only a link changes who is signed in, not a form over plain http")


@blueprint.get("/auth/enter")
@Call(
    id="enter",
    access=Access.LINK,
    query=NextSchema,
    statuses=(303,),
    headers=("Location", "Set-Cookie"),
    errors=(Forbidden, InvalidInput, NotAuthenticated),
)
def enter(fields: dict[str, Any]) -> Response:
    """Sign in with a token or ticket in the URL, and redirect to `next` without it.

    The cookie of the gate holds the new session.
    """
    pairs = _query()
    _refuse_previews()
    tokens = tokens_among(pairs)
    if "ticket" in fields:
        if tokens:
            refuse_several_tokens()
        _refuse_lost_parameters(pairs)
        _refuse_parts_of_pages(None)
        current().way = "ticket"
        name = services().signin.identifiers.of_text(fields["ticket"])
        try:
            redeemed = services().gate.redeem(fields["ticket"], proxies.client)
        except NotAcceptedNow as refusal:
            verification = refusal.verification
            record_refusal(verification, name)
            raise InvalidToken(reason=verification.reason, log_detail=verification.steps[-1].detail) from None
        if redeemed is None:
            services().audit.record(Event(kind=Kind.SIGN_IN_REFUSED, reason="ticket", token=name))
            raise InvalidToken(reason="ticket", log_detail="unknown, used, too old, or its application or user is gone")
        cookie, target = redeemed
        services().metrics.signed_in("ticket", "accepted")
    else:
        if not tokens:
            raise NotAuthenticated
        _refuse_lost_parameters(pairs)
        cookie, target = _open_session_of(url_caller(tokens)), fields["next"]
    response = success()
    response.status_code = 303
    response.headers["Location"] = iri_to_uri(target)
    set_gate_cookie(response, cookie)
    return response


def _open_session_of(caller: Caller) -> str:
    """Open a gate session for the token in the URL, and return its cookie."""
    verdict = caller.verdict
    if verdict is None or verdict.token is None or not _expires_after(verdict, services().clock()):
        raise InvalidToken(reason="expired", log_detail="its session would end at once")
    _refuse_parts_of_pages(verdict)
    with services().audit.change() as record:
        name = caller.application.name if caller.application else None
        audience = verdict.token.unnamed_audiences
        record(Event(Kind.SIGN_IN, name, caller.user.name, token=caller.token, audience=audience))
        cookie = services().gate.open(verdict, client_address(), again=True)
    if cookie is None:
        raise NotAuthenticated
    return cookie


@blueprint.route("/auth/leave", methods=["GET", "POST"])
@Call(
    id="leave",
    access=Access.ANYONE,
    query=LeaveSchema,
    statuses=(200, 303),
    headers=("Location", "Set-Cookie"),
    errors=(Forbidden, InvalidInput),
)
def leave(fields: dict[str, Any]) -> Response:
    """End the gate session, and redirect to `next` or `SIGN_OUT_URL`, if any."""
    _refuse_lost_parameters(_query())
    request = current()
    if request.method != "POST" and (
        request.method == "HEAD" or is_cross_site() or forwarded.is_prefetch(request.environ)
    ):
        # Otherwise any site could sign its visitors out.
        return ask_page()
    target = fields.get("next") or services().settings.sign_out_url
    if target:
        response = success()
        response.status_code = 303
        response.headers["Location"] = iri_to_uri(target)
    else:
        response = signed_out_page() if forwarded.accepts_html(request.environ) else success()
    end_gate_session(response)
    return response


def _query() -> list[tuple[str, str]]:
    """Return the parameters of the query, in their order."""
    return parse_qsl(current().query_string.decode("latin-1"), keep_blank_values=True, errors="replace")


def _refuse_lost_parameters(pairs: Sequence[tuple[str, str]]) -> None:
    """Refuse a ``next`` with a query that was not percent-encoded: it would lose its further parameters."""
    names = [name for name, _ in pairs]
    behind = pairs[names.index("next") :] if "next" in names else []
    if not behind or "?" not in behind[0][1]:
        return
    known = services().registry.index().token_names
    if any(name not in known and name not in ("next", "ticket") for name, _ in behind):
        raise InvalidInput.of(
            "next", "must be percent-encoded, as it has a query: send ? as %3F, & as %26 and % as %25"
        )


def _refuse_previews() -> None:
    """Refuse previews and prefetches of a link, and requests for parts of a page.

    They would use up a one-time link, or change the signed-in user while another user's page is open.
    """
    request = current()
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        raise Forbidden("only going to a page signs in here")
    if request.method == "HEAD" or forwarded.is_prefetch(request.environ):
        raise Forbidden("a preview of a link does not sign in")


def _refuse_parts_of_pages(verdict: Verification | None) -> None:
    """Refuse requests other than navigations that would replace another user's session.

    ``verdict`` is ``None`` if the new user is not known. A client without the header ``Accept`` is not a browser, and
    has no page that could mix two users.
    """
    environ = current().environ
    if "HTTP_ACCEPT" not in environ or forwarded.is_navigation(environ):
        return
    present = gate_session()
    if present is not None and (verdict is None or not _is_same_sign_in(present, verdict)):
        raise Forbidden("only going to a page signs in here")


def _meets_requirements(caller: Caller) -> bool:
    """Return whether the caller meets the requirements in the check's own query, if any."""
    request = current()
    if not request.environ.get("QUERY_STRING"):
        return True
    unknown = [name for name in request.args if name not in (*_REQUIREMENTS, *_OPTIONS)]
    unknown += [name for name in _OPTIONS if not set(request.args.getlist(name)) <= {"0", "1"}]
    if unknown:
        # A misspelled requirement must not admit everyone.
        raise Forbidden(reason=_UNKNOWN_REQUIREMENT, log_detail=_described(unknown))
    roles, types = request.args.getlist("role"), request.args.getlist("type")
    applications = {fold(name) for name in request.args.getlist("application")}
    by = fold(caller.application.name) if caller.application else None
    return (
        (not roles or not set(caller.user.groups).isdisjoint(roles))
        and (not types or caller.user.type in types)
        and (not applications or by in applications)
    )


def _described(names: Sequence[str]) -> str:
    """Describe unknown requirements for the log by their names, but no values, and no names that may be tokens.

    A proxy that passes on the visitor's query turns its parameters into requirements.
    """
    harmless = [name for name in names if _HARMLESS_NAME.fullmatch(name)]
    listed = ", ".join(harmless[:5] + ["..."] * (len(harmless) > 5)) or "(too long, or not plain text)"
    known = ", ".join((*_REQUIREMENTS, *(f"{name}=1" for name in _OPTIONS)))
    return f"{listed}; known: {known}"


def _option(name: str) -> bool:
    """Return whether an option is 1 in the check's own query."""
    request = current()
    return bool(request.environ.get("QUERY_STRING")) and request.args.getlist(name) == ["1"]


def error_response(status: int, message: str, members: Mapping[str, Any]) -> Response | None:
    """Return the page or redirect for an error of these calls in a browser, or ``None`` for the usual envelope."""
    del members
    request = current()
    if request.endpoint == "gate.check":
        return _redirect_to_sign_in() if status == NotAuthenticated.status else None
    return error_page(status, message) if forwarded.accepts_html(request.environ) else None


def _redirect_to_sign_in() -> Response | None:
    """Return a redirect to ``SIGN_IN_URL`` for a navigation, if the option asks for it, or ``None``."""
    request = current()
    url, environ = services().settings.sign_in_url, request.environ
    if not url or not _option("redirect") or not forwarded.is_navigation(environ):
        return None
    if forwarded.is_request_for(environ, url, {request.host, environ.get("HTTP_X_FORWARDED_HOST", "")}):
        # The browser would be redirected in a loop.
        log.warning(logs.event("SIGN_IN_URL is behind the check", advice="exempt its path from the check"))
        return None
    secrets = {*services().registry.index(thorough=False).token_names, "ticket"}
    response = Response(status=302)
    response.headers["Location"] = forwarded.with_next(url, forwarded.way_back(environ, secrets))
    return response


def _is_same_sign_in(present: GateSession, verdict: Verification) -> bool:
    """Return whether a session and a token have the same user and application, and so meet the same requirements."""
    same_user = verdict.user is not None and fold(present.user.name) == fold(verdict.user.name)
    return same_user and verdict.application is not None and present.application.name == verdict.application.name


def _expires_after(verdict: Verification, time: float) -> bool:
    """Return whether the token expires after a time. Within the leeway, an expired token is still accepted."""
    return verdict.token is not None and verdict.token.expires > time


@blueprint.record
def _add_check(state: BlueprintSetupState) -> None:
    # A route of Flask always has a list of methods, but a proxy may use any method.
    state.app.url_map.add(Rule(f"{state.url_prefix or ''}/auth/check", endpoint="gate.check"))
    state.app.view_functions["gate.check"] = check
