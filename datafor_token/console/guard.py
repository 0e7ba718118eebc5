"""Who may see which page; and what happens to a form whose session has ended: what was typed comes back.

Deny by default: a view that is named in none of the two lists below is for Administrators.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Response, current_app, g
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from datafor_token.applications.rules import next_path
from datafor_token.console import csrf, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import translated
from datafor_token.errors import Forbidden, NotAuthenticated, RuleError, StoreUnavailable
from datafor_token.validation import strict_json
from datafor_token.web.api.inputs import body
from datafor_token.web.auth import sender, session_caller
from datafor_token.web.current import Caller, current

ANYONE = frozenset(["sign_in", "sign_in_now", "sign_out", "switch_language", "asset", "not_found"])
SIGNED_IN = frozenset(["home", "own_page", "change_password", "personal_token"])
# Never sent back to a browser, not even to the one that it came from: these are typed anew.
_SECRET_FIELDS = frozenset([
    "secret", "initpwd", "privateKey", "password", "old", "new", "again", "token", csrf.FIELD,
])  # fmt: skip
Form = Mapping[str, Any]
Again = Callable[[Mapping[str, Any], Form], ResponseReturnValue]
_AGAIN: dict[str, Again] = {}


def shows_again(view: str, show: Again) -> None:
    """Where the form of ``view`` cannot be acted upon, ``show`` shows it once more with what was typed."""
    _AGAIN[f"{blueprint.name}.{view}"] = show


def form() -> Form:
    """The fields of the form that was sent: text, or lists and objects where a name has brackets or comes twice."""
    if "form" not in g:
        values = body().values if current().method == "POST" else {}
        g.form = values if isinstance(values, dict) else {}
    found: Form = g.form
    return found


def text(name: str) -> str:
    """One field of the form, empty where it is none or no single text."""
    value = form().get(name, "")
    return value if isinstance(value, str) else ""


def may_see(caller: Caller, endpoint: str) -> bool:
    """Whether the page of an endpoint of the console is the caller's to see."""
    return caller.is_administrator or endpoint.removeprefix(f"{blueprint.name}.") in ANYONE | SIGNED_IN


def kept_form() -> str:
    """What was typed into the form that came, without its secrets, as text that a hidden field can hold."""
    return json.dumps({name: value for name, value in form().items() if name not in _SECRET_FIELDS})


def show_again(path: str, kept: str, caller: Caller) -> ResponseReturnValue | None:
    """The form that was sent to ``path``, with what was typed; ``None`` where there is none or it is not theirs."""
    try:
        # The very rules that every request goes by, so that nothing else can be named here.
        endpoint, arguments = current_app.url_map.bind("").match(path, method="POST")
        values = strict_json.loads(kept.encode())
    except (HTTPException, strict_json.JSONError):
        return None
    if endpoint not in _AGAIN or not isinstance(values, dict) or not may_see(caller, endpoint):
        return None
    return _AGAIN[endpoint](arguments, values)


def form_or_error_page(status: int, message: str, members: Mapping[str, Any]) -> Response:
    """An error as a page; in an outage, which the reader can do nothing about, the form with what was typed."""
    request = current()
    if status == StoreUnavailable.status and request.method == "POST" and request.signed_in is not None:
        g.fault = translated(message)
        # The form's own page may need what cannot be read.
        with contextlib.suppress(StoreUnavailable):
            again = show_again(request.path, kept_form(), request.signed_in)
            if again is not None:
                response = pages.made(again)
                response.status_code = status
                return response
        g.fault = None
    return pages.error_page(status, message, members)


def page_to_go_to(target: str, caller: Caller) -> str | None:
    """``target``, if it is the path of a page of the console that the caller may see, else ``None``."""
    try:
        path, _, query = next_path(target).partition("?")
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except (RuleError, HTTPException):
        return None
    view = endpoint.removeprefix(f"{blueprint.name}.")
    if view in (endpoint, "not_found") or not may_see(caller, endpoint):
        return None
    return f"{path}?{query}" if query else path


@blueprint.before_request
def _check() -> ResponseReturnValue | None:
    request = current()
    view = str(request.endpoint).removeprefix(f"{blueprint.name}.")
    if view == "asset":
        return None
    try:
        session_caller()
    except NotAuthenticated:
        if view not in ANYONE:
            return _sign_in_first()
    if request.method == "POST" and not csrf.is_good(form().get(csrf.FIELD), without_session=view in ANYONE):
        return _stale_form(view)
    if request.signed_in is not None and not may_see(request.signed_in, view):
        raise Forbidden
    return None


def _sign_in_first() -> ResponseReturnValue:
    request = current()
    if request.method != "POST":
        # As the query stands, not decoded and put together anew.
        query = request.query_string.decode("ascii", "replace")
        return pages.redirect_to("sign_in", next=f"{request.path}?{query}" if query else request.path)
    again = {"path": request.path, "kept": kept_form()} if request.endpoint in _AGAIN else {}
    return pages.render("sign_in.html", status=401, ended=True, **again)


def _stale_form(view: str) -> ResponseReturnValue:
    """The form is of another session, such as one that ended in another tab: nothing is done, nothing typed is lost."""
    caller = current().signed_in
    if caller is not None and may_see(caller, view):
        g.notice = "stale"
        again = show_again(current().path, kept_form(), caller)
        if again is not None:
            return again
    raise Forbidden("this form is out of date: go back, load the page anew and try again", reason=sender())


def caller() -> Caller:
    """Who is signed in; only where the page is not for everybody."""
    return current().caller


def is_administrator() -> bool:
    """Whether an Administrator is signed in."""
    return caller().is_administrator
