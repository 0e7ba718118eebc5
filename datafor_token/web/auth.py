"""Authentication of callers; no other module reads the credentials of a request.

The credentials are tried in this order: Basic, Bearer, a token in the URL, the session cookie. The first one that is
present decides: if it is invalid, the request is refused, whatever other credentials it has.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from flask import Flask

from datafor_token.audit.events import Event, Explanation, Kind
from datafor_token.errors import Forbidden, InvalidToken, Message, NotAuthenticated, NotFound, WrongPassword
from datafor_token.gate import forwarded
from datafor_token.gate.check_options import CheckOptions
from datafor_token.gate.gate import GateSession, NotAccepted
from datafor_token.tokens import identifiers, unreadable
from datafor_token.tokens.recorded_steps import explanation
from datafor_token.tokens.verification import Verification
from datafor_token.tokens.verifier import Step, failed
from datafor_token.users.users import User
from datafor_token.validation.names import fold
from datafor_token.web import cookies, proxies
from datafor_token.web.current import Caller, current
from datafor_token.web.services import services

SESSION_COOKIE = "JSESSIONID"
GATE_COOKIE = "datafor_gate"
_MOST_GATE_COOKIES = 4  # of one request: each is a look at its record
# The only call that changes something by GET: called from another site, it would sign users out.
_COUNTS_AS_POST = "sessions.logout"
# The check is about a request to another application, which decides itself about requests from other sites.
_NEVER_CROSS_SITE = "gate.check"
# A page that embeds an application may end its own sessions of it.
_ENDS_SESSIONS = "gate.leave"
# No space is required after the name of the scheme: without one, the credential is invalid, but not of another scheme.
_SCHEME = re.compile(r"\s*(?P<scheme>basic|bearer)(?![A-Za-z0-9-])(?P<credential>.*)", re.IGNORECASE | re.DOTALL)


def init_app(app: Flask) -> None:
    """Refuse cross-site requests before any call."""
    app.before_request(_refuse_cross_site)


def signed_in_caller() -> Caller:
    """Return the caller of an API call; raise ``NotAuthenticated`` without a valid credential."""
    pairs = _query_pairs()
    try:
        return _set_caller(_by_header() or _by_url(pairs) or _by_session())
    except NotAuthenticated as error:
        _check_parameters(error, pairs)
        raise


def user_or_caller(name: str | None) -> User:
    """Return the user of this name, or the caller without a name.

    Raises ``Forbidden`` for another user unless the caller is an Administrator, and then ``NotFound`` for an unknown
    one.
    """
    caller = current().caller
    if name is None or fold(name) == fold(caller.user.name):
        return caller.user
    if not caller.is_administrator:
        raise Forbidden
    found = services().users.get(name)
    if found is None:
        raise NotFound
    return found


def _query_pairs() -> list[tuple[str, str]]:
    request = current()
    return list(request.args.items(multi=True)) if request.environ.get("QUERY_STRING") else []


def gate_caller(options: CheckOptions) -> Caller:
    """Return the caller of a request that a proxy asks about, from the headers that the proxy passes on."""
    pairs = forwarded.query_pairs(current().environ)
    try:
        return _set_caller(
            (None if options.header is None else _by_named_header(options.header))
            or (None if options.ignore_authorization else _by_header())
            or _by_url(pairs)
            or _by_gate()
        )
    except NotAuthenticated as error:
        _check_parameters(error, pairs)
        raise


def _check_parameters(error: NotAuthenticated, pairs: Sequence[tuple[str, str]]) -> None:
    """Raise ``RecordDamaged`` instead of an error about no credential if a parameter may have been one."""
    if pairs and type(error) is NotAuthenticated:
        unreadable.check_parameters((value for _, value in pairs), services().registry.index())


def url_caller(pairs: Sequence[tuple[str, str]]) -> Caller:
    """Return the caller of a URL with a token; raise ``NotAuthenticated`` without a token.

    The sign-in is not recorded in the audit log: the caller of this function records it with the session it opens.
    """
    caller = _by_url(pairs, opens=True)
    if caller is None:
        error = NotAuthenticated()
        _check_parameters(error, pairs)
        raise error
    return _set_caller(caller)


def session_caller() -> Caller:
    """Return the caller of the session cookie, ignoring other credentials; raise ``NotAuthenticated`` without one."""
    return _set_caller(_by_session())


def client_address() -> str:
    """Return the client's normalized address (see ``addresses``), or empty text for a client of a Unix socket."""
    return current().remote_addr or ""


