"""In front of other applications: a proxy asks who is calling, a link becomes a cookie.

None of these answers tells a browser to ask for a password.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, g, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Rule
from werkzeug.urls import iri_to_uri

from datafor_token import cookies, forwarded, logs
from datafor_token.auth import (
    GATE_COOKIE,
    SESSION_COOKIE,
    Caller,
    administrator_required,
    gate_caller,
    gate_cookie,
    url_caller,
)
from datafor_token.errors import Forbidden, InvalidToken, NotAuthenticated, StoreUnavailable, TooManyAttempts
from datafor_token.events import Event, Kind, fingerprint
from datafor_token.names import display_text, fold
from datafor_token.responses import answer_errors_as, success
from datafor_token.routes.inputs import fields_of_body, fields_of_query, whom_to_vouch_for
from datafor_token.routes.paths import MODELER, root_path
from datafor_token.schemas import LinkSchema, NextSchema
from datafor_token.services import services
from datafor_token.verdicts import Verdict

log = logging.getLogger(__name__)
blueprint = Blueprint("gate", __name__)
links = Blueprint("links", __name__)
_link, _next = LinkSchema(), NextSchema()
# What the check's own query may have: conditions, each with its values, and options, which are 1 or 0.
_REQUIREMENTS, _OPTIONS = ("role", "type", "application"), ("redirect", "cookies")
# Shorter than a ticket, and without the dots of a token.
_HARMLESS_NAME = re.compile(r"[A-Za-z0-9_\[\]-]{1,32}")


@links.post(f"{MODELER}/token/link")
@administrator_required
def link() -> Response:
    """A link that signs somebody in once: a random ticket instead of a token."""
    wanted = fields_of_body(_link)
    application, claims = whom_to_vouch_for(wanted, g.caller.user.name)
    ticket = services().gate.make_ticket(application, claims, wanted["next"], wanted["ttl"])
    # Never from the Host header, which the caller chooses.
    url = f"{services().settings.public_url}{root_path()}/auth/enter?ticket={ticket}"
    return success(url=url, expire=wanted["ttl"])


def check() -> Response:
    """Forward authentication: who sent the request that a proxy asks about, in headers for the application behind.

    200, 401, 403, or 503 in an outage: a proxy takes anything else for a fault.
    """
    try:
        caller = gate_caller()
    except TooManyAttempts as error:
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
        ("Remote-Groups", ",".join(display_text(group) for group in (user.type, *user.roles))),
    ):
        # WSGI's headers are bytes in the clothes of Latin-1 (PEP 3333); gunicorn fails on any other text.
        response.headers[name] = value.encode("utf-8").decode("latin-1")
    if _option("cookies"):
        # For proxies that copy response headers into the request: also when empty, in place of the client's.
        header = request.environ.get("HTTP_COOKIE", "")
        response.headers["Cookie"] = cookies.without(header, (GATE_COOKIE, SESSION_COOKIE))
    if caller.way == "url" and caller.verdict is not None and _may_replace_session(caller.verdict):
        try:
            _set_cookie(response, services().gate.open(caller.verdict, instead_of=gate_cookie()))
        except StoreUnavailable as error:
            # The page itself is good; on a disk that cannot be written its images are not.
            log.warning(logs.event(event="gate session not kept", reason=error.reason))
    return response


@blueprint.get("/auth/enter")
def enter() -> Response:
    """A token or ticket in the URL becomes a cookie, and the browser goes on to a clean address."""
    wanted = fields_of_query(_next)
    _refuse_previews(with_ticket="ticket" in wanted)
    if "ticket" in wanted:
        g.way = "ticket"
        redeemed = services().gate.redeem(wanted["ticket"], instead_of=gate_cookie())
        if redeemed is None:
            refusal = Event(kind=Kind.SIGN_IN_REFUSED, reason="ticket", token=fingerprint(wanted["ticket"]))
            is_first = services().audit.note(refusal)
            reason = "ticket: unknown, used, too old, or its application or user is gone"
            raise InvalidToken(reason=reason if is_first else None)
        cookie, target = redeemed
        services().metrics.signed_in("ticket", "accepted")
    else:
        caller = url_caller([(name, value) for name, value in request.args.items(multi=True) if name != "next"])
        cookie, target = _entered(caller), wanted["next"]
    response = success()
    response.status_code = 303
    response.headers["Location"] = iri_to_uri(target)
    _set_cookie(response, cookie)
    return response


def _entered(caller: Caller) -> str:
    """The cookie that the token in the URL becomes."""
    verdict = caller.verdict
    if verdict is None or not _outlives(verdict, services().clock()):
        raise InvalidToken(reason="expired: a session of it would be over at once")
    with services().audit.change() as record:
        name = caller.application.name if caller.application else None
        record(Event(kind=Kind.SIGN_IN, application=name, user=caller.user.name, token=caller.token))
        return services().gate.open(verdict, instead_of=gate_cookie())


def _refuse_previews(*, with_ticket: bool) -> None:
    """Whoever only looks at a link, for a preview or ahead of a click, must not use it up; an image is no page."""
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate":
        raise Forbidden("only going to a page signs in here")
    purposes = " ".join(request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"))
    looks_ahead = any(word in purposes.lower() for word in ("prefetch", "prerender", "preview"))
    if with_ticket and (request.method == "HEAD" or looks_ahead):
        raise Forbidden("a one-time link is not used up by a preview")


def _is_wanted(caller: Caller) -> bool:
    """Whether the caller has one of the roles, types and applications that the check's own URL asks for, if any."""
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
        (not roles or not {caller.user.type, *caller.user.roles}.isdisjoint(roles))
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
    return bool(request.environ.get("QUERY_STRING")) and request.args.getlist(name) == ["1"]


