"""API call ``auth/check``: forward authentication for a reverse proxy."""

import logging
from urllib.parse import quote

from flask import Response
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Rule

from datafor_token.errors import (
    Forbidden,
    Message,
    NotAuthenticated,
    Overloaded,
    StoreUnavailable,
    TooManyAttempts,
)
from datafor_token.gate import check_options, forwarded
from datafor_token.gate.assertions import HEADER as ASSERTION
from datafor_token.gate.check_options import LONGEST_AUDIENCE, PERCENT, CheckOptions
from datafor_token.gate.gate import expires_after
from datafor_token.tokens.steps import listed
from datafor_token.tokens.verification import Verification
from datafor_token.users.users import User
from datafor_token.validation import logs
from datafor_token.validation.names import USER_TYPES, display_text, fold
from datafor_token.web import cookies
from datafor_token.web.api import gate_frames
from datafor_token.web.api.gate import blueprint
from datafor_token.web.api.gate_cookies import set_gate_cookie
from datafor_token.web.auth import (
    GATE_COOKIE,
    SESSION_COOKIE,
    client_address,
    gate_caller,
    gate_session,
    record_refused_access,
    refuse_expiring,
)
from datafor_token.web.current import Caller, current
from datafor_token.web.openapi.call import Access, Call, header, query_list, query_option, query_text
from datafor_token.web.responses import success
from datafor_token.web.services import services

log = logging.getLogger(__name__)
# Reasons for the log.
_NOT_MET = "a requirement of the check is not met"
_UNKNOWN_REQUIREMENT = "unknown requirement in the URL of the check"
_ORIGINAL_URI = "The URI of the request that the proxy received. A token in it is a credential."
_PARAMETERS = (
    query_list("role", "A role that the user must have, or a user type.", {"type": "string", "minLength": 1}),
    query_list("type", "The user type that the user must have.", {"enum": list(USER_TYPES)}),
    query_list("application", "The application that signed the user in.", {"type": "string", "minLength": 1}),
    query_option("redirect", "1: for a page, the response is 302 to `SIGN_IN_URL` instead of 401."),
    query_option("cookies", "1: the header `Cookie` has all cookies of the request except those of this service."),
    query_option("ignore_authorization", "1: the header `Authorization` belongs to the application behind the proxy."),
    query_option("refused", "1: the proxy asks for the page of a refusal, so the response is 503 instead of 200."),
    query_text(
        "header",
        "A header such as `X-Api-Token` whose value is a token; it comes before other credentials. None that proxies"
        " or browsers set.",
        pattern="^[Xx]-[A-Za-z0-9][A-Za-z0-9-]{0,61}$",
    ),
    query_text("headers", "`percent`: the identity headers are percent-encoded (RFC 3986).", enum=[PERCENT]),
    query_text("aud", "The audience of the signed identity.", minLength=1, maxLength=LONGEST_AUDIENCE),
    header("X-Original-URI", _ORIGINAL_URI),
    header("X-Original-URL", _ORIGINAL_URI),
    header("X-Forwarded-Uri", _ORIGINAL_URI),
)


