"""Tokens created without the code of the service, valid and invalid ones."""

import base64
import hashlib
import hmac
import json
from typing import Any

SHARED_HEADER = {"typ": "JWT", "alg": "HS256"}
NOW = 1722929516


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    """Encode a part of a token: text and bytes as they are, everything else as JSON."""
    if isinstance(value, str):
        value = value.encode()
    return base64url(value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode())


def token(claims: Any, secret: str = "abcd", header: Any = None, digest: str = "sha256") -> str:
    """Return a token signed with a shared secret; ``header`` and ``claims`` may be anything."""
    signing_input = f"{part(SHARED_HEADER if header is None else header)}.{part(claims)}"
    signature = hmac.digest(secret.encode(), signing_input.encode(), getattr(hashlib, digest))
    return f"{signing_input}.{base64url(signature)}"


def claims(**changes: Any) -> dict[str, Any]:
    """Return valid claims of the user lena with changes; a change to ``None`` removes a claim."""
    wanted = {"loginname": "lena", "exp": NOW + 3600, **changes}
    return {name: value for name, value in wanted.items() if value is not None}
