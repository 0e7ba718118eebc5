"""Who is calling: the credentials of a request become a user, or a refusal. Nothing else reads them."""

import base64
import binascii
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from flask import Flask, g, request

from datafor_token.errors import Forbidden, NotAuthenticated
from datafor_token.services import services
from datafor_token.users import ADMINISTRATOR, User

P = ParamSpec("P")
R = TypeVar("R")

WRONG_PASSWORD = "wrong password"  # noqa: S105 - a message
INVALID_TOKEN = "invalid token"  # noqa: S105 - a message


def init_app(app: Flask) -> None:
    """Refuse cross-site requests before any call."""
    app.before_request(_refuse_cross_site)


def caller() -> User:
    """The signed-in user of this request; raises ``NotAuthenticated``. The header is parsed here only."""
    scheme, _, credential = request.headers.get("Authorization", "").strip().partition(" ")
    match scheme.lower():
        case "basic":
            user = _by_password(credential)
        case "bearer":
            raise NotAuthenticated(INVALID_TOKEN)
        case _:
            raise NotAuthenticated
    g.user = user.name
    return user


def administrator_required(view: Callable[P, R]) -> Callable[P, R]:
    """Let only Administrators call the view; the caller is then in ``g.caller``."""

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        g.caller = caller()
        if g.caller.type != ADMINISTRATOR:
            raise Forbidden
        return view(*args, **kwargs)

    return guarded


def _by_password(credential: str) -> User:
    """RFC 7617: Base64 of name, colon and password, in UTF-8."""
    try:
        name, colon, password = base64.b64decode(credential.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        raise NotAuthenticated(WRONG_PASSWORD) from None
    user = services().users.with_password(name, password) if colon else None
    if user is None:
        raise NotAuthenticated(WRONG_PASSWORD)
    return user


def _refuse_cross_site() -> None:
    """A POST that a browser sent from another site changes nothing, whatever credential it carries.

    Whoever sends a Bearer token did so on purpose: no browser adds one by itself.
    """
    if request.method != "POST" or request.headers.get("Authorization", "").lower().startswith("bearer "):
        return
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        refused = site not in ("same-origin", "none")
    else:
        # Cut by hand: an Origin is a scheme and a host (RFC 6454), and urlsplit raises on some that are neither.
        refused = origin is not None and origin.partition("://")[2].lower() != request.host.lower()
    if refused:
        raise Forbidden("a request from another site is not accepted")
