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
    NotFound,
    Overloaded,
    StoreUnavailable,
    TooManyAttempts,
)
from datafor_token.gate import forwarded
from datafor_token.gate.gate import GateSession
from datafor_token.requests.schemas import LeaveSchema, LinkSchema, NextSchema
from datafor_token.tokens.signin import Verification
from datafor_token.validation import logs
from datafor_token.validation.names import USER_TYPES, display_text, fold
from datafor_token.web import cookies
from datafor_token.web.api.gate_cookies import end_gate_session, set_gate_cookie
from datafor_token.web.api.gate_pages import ask_page, error_page, signed_out_page
from datafor_token.web.api.paths import MODELER, root_path
from datafor_token.web.auth import (
    GATE_COOKIE,
    SESSION_COOKIE,
    gate_caller,
    gate_cookie,
    is_cross_site,
    refuse_several_tokens,
    tokens_among,
    url_caller,
)
from datafor_token.web.current import Caller, current
from datafor_token.web.inputs import application_and_claims
from datafor_token.web.openapi.call import Access, Call, header, query_list, query_option
from datafor_token.web.openapi.response_schemas import LinkResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

log = logging.getLogger(__name__)
blueprint = Blueprint("gate", __name__)
links = Blueprint("links", __name__)
# Parameters of the check's own query. A requirement may be given several times, and any of its values is enough.
_REQUIREMENTS = {
    "role": query_list("role", "A role that the user must have, or a user type.", {"type": "string"}),
    "type": query_list("type", "The user type that the user must have.", {"enum": list(USER_TYPES)}),
    "application": query_list("application", "The application that must vouch for the user.", {"type": "string"}),
}
_OPTIONS = {
    "redirect": query_option("redirect", "1: for a page, the response is 302 to `SIGN_IN_URL` instead of 401."),
    "cookies": query_option(
        "cookies", "1: the header `Cookie` has all cookies of the request except those of this service."
    ),
}
_ORIGINAL_URI = "The URI of the request that the proxy received. A token in it is a credential."
# Shorter than a ticket, and without the dots of a token.
_HARMLESS_NAME = re.compile(r"[A-Za-z0-9_\[\]-]{1,32}")


@links.post(f"{MODELER}/token/link")
@Call(id="make_link", body=LinkSchema, response=LinkResponse, errors=(NotFound,))
def link(fields: dict[str, Any]) -> Response:
    """Create a one-time link that signs a user in with a ticket instead of a token."""
    application, claims = application_and_claims(fields, current().caller.user.name)
    ticket = services().gate.make_ticket(application, claims, fields["next"], fields["ttl"])
    # Never from the Host header, which the caller chooses.
    url = f"{services().settings.public_url}{root_path()}/auth/enter?ticket={ticket}"
    return success(url=url, expire=fields["ttl"])


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
        refusal.retry_after = error.retry_after
        raise refusal from None
    if not _is_wanted(caller):
        raise Forbidden
    user = caller.user
    response = success()
    # All four, even empty, so that none that a client sends survives. No control characters: a record may be edited.
    for name, value in (
        ("Remote-User", user.name),
        ("Remote-Name", display_text(user.full_name)),
        ("Remote-Email", display_text(user.email)),
        ("Remote-Groups", ",".join(user.groups)),
    ):
        # WSGI's headers are bytes in the clothes of Latin-1 (PEP 3333); gunicorn fails on any other text.
        response.headers[name] = value.encode("utf-8").decode("latin-1")
    if _option("cookies"):
        # For proxies that copy response headers into the request: also when empty, in place of the client's.
        sent = current().environ.get("HTTP_COOKIE", "")
        response.headers["Cookie"] = cookies.without(sent, (GATE_COOKIE,), (SESSION_COOKIE,))
    if caller.way == "url" and caller.verdict is not None:
        _keep(response, caller.verdict)
    return response