def session_cookie() -> str:
    """Return the session cookie of the request, or empty text."""
    return next(iter(_cookies(SESSION_COOKIE)), "")


def gate_cookies() -> list[str]:
    """Return the gate cookies of the request as the settings are now, without those of another domain."""
    return cookies.unmarked(_cookies(GATE_COOKIE), gate_cookie_domain())


def all_gate_cookies() -> list[str]:
    """Return the gate cookies of the request, also those that were set under other settings."""
    return cookies.without_marks(_cookies(GATE_COOKIE))


def gate_cookie_domain() -> str | None:
    """Return ``GATE_COOKIE_DOMAIN`` if the host of the request is in it, else ``None``."""
    domain = services().settings.gate_cookie_domain
    return cookies.domain_for(current().host, domain) if domain else None


def _cookies(name: str) -> list[str]:
    header = current().environ.get("HTTP_COOKIE")
    return cookies.values_of(header, name) if header else []


def _set_caller(caller: Caller) -> Caller:
    """Store the caller in the current request, for the views and the logs, and return it."""
    request = current()
    request.signed_in, request.username, request.way = caller, caller.user.name, caller.way
    if caller.application is not None:
        request.application_name = caller.application.name
    found = services()
    found.metrics.signed_in(caller.way, "accepted")
    found.activity.accepted(caller.user.name, None if caller.application is None else caller.application.name)
    return caller


def _by_header() -> Caller | None:
    """Return the caller of the header ``Authorization``, or None without one or for another scheme."""
    found = _SCHEME.match(current().environ.get("HTTP_AUTHORIZATION", ""))
    if found is None:
        return None
    credential = found["credential"].strip()
    if found["scheme"].lower() == "basic":
        current().way = "basic"
        return Caller(_by_password(credential), "basic")
    return _by_token(credential, None, "bearer")


def _by_named_header(name: str) -> Caller | None:
    """Return the caller of a header that has a token, with or without ``Bearer`` in front; None for an empty one."""
    sent = current().environ.get(name, "").strip(" \t")
    if not sent:
        return None
    found = _SCHEME.fullmatch(sent)
    return _by_token(
        found["credential"].strip() if found and found["scheme"].lower() == "bearer" else sent, None, "bearer"
    )


def _by_session() -> Caller:
    session = services().sessions.find(session_cookie())
    if session is None:
        raise NotAuthenticated
    return Caller(session.user, "session")


def gate_session() -> GateSession | None:
    """Return the gate session of the request, or None without one that is accepted from this client now."""
    try:
        return _find_gate_session()
    except NotAccepted:
        return None


def _find_gate_session() -> GateSession | None:
    """Return the session of the gate cookie; of several cookies, the session that was opened last.

    A browser sends several if one was set for another path or domain, or before ``GATE_SAMESITE`` changed. Raises
    ``NotAccepted``.
    """
    newest, refusal = None, None
    request = current()
    # Events about the session, such as ``rule_reported``, have this way.
    before, request.way = request.way, "gate"
    for cookie in gate_cookies()[:_MOST_GATE_COOKIES]:
        try:
            session = services().gate.find(cookie, proxies.client)
        except NotAccepted as error:
            refusal = error
            continue
        if session is not None and (newest is None or session.opened > newest.opened):
            newest = session
    request.way = before
    if newest is None and refusal is not None:
        raise refusal
    return newest


