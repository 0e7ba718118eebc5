"""API calls that issue, explain, introspect and revoke tokens, and the public keys that verify them."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from datafor_token.audit.events import Kind
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.keys import as_jwk
from datafor_token.errors import Forbidden, NotFound, TooManyTokens
from datafor_token.requests.explain_schema import ExplainSchema
from datafor_token.requests.revoke_schema import RevokeSchema
from datafor_token.requests.schemas import GenerateSchema, TokenSchema
from datafor_token.web.api.paths import MODELER
from datafor_token.web.current import current
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.cut_off_schemas import RevokeResponse
from datafor_token.web.openapi.response_schemas import (
    ExplainResponse,
    IntrospectResponse,
    KeysResponse,
    TokenResponse,
)
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("tokens", __name__)


@blueprint.post(f"{MODELER}/token/generate")
@Call(id="generate_token", body=GenerateSchema, response=TokenResponse, errors=(NotFound, TooManyTokens))
def generate(fields: dict[str, Any]) -> Response:
    """Generate a token of an application for a user."""
    application, claims = services().issuer.application_and_claims(fields, current().caller.user.name)
    current().application_name = application.name
    token = services().issuer.issue(Kind.TOKEN_GENERATED, application, fields.get("privateKey"), claims)
    return success(expire=application.expire, token=token)


@blueprint.post(f"{MODELER}/token/explain")
@Call(id="explain_token", body=ExplainSchema, response=ExplainResponse, errors=(NotFound,))
def explain(fields: dict[str, Any]) -> Response:
    """Explain step by step why a token is refused, or why a request was, without any effect.

    With `request_id`, the reference on an error page and in `X-Request-ID`, the refusal is searched in the audit log.
    """
    if "request_id" in fields:
        return success(**services().past_refusals.find(fields["request_id"]).to_response())
    application = services().registry.get(fields["name"]) if "name" in fields else None
    return success(**services().signin.explain(fields["token"], application).to_response())


@blueprint.post(f"{MODELER}/token/revoke")
@Call(id="revoke_token", access=Access.SIGNED_IN, body=RevokeSchema, response=RevokeResponse)
def revoke(fields: dict[str, Any]) -> Response:
    """Revoke a token (RFC 7009), or all tokens of a user or application that were issued up to a time.

    Users other than Administrators may revoke their own tokens, by `token`. Unknown names, and an unknown, expired or
    revoked token, are not an error.
    """
    caller = current().caller
    if "token" in fields:
        services().signin.revoke(fields["token"], None if caller.is_administrator else caller.user.name)
        return success(msg="success")
    if not caller.is_administrator:
        raise Forbidden
    revoker = services().revoker
    if "id" in fields:
        warnings = revoker.by_identifier(fields["id"])
    elif "jti" in fields:
        warnings = revoker.by_jti(fields["application"], fields["jti"])
    else:
        _, warnings = revoker.up_to(fields["before"], fields.get("user"), fields.get("application"))
    return success(msg="success", **({"warnings": warnings} if warnings else {}))


@blueprint.post(f"{MODELER}/token/introspect")
@Call(id="introspect_token", body=TokenSchema, response=IntrospectResponse)
def introspect(fields: dict[str, Any]) -> Response:
    """Get whether a token would be accepted now, and for which user (RFC 7662)."""
    verified = services().signin.verify(fields["token"]).token
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
@Call(id="get_public_keys", access=Access.ANYONE, response=KeysResponse)
def jwks() -> Response:
    """Get the public keys of enabled applications (RFC 7517).

    A previous key is included during its grace period. Shared secrets are never included, nor keys of a provider,
    which publishes them itself.
    """
    keys: dict[tuple[str, str], Mapping[str, str]] = {}
    registry = services().registry
    public = [one for one in registry.index().entries if one.enable and not is_shared(one.algorithm)]
    for application in registry.applications_of(public)[0]:
        if not application.jwks_uri:
            for signer in application.accepted_signers(services().clock()):
                keys[str(signer.key.kid), signer.key.algorithm] = as_jwk(signer.key)
    return success(keys=list(keys.values()))
