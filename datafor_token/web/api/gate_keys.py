"""API call for the public keys that verify signed identities."""

from flask import Blueprint, Response

from datafor_token.crypto.keys import as_jwk
from datafor_token.web.openapi.call import Access, Call
from datafor_token.web.openapi.response_schemas import KeysResponse
from datafor_token.web.responses import success
from datafor_token.web.services import services

blueprint = Blueprint("gate_keys", __name__)


@blueprint.get("/.well-known/gate-jwks.json")
@Call(id="get_gate_keys", access=Access.ANYONE, response=KeysResponse)
def gate_jwks() -> Response:
    """Get the public keys that verify signed identities (`X-Datafor-Assertion`), and nothing else (RFC 7517).

    The set is empty unless `GATE_ASSERTION` is true. The key that signs next is included a day before, and the last one
    for a day after.
    """
    keys = services().assertion_keys.published() if services().settings.gate_assertion else ()
    return success(keys=[as_jwk(key) for key in keys])