def _error(status: int, message: str, members: Mapping[str, Any]) -> Response | None:
    """Return what stands for an error of these calls in a browser; ``None``: the usual envelope."""
    del message, members
    if status == NotAuthenticated.status and request.endpoint == "gate.check":
        return _redirect_to_sign_in()
    return None


def _redirect_to_sign_in() -> Response | None:
    """Return a redirect of a page's request to ``SIGN_IN_URL``, where that is wanted and leads on."""
    url, environ = services().settings.sign_in_url, request.environ
    if not url or not _option("redirect") or not forwarded.is_navigation(environ):
        return None
    if forwarded.is_request_for(environ, url, {request.host, environ.get("HTTP_X_FORWARDED_HOST", "")}):
        # The page for signing in is itself behind the check: the browser would go in circles.
        log.warning(logs.event(event="SIGN_IN_URL is behind the check", advice="exempt its path from the check"))
        return None
    secrets = {*services().registry.all(thorough=False).token_names, "ticket"}
    response = Response(status=302)
    response.headers["Location"] = forwarded.with_next(url, forwarded.way_back(environ, secrets))
    return response


def _may_replace_session(verdict: Verdict) -> bool:
    """Whether a token in the URL becomes the browser's session: only if it lasts longer, and not another's.

    An image with a foreign token must not swap users; only somebody who goes to a page does.
    """
    present = services().gate.find(gate_cookie())
    if present is None:
        return _outlives(verdict, services().clock())
    if verdict.user is not None and fold(present.user.name) != fold(verdict.user.name):
        return request.headers.get("Sec-Fetch-Mode") == "navigate" and _outlives(verdict, services().clock())
    return _outlives(verdict, present.expires)


def _outlives(verdict: Verdict, moment: float) -> bool:
    """Whether what an application vouches for lasts beyond ``moment``: a token may live on in the leeway only."""
    return verdict.vouched is not None and verdict.vouched.expires > moment


def _set_cookie(response: Response, cookie: str) -> None:
    samesite = services().settings.gate_samesite
    across_sites = samesite == "None"
    response.set_cookie(
        GATE_COOKIE,
        cookie,
        path="/",
        httponly=True,
        samesite=samesite,
        # Browsers take such a cookie over https only, and keep it for each embedding site apart.
        secure=across_sites or request.is_secure,
        partitioned=across_sites,
    )


@blueprint.record
def _add_check(state: BlueprintSetupState) -> None:
    answer_errors_as(state.app, blueprint.name, _error)
    # By hand: a route of Flask's always has a list of methods, and a proxy may ask with any.
    state.app.url_map.add(Rule(f"{state.url_prefix or ''}/auth/check", endpoint="gate.check"))
    state.app.view_functions["gate.check"] = check
