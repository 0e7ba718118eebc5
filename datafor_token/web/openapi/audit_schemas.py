"""Marshmallow schemas of the response about audit events; see ``response_schemas``."""

from typing import ClassVar

from marshmallow import Schema, fields
from marshmallow.validate import OneOf, Regexp

from datafor_token.applications.policy import REPORTABLE
from datafor_token.audit.events import Kind
from datafor_token.web.openapi.members import text
from datafor_token.web.openapi.response_schemas import SuccessResponse


class TargetObject(Schema):
    """Subject of an event: names, the identifier of a token, or a hash if the user is unknown."""

    application = fields.String()
    user = fields.String()
    unknown_user = fields.String()
    token = fields.String(validate=Regexp("^[0-9a-f]{12}([0-9a-f]{20})?$"))


class RecordedStepObject(Schema):
    """A check of a refused token, or one that is only reported. `token/explain` composes the sentence."""

    step = text()
    ok = fields.Boolean(required=True)
    detail = text(description="The sentence, with `%(name)s` in place of the values.")
    values = fields.Dict(
        metadata={"description": "The values by name: texts, or sentences with `detail` and `values`."}
    )
    reported = fields.String(metadata={"description": "The rule that would refuse it, and is only reported."})


class EventObject(Schema):
    """One event of the audit log. A member that does not apply is null or left out."""

    example: ClassVar = {
        "time": "2024-08-06T07:31:56.000Z",
        "event": "application_changed",
        "actor": "admin",
        "way": "basic",
        "address": "10.0.0.7",
        "request_id": "2c0f4cd2a3a94d0fb2a8c4f7ab12cd34",
        "target": {"application": "ERP"},
        "node": "node-a",
        "fields": ["expire"],
        "before": {"expire": 86400},
        "after": {"expire": 3600},
    }
    time = text(description="RFC 3339, UTC.")
    event = text(*Kind)
    actor = text(allow_none=True)
    way = text(allow_none=True)
    address = text(allow_none=True)
    request_id = text(allow_none=True)
    target = fields.Nested(TargetObject, required=True)
    node = fields.String(metadata={"description": "Name of the node that recorded it; earlier versions recorded none."})
    reason = fields.String()
    outcome = fields.String()
    count = fields.Integer(metadata={"description": "Number of further refusals of this kind that the event includes."})
    first = fields.String(metadata={"description": "Time of the first of them; `time` is that of the last."})
    request_ids = fields.List(fields.String(), metadata={"description": "The requests of the first 50 of them."})
    request_prefix = fields.String(metadata={"description": "The first 12 digits of the requests of all others."})
    steps = fields.List(
        fields.Nested(RecordedStepObject),
        metadata={"description": "The checks, of which the last refused; with `count`, those of the first."},
    )
    rule = fields.String(
        validate=OneOf(REPORTABLE),
        metadata={"description": "The field whose rule would have refused for this `reason`, but is only reported."},
    )
    changed = fields.List(fields.String(), data_key="fields")
    audience = fields.List(
        fields.String(),
        metadata={"description": "The `aud` of a token that was accepted although its application has no `audience`."},
    )
    before = fields.Dict(
        metadata={"description": "Values of the changed fields before a change, without secrets, keys and passwords."}
    )
    after = fields.Dict(metadata={"description": "The same after it; of a new record, its values."})
    tokens_before = fields.Integer(metadata={"description": "Time of a cut-off in milliseconds since 1970."})
    expires = fields.Integer(metadata={"description": "The `exp` of an issued token, in seconds since 1970."})
    iat = fields.Integer(metadata={"description": "Its `iat`, if it has one."})
    jti = fields.String(metadata={"description": "Its `jti`, if it has one."})


class AuditResponse(SuccessResponse):
    """Events, newest first. `next` is present if there are more: send it as `page`."""

    example: ClassVar = {"data": [EventObject.example]}
    data = fields.List(fields.Nested(EventObject), required=True)
    next = fields.String()
    looked_back_to = fields.String(metadata={"description": "With `next`: the time back to which the log was read."})
