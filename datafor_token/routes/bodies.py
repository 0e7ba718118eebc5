"""A request's body through its two rooms: ``forms`` reads it, a schema checks it."""

from typing import Any

from flask import request

from datafor_token.errors import BodyTooLarge
from datafor_token.forms import decode
from datafor_token.schemas import CallSchema
from datafor_token.services import services


def fields_of_request(schema: CallSchema) -> dict[str, Any]:
    """The checked fields that the request's body holds, in whichever shape it came."""
    return schema.read(decode(request.headers.get("Content-Type"), _data()))


def _data() -> bytes:
    limit = services().settings.max_content_length
    # One more than is accepted: Werkzeug cuts a body without an announced length at its limit, without a word.
    request.max_content_length = limit + 1
    data = request.get_data(cache=False)
    if len(data) > limit:
        raise BodyTooLarge
    return data
