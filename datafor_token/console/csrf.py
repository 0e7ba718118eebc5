"""CSRF protection: every form carries a token, signed over the cookie that the browser sends with the form."""

import hashlib
import hmac
import secrets
from typing import Any

from flask import Response, g
from itsdangerous import BadSignature, URLSafeTimedSerializer

from datafor_token.web.api.paths import cookie_attributes
from datafor_token.web.auth import session_cookie
from datafor_token.web.current import current
from datafor_token.web.services import services

FIELD = "form_token"
# The forms are bound to this cookie until the session cookie exists.
COOKIE = "datafor_form"


def token() -> str:
    """Return the token for the forms of this response. It changes every second, against BREACH attacks."""
    return _serializer().dumps(_digest(_cookie()))


def is_valid(token: object, *, without_session: bool = False) -> bool:
    """Return whether the token is from a form that was sent to this browser in this session.

    ``without_session``: also accept a token from before the sign-in, perhaps of another tab.
    """
    cookies = [_sent_cookie(), *([current().cookies.get(COOKIE, "")] if without_session else [])]
    try:
        signed: Any = _serializer().loads(token) if isinstance(token, str) else None
    except BadSignature:
        return False
    return isinstance(signed, str) and any(
        hmac.compare_digest(signed.encode(), _digest(cookie).encode()) for cookie in cookies if cookie
    )


def use_session(cookie: str) -> None:
    """Bind the forms of this response to the session that it opens."""
    g.form_cookie = cookie


def set_cookie(response: Response) -> Response:
    """Set the cookie that the forms of the response are bound to, if the browser has none."""
    created = g.get("new_form_cookie")
    if created is not None:
        response.set_cookie(COOKIE, created, **cookie_attributes())
    return response


def _cookie() -> str:
    if "form_cookie" not in g:
        g.form_cookie = _sent_cookie()
        if not g.form_cookie:
            g.form_cookie = g.new_form_cookie = secrets.token_urlsafe(32)
    found: str = g.form_cookie
    return found


def _sent_cookie() -> str:
    """Return the session cookie of a signed-in browser, else the value of ``COOKIE``."""
    return session_cookie() if current().signed_in is not None else current().cookies.get(COOKIE, "")


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def _serializer() -> URLSafeTimedSerializer:
    # The last key signs. During a key change, a form can be sent to a node that has another key first.
    return URLSafeTimedSerializer(services().keyring.derive_all("console forms")[::-1])
