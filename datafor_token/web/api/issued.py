"""API call that lists issued tokens."""

from typing import Any

from flask import Blueprint, Response

from datafor_token.requests.schemas import IssuedSchema
from datafor_token.tokens.issued import IssuedFilter
from datafor_token.web.api.paths import MODELER
from datafor_token.web.openapi.call import Call
from datafor_token.web.openapi.issued_schemas import IssuedResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("issued", __name__)


@blueprint.get(f"{MODELER}/token/issued")
@Call(
    id="get_issued_tokens",
    query=IssuedSchema,
    # Without its misspelled filter, a search would return other tokens than intended.
    strict_query=True,
    response=IssuedResponse,
)
def issued(fields: dict[str, Any]) -> Response:
    """List the tokens that were issued, newest first."""
    wanted = IssuedFilter.of(fields, services().clock())
    found = services().issued.page(wanted, fields["limit"], fields.get("page"))
    return success(data=found.events, **found.members)
