"""API calls of the gate for browsers: sign-in by link, and sign-out.

No response of these calls makes a browser ask for a password.
"""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from flask import Blueprint, Response
from werkzeug.urls import iri_to_uri

from datafor_token.audit.events import Event, Kind
from datafor_token.errors import CookieNotSent, Forbidden, InvalidInput, InvalidToken, Message, NotAuthenticated
from datafor_token.gate import forwarded
from datafor_token.gate.gate import NotAccepted, expires_after
from datafor_token.requests.gate_schemas import LeaveSchema, NextSchema
from datafor_token.tokens.verification import Verification
from datafor_token.web import proxies
from datafor_token.web.api.gate_cookies import end_gate_session, set_gate_cookie
from datafor_token.web.api.gate_pages import ask_page, signed_in_page, signed_out_page
from datafor_token.web.api.gate_targets import ENTER, LEAVE, is_own_page, own_url, without_token
from datafor_token.web.auth import (
    all_gate_cookies,
    client_address,
    gate_cookies,
    gate_session,
    is_cross_site,
    record_refusal,
    refuse_expiring,
    refuse_several_tokens,
    tokens_among,
    url_caller,
)
from datafor_token.web.current import Caller, current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.responses import revalidated, success
from datafor_token.web.services import services

blueprint = Blueprint("gate", __name__)
_EMBED_SCRIPT = Path(__file__).parent.parent / "embed" / "embed.js"


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
    _refuse_previews()
    tokens = tokens_among(_query())
    if fields["arrived"] and not tokens and "ticket" not in fields:
        return _redirect_with_cookie(without_token(fields["next"]))
    if "ticket" in fields:
        if tokens:
            refuse_several_tokens()
        refuse_lost_parameters()
        _refuse_parts_of_pages(None)
        current().way = "ticket"
        name = services().signin.identifiers.of_text(fields["ticket"])
        try:
            redeemed = services().gate.redeem(fields["ticket"], proxies.client)
        except NotAccepted as refusal:
            verification = refusal.verification
            record_refusal(verification, name)
            raise InvalidToken(reason=verification.reason, log_detail=verification.steps[-1].detail) from None
        if redeemed is None:
            services().audit.record(Event(kind=Kind.SIGN_IN_REFUSED, reason="ticket", token=name))
            raise InvalidToken(reason="ticket", log_detail="unknown, used, too old, or its application is gone")
        cookie, target = redeemed
        services().metrics.signed_in("ticket", "accepted")
    else:
        if tokens:
            refuse_lost_parameters()
        cookie, target = _open_session_of(url_caller(_query())), fields["next"]
    target = without_token(target)
    return redirect_signed_in(cookie, own_url(f"{ENTER}?arrived=1", target) if _may_go_in_a_circle(target) else target)


def _may_go_in_a_circle(target: str) -> bool:
    """Return whether a page of another host, such as a portal, sent a browser here that has sent no gate cookie yet.

    If it refuses the cookie, the check would send it to the portal, and the portal back here. So it comes back here
    first.
    """
    is_sent = current().environ.get("HTTP_SEC_FETCH_SITE") in ("cross-site", "same-site")
    return is_sent and not gate_cookies() and not is_own_page(target)


def redirect_signed_in(cookie: str, url: str) -> Response:
    """Set the gate cookie, and redirect to ``url``."""
    response = _redirect(url)
    set_gate_cookie(response, cookie)
    return response


def _redirect_with_cookie(target: str) -> Response:
    """Redirect a browser that was just signed in to ``target``; raise ``CookieNotSent`` if it sends no cookie."""
    if gate_session() is None:
        raise CookieNotSent
    return _redirect(target)


def _redirect(url: str) -> Response:
    response = success()
    response.status_code = 303
    response.headers["Location"] = iri_to_uri(url)
    return response


def _open_session_of(caller: Caller) -> str:
    """Open a gate session for the token in the URL, and return its cookie."""
    verdict = caller.verdict
    if verdict is None or verdict.token is None:
        raise InvalidToken
    if not expires_after(verdict, services().clock()):
        refuse_expiring(caller, Message("the token expires too soon for a session"))
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
    refuse_lost_parameters()
    request = current()
    if request.method != "POST" and (
        request.method == "HEAD" or is_cross_site() or forwarded.is_prefetch(request.environ)
    ):
        # Otherwise any site could sign its visitors out.
        return ask_page() if _may_have_session() else signed_out_page()
    target = without_token(fields["next"]) if "next" in fields else services().settings.sign_out_url
    if forwarded.is_in_frame(request.environ):
        # The page around the frame must learn of the sign-out, or it would sign in again.
        response = signed_out_page()
        if "next" in fields and not is_own_page(target, LEAVE):
            response.headers["Refresh"] = f"0; url={iri_to_uri(target)}"
    elif target and not is_own_page(target, LEAVE):
        response = _redirect(target)
    else:
        response = signed_out_page() if forwarded.accepts_html(request.environ) else success()
    end_gate_session(response)
    return response


def _may_have_session() -> bool:
    """Return whether the browser may have a gate cookie; from another site it does not always send it."""
    environ = current().environ
    is_withheld = forwarded.is_in_frame(environ) or services().settings.gate_samesite == "Strict"
    return is_withheld or not forwarded.is_navigation(environ) or bool(all_gate_cookies())


@blueprint.get("/auth/frame")
@Call(
    id="show_frame",
    access=Access.ANYONE,
    response=None,
    content_types=("text/html",),
)
def frame() -> Response:
    """Show whether the gate session is valid, also to the page around this one in a frame.

    Its script sends that page a message: `{source: "datafor_token", state: "signed_in", expires_in, user}`, where
    `expires_in` is the number of seconds after which the session ends and `user` tells two users apart, or
    `{source: "datafor_token", state: "signed_out"}`.
    """
    session = gate_session()
    return signed_out_page() if session is None else signed_in_page(session)


@blueprint.get("/embed.js")
@Call(
    id="get_embed_script",
    access=Access.ANYONE,
    response=None,
    content_types=("text/javascript",),
    statuses=(200, 304),
    headers=("ETag",),
    stateless=True,
)
def embed_script() -> Response:
    """Get the script with which a page of another site shows pages behind the gate in frames."""
    response = revalidated(_EMBED_SCRIPT.read_bytes(), "text/javascript; charset=utf-8", "default-src 'none'")
    # A page may require it of all that it loads from other sites (Cross-Origin-Embedder-Policy).
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _query() -> list[tuple[str, str]]:
    """Return the parameters of the query, in their order."""
    return parse_qsl(current().query_string.decode("latin-1"), keep_blank_values=True, errors="replace")


def refuse_lost_parameters() -> None:
    """Refuse a ``next`` with a query that was not percent-encoded: it would lose its further parameters."""
    pairs = _query()
    names = [name for name, _ in pairs]
    behind = pairs[names.index("next") :] if "next" in names else []
    if not behind or "?" not in behind[0][1]:
        return
    known = services().registry.index().token_names
    if any(name not in known and name not in ("next", "ticket", "arrived") for name, _ in behind):
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
    if present is not None and (verdict is None or not present.is_same_sign_in(verdict)):
        raise Forbidden("only going to a page signs in here")
