"""Error responses of the OpenAPI document: an example of each error, grouped by HTTP status."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from datafor_token import errors
from datafor_token.errors import DataforTokenError
from datafor_token.web.openapi.response_schemas import ErrorResponse, InternalErrorResponse, InvalidInputResponse

SCHEMAS: Mapping[int, type[ErrorResponse]] = {400: InvalidInputResponse, 500: InternalErrorResponse}
HEADERS = {401: ("WWW-Authenticate", "Retry-After"), 429: ("Retry-After",), 503: ("Retry-After",)}
# Examples of messages that depend on the request.
_MESSAGES: Mapping[type[DataforTokenError], str] = {
    errors.InvalidInput: "expire must be a whole number of seconds from 1 to 315360000",
    errors.Conflict: "name already exists as 'ERP'",
    errors.TooManyTokens: "too many tokens: application ERP issues at most 600/minute; try again in 12 seconds",
    errors.RotationUndone: (
        "this is the secret before the rotation of 2024-08-06T07:31:56Z; leave `secret` out to keep the new one"
    ),
}
_MEMBERS: Mapping[type[DataforTokenError], Mapping[str, Any]] = {
    errors.InvalidInput: {"errors": {"expire": [_MESSAGES[errors.InvalidInput]]}},
    DataforTokenError: {"request_id": "0123456789abcdef0123456789abcdef"},
}


def _by_status() -> dict[int, list[type[DataforTokenError]]]:
    found: dict[int, list[type[DataforTokenError]]] = defaultdict(list)
    kinds: list[type[DataforTokenError]] = [DataforTokenError]
    for kind in kinds:
        kinds += kind.__subclasses__()
        found[kind.status].append(kind)
    return dict(found)


ERRORS = _by_status()


def examples(status: int) -> dict[str, dict[str, Any]]:
    """Return an example for each different message of a status, by the name of its error."""
    by_message: dict[str, type[DataforTokenError]] = {}
    for kind in ERRORS[status]:
        by_message.setdefault(_MESSAGES.get(kind, kind.message), kind)
    return {
        kind.__name__: {"value": {"success": False, "code": str(status), "msg": message, **_MEMBERS.get(kind, {})}}
        for message, kind in by_message.items()
    }
