"""Schema of ``token/explain``, which has two forms."""

import re
from typing import Any, ClassVar

from marshmallow import ValidationError, validates_schema

from datafor_token.errors import Message, RuleError
from datafor_token.requests.fields import CallSchema, Text
from datafor_token.requests.schemas import EXAMPLE_TOKEN
from datafor_token.validation import names

_SEND = Message("send token, with or without name; or request_id")


def request_id(text: str) -> str:
    """Return the identifier of a request in its only spelling."""
    found = text.strip().lower()
    if not re.fullmatch("[0-9a-f]{32}", found):
        raise RuleError("must be the 32 hex digits that an error page or the header X-Request-ID shows")
    return found


class ExplainSchema(CallSchema):
    """``token/explain``: a token, and the application that should have accepted it; or the request that was refused."""

    example: ClassVar = {"token": EXAMPLE_TOKEN, "name": "ERP"}

    token = Text(description="The token to explain.")
    name = Text(names.application_name, "With `token`: the application that should accept it.")
    request_id = Text(request_id, "The reference on an error page: why that request was refused, instead of `token`.")

    @validates_schema
    def _check_form(self, values: dict[str, Any], **_: Any) -> None:
        if "request_id" not in values:
            if "token" not in values:
                raise ValidationError({"token": [Message("is missing: %(forms)s", forms=_SEND)]})
            return
        surplus = next((name for name in ("token", "name") if name in values), None)
        if surplus is not None:
            problem = Message("cannot be given together with %(field)s: %(forms)s", field="request_id", forms=_SEND)
            raise ValidationError({surplus: [problem]})
