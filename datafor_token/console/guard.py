"""Access control of the pages, and forms that are shown again when they cannot be processed.

Deny by default: a view that is in neither of the two sets below is for Administrators.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from flask import Response, current_app, g, make_response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from datafor_token.applications.rules import next_path
from datafor_token.console import csrf, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, sentence
from datafor_token.errors import BodyTooLarge, Forbidden, InvalidInput, NotAuthenticated, RuleError, StoreUnavailable
from datafor_token.validation import strict_json
from datafor_token.web.api.paths import proxy_prefix
from datafor_token.web.auth import describe_sender, session_caller, session_cookie
from datafor_token.web.current import Caller, current
from datafor_token.web.inputs import body

SWITCHES = frozenset(["switch_language", "switch_theme"])
ANYONE = SWITCHES | {"sign_in", "sign_in_now", "sign_out", "asset", "not_found"}
SIGNED_IN = frozenset([
    "home", "own_page", "change_password", "personal_token", "revoke_own_token", "end_own_sessions",
    "ask_revoke_own_token", "ask_end_own_sessions",
])  # fmt: skip
# Never sent back to a browser, not even to the one that sent them: the reader types them again.
_SECRET_FIELDS = frozenset([
    "secret", "initpwd", "privateKey", "password", "old", "new", "again", "token", csrf.FIELD,
])  # fmt: skip
# Views of forms whose only input is pasted: if it is too large, nothing else is lost with it.
_PASTED_INTO = frozenset([f"{blueprint.name}.check_token_now"])
OUTDATED = N_("this form is outdated: go back, reload the page and try again")
Form = Mapping[str, Any]
Redisplay = Callable[[Mapping[str, Any], Form], ResponseReturnValue]
_REDISPLAYS: dict[str, Redisplay] = {}


def redisplays(*views: str) -> Callable[[Redisplay], Redisplay]:
    """Register the function that shows the form of ``views`` again.

    Its arguments are those of the view's URL (path and query), and the fields that were typed, without secrets.
    """

    def register(show: Redisplay) -> Redisplay:
        _REDISPLAYS.update({f"{blueprint.name}.{view}": show for view in views})
        return show

    return register


def form() -> Form:
    """Return the fields of the form sent: texts, or lists and objects for repeated names and names with brackets."""
    if "form" not in g:
        g.form = _of_texts(body().values if current().method == "POST" else {})
    found: Form = g.form
    return found


def _of_texts(sent: object) -> Form:
    """Return the members of an object that a form can have: no page has to expect other types, which JSON has."""
    found: dict[str, Any] = {}
    for name, value in sent.items() if isinstance(sent, dict) else ():
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, list):
            found[name] = [one for one in value if isinstance(one, str)]
        elif isinstance(value, dict):
            found[name] = {member: one for member, one in value.items() if isinstance(one, str)}
    return found


def text(name: str) -> str:
    """Return one field of the form, or empty text if it is missing or not a single text."""
    value = form().get(name, "")
    return value if isinstance(value, str) else ""


def may_see(caller: Caller, endpoint: str) -> bool:
    """Return whether the caller may see the page of an endpoint of the console."""
    return caller.is_administrator or endpoint.removeprefix(f"{blueprint.name}.") in ANYONE | SIGNED_IN


def own_path() -> str:
    """Return the path and the query of this request, without the prefix of a proxy."""
    request = current()
    # The query as it was sent: decoding and encoding it again could change it.
    query = request.query_string.decode("ascii", "replace")
    return f"{request.path}?{query}" if query else request.path


def switched_form() -> str:
    """Return the path and the query of the form whose fields a switch of the header sent, or empty text."""
    route, mark, query = current().args.get("form", "").removeprefix(proxy_prefix()).partition("?")
    return unquote(route) + mark + query


def typed_values() -> str:
    """Return the fields of the form sent, without secrets, as JSON text for a hidden field."""
    values = {name: value for name, value in form().items() if name not in _SECRET_FIELDS}
    return json.dumps(values, ensure_ascii=False)


def has_secrets() -> bool:
    """Return whether the form sent has a secret, which ``typed_values`` leaves out."""
    return any(text(name) for name in _SECRET_FIELDS - {csrf.FIELD})


def redisplayed_path() -> str | None:
    """Return the path and the query of the form that is being shown again, or None."""
    found: str | None = g.get("redisplayed_path")
    return found


def redisplay(path: str, typed: str, caller: Caller) -> ResponseReturnValue | None:
    """Show the form that was sent to ``path`` (with its query) again, with the values of ``typed`` (JSON text).

    Return None if there is no such form or the caller may not see it.
    """
    route, _, query = path.partition("?")
    try:
        # The URL map of all requests, so that ``path`` can name nothing else.
        endpoint, arguments = current_app.url_map.bind("").match(route, method="POST")
        values = strict_json.loads(typed.encode())
    except (HTTPException, strict_json.JSONError):
        return None
    if endpoint not in _REDISPLAYS or not isinstance(values, dict) or not may_see(caller, endpoint):
        return None
    g.redisplayed_path = path
    return _REDISPLAYS[endpoint]({**dict(parse_qsl(query)), **arguments}, _of_texts(values))


def form_or_error_page(status: int, message: str, members: Mapping[str, Any]) -> Response:
    """Return the page of an error; in an outage, the form with the values that the reader typed.

    If pasted text was too large, the form says so.
    """
    caller = current().signed_in
    if status == StoreUnavailable.status and current().method == "POST" and caller is not None:
        g.outage = sentence(message)
        # The page of the form may need records that cannot be read.
        with contextlib.suppress(StoreUnavailable):
            page = redisplay(own_path(), typed_values(), caller)
            if page is not None:
                response = make_response(page)
                response.status_code = status
                return response
        g.outage = None
    if status == BodyTooLarge.status and caller is not None and current().endpoint in _PASTED_INTO:
        g.notice = "too_large"
        page = redisplay(own_path(), "{}", caller)
        if page is not None:
            response = make_response(page)
            response.status_code = status
            return response
    return pages.error_page(status, message, members)


def allowed_target(target: str, caller: Caller) -> str | None:
    """Return ``target`` if it is the path of a page of the console that the caller may see, else None."""
    try:
        path, _, query = next_path(target).partition("?")
        endpoint, _ = current_app.url_map.bind("").match(path, method="GET")
    except (RuleError, HTTPException):
        return None
    view = endpoint.removeprefix(f"{blueprint.name}.")
    if view in (endpoint, "not_found") or not may_see(caller, endpoint):
        return None
    return f"{path}?{query}" if query else path


def path_back(back: object, view: str, **arguments: str) -> str:
    """Return the path of the page ``back``, which a form or URL names, or of ``view`` if the caller may not see it."""
    allowed = allowed_target(back, caller()) if isinstance(back, str) and back else None
    return proxy_prefix() + allowed if allowed else pages.link_to(view, **arguments)


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
    if request.method == "POST" and not csrf.is_valid(form().get(csrf.FIELD), without_session=view in ANYONE):
        return _outdated_form(view)
    if request.signed_in is not None and not may_see(request.signed_in, view):
        raise Forbidden
    return None


def _sign_in_first() -> ResponseReturnValue:
    request = current()
    if request.method != "POST":
        return pages.redirect_to("sign_in", next=own_path())
    return _sign_in_again(own_path())


def _sign_in_again(path: str) -> ResponseReturnValue:
    return pages.render("sign_in.html", error=NotAuthenticated(), ended=True, path=path, typed=typed_values())


def _outdated_form(view: str) -> ResponseReturnValue:
    """Show the form of another session again, for example after a sign-out in another tab: no input is lost."""
    caller = current().signed_in
    if caller is None and view in SWITCHES and session_cookie():
        return _sign_in_again(switched_form())
    if caller is not None and may_see(caller, view):
        g.notice = "outdated"
        # A forged form may name nothing that could be shown.
        with contextlib.suppress(InvalidInput):
            page = redisplay(own_path(), typed_values(), caller)
            if page is not None:
                return page
    raise Forbidden(OUTDATED, log_detail=describe_sender())


def caller() -> Caller:
    """Return the user who is signed in; raise ``NotAuthenticated`` if nobody is."""
    return current().caller


def is_administrator() -> bool:
    """Return whether an Administrator is signed in."""
    return caller().is_administrator