def _keep(response: Response, verdict: Verification) -> None:
    """Let the token in the URL become the browser's session, where no page becomes half of one user by it.

    A navigation shows a page of the token's user, whose images and scripts come with the cookie: it replaces
    another user's session, or is refused. Any other request is a part of a page that is there already.
    """
    present = services().gate.find(gate_cookie())
    environ = current().environ
    navigates, ahead = forwarded.is_navigation(environ), forwarded.is_prefetch(environ)
    others = present is not None and not _is_same(present, verdict)
    if others:
        _refuse_mixtures(navigates=navigates, ahead=ahead)
        if not navigates:
            return
    if not _outlives(verdict, present.expires if present is not None and not others else services().clock()):
        if others:
            raise InvalidToken(reason="expired: it cannot replace the session of another user")
        return
    try:
        cookie = services().gate.open(verdict, anew=navigates and not ahead)
    except StoreUnavailable as error:
        if others:
            raise
        # The page itself is good; on a disk that cannot be written its images are not.
        log.warning(logs.event(event="gate session not kept", reason=error.reason))
        return
    if cookie is not None:
        set_gate_cookie(response, cookie)
    elif ahead:
        raise Forbidden("a preview does not sign in again")
    elif others:
        raise NotAuthenticated


def _refuse_mixtures(*, navigates: bool, ahead: bool) -> None:
    """Refuse a page of the token's user whose parts would come with the cookie of another user."""
    if ahead:
        # The other user's page is still the one that is shown. After an error, browsers ask again when they go there.
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
    pairs = _pairs()
    _refuse_previews()
    tokens = tokens_among(pairs)
    if "ticket" in fields:
        if tokens:
            refuse_several_tokens()
        _refuse_lost_parameters(pairs)
        _refuse_parts_of_pages(None)
        current().way = "ticket"
        redeemed = services().gate.redeem(fields["ticket"])
        if redeemed is None:
            name = services().signin.identifiers.of_text(fields["ticket"])
            is_first = services().audit.record(Event(kind=Kind.SIGN_IN_REFUSED, reason="ticket", token=name))
            reason = "ticket: unknown, used, too old, or its application or user is gone"
            raise InvalidToken(reason=reason if is_first else None)
        cookie, target = redeemed
        services().metrics.signed_in("ticket", "accepted")
    else:
        if not tokens:
            raise NotAuthenticated
        _refuse_lost_parameters(pairs)
        cookie, target = _entered(url_caller(tokens)), fields["next"]
    response = success()
    response.status_code = 303
    response.headers["Location"] = iri_to_uri(target)
    set_gate_cookie(response, cookie)
    return response


def _entered(caller: Caller) -> str:
    """The cookie that the token in the URL becomes."""
    verdict = caller.verdict
    if verdict is None or not _outlives(verdict, services().clock()):
        raise InvalidToken(reason="expired: a session of it would be over at once")
    _refuse_parts_of_pages(verdict)
    with services().audit.change() as record:
        name = caller.application.name if caller.application else None
        record(Event(kind=Kind.SIGN_IN, application=name, user=caller.user.name, token=caller.token))
        cookie = services().gate.open(verdict, anew=True)
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
    _refuse_lost_parameters(_pairs())
    request = current()
    if request.method != "POST" and (
        request.method == "HEAD" or is_cross_site() or forwarded.is_prefetch(request.environ)
    ):
        # From elsewhere, anybody could sign people out.
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


def _pairs() -> list[tuple[str, str]]:
    """Return the parameters of the query, in their order."""
    return parse_qsl(current().query_string.decode("latin-1"), keep_blank_values=True, errors="replace")


def _refuse_lost_parameters(pairs: Sequence[tuple[str, str]]) -> None:
    """Refuse a ``next`` with a query that was not percent-encoded: its further parameters are not parts of it."""
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
    """Refuse who only looks at a link, for a preview or ahead of a click, and what is a part of a page.

    A preview would use a one-time link up, or change who is signed in while another user's page is shown.
    """
    request = current()
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        raise Forbidden("only going to a page signs in here")
    if request.method == "HEAD" or forwarded.is_prefetch(request.environ):
        raise Forbidden("a preview of a link does not sign in")


