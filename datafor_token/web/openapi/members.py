"""Members of responses, as fields of Marshmallow schemas."""

from typing import Any

from marshmallow import fields
from marshmallow.validate import OneOf, Range


def text(*values: str, description: str = "", allow_none: bool = False) -> fields.String:
    """Return a required text; one of ``values``, if given."""
    validate = [OneOf(values)] if values else []
    return fields.String(required=True, allow_none=allow_none, validate=validate, metadata=_metadata(description))


def count() -> fields.Integer:
    """Return a required number of entries."""
    return fields.Integer(strict=True, required=True, validate=Range(0))


def milliseconds(description: str = "", *, allow_none: bool = False) -> fields.Integer:
    """Return a required time in milliseconds since 1970."""
    sentence = f"{description}, in milliseconds since 1970." if description else "Milliseconds since 1970."
    return fields.Integer(
        strict=True, required=True, allow_none=allow_none, validate=Range(0), metadata=_metadata(sentence)
    )


def _metadata(description: str) -> dict[str, Any]:
    return {"description": description} if description else {}
