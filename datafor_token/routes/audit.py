"""The call about what happened."""

from flask import Blueprint, Response

from datafor_token.audit import Filter
from datafor_token.auth import administrator_required
from datafor_token.responses import success
from datafor_token.routes.inputs import fields_of_query
from datafor_token.routes.paths import MODELER
from datafor_token.schemas import AuditSchema
from datafor_token.services import services

blueprint = Blueprint("audit", __name__)
_audit = AuditSchema()


@blueprint.get(f"{MODELER}/token/audit")
@administrator_required
def audit() -> Response:
    """Who did what, when, from where: the events of the audit log, newest first."""
    wanted = fields_of_query(_audit, strict=True)
    found = services().audit.page(Filter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))
    return success(data=found.events, **({"next": found.next} if found.next is not None else {}))