def _by_gate() -> Caller:
    try:
        admitted = _find_gate_session()
    except NotAccepted as refusal:
        current().way = "gate"
        verification = refusal.verification
        token = verification.identifier or ""
        # A session of an early version has a digest instead, which must not be logged.
        record_refusal(verification, None if identifiers.is_unkeyed(token) else identifiers.short(token) or None)
        # As without a session: a client with a copied cookie need not learn that it is valid elsewhere.
        raise NotAuthenticated(reason=verification.reason, log_detail=verification.steps[-1].detail) from None
    if admitted is None:
        raise NotAuthenticated
    return Caller(admitted.user, "gate", admitted.application)


def record_refusal(verification: Verification, identifier: str | None) -> None:
    """Record a refused session or ticket, whose token or ticket the audit log shows as ``identifier``."""
    name = verification.application.name if verification.application else None
    services().audit.record(
        Event(
            kind=Kind.SIGN_IN_REFUSED,
            reason=verification.reason,
            application=name,
            user=verification.username,
            token=identifier,
            explanation=explanation(verification.steps, identifier or ""),
        )
    )
    current().application_name = name


def refuse_expiring(caller: Caller, detail: Message) -> NoReturn:
    """Refuse an accepted token that expires too soon for a session."""
    name = caller.application.name if caller.application else None
    why = _explanation(caller, failed("time", lambda: detail))
    services().audit.record(
        Event(Kind.SIGN_IN_REFUSED, name, caller.user.name, token=caller.token, reason="expired", explanation=why)
    )
    raise InvalidToken(reason="expired", log_detail=detail)


def record_refused_access(reason: str, detail: Message | None = None) -> None:
    """Record that a requirement of the check refuses the request; ``reason`` is one of ``ACCESS_REASONS``."""
    caller = current().signed_in
    application = caller.application.name if caller and caller.application else None
    user = caller.user.name if caller else None
    why = None if detail is None or caller is None else _explanation(caller, failed("requirement", lambda: detail))
    services().audit.record(Event(Kind.ACCESS_REFUSED, application, user, reason=reason, explanation=why))


def _explanation(caller: Caller, last: Step) -> Explanation:
    """Return the explanation of a refusal after the sign-in, of which only the steps of this request are known."""
    before = () if caller.verdict is None else caller.verdict.steps
    return explanation([*before, last], last.detail)


