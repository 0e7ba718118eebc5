"""Interoperation with joserfc: each side accepts the other's tokens."""

import time
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, import_key
from joserfc.jws import JWSRegistry

from datafor_token.crypto.algorithms import ALGORITHMS, is_shared
from tests.conftest import Caller
from tests.support import STRONG_SECRET, Clock, application, key_for, private_pem, public_pem

DETAIL = "/plugin/datafor-modeler/api/user/detail"


# RFC 9864 names EdDSA by its curve instead; this service uses the name of RFC 8037.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tokens_of_joserfc(caller: Caller, clock: Clock, algorithm: str) -> None:
    """A token of joserfc signs in, and joserfc verifies an issued one, also with the key of the JWKS."""
    clock.now = time.time()
    registry = JWSRegistry(algorithms=[algorithm])
    shared = is_shared(algorithm)
    secret = STRONG_SECRET * 2 if shared else public_pem(key_for(algorithm))
    theirs: Any = OctKey.import_key(secret) if shared else import_key(private_pem(key_for(algorithm)), kind(algorithm))
    assert caller.post("update", application(algorithm=algorithm, secret=secret)).status_code == 200

    text = jwt.encode({"alg": algorithm}, {"loginname": "lena", "exp": clock() + 60}, theirs, registry=registry)
    assert caller.get(DETAIL, {"Authorization": f"Bearer {text}"}).status_code == 200

    private = {} if shared else {"privateKey": private_pem(key_for(algorithm))}
    ours = caller.post("generate", {"name": "ERP", "username": "lena", **private}).json["token"]
    assert jwt.decode(ours, theirs, registry=registry).claims["loginname"] == "lena"
    if not shared:
        keys = KeySet.import_key_set({"keys": caller.get("/.well-known/jwks.json", {}).json["keys"]})
        assert jwt.decode(ours, keys, registry=registry).claims["loginname"] == "lena"


def kind(algorithm: str) -> Any:
    return {"R": "RSA", "P": "RSA", "E": "EC"}[algorithm[0]] if algorithm != "EdDSA" else "OKP"
