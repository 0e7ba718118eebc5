"""Keyed identifiers of tokens: how the audit log, revocations and sessions name a token without storing it.

An identifier is an HMAC under a key derived from the service's own key, so that a copy of the records does not
help to guess the secret that signed the token. It covers the signed part of the token and the key that signed it: it
does not depend on the spelling of the signature, and differs if another key signed the same claims.
"""

import hashlib
import re
from collections.abc import Sequence

from datafor_token.crypto.keys import Key, SharedKey
from datafor_token.validation.names import fold

_MARK = "hmac-"
_SHORT = 32  # hex digits that the audit log shows; earlier versions showed 12
_UNKEYED = re.compile(r"[0-9a-f]{64}")


def digest(signing_input: bytes, key: Key) -> str:
    """Return the SHA-256 of a token's signed part and of the key that signed it.

    It must not be stored or logged: it allows offline guessing of the secret. Records of earlier versions have it.
    """
    return hashlib.sha256(signing_input + b"\0" + (key.kid or key.material.decode()).encode()).hexdigest()


def is_unkeyed(name: object) -> bool:
    """Return whether a name in a stored record is a plain ``digest``, as earlier versions stored it."""
    return isinstance(name, str) and _UNKEYED.fullmatch(name) is not None


def short(identifier: str) -> str:
    """Return an identifier as the audit log shows it."""
    return identifier.removeprefix(_MARK)[:_SHORT]


def is_short(text: str) -> bool:
    """Return whether a text is an identifier as the audit log shows it."""
    return re.fullmatch(rf"[0-9a-f]{{{_SHORT}}}", text) is not None


def revocation_names(identifier: str) -> Sequence[str]:
    """Return the names of the records that revoke a token: by its identifier, and by the short one."""
    return identifier, _MARK + short(identifier)


def revocation_name(short_identifier: str) -> str:
    """Return the name of the record that revokes a token of which only the short identifier is known."""
    return _MARK + short_identifier


def jti_name(application: str, jti: str) -> str:
    """Return the name of the record that revokes the tokens of an application with this ``jti`` claim."""
    # A hash, because names of records are compared regardless of case. A ``jti`` is no secret.
    return "jti-" + hashlib.sha256(f"{fold(application)}\0{jti}".encode("utf-8", "surrogatepass")).hexdigest()


class Identifiers:
    """Computes identifiers under the present key and former ones, whose identifiers are still in use."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [SharedKey("HS256", key) for key in keys]

    def present(self, token_digest: str) -> str:
        """Return the identifier under the present key; ``token_digest`` is what ``digest`` returns."""
        return _MARK + self._keys[0].sign(token_digest.encode()).hex()

    def every(self, token_digest: str) -> Sequence[str]:
        """Return the identifier under each key, the present one first."""
        return [_MARK + key.sign(token_digest.encode()).hex() for key in self._keys]

    def all_revocation_names(self, token_digest: str) -> tuple[str, ...]:
        """Return the names of all records that revoke a token by its identifier."""
        return tuple(name for identifier in self.every(token_digest) for name in revocation_names(identifier))

    def of_text(self, text: str) -> str:
        """Return the short identifier of a one-time ticket, or of a text that no known key signed as a token.

        The last of three parts with dots between is left out, because it would be the signature.
        """
        return self.every_of_text(text)[0]

    def every_of_text(self, text: str) -> Sequence[str]:
        """Return what ``of_text`` returns under each key, the present one first."""
        signed = text.rpartition(".")[0] if text.count(".") == 2 else text
        covered = b"text\0" + signed.encode("utf-8", "surrogatepass")
        return [key.sign(covered).hex()[:_SHORT] for key in self._keys]
