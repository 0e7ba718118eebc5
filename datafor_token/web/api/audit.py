"""API call that reads the audit log."""

from typing import Any

from flask import Blueprint, Response

from datafor_token.audit.filters import Filter
from datafor_token.requests.audit_schema import AuditSchema
from datafor_token.web.api.paths import MODELER
from datafor_token.web.openapi.audit_schemas import AuditResponse
from datafor_token.web.openapi.call import Call
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("audit", __name__)


@blueprint.get(f"{MODELER}/token/audit")
@Call(
    id="get_audit",
    query=AuditSchema,
    # Without its misspelled filter, a search would return other events than intended.
    strict_query=True,
    response=AuditResponse,
)
def audit(fields: dict[str, Any]) -> Response:
    """List the events of the audit log, newest first.

    A call reads a limited number of lines. While the response has `next`, older events may follow, even if `data` is
    empty: `looked_back_to` says how far it has read.
    """
    found = services().audit.page(Filter.of(fields, services().clock()), fields["limit"], fields.get("page"))
    return success(data=found.events, **found.members)
