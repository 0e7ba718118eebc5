"""API calls that manage applications."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response

from datafor_token.applications.registry import Preview
from datafor_token.errors import Conflict, Message, NotFound
from datafor_token.requests.schemas import DeleteSchema, NameSchema, NamesSchema, RotateSchema, UpdateSchema
from datafor_token.web.api.paths import MODELER
from datafor_token.web.api.rehearsals import tried
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Call
from datafor_token.web.openapi.cut_off_schemas import ContentResponse
from datafor_token.web.openapi.rehearsal_schemas import DeleteResponse, RotateResponse, UpdateResponse
from datafor_token.web.openapi.response_schemas import ListResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("applications", __name__)


@blueprint.post(f"{MODELER}/token/update")
@Call(
    id="update_application",
    body=UpdateSchema,
    response=UpdateResponse,
    links={"get_application": {"parameters": {"name": "$request.body#/name"}}},
    errors=(Conflict,),
)
def update(fields: dict[str, Any]) -> Response:
    """Create an application, or replace the one of that name."""
    dry_run, days = fields.pop("dry_run"), fields.pop("days", None)
    if dry_run:
        preview = services().registry.preview(fields)
        changed = {preview.application.name: preview.application}
        return tried(days, changed, changes=preview.changes, **_if_any(warnings=preview.warnings))
    warnings = services().registry.save(fields, creator=current().caller.user.name)
    return success(msg="success", **_if_any(warnings=warnings))


@blueprint.get(f"{MODELER}/token/list")
@Call(id="list_applications", response=ListResponse)
def list_all() -> Response:
    """List all applications, with their secrets masked.

    Records that cannot be read are named in `damaged`.
    """
    applications, damaged = services().registry.all_applications()
    now = services().clock()
    data = [application.to_response(now) for application in applications]
    warnings = [f"{one.name}: {sentence}" for one in applications for sentence in one.rule_violations.values()]
    return success(data=data, **_if_any(damaged=damaged, warnings=warnings))


@blueprint.get(f"{MODELER}/token/content")
@Call(id="get_application", query=NameSchema, response=ContentResponse, errors=(NotFound,))
def content(fields: dict[str, Any]) -> Response:
    """Get one application, with its secrets masked."""
    application = services().registry.get(fields["name"])
    cut_offs = [one.to_response() for one in services().cut_offs.of_application(application.name)]
    return success(
        **application.to_response(services().clock()),
        **_if_any(cut_offs=cut_offs, warnings=list(application.rule_violations.values())),
    )


@blueprint.post(f"{MODELER}/token/delete")
@Call(id="delete_application", body=DeleteSchema, response=DeleteResponse)
def delete(fields: dict[str, Any]) -> Response:
    """Delete an application; its tokens are no longer accepted.

    An unknown name is not an error.
    """
    return _delete([fields["name"]], fields)


@blueprint.post(f"{MODELER}/token/deleteBatch")
@Call(id="delete_applications", body=NamesSchema, body_may_be_list=True, response=DeleteResponse)
def delete_batch(fields: dict[str, Any]) -> Response:
    """Delete several applications; unknown names are skipped."""
    return _delete(fields["name"], fields)


def _delete(names: Sequence[str], fields: Mapping[str, Any]) -> Response:
    if fields["dry_run"]:
        found, missing = services().registry.preview_deletion(names)
        # A mistyped name would refuse nobody, and look like an application that nobody uses.
        warnings = [Message("application '%(name)s' does not exist", name=name) for name in missing]
        return tried(fields.get("days"), dict.fromkeys(found), **_if_any(warnings=warnings))
    for name in names:
        services().registry.delete(name)
    return success(msg="success")


@blueprint.post(f"{MODELER}/token/rotate")
@Call(id="rotate_secret", body=RotateSchema, response=RotateResponse, errors=(NotFound,))
def rotate(fields: dict[str, Any]) -> Response:
    """Give an application a new secret; the old one remains valid for a grace period.

    With `jwks_uri`, the keys of a provider replace the secret. The keys of a provider that are replaced end at once.
    """
    name, secret, grace, jwks_uri = fields["name"], fields.get("secret"), fields["grace"], fields.get("jwks_uri")
    if fields["dry_run"]:
        return _try_rotation(services().registry.preview_rotation(name, secret, grace, jwks_uri), fields.get("days"))
    rotation = services().registry.rotate(name, secret, grace, jwks_uri=jwks_uri)
    generated = {"secret": rotation.secret} if rotation.secret is not None else {}
    return success(**generated, previous={"until": rotation.until}, **_if_any(warnings=rotation.warnings))


def _try_rotation(preview: Preview, days: int | None) -> Response:
    name, later = preview.application.name, preview.after_grace
    after_grace = {} if later is None else {"after_grace": services().rehearsals.response({name: later}, days=days)}
    return tried(days, {name: preview.application}, **after_grace, **_if_any(warnings=preview.warnings))


def _if_any(**members: Any) -> dict[str, Any]:
    """Return the members that are not empty."""
    return {name: value for name, value in members.items() if value}
