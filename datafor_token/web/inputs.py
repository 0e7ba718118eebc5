"""Fields of the current request, from its body or query, checked by the schema of the call."""

from typing import Any

from flask import Request

from datafor_token.errors import BodyTooLarge, FileSent, InvalidInput, MalformedRequest
from datafor_token.requests import unknown_fields
from datafor_token.requests.fields import CallSchema
from datafor_token.requests.forms import Body, decode, decode_query
from datafor_token.requests.rehearsal_schemas import DRY_RUN
from datafor_token.web.current import current
from datafor_token.web.responses import BODY_READ
from datafor_token.web.services import services


def fields_of_body(schema: CallSchema) -> dict[str, Any]:
    """Return the checked fields of the request body.

    Refuses ``dry_run`` in the URL, whose parameters are not read: the change would be stored.
    """
    if DRY_RUN in schema.fields and DRY_RUN.encode() in current().query_string:
        raise InvalidInput.of(DRY_RUN, "must be in the body of the request, not in its URL")
    try:
        return schema.read(body())
    except FileSent as error:
        if error.field in schema.fields:
            raise InvalidInput.of(error.field, "cannot be a file") from None
        raise


def body() -> Body:
    """Return the parsed request body, unchecked."""
    request = current()
    return decode(request.environ.get("CONTENT_TYPE"), _data(request))


def fields_of_query(schema: CallSchema, *, strict: bool = False) -> dict[str, Any]:
    """Return the checked fields of the query string.

    Unknown parameters are ignored, as one of them may be a token. With ``strict``, any other unknown one is an error.
    """
    values = decode_query(current().query_string).values
    if strict:
        tokens = services().registry.index(thorough=False).by_token_name
        unknown = unknown_fields.messages([name for name in values if name not in tokens], schema.fields, is_form=True)
        if unknown:
            raise InvalidInput(unknown)
    return schema.read(Body({name: values[name] for name in schema.fields if name in values}, is_form=True))


def _data(request: Request) -> bytes:
    limit, environ = services().settings.max_content_length, request.environ
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdecimal() and "HTTP_TRANSFER_ENCODING" not in environ:
        if int(length) > limit:
            raise BodyTooLarge
        data: bytes = environ["wsgi.input"].read(int(length))
        # gunicorn ends the body when the client disconnects; half a form would parse, with a truncated last value.
        if len(data) != int(length):
            raise MalformedRequest("the request body is not complete")
        environ[BODY_READ] = True
        return data
    # One byte more than allowed: Werkzeug silently truncates a body without Content-Length at its limit.
    request.max_content_length = limit + 1
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise BodyTooLarge
    environ[BODY_READ] = True
    return data
