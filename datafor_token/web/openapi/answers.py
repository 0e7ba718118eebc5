"""What calls answer, as Marshmallow schemas: for the API description, and for tests that hold real answers against it.

Nothing is dumped through them: a view says itself what it answers. A schema's docstring is its description.
A member that stands in only some answers is not ``required``. No answer has a member that is not here.
"""

from typing import Any

from marshmallow import INCLUDE, Schema, fields
from marshmallow.validate import Equal, OneOf, Range

from datafor_token.applications.record import MASK
from datafor_token.applications.rules import LONGEST_EXPIRE
from datafor_token.audit.events import REASONS
from datafor_token.crypto.keys import ALGORITHMS
from datafor_token.validation.names import USER_TYPES


def text(*values: str, **options: Any) -> fields.String:
    """A text that is always there; one of ``values``, if any."""
    return fields.String(required=True, validate=[OneOf(values)] if values else [], **options)


def _seconds() -> fields.Integer:
    return fields.Integer(strict=True, required=True, validate=Range(1, LONGEST_EXPIRE))


def _milliseconds() -> fields.Integer:
    return fields.Integer(
        strict=True, required=True, validate=Range(0), metadata={"description": "milliseconds since 1970"}
    )


def _texts(**options: Any) -> fields.List[str]:
    return fields.List(fields.String(), **options)


class Answer(Schema):
    """A call that went well and has nothing to tell."""

    success = fields.Boolean(required=True, validate=Equal(True))  # noqa: FBT003 - the only value


class DoneAnswer(Answer):
    """A call that changed something, or found it as wanted already."""

    msg = text("success")


class UpdateAnswer(DoneAnswer):
    """``warnings`` only where there are any: a weak secret, a stored value that breaks a later rule."""

    warnings = _texts()


class TokenAnswer(Answer):
    """A new token, and for how many seconds it is good."""

    expire = _seconds()
    token = text()


class FieldMapAnswer(Schema):
    """Which claims hold what."""

    username = text()
    name = text()
    email = text()


class PreviousAnswer(Schema):
    """The secret before the last rotation: until when it is accepted, and when it was last used, if ever."""

    until = _milliseconds()
    lastUsed = fields.Integer(strict=True, required=True, allow_none=True)  # noqa: N815 - the record's name


class ApplicationMembers(Schema):
    """One application; its secrets as stars."""

    name = text()
    token_name = text()
    secret = text(MASK)
    expire = _seconds()
    fieldmap = fields.Nested(FieldMapAnswer, required=True)
    algorithm = text(*ALGORITHMS)
    enable = text("0", "1")
    inituser = text("0", "1")
    initroles = _texts(required=True)
    initpwd = text(MASK, "")
    self_service = text("0", "1")
    createdDate = _milliseconds()  # noqa: N815 - the record's names
    lastModifiedDate = _milliseconds()  # noqa: N815
    creatorId = text()  # noqa: N815
    previous = fields.Nested(PreviousAnswer)


class ListAnswer(Answer):
    """Every application; ``damaged``, if any, names the records that cannot be read.

    ``warnings``, if any, name stored values that break a later rule and continue to work.
    """

    data = fields.List(fields.Nested(ApplicationMembers), required=True)
    damaged = _texts()
    warnings = _texts()


class ContentAnswer(Answer, ApplicationMembers):
    """One application; ``warnings`` as in the list."""

    warnings = _texts()


class RotateAnswer(Answer):
    """``secret`` only where the service made it, this once."""

    secret = fields.String()
    previous = fields.Nested(Schema.from_dict({"until": _milliseconds()}, name="UntilAnswer"), required=True)
    warnings = _texts()


class PersonalConfigAnswer(Answer):
    """``name`` and ``expire`` only where ``enabled`` is true."""

    enabled = fields.Boolean(required=True)
    name = fields.String()
    expire = fields.Integer(strict=True)


class PersonalAnswer(TokenAnswer):
    """A token of one's own, of which application."""

    username = text()
    name = text()


class UserMembers(Schema):
    """One user, without the password."""

    userid = text()
    username = text()
    name = text()
    email = text()
    type = text(*USER_TYPES)
    roles = _texts(required=True)
    enabled = fields.Boolean(required=True)


class UserAnswer(Answer):
    """One user, one level down, as the documented product has it."""

    data = fields.Nested(
        Schema.from_dict({"user": fields.Nested(UserMembers, required=True)}, name="UserData"), required=True
    )


class LoginAnswer(Answer):
    """A new session. ``data`` is ``"2"`` for who was that user already."""

    msg = text("login success")
    data = text("1", "2")
    jsessionid = text()


class LogoutAnswer(Answer):
    """The session has ended."""

    code = text("200")


class LinkAnswer(Answer):
    """A link, and for how many seconds it waits."""

    url = text()
    expire = _seconds()


class IntrospectAnswer(Answer):
    """RFC 7662; the members beside ``active`` only where it is true."""

    active = fields.Boolean(required=True)
    username = fields.String()
    client_id = fields.String()
    exp = fields.Integer(strict=True)
    token_type = fields.String(validate=Equal("Bearer"))


class StepMembers(Schema):
    """One step of the judgement, passed or not, and a sentence about it."""

    step = text()
    ok = fields.Boolean(required=True)
    detail = text()


class ExplainAnswer(Answer):
    """``reason`` and perhaps ``application`` are null where there is none."""

    accepted = fields.Boolean(required=True)
    reason = text(*REASONS, allow_none=True)
    application = text(allow_none=True)
    steps = fields.List(fields.Nested(StepMembers), required=True)


class KeyMembers(Schema):
    """A public key (RFC 7517); what else it has depends on its kind (RFC 7518 section 6)."""

    class Meta:
        """Other members too."""

        unknown = INCLUDE

    kty = text("RSA", "EC", "OKP")
    alg = text(*ALGORITHMS)
    kid = text()
    use = text("sig")


class KeysAnswer(Answer):
    """The public keys of enabled applications."""

    keys = fields.List(fields.Nested(KeyMembers), required=True)


class ReadyAnswer(Answer):
    """``writable`` is false on a disk that can only be read."""

    readable = fields.Boolean(required=True, validate=Equal(True))  # noqa: FBT003 - the only value
    writable = fields.Boolean(required=True)
