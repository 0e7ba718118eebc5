"""Marshmallow schemas of the responses of rehearsals, and of the calls with a dry run; see ``response_schemas``."""

from typing import Any, ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import Equal

from datafor_token.web.openapi.members import count, milliseconds, text
from datafor_token.web.openapi.response_schemas import SuccessResponse


class RefusedSignInObject(Schema):
    """A sign-in that would have been refused. `request_id` is that of the request that was accepted, if known."""

    user = text()
    address = text(description="The client's address.")
    time = milliseconds()
    request_id = fields.String(required=True, allow_none=True)
    token = text(description="The identifier of the token in the audit log.")
    detail = text(description="Why it would be refused.")


class RehearsedRuleObject(Schema):
    """A rule that would have refused sign-ins, with the numbers of sign-ins, users and addresses, and the latest ones.

    `reason` is as in `token/explain`.
    """

    reason = text()
    application = text()
    sign_ins = count()
    users = count()
    sources = count()
    examples = fields.List(fields.Nested(RefusedSignInObject), required=True)


class RehearsalObject(Schema):
    """Result of a rehearsal. A sign-in is a token on one day (UTC) from one address, or a one-time link.

    `sign_ins` were checked, those that the change concerns. `refused` of them are accepted now and would not be. Of
    `unknown` it cannot be known. `already_refused` are refused by the present rules too. `not_kept` were more than are
    kept of a user and day. `users` and `sources` have at most 100 names and addresses, the most frequent ones first.
    """

    example: ClassVar = {
        "since": 1796008392000,
        "until": 1797217992000,
        "sign_ins": 412,
        "refused": 7,
        "users": ["lena"],
        "user_count": 1,
        "sources": ["192.0.2.7"],
        "source_count": 1,
        "rules": [
            {
                "reason": "audience",
                "application": "ERP",
                "sign_ins": 7,
                "users": 1,
                "sources": 1,
                "examples": [
                    {
                        "user": "lena",
                        "address": "192.0.2.7",
                        "time": 1797210000000,
                        "request_id": "04c23cac046804ff6120f6b2a8e605ed",
                        "token": "da33cf2444e25b6c7d8e9fa0b1c2d3e4",
                        "detail": 'aud is "crm"; ERP accepts "erp"',
                    }
                ],
            }
        ],
        "unknown": 0,
        "unknown_because": [],
        "already_refused": 0,
        "not_kept": 0,
    }
    since = milliseconds("The first sign-in that is kept of these days")
    until = milliseconds("The time of the rehearsal")
    sign_ins = count()
    refused = count()
    users = fields.List(fields.String(), required=True)
    user_count = count()
    sources = fields.List(fields.String(), required=True)
    source_count = count()
    rules = fields.List(fields.Nested(RehearsedRuleObject), required=True)
    # Marshmallow takes the fields out of the class, so that its own attribute of this name stays.
    unknown = count()  # type: ignore[assignment]
    unknown_because = fields.List(fields.String(), required=True)
    already_refused = count()
    not_kept = count()


def _rehearsal(description: str, *, required: bool = False) -> fields.Nested:
    return fields.Nested(
        RehearsalObject,
        required=required,
        allow_none=True,
        metadata={"description": f"{description} Null if no sign-ins are kept (REHEARSAL_DAYS = 0)."},
    )


def _dry_run() -> fields.Boolean:
    return fields.Boolean(
        validate=Equal(True),  # noqa: FBT003 - the only value
        metadata={"description": "In a dry run: nothing was changed."},
    )


def _changes(*, required: bool = False) -> fields.Dict:
    return fields.Dict(
        fields.String(),
        fields.List(fields.Raw(allow_none=True), required=True),
        required=required,
        metadata={"description": "By field, the present value and the new one, with secrets masked."},
    )


class _ChangeResponse(SuccessResponse):
    """Members of the response of a change, and of its dry run."""

    example: ClassVar = {"msg": "success"}
    msg = fields.String(validate=Equal("success"), metadata={"description": "Always, but for a dry run."})
    dry_run = _dry_run()
    rehearsal = _rehearsal("Of a dry run.")


class UpdateResponse(_ChangeResponse):
    """`warnings`, if any, describe weaknesses such as a weak secret or a stored value that breaks a newer rule."""

    changes = _changes()
    warnings = fields.List(fields.String())


class DeleteResponse(_ChangeResponse):
    """The applications were deleted, or did not exist: the `warnings` of a dry run name those that do not."""

    warnings = fields.List(fields.String())


class RotateResponse(SuccessResponse):
    """`secret` is present only if the service generated it. It is not shown again, and not created in a dry run."""

    example: ClassVar = {"secret": "9dZ1...", "previous": {"until": 1722933116000}}
    secret = fields.String()
    previous = fields.Nested(
        Schema.from_dict({"until": milliseconds()}, name="GracePeriodObject"),
        metadata={"description": "Always, but for a dry run."},
    )
    dry_run = _dry_run()
    rehearsal = _rehearsal("Of a dry run: at once after the rotation.")
    after_grace = _rehearsal("Of a dry run with a grace period: after its end.")
    warnings = fields.List(fields.String())


class WeakSecretObject(Schema):
    """An enabled application with a weak secret, and why it is weak."""

    application = text()
    detail = text()


class RehearseResponse(SuccessResponse):
    """The rehearsal of other settings, with their present and new values.

    `weak_secrets` is present with `require_strong_secrets`.
    """

    example: ClassVar[Any] = {
        "rehearsal": RehearsalObject.example,
        "changes": {"leeway": [30.0, 5.0]},
    }
    rehearsal = _rehearsal("Of these settings.", required=True)
    changes = _changes(required=True)
    weak_secrets = fields.List(fields.Nested(WeakSecretObject))
    warnings = fields.List(fields.String())
