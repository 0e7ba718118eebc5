"""Calls about applications and their tokens: the seed's two."""

from flask import Blueprint, Response, g

from datafor_token import issuer
from datafor_token.auth import administrator_required
from datafor_token.responses import success
from datafor_token.routes.bodies import fields_of_request
from datafor_token.schemas import GenerateSchema, UpdateSchema
from datafor_token.services import services

API = "/plugin/datafor-modeler/api"
blueprint = Blueprint("tokens", __name__)
_update, _generate = UpdateSchema(), GenerateSchema()


@blueprint.post(f"{API}/token/update")
@administrator_required
def update() -> Response:
    """Create an application, or replace the one of that name (seed page "Add or modify a token")."""
    wanted = fields_of_request(_update)
    warnings = services().registry.save(wanted, creator=g.caller.name)
    return success(msg="success", **({"warnings": warnings} if warnings else {}))


@blueprint.post(f"{API}/token/generate")
@administrator_required
def generate() -> Response:
    """Issue a token of an application for a user (seed page "Generate a token")."""
    wanted = fields_of_request(_generate)
    registry = services().registry
    application = registry.get(wanted["name"]) if "name" in wanted else registry.the_only_one()
    payload = wanted.get("payload", {})
    username = issuer.user_in(wanted.get("username"), payload, g.caller.name)
    claims = issuer.claims_for(application.fieldmap, username, payload)
    token = issuer.issue(application, wanted.get("privateKey"), claims, services().clock())
    return success(expire=application.expire, token=token)
