"""The call about what happened."""

from flask import Blueprint, Response

from datafor_token.audit.log import Filter
from datafor_token.requests.schemas import AuditSchema
from datafor_token.web.api.inputs import fields_of_query
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import administrator_required
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("audit", __name__)
_audit = AuditSchema()


@blueprint.get(f"{MODELER}/token/audit")
@administrator_required
def audit() -> Response:
    """Who did what, when, from where: the events of the audit log, newest first."""
    wanted = fields_of_query(_audit, strict=True)
    found = services().audit.page(Filter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))
    return success(data=found.events, **({"next": found.next} if found.next is not None else {}))