def _refuse_parts_of_pages(verdict: Verification | None) -> None:
    """Refuse what is no navigation where it would replace another user's session; ``None``: whose is not known.

    Every browser sends ``Accept``; what sends none is a program, which has no page that could be mixed.
    """
    environ = current().environ
    if "HTTP_ACCEPT" not in environ or forwarded.is_navigation(environ):
        return
    present = services().gate.find(gate_cookie())
    if present is not None and (verdict is None or not _is_same(present, verdict)):
        raise Forbidden("only going to a page signs in here")


def _is_wanted(caller: Caller) -> bool:
    """Whether the caller has one of the roles, types and applications that the check's own URL asks for, if any."""
    request = current()
    if not request.environ.get("QUERY_STRING"):
        return True
    unknown = [name for name in request.args if name not in (*_REQUIREMENTS, *_OPTIONS)]
    unknown += [name for name in _OPTIONS if not set(request.args.getlist(name)) <= {"0", "1"}]
    if unknown:
        # A misspelled requirement must not let everybody in.
        _warn_of_unknown(unknown)
        return False
    roles, types = request.args.getlist("role"), request.args.getlist("type")
    applications = {fold(name) for name in request.args.getlist("application")}
    by = fold(caller.application.name) if caller.application else None
    return (
        (not roles or not set(caller.user.groups).isdisjoint(roles))
        and (not types or caller.user.type in types)
        and (not applications or by in applications)
    )


def _warn_of_unknown(names: Sequence[str]) -> None:
    """Log the names of requirements that the check does not know, but no value, and no name that may be a token.

    A proxy that passes on the visitor's query makes requirements of whatever is in it.
    """
    harmless = [name for name in names if _HARMLESS_NAME.fullmatch(name)]
    listed = ", ".join(harmless[:5] + ["..."] * (len(harmless) > 5)) or "(too long, or not plain text)"
    known = ", ".join((*_REQUIREMENTS, *(f"{name}=1" for name in _OPTIONS)))
    log.warning(logs.event(event="unknown requirement in the URL of the check", requirement=listed, known=known))


def _option(name: str) -> bool:
    """Return whether an option is switched on in the check's own query."""
    request = current()
    return bool(request.environ.get("QUERY_STRING")) and request.args.getlist(name) == ["1"]


def error_response(status: int, message: str, members: Mapping[str, Any]) -> Response | None:
    """Return what stands for an error of these calls in a browser; ``None``: the usual envelope."""
    del members
    request = current()
    if request.endpoint == "gate.check":
        return _redirect_to_sign_in() if status == NotAuthenticated.status else None
    return error_page(status, message) if forwarded.accepts_html(request.environ) else None


def _redirect_to_sign_in() -> Response | None:
    """Return a redirect of a page's request to ``SIGN_IN_URL``, where that is wanted and leads on."""
    request = current()
    url, environ = services().settings.sign_in_url, request.environ
    if not url or not _option("redirect") or not forwarded.is_navigation(environ):
        return None
    if forwarded.is_request_for(environ, url, {request.host, environ.get("HTTP_X_FORWARDED_HOST", "")}):
        # The page for signing in is itself behind the check: the browser would go in circles.
        log.warning(logs.event(event="SIGN_IN_URL is behind the check", advice="exempt its path from the check"))
        return None
    secrets = {*services().registry.index(thorough=False).token_names, "ticket"}
    response = Response(status=302)
    response.headers["Location"] = forwarded.with_next(url, forwarded.way_back(environ, secrets))
    return response


def _is_same(present: GateSession, verdict: Verification) -> bool:
    """Return whether a session and a token are of one user, by one application: all requirements see them alike."""
    same_user = verdict.user is not None and fold(present.user.name) == fold(verdict.user.name)
    return same_user and verdict.application is not None and present.application.name == verdict.application.name


def _outlives(verdict: Verification, moment: float) -> bool:
    """Whether what an application vouches for lasts beyond ``moment``: a token may live on in the leeway only."""
    return verdict.token is not None and verdict.token.expires > moment


@blueprint.record
def _add_check(state: BlueprintSetupState) -> None:
    # By hand: a route of Flask's always has a list of methods, and a proxy may ask with any.
    state.app.url_map.add(Rule(f"{state.url_prefix or ''}/auth/check", endpoint="gate.check"))
    state.app.view_functions["gate.check"] = check
