"""API calls that rehearse a change: which sign-ins of the last days it would have refused."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from datafor_token.applications.record import Application
from datafor_token.errors import Message
from datafor_token.requests.rehearsal_schemas import SETTINGS, RehearseSchema
from datafor_token.web.api.paths import MODELER
from datafor_token.web.openapi.call import Call
from datafor_token.web.openapi.rehearsal_schemas import RehearseResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("rehearsals", __name__)


@blueprint.post(f"{MODELER}/token/rehearse")
@Call(id="rehearse_settings", body=RehearseSchema, response=RehearseResponse)
def rehearse(fields: dict[str, Any]) -> Response:
    """Get which sign-ins other settings would have refused; nothing is changed.

    With `require_strong_secrets`, the response names the enabled applications with a weak secret. Their tokens stay
    valid; their next new secret must be a strong one.
    """
    wanted = {name: fields[name] for name in SETTINGS if name in fields}
    present = services().settings
    members: dict[str, Any] = {"changes": {name: (getattr(present, name), value) for name, value in wanted.items()}}
    if wanted.get("require_strong_secrets"):
        weak = services().weak_secrets.search(services().registry.index())
        members["weak_secrets"] = [{"application": name, "detail": detail} for name, detail in weak.found]
        if weak.left:
            members["warnings"] = [Message("%(left)s secrets were not examined yet: call again", left=weak.left)]
    found = services().rehearsals.response({}, dataclasses.replace(present, **wanted), fields.get("days"))
    return success(rehearsal=found, **members)


def tried(days: int | None, changed: Mapping[str, Application | None], **members: Any) -> Response:
    """Return the response of a dry run: the rehearsal of the changed applications, and further members."""
    return success(dry_run=True, rehearsal=services().rehearsals.response(changed, days=days), **members)
