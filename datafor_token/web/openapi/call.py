"""Decorator that declares an API call beside its view and enforces the declaration."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flask import Response

from datafor_token.errors import DataforTokenError, Forbidden
from datafor_token.requests.fields import CallSchema
from datafor_token.web.auth import GATE_COOKIE, SESSION_COOKIE, signed_in_caller
from datafor_token.web.inputs import fields_of_body, fields_of_query
from datafor_token.web.openapi.response_schemas import ErrorResponse, SuccessResponse

View = Callable[..., Response]
JSON_TYPE = "application/json"
SECURITY_SCHEMES = {
    "basic": {"type": "http", "scheme": "basic", "description": "User name and password."},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token. Tokens sign in no Administrator unless `TOKENS_MAY_ADMINISTER` is true.",
    },
    "urlToken": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A token, as for bearer. The name of the parameter is the `token_name` of its application.",
    },
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "The ticket of a one-time link."},
    "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE, "description": "Set by `auth/login`."},
    "gate": {
        "type": "apiKey",
        "in": "cookie",
        "name": GATE_COOKIE,
        "description": "Set by `auth/check`, `auth/enter` and `auth/sign-in`, cleared by `auth/leave`.",
    },
}
HEADERS = {
    "X-Request-ID": "Identifier of the request. The service's log line has it too.",
    "WWW-Authenticate": "`Bearer`. Also `Basic`, unless a browser sent the request from a page.",
    "Retry-After": "Seconds after which to try again. Not every reason has it.",
    "Set-Cookie": "Sets or clears a session cookie.",
    "ETag": "Version of the file. A request with it in `If-None-Match` gets 304 while it is the same.",
    "Location": "The address that the browser goes to next.",
    "Content-Security-Policy": "`frame-ancestors` with the `origins` of the application, if it has any.",
    "Remote-User": "User name, in UTF-8.",
    "Remote-Name": "Display name, in UTF-8. May be empty.",
    "Remote-Email": "Email address. May be empty.",
    "Remote-Groups": "User type and roles, separated by commas.",
    "Cookie": "With `cookies=1`: the cookies of the request for the application behind the proxy. May be empty.",
    "X-Datafor-Assertion": "The signed identity: a JWT that is valid for 30 to 60 s. Only with `GATE_ASSERTION`.",
}


class Access(Enum):
    """Permission to call: its sentence in the description, and its security schemes, of which any one is enough."""

    ANYONE = "Anyone may call.", ()
    SIGNED_IN = "Any signed-in user may call.", ("basic", "bearer", "urlToken", "session")
    ADMINISTRATOR = "Administrators may call.", ("basic", "bearer", "urlToken", "session")
    PASSWORD_OR_SESSION = "Users who signed in with a password or session may call.", ("basic", "session")
    # The views of the gate read these credentials themselves.
    GATE = "For reverse proxies, on behalf of the sender of a request.", ("basic", "bearer", "gate")
    LINK = "For holders of a token or ticket.", ("urlToken", "ticket")

    def __init__(self, sentence: str, schemes: tuple[str, ...]) -> None:
        self.sentence = sentence
        self.schemes = schemes


@dataclass(frozen=True, kw_only=True)
class Call:
    """Declaration of a call, which decorates its view.

    Before the view runs, its caller is authenticated and set as ``current().caller``. The fields of the body or the
    query are checked, and become the first argument of the view. Views of ``GATE`` and ``LINK`` read credentials
    themselves.

    In the OpenAPI document, path and methods are those of the view's route, summary and description its docstring. The
    errors 401, 403 and 429 follow from ``access``; 400, 413 and 415 from ``body``; 400 from ``query``. Every call may
    return 403 (``TRUSTED_HOSTS``) and 500, and every call that is not ``stateless`` 503.
    """

    id: str  # name of the operation in generated clients
    access: Access = Access.ADMINISTRATOR
    token_refusal: str = ""  # message of the 403 for a caller with a token, for ``PASSWORD_OR_SESSION``
    query: type[CallSchema] | None = None
    strict_query: bool = False  # refuse unknown parameters other than tokens
    parameters: tuple[Mapping[str, Any], ...] = ()  # OpenAPI parameters that no schema reads
    body: type[CallSchema] | None = None
    body_may_be_list: bool = False  # a JSON body may be the list of names itself
    response: type[SuccessResponse] | None = SuccessResponse  # ``None``: not the JSON envelope
    content_types: tuple[str, ...] = (JSON_TYPE,)
    statuses: tuple[int, ...] = (200,)  # of a successful response
    headers: tuple[str, ...] = ()  # of a successful response, beside ``X-Request-ID``
    links: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # operation id -> its OpenAPI link
    errors: tuple[type[DataforTokenError], ...] = ()  # beside those that follow from the above
    error_responses: Mapping[int, type[ErrorResponse]] = field(default_factory=dict)  # with additional members
    stateless: bool = False  # touches neither the store nor credentials

    def __call__(self, view: View) -> View:
        """Return the view with its authentication and its checked fields."""
        view.call = self  # type: ignore[attr-defined]  # read by ``call_of``
        authenticates = self.access in (Access.SIGNED_IN, Access.ADMINISTRATOR, Access.PASSWORD_OR_SESSION)
        read = self._reader()
        if not authenticates and read is None:
            return view

        @functools.wraps(view)
        def handle(**path: str) -> Response:
            if authenticates:
                self._authenticate()
            return view(**path) if read is None else view(read(), **path)

        return handle

    def _authenticate(self) -> None:
        caller = signed_in_caller()
        if self.access is Access.ADMINISTRATOR and not caller.is_administrator:
            raise Forbidden
        if self.access is Access.PASSWORD_OR_SESSION and caller.by_token:
            raise Forbidden(self.token_refusal)

    def _reader(self) -> Callable[[], dict[str, Any]] | None:
        """Return the function that reads the fields of a request, if the call has any."""
        if self.body is not None:
            return functools.partial(fields_of_body, self.body())
        if self.query is not None:
            return functools.partial(fields_of_query, self.query(), strict=self.strict_query)
        return None


def call_of(view: Callable[..., Any]) -> Call:
    """Return the call that a view handles; raise ``LookupError`` for a view without a declaration."""
    call: Call | None = getattr(view, "call", None)
    if call is None:
        raise LookupError(f"{view.__module__}.{view.__name__} has no declaration: decorate the view with Call()")
    return call


def query_list(name: str, description: str, items: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a query parameter that may be given several times."""
    schema = {"type": "array", "items": items}
    return {"name": name, "in": "query", "description": description, "style": "form", "explode": True, "schema": schema}


def query_option(name: str, description: str) -> Mapping[str, Any]:
    """Return a query parameter that is 1 or 0."""
    return {"name": name, "in": "query", "description": description, "schema": {"enum": ["0", "1"]}}


def query_text(name: str, description: str, **rules: Any) -> Mapping[str, Any]:
    """Return a query parameter that is a text, with further ``rules`` of its JSON Schema."""
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **rules}}


def header(name: str, description: str) -> Mapping[str, Any]:
    """Return a request header."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
