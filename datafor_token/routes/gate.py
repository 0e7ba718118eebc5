"""In front of other applications: a proxy asks who is calling, a link becomes a cookie.

None of these answers tells a browser to ask for a password.
"""

import logging

from flask import Blueprint, Response, g, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import Rule
from werkzeug.urls import iri_to_uri

from datafor_token import logs
from datafor_token.auth import GATE_COOKIE, Caller, administrator_required, gate_caller, gate_cookie, url_caller
from datafor_token.errors import Forbidden, InvalidToken, NotAuthenticated, StoreUnavailable, TooManyAttempts
from datafor_token.events import Event, Kind, fingerprint
from datafor_token.names import display_text, fold
from datafor_token.responses import success
from datafor_token.routes.inputs import fields_of_body, fields_of_query, whom_to_vouch_for
from datafor_token.routes.paths import MODELER, root_path
from datafor_token.schemas import LinkSchema, NextSchema
from datafor_token.services import services
from datafor_token.verdicts import Verdict

log = logging.getLogger(__name__)
blueprint = Blueprint("gate", __name__)
links = Blueprint("links", __name__)
_link, _next = LinkSchema(), NextSchema()


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
    if request.args.keys() - {"role", "type", "application"}:
        # A misspelled condition must not let everybody in.
        # Their names stay out of the log: a token may be among them.
        log.error(logs.event(event="the check's URL has unknown parameters", known="role type application"))
        return False
    roles, types = request.args.getlist("role"), request.args.getlist("type")
    applications = {fold(name) for name in request.args.getlist("application")}
    by = fold(caller.application.name) if caller.application else None
    return (
        (not roles or not {caller.user.type, *caller.user.roles}.isdisjoint(roles))
        and (not types or caller.user.type in types)
        and (not applications or by in applications)
    )


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
    # By hand: a route of Flask's always has a list of methods, and a proxy may ask with any.
    state.app.url_map.add(Rule(f"{state.url_prefix or ''}/auth/check", endpoint="gate.check"))
    state.app.view_functions["gate.check"] = check
