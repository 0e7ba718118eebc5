"""One call as the API description has it; who may call, and the headers of answers, in the words of OpenAPI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from datafor_token.errors import DataforTokenError
from datafor_token.requests.fields import CallSchema
from datafor_token.web.openapi.answers import Answer
from datafor_token.web.openapi.refusals import Refusal

SECURITY = {
    "basic": {"type": "http", "scheme": "basic", "description": "a user's password"},
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "a token"},
    "urlToken": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "a token; the parameter is called as the `token_name` of its application says",
    },
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "of a one-time link"},
    "session": {"type": "apiKey", "in": "cookie", "name": "JSESSIONID", "description": "set by auth/login"},
    "gate": {
        "type": "apiKey",
        "in": "cookie",
        "name": "datafor_gate",
        "description": "set by auth/check, auth/enter; ended by auth/leave",
    },
}
HEADERS = {
    "X-Request-ID": "stands in the service's log line, too",
    "WWW-Authenticate": "Bearer; Basic as well where no browser's page asks",
    "Retry-After": "seconds after which trying again makes sense; not for every reason",
    "Set-Cookie": "the session's cookie, begun or ended",
    "Location": "where the browser goes on to",
    "Remote-User": "the user's name, in UTF-8",
    "Remote-Name": "the display name, in UTF-8; may be empty",
    "Remote-Email": "the address; may be empty",
    "Remote-Groups": "user type and roles with commas between",
}
# Of refusals, by status.
HEADERS_OF = {401: ("WWW-Authenticate", "Retry-After"), 429: ("Retry-After",), 503: ("Retry-After",)}


class Who(Enum):
    """Who may call, as the description says it."""

    ANYONE = "Anyone may call."
    SIGNED_IN = "Whoever is signed in may call."
    ADMINISTRATOR = "Administrators may call."
    BY_PASSWORD = "Whoever signed in by password or session may call."  # noqa: S105 - a sentence
    GATE = "For reverse proxies, on behalf of whoever holds a token."
    LINK = "For whoever holds a token or a ticket."


# Any of these will do.
SCHEMES: Mapping[Who, tuple[str, ...]] = {
    Who.ANYONE: (),
    Who.SIGNED_IN: ("basic", "bearer", "urlToken", "session"),
    Who.ADMINISTRATOR: ("basic", "bearer", "urlToken", "session"),
    Who.BY_PASSWORD: ("basic", "session"),
    Who.GATE: ("basic", "bearer", "gate"),
    Who.LINK: ("urlToken", "ticket"),
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call. ``id`` is the operation's name in clients that are generated from the description."""

    id: str
    who: Who = Who.ADMINISTRATOR
    query: type[CallSchema] | None = None
    parameters: tuple[Mapping[str, Any], ...] = ()  # those that no schema reads
    body: type[CallSchema] | None = None
    example: Any = None  # of a body
    takes_list: bool = False  # a JSON body may be the list of names itself
    answer: type[Answer] | None = Answer  # None: not JSON
    media: tuple[str, ...] = ("application/json",)
    shown: Mapping[str, Any] = field(default_factory=dict)  # an example of the answer, beside ``success``
    status: int = 200
    also: tuple[int, ...] = ()  # further statuses of the same answer
    headers: tuple[str, ...] = ()  # of the answer, beside those that all have
    then: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # links: operation id -> what it is given
    errors: tuple[type[DataforTokenError], ...] = ()
    refusals: Mapping[int, type[Refusal]] = field(default_factory=dict)  # where one has more members than usual
    static: bool = False  # touches neither store nor credentials