@Call(
    id="check",
    access=Access.GATE,
    parameters=_PARAMETERS,
    headers=(
        "Remote-User",
        "Remote-Name",
        "Remote-Email",
        "Remote-Groups",
        ASSERTION,
        "Cookie",
        "Set-Cookie",
        "Content-Security-Policy",
    ),
)
def check() -> Response:
    """Authenticate the request that a proxy received, and return the user in headers.

    The status is 200, 401 or 403, or 503 in an outage. Proxies treat any other status as an error.
    """
    options = check_options.parse(current().environ.get("QUERY_STRING", ""))
    if options.unknown:
        # A misspelled requirement must not admit everyone.
        record_refused_access("unknown_requirement")
        raise Forbidden(reason=_UNKNOWN_REQUIREMENT, log_detail=check_options.describe(options.unknown))
    try:
        caller = gate_caller(options)
    except (TooManyAttempts, Overloaded) as error:
        refusal = NotAuthenticated(error.message)
        refusal.retry_after, refusal.reason = error.retry_after, error.reason
        raise refusal from None
    unmet = _unmet_requirement(caller, options)
    if unmet is not None:
        record_refused_access("requirement", unmet)
        raise Forbidden(reason=_NOT_MET)
    response = success()
    _add_identity(response, caller.user, options)
    policy = gate_frames.policy_of_check(caller.application)
    if policy is not None:
        response.headers.add("Content-Security-Policy", policy)
    if services().settings.gate_assertion:
        response.headers.add(ASSERTION, services().assertions.of(caller.user, options.audience))
    if options.cookies:
        # For proxies that copy response headers into the request; also if empty, to replace the client's header.
        sent = current().environ.get("HTTP_COOKIE", "")
        response.headers["Cookie"] = cookies.without(sent, (GATE_COOKIE,), (SESSION_COOKIE,))
    if caller.way == "url" and caller.verdict is not None:
        _open_gate_session(response, caller, caller.verdict)
    if options.refused:
        # The first response was another one. A browser must not be shown this one: it has the identity of the user.
        raise Overloaded("the request is accepted now: send it again")
    return response


def _unmet_requirement(caller: Caller, options: CheckOptions) -> Message | None:
    """Return why the caller does not meet the requirements in the check's own query, or ``None``."""
    user = caller.user
    if options.roles and options.roles.isdisjoint(user.groups):
        return Message(
            "the check requires the role %(roles)s; %(user)s has %(groups)s",
            roles=_any_of(options.roles),
            user=user.name,
            groups=listed(user.groups),
        )
    if options.types and user.type not in options.types:
        return Message(
            "the check requires the user type %(types)s; %(user)s is %(type)s",
            types=_any_of(options.types),
            user=user.name,
            type=user.type,
        )
    by = caller.application.name if caller.application else None
    if options.applications and (by is None or fold(by) not in options.applications):
        return Message(
            "the check requires a sign-in by the application %(names)s; %(user)s signed in by %(name)s",
            names=_any_of(options.applications),
            user=user.name,
            name=Message("password") if by is None else by,
        )
    return None


def _any_of(values: frozenset[str]) -> str:
    return listed([value[:64] for value in sorted(values)])


def _add_identity(response: Response, user: User, options: CheckOptions) -> None:
    """Add the user to the headers of a response.

    All four are sent, also if empty, so that they replace those of a client. A record that was edited by hand can have
    control characters.
    """
    for name, value, separator in (
        ("Remote-User", user.name, ""),
        ("Remote-Name", display_text(user.full_name), ""),
        ("Remote-Email", display_text(user.email), ""),
        # The name of a group has no comma.
        ("Remote-Groups", ",".join(user.groups), ","),
    ):
        text = quote(value, safe=separator) if options.percent else value
        # WSGI headers are bytes decoded as Latin-1 (PEP 3333).
        # ``add`` takes half the time of an assignment, which looks for a header of the same name.
        response.headers.add(name, text.encode("utf-8").decode("latin-1"))


def _open_gate_session(response: Response, caller: Caller, verdict: Verification) -> None:
    """Open a gate session for the token in the URL, unless a page would then mix two users.

    A navigation shows a page of the token's user, whose images and scripts are requested with the cookie. Therefore a
    navigation replaces another user's session, or is refused. Any other request belongs to a page that is open.
    """
    present = gate_session()
    environ = current().environ
    navigates, prefetches = forwarded.is_navigation(environ), forwarded.is_prefetch(environ)
    others = present is not None and not present.is_same_sign_in(verdict)
    if others:
        _refuse_mixed_pages(navigates=navigates, prefetches=prefetches)
        if not navigates:
            return
    keeps = present is not None and not others and not present.is_outlived_by(verdict)
    if keeps or not expires_after(verdict, services().clock()):
        if others:
            refuse_expiring(caller, Message("the token expires too soon to replace the session of another user"))
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


@blueprint.record
def _add_check(state: BlueprintSetupState) -> None:
    # A route of Flask always has a list of methods, but a proxy may use any method.
    state.app.url_map.add(Rule(f"{state.url_prefix or ''}/auth/check", endpoint="gate.check"))
    state.app.view_functions["gate.check"] = check
