"""API call that creates one-time links."""

from typing import Any

from flask import Blueprint, Response

from datafor_token.errors import NotFound, TooManyTokens
from datafor_token.requests.schemas import LinkSchema
from datafor_token.web.api.paths import MODELER, root_path
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Call
from datafor_token.web.openapi.response_schemas import LinkResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("links", __name__)


@blueprint.post(f"{MODELER}/token/link")
@Call(id="make_link", body=LinkSchema, response=LinkResponse, errors=(NotFound, TooManyTokens))
def link(fields: dict[str, Any]) -> Response:
    """Create a one-time link that signs a user in with a ticket instead of a token."""
    application, claims = services().issuer.application_and_claims(fields, current().caller.user.name)
    current().application_name = application.name
    ticket = services().gate.make_ticket(application, claims, fields["next"], fields["ttl"])
    # Not from the Host header, which the client chooses.
    url = f"{services().settings.public_url}{root_path()}/auth/enter?ticket={ticket}"
    refusal = services().gate.refusal_of_ticket(application, claims)
    # Otherwise only the person who opens the link would see it.
    warnings = {} if refusal is None else {"warnings": [f"it does not sign in now: {refusal}"]}
    return success(url=url, expire=fields["ttl"], **warnings)
