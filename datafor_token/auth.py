"""Who is calling: the credentials of a request become a user, or a refusal. Nothing else reads them.

The order is the contract's (section 6): Basic, Bearer, a token in the URL, the session cookie. The
first that is present decides; one that is present and wrong is never passed over.
"""

import base64
import binascii
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar

from flask import Flask, g, request

from datafor_token.applications import Application
from datafor_token.errors import Forbidden, InvalidToken, NotAuthenticated, WrongPassword
from datafor_token.services import services
from datafor_token.users import ADMINISTRATOR, User

P = ParamSpec("P")
R = TypeVar("R")

SESSION_COOKIE = "JSESSIONID"
# The one call that changes something by GET: from another site it would sign people out.
_COUNTS_AS_POST = "sessions.logout"


@dataclass(frozen=True)
class Caller:
    """A signed-in user and how they signed in."""

    user: User
    way: Literal["basic", "bearer", "url", "session"]

    @property
    def is_administrator(self) -> bool:
        """Whether the user's type is Administrator."""
        return self.user.type == ADMINISTRATOR

    @property
    def by_token(self) -> bool:
        """Whether a token signed the user in, rather than a password or a session."""
        return self.way in ("bearer", "url")


def init_app(app: Flask) -> None:
    """Refuse cross-site requests before any call."""
    app.before_request(_refuse_cross_site)


def signed_in(view: Callable[P, R]) -> Callable[P, R]:
    """Let only signed-in users call the view; the caller is then in ``g.caller``."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        g.caller = _caller()
        g.user, g.way = g.caller.user.name, g.caller.way
        return view(*args, **kwargs)

    return guarded


def administrator_required(view: Callable[P, R]) -> Callable[P, R]:
    """Let only Administrators call the view; the caller is then in ``g.caller``."""

    @signed_in
    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if not g.caller.is_administrator:
            raise Forbidden
        return view(*args, **kwargs)

    return guarded


def session_cookie() -> str:
    """The session cookie of the request, empty where there is none."""
    return request.cookies.get(SESSION_COOKIE, "")


def _caller() -> Caller:
    """The signed-in user of this request; raises ``NotAuthenticated``. The header is parsed here only."""
    scheme, _, credential = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "basic":
        return Caller(_by_password(credential), "basic")
    if scheme.lower() == "bearer":
        return Caller(_by_token(credential.strip(), None), "bearer")
    found = _token_in_url()
    if found is not None:
        return Caller(_by_token(*found), "url")
    user = services().sessions.user_of(session_cookie())
    if user is None:
        raise NotAuthenticated
    return Caller(user, "session")


def _by_password(credential: str) -> User:
    """RFC 7617: Base64 of name, colon and password, in UTF-8."""
    try:
        name, colon, password = base64.b64decode(credential.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise WrongPassword from None
    user = services().users.with_password(name, password) if colon else None
    if user is None:
        raise WrongPassword
    return user


def _by_token(token: str, applications: Sequence[Application] | None) -> User:
    verdict = services().signin.by_token(token, applications)
    if verdict.user is None:
        name = verdict.application.name if verdict.application else None
        raise InvalidToken(reason=f"{verdict.reason}: {verdict.steps[-1].detail} (application {name})")
    return verdict.user


def _token_in_url() -> tuple[str, Sequence[Application]] | None:
    """A token under the ``token_name`` of enabled applications, with those applications."""
    if not request.args:
        return None
    enabled = [application for application in services().registry.all().applications if application.enable]
    names = {application.token_name for application in enabled} & request.args.keys()
    tokens = [(name, token) for name in names for token in request.args.getlist(name)]
    if not tokens:
        return None
    if len(tokens) > 1:
        raise InvalidToken(reason="several tokens in one URL")
    name, token = tokens[0]
    return token, [application for application in enabled if application.token_name == name]


def _refuse_cross_site() -> None:
    """A POST that a browser sent from another site changes nothing, whatever credential it carries.

    Whoever sends a Bearer token did so on purpose: no browser adds one by itself.
    """
    if request.method != "POST" and request.endpoint != _COUNTS_AS_POST:
        return
    if request.headers.get("Authorization", "").lower().startswith("bearer "):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        refused = site not in ("same-origin", "none")
    else:
        # Cut by hand: an Origin is a scheme and a host (RFC 6454), and urlsplit raises on some that are neither.
        refused = origin is not None and origin.partition("://")[2].lower() != request.host.lower()
    if refused:
        raise Forbidden("a request from another site is not accepted")
