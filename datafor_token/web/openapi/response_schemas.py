"""Marshmallow schemas of responses, for the OpenAPI document and for tests that check real responses against it.

Responses are not serialized through them: views build their own members. The docstring of a schema is its description
in the document, and ``example`` has the members of an example beside ``success``. A member that only some responses
have is not ``required``. No response has members beyond its schema.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import INCLUDE, Schema, fields
from marshmallow.validate import Equal, OneOf, Range

from datafor_token.applications import policy
from datafor_token.applications.record import MASK
from datafor_token.applications.rules import LONGEST_EXPIRE
from datafor_token.audit.events import ACCESS_REASONS, REASONS, SIGN_IN_REASONS
from datafor_token.crypto.algorithms import ALGORITHMS
from datafor_token.requests.schemas import EXAMPLE_TOKEN, ApplicationSchema
from datafor_token.validation.names import USER_TYPES
from datafor_token.web.openapi.members import milliseconds, text


def _texts(**options: Any) -> fields.List[str]:
    return fields.List(fields.String(), **options)


def _seconds() -> fields.Integer:
    return fields.Integer(strict=True, required=True, validate=Range(1, LONGEST_EXPIRE))


class SuccessResponse(Schema):
    """The call succeeded and returns nothing else."""

    example: ClassVar[Mapping[str, Any]] = {}
    success = fields.Boolean(required=True, validate=Equal(True))  # noqa: FBT003 - the only value


class MessageResponse(SuccessResponse):
    """The call changed something, or there was nothing to change."""

    example: ClassVar = {"msg": "success"}
    msg = text("success")


class TokenResponse(SuccessResponse):
    """A new token and its lifetime in seconds."""

    example: ClassVar = {"expire": 86400, "token": EXAMPLE_TOKEN}
    expire = _seconds()
    token = text()


class FieldMapObject(Schema):
    """The claims that hold the user's name, display name and email address."""

    username = text()
    name = text()
    email = text()


class PreviousSecretObject(Schema):
    """The secret before the last rotation: until when it is accepted, and when it was last used, if ever."""

    until = milliseconds()
    lastUsed = fields.Integer(strict=True, required=True, allow_none=True)  # noqa: N815 - the record's name


class KeysObject(Schema):
    """The public keys of a JWK Set, or of the provider at `jwks_uri`: their `kid`s; for a provider also the last fetch.

    `fetched` is null if there was none yet, and `error` is null if the last one succeeded.
    """

    kids = _texts(required=True)
    fetched = fields.Integer(strict=True, allow_none=True, metadata={"description": "Milliseconds since 1970."})
    error = fields.String(allow_none=True)


class ApplicationObject(Schema):
    """One application, with shared secrets and passwords masked.

    `secret` is shown if it is public. With `jwks_uri` it is the mask. A field of the trust policy is present if it is
    set, `kid` (RFC 7638) with a single public key, and `keys` with several.
    """

    example: ClassVar = {
        **ApplicationSchema.example,
        "secret": MASK,
        "initpwd": "",
        "self_service": "0",
        "createdDate": 1722929516000,
        "lastModifiedDate": 1722929516000,
        "creatorId": "admin",
    }
    name = text()
    token_name = text()
    secret = text()
    expire = _seconds()
    fieldmap = fields.Nested(FieldMapObject, required=True)
    algorithm = text(*ALGORITHMS)
    enable = text("0", "1")
    inituser = text("0", "1")
    initroles = _texts(required=True)
    initpwd = text(MASK, "")
    self_service = text("0", "1")
    jwks_uri = fields.String()
    audience = _texts()
    issuer = fields.String()
    require = fields.Dict(fields.String())
    token_types = _texts()
    max_lifetime = fields.Integer(strict=True, validate=Range(1, LONGEST_EXPIRE))
    networks = _texts()
    users = fields.String(validate=OneOf((policy.EVERYBODY, policy.OWN)))
    report = fields.List(fields.String(validate=OneOf(policy.REPORTABLE)))
    sync = fields.List(fields.String(validate=OneOf(policy.SYNCED)))
    roles_claim = fields.String()
    roles_map = fields.Dict(fields.String(), fields.String())
    origins = _texts()
    session_idle = fields.Integer(strict=True)
    session_max = fields.Integer(strict=True)
    rate = fields.String()
    kid = fields.String()
    keys = fields.Nested(KeysObject)
    createdDate = milliseconds()  # noqa: N815 - the record's names
    lastModifiedDate = milliseconds()  # noqa: N815
    creatorId = text()  # noqa: N815
    previous = fields.Nested(PreviousSecretObject)


class ListResponse(SuccessResponse):
    """All applications.

    `damaged`, if present, names the records that cannot be read. `warnings`, if present, name stored values that break
    a newer rule; they continue to work.
    """

    example: ClassVar = {"data": [ApplicationObject.example]}
    data = fields.List(fields.Nested(ApplicationObject), required=True)
    damaged = _texts()
    warnings = _texts()


class UserObject(Schema):
    """One user, without the password. `mobile`, `dept` and `title` are present if they are set."""

    example: ClassVar = {
        "userid": "lena",
        "username": "lena",
        "name": "",
        "email": "",
        "type": "SYS_Reader",
        "roles": [],
        "enabled": True,
    }
    userid = text()
    username = text()
    name = text()
    email = text()
    type = text(*USER_TYPES)
    roles = _texts(required=True)
    enabled = fields.Boolean(required=True)
    mobile = fields.String()
    dept = fields.String()
    title = fields.String()


class LoginResponse(SuccessResponse):
    """A new session. `data` is `"2"` if the caller was signed in as this user already."""

    example: ClassVar = {
        "msg": "login success",
        "data": "1",
        "jsessionid": "KZbCkJ8dH0lqg0Tz4u2oA3S8mYx0bTqvJ6yWQ1cJk1E",
    }
    msg = text("login success")
    data = text("1", "2")
    jsessionid = text()


