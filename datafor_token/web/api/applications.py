"""Calls about applications, for Administrators: register, list, delete, rotate."""

from flask import Blueprint, Response

from datafor_token.requests.schemas import NameSchema, NamesSchema, RotateSchema, UpdateSchema
from datafor_token.web.api.inputs import fields_of_body, fields_of_query
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import administrator_required
from datafor_token.web.current import current
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("applications", __name__)
_update, _name, _names, _rotate = UpdateSchema(), NameSchema(), NamesSchema(), RotateSchema()


@blueprint.post(f"{MODELER}/token/update")
@administrator_required
def update() -> Response:
    """Create an application, or replace the one of that name (seed page "Add or modify a token")."""
    wanted = fields_of_body(_update)
    warnings = services().registry.save(wanted, creator=current().caller.user.name)
    return success(msg="success", **({"warnings": warnings} if warnings else {}))


@blueprint.get(f"{MODELER}/token/list")
@administrator_required
def list_all() -> Response:
    """All applications, secrets masked; the names of those that cannot be read beside them."""
    applications, damaged = services().registry.all_applications()
    now = services().clock()
    data = [application.to_response(now) for application in applications]
    warnings = [f"{one.name}: {sentence}" for one in applications for sentence in one.rule_violations.values()]
    return success(
        data=data, **({"damaged": damaged} if damaged else {}), **({"warnings": warnings} if warnings else {})
    )


@blueprint.get(f"{MODELER}/token/content")
@administrator_required
def content() -> Response:
    """One application, secrets masked."""
    application = services().registry.get(fields_of_query(_name)["name"])
    warnings = {"warnings": list(application.rule_violations.values())} if application.rule_violations else {}
    return success(**application.to_response(services().clock()), **warnings)


@blueprint.post(f"{MODELER}/token/delete")
@administrator_required
def delete() -> Response:
    """Remove an application; its tokens count no longer. An unknown name is no error."""
    services().registry.delete(fields_of_body(_name)["name"])
    return success(msg="success")


@blueprint.post(f"{MODELER}/token/deleteBatch")
@administrator_required
def delete_batch() -> Response:
    """Remove several applications; unknown names are skipped."""
    for name in fields_of_body(_names)["name"]:
        services().registry.delete(name)
    return success(msg="success")


@blueprint.post(f"{MODELER}/token/rotate")
@administrator_required
def rotate() -> Response:
    """Give an application a new secret; for a grace time the old one is accepted too."""
    wanted = fields_of_body(_rotate)
    rotation = services().registry.rotate(wanted["name"], wanted.get("secret"), wanted["grace"])
    made = {"secret": rotation.secret} if rotation.secret is not None else {}
    warnings = {"warnings": rotation.warnings} if rotation.warnings else {}
    return success(**made, previous={"until": rotation.until}, **warnings)
