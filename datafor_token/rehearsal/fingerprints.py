"""Keyed fingerprints of the keys that sign tokens, so that a kept sign-in names its key without revealing it."""

import hashlib
import hmac
from collections.abc import Sequence

from datafor_token.crypto.keys import Key

_LENGTH = 32  # hex digits


class Fingerprints:
    """Fingerprints under keys of the service's own, the present one first: a plain hash would help to guess a secret.

    A sign-in from before a change of the service's key is recognised as long as the former key is kept.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def present(self, key: Key) -> str:
        """Return the fingerprint under the present key."""
        return _fingerprint(self._keys[0], key)

    def every(self, key: Key) -> Sequence[str]:
        """Return the fingerprint under each key."""
        return [_fingerprint(own, key) for own in self._keys]


def _fingerprint(own: bytes, key: Key) -> str:
    material = key.kid.encode() if key.kid else bytes(key.material)
    return hmac.digest(own, key.algorithm.encode() + b"\0" + material, hashlib.sha256).hex()[:_LENGTH]
