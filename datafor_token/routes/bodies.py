"""A request's body through its two rooms: ``forms`` reads it, a schema checks it."""

from typing import Any

from flask import request

from datafor_token.forms import decode
from datafor_token.schemas import CallSchema


def fields_of_request(schema: CallSchema) -> dict[str, Any]:
    """The checked fields that the request's body holds, in whichever shape it came."""
    return schema.read(decode(request.headers.get("Content-Type"), request.get_data(cache=False)))
