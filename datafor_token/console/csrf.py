"""A token in every form, which no page of another site can know: signed over the cookie that comes with the form."""

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
# Before anybody is signed in, a cookie of this name stands for the session's.
COOKIE = "datafor_form"


def token() -> str:
    """What the forms of this answer carry. It differs each second, so that compression tells nothing of it (BREACH)."""
    return _serializer().dumps(_bound_to(_cookie()))


def is_good(given: object, *, without_session: bool = False) -> bool:
    """Whether a form came from one of our pages, given to this very browser in this very session.

    ``without_session``: one that was given before somebody signed in, perhaps in another tab, counts too.
    """
    cookies = [_present(), *([current().cookies.get(COOKIE, "")] if without_session else [])]
    try:
        bound: Any = _serializer().loads(given) if isinstance(given, str) else None
    except BadSignature:
        return False
    return isinstance(bound, str) and any(
        hmac.compare_digest(bound.encode(), _bound_to(cookie).encode()) for cookie in cookies if cookie
    )


def use_session(cookie: str) -> None:
    """Bind the forms of this answer to the session that it begins."""
    g.form_cookie = cookie


def keep(response: Response) -> Response:
    """Give the browser the cookie that the answer's forms are bound to, where it has none."""
    made = g.get("made_form_cookie")
    if made is not None:
        response.set_cookie(COOKIE, made, **cookie_attributes())
    return response


def _cookie() -> str:
    if "form_cookie" not in g:
        g.form_cookie = _present()
        if not g.form_cookie:
            g.form_cookie = g.made_form_cookie = secrets.token_urlsafe(32)
    found: str = g.form_cookie
    return found


def _present() -> str:
    """The cookie that came: the session's where one is alive, else our own."""
    request = current()
    return session_cookie() if request.signed_in is not None else request.cookies.get(COOKIE, "")


def _bound_to(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(services().keyring.derive("console forms"))