def _by_password(credential: str) -> User:
    """Return the user of a Basic credential (RFC 7617): Base64 of name, colon and password, in UTF-8."""
    try:
        name, colon, password = base64.b64decode(credential, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        services().audit.record(Event(kind=Kind.SIGN_IN_REFUSED, reason="malformed"))
        raise WrongPassword(reason="malformed")
    return services().users.with_password(name, password, client_address())


def _by_token(token: str, token_name: str | None, way: Literal["bearer", "url"], *, opens: bool = False) -> Caller:
    """Return the caller of a token. With ``opens``, the view opens a session and records the sign-in with it."""
    current().way = way
    verdict = services().signin.sign_in(token, token_name, proxies.client)
    if verdict.cached and verdict.user is not None and not opens:
        return Caller(verdict.user, way, verdict.application, verdict)
    name = verdict.application.name if verdict.application else None
    about: dict[str, Any] = {
        "application": name,
        "user": verdict.username,
        "token": services().signin.audit_identifier(token, verdict),
    }
    if verdict.user is None or verdict.token is None:
        why = services().refused_tokens.explanation(token, token_name, verdict)
        services().audit.record(Event(kind=Kind.SIGN_IN_REFUSED, reason=verdict.reason, explanation=why, **about))
        current().application_name = name
        # Before the signature is verified, a detail can have values that anybody sent.
        raise InvalidToken(reason=verdict.reason, log_detail=verdict.steps[-1].detail if verdict.identifier else None)
    if not opens:
        services().audit.record(Event(kind=Kind.SIGN_IN, audience=verdict.token.unnamed_audiences, **about))
    return Caller(verdict.user, way, verdict.application, verdict, about["token"])


def _by_url(pairs: Sequence[tuple[str, str]], *, opens: bool = False) -> Caller | None:
    """Return the caller of a token in the URL. Only applications with the parameter's ``token_name`` verify it."""
    tokens = tokens_among(pairs)
    if not tokens:
        return None
    if len(tokens) > 1:
        refuse_several_tokens()
    name, token = tokens[0]
    return _by_token(token, name, "url", opens=opens)


def tokens_among(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the parameters whose name is the ``token_name`` of an enabled application."""
    if not pairs:
        return []
    registry = services().registry
    for thorough in (False, True):
        names = registry.index(thorough=thorough).by_token_name
        tokens = [(name, token) for name, token in pairs if name in names]
        if tokens:
            return tokens
    return []


def refuse_several_tokens() -> NoReturn:
    """Refuse a URL with more than one credential, as it is not known which one is intended."""
    current().way = "url"
    services().audit.record(Event(kind=Kind.SIGN_IN_REFUSED, reason="several_tokens"))
    raise InvalidToken(reason="several_tokens")


def _refuse_cross_site() -> None:
    """Refuse a POST that a browser sent from another site, whatever credential it has."""
    request = current()
    environ, endpoint = request.environ, request.endpoint
    if (environ["REQUEST_METHOD"] != "POST" and endpoint != _COUNTS_AS_POST) or endpoint == _NEVER_CROSS_SITE:
        return
    if is_cross_site() and not (endpoint == _ENDS_SESSIONS and _is_from_embedder()):
        raise Forbidden("a request from another site is not accepted", log_detail=describe_sender())


def _is_from_embedder() -> bool:
    """Return whether a page whose origin may embed the application of the gate session sent the request."""
    session = gate_session()
    application = session.application if session else None
    return application is not None and current().environ.get("HTTP_ORIGIN") in (application.origins or ())


def is_cross_site() -> bool:
    """Return whether a browser sent the request from another site.

    A request with a Bearer token is not: a script sent it on purpose, no browser adds one.
    """
    request = current()
    environ = request.environ
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is None and origin is None:
        return False
    found = _SCHEME.match(environ.get("HTTP_AUTHORIZATION", ""))
    if found is not None and found["scheme"].lower() == "bearer":
        return False
    if origin in services().settings.cors_origins:
        return False
    return site not in ("same-origin", "none") if site is not None else (origin or "").lower() not in _own_origins()


def describe_sender() -> str:
    """Describe for the log which site a browser named as the sender, and which was expected.

    If a proxy does not pass the Host header on, requests of our own pages look as if they came from another site.
    """
    environ = current().environ
    names = {"Sec-Fetch-Site": "HTTP_SEC_FETCH_SITE", "Origin": "HTTP_ORIGIN", "Host": "HTTP_HOST"}
    sent = ", ".join(f"{name} {environ.get(key, 'missing')[:200]!r}" for name, key in names.items())
    expected = " or ".join(sorted(_own_origins())) or "none"
    return f"{sent}; expected Origin: {expected} (settings TRUSTED_PROXIES, PUBLIC_URL; the proxy must pass Host on)"


def _own_origins() -> set[str]:
    """Return the origins of our own pages as browsers send them (RFC 6454): in lower case, without a default port."""
    request = current()
    public = services().settings.public_url.lower()
    for scheme, port in (("https", ":443"), ("http", ":80")):
        if public.startswith(f"{scheme}:"):
            public = public.removesuffix(port)
    if services().settings.trusted_hosts and public.partition("://")[2] != request.host.lower():
        # The host was checked, so the proxy passes it on. PUBLIC_URL then names the host of the protected application,
        # whose scripts must not call.
        public = ""
    here = f"{request.scheme}://{request.host.lower()}" if request.host else ""
    return {here, public} - {""}
