"""What a request asks for, through its two rooms: ``forms`` reads it, a schema checks it."""

from collections.abc import Mapping
from typing import Any

from flask import Request

from datafor_token.applications.record import Application
from datafor_token.errors import BodyTooLarge, FileSent, InvalidInput, MalformedRequest
from datafor_token.requests import unknown_fields
from datafor_token.requests.fields import CallSchema
from datafor_token.requests.forms import Body, decode, decode_query
from datafor_token.tokens import issuer
from datafor_token.web.current import current
from datafor_token.web.responses import BODY_READ
from datafor_token.web.services import services


def fields_of_body(schema: CallSchema) -> dict[str, Any]:
    """The checked fields that the request's body holds, in whichever shape it came."""
    try:
        return schema.read(body())
    except FileSent as error:
        if error.field in schema.fields:
            raise InvalidInput.of(error.field, "can not be a file") from None
        raise


def body() -> Body:
    """What the request's body holds, in whichever shape it came, unchecked."""
    request = current()
    return decode(request.environ.get("CONTENT_TYPE"), _data(request))


def fields_of_query(schema: CallSchema, *, strict: bool = False) -> dict[str, Any]:
    """The checked fields of the query string; others are left alone there, since one may be a token.

    ``strict``: only a token is; a misspelled field would look like an answer to another question.
    """
    values = decode_query(current().query_string).values
    if strict:
        tokens = services().registry.index(thorough=False).by_token_name
        unknown = unknown_fields.messages([name for name in values if name not in tokens], schema.fields, is_form=True)
        if unknown:
            raise InvalidInput(unknown)
    return schema.read(Body({name: values[name] for name in schema.fields if name in values}, is_form=True))


def application_and_claims(wanted: Mapping[str, Any], caller: str) -> tuple[Application, dict[str, Any]]:
    """The application that is asked for (the only one where none is), and the claims about whom it is asked."""
    registry = services().registry
    application = registry.get(wanted["name"]) if "name" in wanted else registry.only_application()
    payload = wanted.get("payload", {})
    username = issuer.username_for(wanted.get("username"), payload, caller)
    return application, issuer.claims_for(application.fieldmap, username, payload)


def _data(request: Request) -> bytes:
    limit, environ = services().settings.max_content_length, request.environ
    announced = environ.get("CONTENT_LENGTH") or ""
    if announced.isdecimal() and "HTTP_TRANSFER_ENCODING" not in environ:
        if int(announced) > limit:
            raise BodyTooLarge
        data: bytes = environ["wsgi.input"].read(int(announced))
        # gunicorn ends a body where its client stops; half a form would be a form with a shorter last value.
        if len(data) != int(announced):
            raise MalformedRequest("the request body is not complete")
        environ[BODY_READ] = True
        return data
    # One more than is accepted: Werkzeug cuts a body without an announced length at its limit, without a word.
    request.max_content_length = limit + 1
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise BodyTooLarge
    environ[BODY_READ] = True
    return data
