"""What ``token/audit`` answers, as Marshmallow schemas: see ``answers``."""

from marshmallow import Schema, fields
from marshmallow.validate import Regexp

from datafor_token.audit.events import Kind
from datafor_token.web.openapi.answers import Answer, text


class TargetMembers(Schema):
    """Subject of an event: names, a token's identifier, a hash where the user was not known."""

    application = fields.String()
    user = fields.String()
    unknown_user = fields.String()
    token = fields.String(validate=Regexp("^[0-9a-f]{12}$"))


class EventMembers(Schema):
    """Who did what, when, from where. What does not apply is null, or not there."""

    time = text(metadata={"description": "RFC 3339, UTC"})
    event = text(*Kind)
    actor = text(allow_none=True)
    way = text(allow_none=True)
    address = text(allow_none=True)
    request_id = text(allow_none=True)
    target = fields.Nested(TargetMembers, required=True)
    reason = fields.String()
    outcome = fields.String()
    count = fields.Integer(metadata={"description": "how many further refusals of this kind the line stands for"})
    first = fields.String(metadata={"description": "when the first of them was; time is that of the last"})
    changed = fields.List(fields.String(), data_key="fields")


class AuditAnswer(Answer):
    """Events, newest first; ``next`` only where there are more: give it as ``page``."""

    data = fields.List(fields.Nested(EventMembers), required=True)
    next = fields.String()
