"""Calls about tokens: issue them, say why one is refused, revoke them."""

from collections.abc import Sequence

from flask import Blueprint, Response

from datafor_token.applications.record import Application
from datafor_token.audit.events import Kind
from datafor_token.crypto.keys import is_shared, jwk
from datafor_token.errors import Forbidden
from datafor_token.requests.schemas import ExplainSchema, GenerateSchema, OptionalNameSchema, TokenSchema
from datafor_token.tokens import issuer
from datafor_token.web.api.inputs import application_and_claims, fields_of_body, fields_of_query
from datafor_token.web.api.paths import MODELER
from datafor_token.web.auth import administrator_required, signed_in
from datafor_token.web.current import current
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("tokens", __name__)
_generate, _name, _token, _explain = GenerateSchema(), OptionalNameSchema(), TokenSchema(), ExplainSchema()


@blueprint.post(f"{MODELER}/token/generate")
@administrator_required
def generate() -> Response:
    """Issue a token of an application for a user (seed page "Generate a token")."""
    wanted = fields_of_body(_generate)
    application, claims = application_and_claims(wanted, current().caller.user.name)
    token = services().issuer.issue(Kind.TOKEN_GENERATED, application, wanted.get("privateKey"), claims)
    return success(expire=application.expire, token=token)


@blueprint.get(f"{MODELER}/token/personal/config")
@signed_in
def personal_config() -> Response:
    """Whether users may make tokens of their own, and of which application."""
    application = _self_service(fields_of_query(_name).get("name"))
    if application is None:
        return success(enabled=False)
    return success(enabled=True, name=application.name, expire=application.expire)


@blueprint.post(f"{MODELER}/token/personal")
@signed_in
def personal() -> Response:
    """A token for the caller, with their name and its expiry and nothing else."""
    caller = current().caller
    if caller.by_token:
        # Else a token could be made to live for ever.
        raise Forbidden("a session opened with a token cannot issue tokens")
    username = caller.user.name
    application, token = issue_personal(fields_of_body(_name).get("name"), username)
    return success(token=token, expire=application.expire, username=username, name=application.name)


def issue_personal(name: str | None, username: str) -> tuple[Application, str]:
    """A token of a user for themselves, and its application: that of the name, or the first that allows it."""
    application = _self_service(name)
    if application is None:
        raise Forbidden("self-service token is not enabled")
    claims = issuer.claims_for(application.fieldmap, username, {})
    return application, services().issuer.issue(Kind.TOKEN_PERSONAL, application, None, claims)


@blueprint.post(f"{MODELER}/token/explain")
@administrator_required
def explain() -> Response:
    """Why a token is refused, step by step, without any effect."""
    wanted = fields_of_body(_explain)
    application = services().registry.get(wanted["name"]) if "name" in wanted else None
    verdict = services().signin.explain(wanted["token"], application)
    return success(**verdict.to_response())


@blueprint.post(f"{MODELER}/token/revoke")
@signed_in
def revoke() -> Response:
    """Let a token count no longer (RFC 7009); one that is unknown or counts anyway no longer is no error."""
    caller = current().caller
    owner = None if caller.is_administrator else caller.user.name
    services().signin.revoke(fields_of_body(_token)["token"], owner)
    return success(msg="success")


@blueprint.post(f"{MODELER}/token/introspect")
@administrator_required
def introspect() -> Response:
    """Whether a token would be accepted now, and for whom (RFC 7662)."""
    verified = services().signin.verify(fields_of_body(_token)["token"]).token
    if verified is None:
        return success(active=False)
    return success(
        active=True,
        username=verified.username,
        client_id=verified.application.name,
        exp=int(verified.expires),
        token_type="Bearer",  # noqa: S106 - RFC 6749 section 7.1
    )


@blueprint.get("/.well-known/jwks.json")
def jwks() -> Response:
    """The public keys of enabled applications (RFC 7517), those in their grace time too; nothing of shared secrets."""
    keys: dict[tuple[str, str], dict[str, str]] = {}
    registry = services().registry
    public = [one for one in registry.index().entries if one.enable and not is_shared(one.algorithm)]
    for application in registry.applications_of(public)[0]:
        for secret in (application.secret, application.previous_secret(services().clock())):
            if secret is not None:
                key = jwk(application.algorithm, secret)
                keys[key["kid"], key["alg"]] = key
    return success(keys=list(keys.values()))


def _self_service(name: str | None) -> Application | None:
    """The application of that name, or the first by name, if users may make their own tokens of it."""
    registry = services().registry
    if name is not None:
        candidates: Sequence[Application] = [registry.get(name)]
    else:
        first = next((one for one in registry.index().entries if one.enable and one.self_service), None)
        candidates = registry.applications_of([first])[0] if first is not None else ()
    return next((one for one in candidates if one.enable and one.self_service), None)
