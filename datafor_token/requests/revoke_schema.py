"""Schema of ``token/revoke``, which has several forms."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError, validates_schema

from datafor_token.errors import Message, RuleError
from datafor_token.requests.fields import CallSchema, RuleField, Text
from datafor_token.requests.identifiers import audit_identifier
from datafor_token.requests.schemas import EXAMPLE_TOKEN
from datafor_token.validation import names

EARLIEST = 100_000_000_000  # milliseconds since 1970, in 1973; as seconds it would be the year 5138
LATEST = 253_402_300_799_999  # milliseconds since 1970: the end of the year 9999
# The fields that are allowed with the one that chooses the form, in the order in which a request is read.
FORMS: Mapping[str, frozenset[str]] = {
    "token": frozenset(),
    "id": frozenset(),
    "jti": frozenset({"application"}),
    "before": frozenset({"user", "application"}),
}

_SEND = Message("send token; or id; or jti and application; or before with user, application or both")


def not_empty(text: str) -> str:
    """Return a text unchanged; refuse an empty one, such as a shell variable that is not set."""
    if not text.strip():
        raise RuleError("can not be empty")
    return text


def token(text: str) -> str:
    """Return a token without the line break that a file or the clipboard may add; refuse an empty one."""
    return not_empty(text).strip()


def time_of_cut_off(value: object) -> int | None:
    """Return a time in milliseconds since 1970, or None for ``now``."""
    if value == "now":
        return None
    if type(value) is not int or not 0 <= value <= LATEST:
        raise RuleError("must be a whole number of milliseconds since 1970, or now")
    if value < EARLIEST:
        # A time in seconds would be a cut-off in January 1970: accepted, and without any effect.
        raise RuleError("must be in milliseconds since 1970: append 000 to a number of seconds")
    return value


class _Time(RuleField[int | None]):
    """A time in milliseconds since 1970, or ``now``."""

    def from_form(self, value: Any) -> Any:
        """Read the digits; any other text is unchanged, and the rule refuses it."""
        return int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,14}|0", value) else value


class RevokeSchema(CallSchema):
    """``token/revoke``: a token, or what names one or several. The hint of RFC 7009 is ignored."""

    example: ClassVar = {"token": EXAMPLE_TOKEN}
    ignored = ("token_type_hint",)

    token = Text(token, "The token itself.")
    id = Text(audit_identifier, "The identifier of the token in the audit log.")
    jti = Text(not_empty, "The claim `jti` of the token; with `application`.")
    before = _Time(
        time_of_cut_off,
        "All tokens that were issued up to this second: milliseconds since 1970, not in the future, or `now`.",
    )
    user = Text(names.user_name, "With `before`: whose tokens.")
    application = Text(names.application_name, "With `before` or `jti`: the application of the tokens.")

    @validates_schema
    def _check_form(self, values: dict[str, Any], **_: Any) -> None:
        first = next((name for name in FORMS if name in values), None)
        if first is None:
            missing = "before" if values else "token"
            raise ValidationError({missing: [Message("is missing: %(forms)s", forms=_SEND)]})
        surplus = next((name for name in self.fields if name in values.keys() - FORMS[first] - {first}), None)
        if surplus is not None:
            problem = Message("cannot be given together with %(field)s: %(forms)s", field=first, forms=_SEND)
            raise ValidationError({surplus: [problem]})
        if FORMS[first] and not FORMS[first] & values.keys():
            raise ValidationError({"application": [Message("is missing: %(forms)s", forms=_SEND)]})