class LogoutResponse(SuccessResponse):
    """The session has ended."""

    example: ClassVar = {"code": "200"}
    code = text("200")


class LinkResponse(SuccessResponse):
    """A one-time link and its lifetime in seconds.

    `warnings`, if present, state why it does not sign in now, such as an Administrator with `TOKENS_MAY_ADMINISTER` =
    `false`.
    """

    example: ClassVar = {
        "url": "https://intra.example/auth/enter?ticket=7cgNvxmJ0ZaUW4Q3eSx0Zf0Wb1y8mHk2rTtLq5oPvEs",
        "expire": 300,
    }
    url = text()
    expire = _seconds()
    warnings = _texts()


class IntrospectResponse(SuccessResponse):
    """RFC 7662. The members beside `active` are present only if it is true."""

    example: ClassVar = {
        "active": True,
        "username": "admin",
        "client_id": "ERP",
        "exp": 1723015916,
        "token_type": "Bearer",
    }
    active = fields.Boolean(required=True)
    username = fields.String()
    client_id = fields.String()
    exp = fields.Integer(strict=True)
    token_type = fields.String(validate=Equal("Bearer"))


class StepObject(Schema):
    """One step of the verification: whether the token passed it, and a sentence about it."""

    step = text()
    ok = fields.Boolean(required=True)
    detail = text()
    reported = fields.String(
        validate=OneOf(policy.REPORTABLE),
        metadata={"description": "The field whose rule would refuse the token, if it were not only reported."},
    )


class ExplainResponse(SuccessResponse):
    """`reason` is null if the token is accepted. `application` is null if none is known.

    The further members are those of a request that was refused, as far as they are known.
    """

    example: ClassVar = {
        "accepted": False,
        "reason": "signature",
        "application": "ERP",
        "steps": [{"step": "signature", "ok": False, "detail": "not signed with the secret of ERP"}],
    }
    accepted = fields.Boolean(required=True)
    reason = text(*REASONS, *SIGN_IN_REASONS, *ACCESS_REASONS, allow_none=True)
    application = text(allow_none=True)
    steps = fields.List(fields.Nested(StepObject), required=True)
    user = fields.String(metadata={"description": "The user, if one of that name exists."})
    time = fields.String(metadata={"description": "Time of the refusal; RFC 3339, UTC."})
    way = fields.String(metadata={"description": "The kind of the credential, as in the audit log."})
    address = fields.String(metadata={"description": "Address of the client."})
    count = fields.Integer(
        metadata={
            "description": "Number of refusals of this kind within a minute, of which it is one. `steps` are"
            " those of the first, and `time` is that of the last."
        }
    )
    first = fields.String(metadata={"description": "Time of the first of them."})


class KeyObject(Schema):
    """A public key (RFC 7517). Its other members depend on `kty` (RFC 7518 section 6)."""

    class Meta:
        """Allow other members."""

        unknown = INCLUDE

    kty = text("RSA", "EC", "OKP")
    alg = text(*ALGORITHMS)
    kid = text()
    use = text("sig")


class KeysResponse(SuccessResponse):
    """Public keys as a JWK Set."""

    example: ClassVar[Mapping[str, Any]] = {"keys": []}
    keys = fields.List(fields.Nested(KeyObject), required=True)


class ReadyResponse(SuccessResponse):
    """`writable` is false if the store can be read, but no change could be stored now; then `reason` has the cause.

    Only clients that may read the metrics get the other members. Of these, `version`, `key`, `other_keys` and
    `settings` must be the same on all nodes. `clock_offset` is how many seconds the clock of the database is ahead of
    that of the node.
    """

    example: ClassVar = {
        "readable": True,
        "writable": True,
        "node": "a.example",
        "version": "0.3.0",
        "key": "0e1d5a7cb3f94812",
        "other_keys": [],
        "settings": "7b9c02f1e6d84a35",
        "clock_offset": 0.0,
        "warnings": [],
    }
    readable = fields.Boolean(required=True, validate=Equal(True))  # noqa: FBT003 - the only value
    writable = fields.Boolean(required=True)
    reason = fields.String()
    node = fields.String()
    version = fields.String()
    key = fields.String()
    other_keys = fields.List(fields.String())
    settings = fields.String()
    clock_offset = fields.Float()
    warnings = fields.List(fields.String())


class ErrorResponse(Schema):
    """Envelope of every error."""

    success = fields.Boolean(required=True, validate=Equal(False))  # noqa: FBT003 - the only value
    code = fields.String(
        required=True, metadata={"pattern": "^[45][0-9][0-9]$", "description": "The HTTP status as text."}
    )
    msg = fields.String(required=True, metadata={"minLength": 1, "description": "One sentence."})


class InvalidInputResponse(ErrorResponse):
    """`errors`, if present, lists all messages by field."""

    errors = fields.Dict(fields.String(), fields.List(fields.String()))


class WrongPasswordResponse(ErrorResponse):
    """`data` is present only if the password is wrong."""

    data = fields.String(validate=Equal("0"))


class NotReadyResponse(ErrorResponse):
    """`draining` is true if the node serves calls but is to get no more of them. An outage has the other members."""

    draining = fields.Boolean(validate=Equal(True))  # noqa: FBT003 - the only value
    readable = fields.Boolean()
    writable = fields.Boolean(validate=Equal(False))  # noqa: FBT003 - the only value
    reason = fields.String()


class InternalErrorResponse(ErrorResponse):
    """`request_id` identifies the error in the service's log."""

    request_id = fields.String(required=True)
