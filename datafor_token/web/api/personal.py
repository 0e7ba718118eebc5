"""API calls about personal tokens, which users issue for themselves."""

import contextlib
from typing import Any

from flask import Blueprint, Response

from datafor_token.applications.index import IndexEntry, UnreadableEntry
from datafor_token.applications.record import Application
from datafor_token.errors import Conflict, Forbidden, NotFound, TooManyTokens
from datafor_token.requests.schemas import OptionalNameSchema, PersonalRevokeSchema, PersonalSchema, UserSchema
from datafor_token.tokens.personal import PersonalToken
from datafor_token.validation.names import fold
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import user_or_caller
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.personal_schemas import (
    PersonalConfigResponse,
    PersonalListResponse,
    PersonalTokenResponse,
)
from datafor_token.web.openapi.response_schemas import MessageResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("personal", __name__)


@blueprint.get(f"{MODELER}/token/personal/config")
@Call(
    id="get_personal_token_config",
    access=Access.SIGNED_IN,
    query=OptionalNameSchema,
    response=PersonalConfigResponse,
    errors=(NotFound,),
)
def config(fields: dict[str, Any]) -> Response:
    """Get whether users may generate personal tokens, and of which application."""
    application = _self_service(fields.get("name"))
    if application is None:
        return success(enabled=False)
    return success(enabled=True, name=application.name, expire=application.expire)


@blueprint.post(f"{MODELER}/token/personal")
@Call(
    id="generate_personal_token",
    access=Access.PASSWORD_OR_SESSION,
    # Otherwise a token could be renewed without end.
    token_refusal="a session opened with a token cannot issue tokens",  # noqa: S106 - a sentence
    body=PersonalSchema,
    response=PersonalTokenResponse,
    errors=(NotFound, Conflict, TooManyTokens),
)
def generate(fields: dict[str, Any]) -> Response:
    """Generate a personal token for the caller.

    It has the caller's user name, `jti`, `iat`, `exp`, the `iss` and `aud` of the application, and no other claims. A
    user has at most 50 active ones.
    """
    username = current().caller.user.name
    _, text, issued = issue_personal(username, fields)
    return success(
        token=text,
        expire=(issued.expires - issued.issued) // 1000,
        username=username,
        name=issued.application,
        jti=issued.jti,
        label=issued.label,
        issued_at=issued.issued,
        expires_at=issued.expires,
    )


@blueprint.get(f"{MODELER}/token/personal/list")
@Call(
    id="list_personal_tokens",
    access=Access.SIGNED_IN,
    query=UserSchema,
    response=PersonalListResponse,
    errors=(NotFound,),
)
def list_tokens(fields: dict[str, Any]) -> Response:
    """List the caller's personal tokens, or another user's as an Administrator, newest first.

    A token is listed until 30 days after it expired. Its last use is known to within a minute.
    """
    username = user_or_caller(fields.get("username")).name
    return success(data=services().personal_tokens.listed(username))


@blueprint.post(f"{MODELER}/token/personal/revoke")
@Call(
    id="revoke_personal_token",
    access=Access.SIGNED_IN,
    body=PersonalRevokeSchema,
    response=MessageResponse,
    errors=(NotFound,),
)
def revoke(fields: dict[str, Any]) -> Response:
    """Revoke a personal token of the caller, or of another user as an Administrator.

    A token that has expired or is revoked already is not an error.
    """
    username = user_or_caller(fields.get("username")).name
    services().personal_tokens.revoke(username, fields["jti"])
    return success(msg="success")


def issue_personal(username: str, fields: dict[str, Any]) -> tuple[Application, str, PersonalToken]:
    """Issue a personal token of the application ``name`` of the fields, or of the first that allows it.

    ``fields`` are those of ``PersonalSchema``. Return the application, the token and its entry; raise ``Forbidden`` if
    no application allows it.
    """
    application = _self_service(fields.get("name"))
    if application is None:
        raise Forbidden("self-service token is not enabled")
    return application, *services().personal_tokens.issue(application, username, fields["label"], fields.get("expire"))


def _self_service(name: str | None) -> Application | None:
    """Return the application ``name``, or the first by name, if users may generate personal tokens of it."""
    registry = services().registry
    if name is None:
        listing = registry.index()
        known: list[IndexEntry | UnreadableEntry] = [*listing.entries, *listing.unreadable]
        name = min((one.name for one in known if one.enable and one.self_service), key=fold, default=None)
        if name is None:
            return None
        # The first may be one whose record cannot be read: then this is 503, and no token of another one is issued.
        # One that was deleted just now allows nothing.
        with contextlib.suppress(NotFound):
            return _if_self_service(registry.get(name))
        return None
    return _if_self_service(registry.get(name))


def _if_self_service(application: Application) -> Application | None:
    return application if application.enable and application.self_service else None
