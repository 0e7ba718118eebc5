"""Keys that sign and verify tokens, each for one algorithm.

PyJWT's algorithm objects sign and verify bytes. Its functions for whole tokens are not used, since they accept keys,
headers and claims that this service refuses (RFC 8725); see ``tokens.issuer`` and ``tokens.verifier``.
"""

import base64
import functools
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm, get_default_algorithms

from datafor_token.crypto import pem
from datafor_token.crypto.algorithms import HMAC_LENGTHS, RSA, is_shared
from datafor_token.errors import RuleError

_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_CACHE_SECONDS, _MAX_CACHED = 60.0, 64  # of parsed private keys
_BY_NAME: dict[str, Algorithm] = get_default_algorithms()

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class KeySource(Protocol):
    """The key or keys that verify an application's tokens."""

    def signer(self, message: bytes, signature: bytes, kid: str | None) -> "Key | None":
        """Return the key whose signature of ``message`` this is, or None. ``kid`` is that of the token's header."""

    def all(self) -> Sequence["Key"]:
        """Return all keys."""


@dataclass(frozen=True, repr=False, slots=True)
class Key:
    """A parsed key for one algorithm.

    ``material`` is the key as PyJWT's algorithm objects take it, ``kid`` the thumbprint of a public key (RFC 7638).
    A shared key has no ``kid``, since a thumbprint could reveal it.
    """

    algorithm: str
    material: Any
    kid: str | None = None

    def sign(self, message: bytes) -> bytes:
        """Return the signature of ``message``. The key must be shared or private."""
        return _BY_NAME[self.algorithm].sign(message, self.material)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Return whether ``signature`` is valid for ``message``. The key must be shared or public."""
        return _BY_NAME[self.algorithm].verify(message, self.material, signature)

    def signer(self, message: bytes, signature: bytes, kid: str | None) -> "Key | None":
        """Return this key if it made the signature, whatever ``kid`` says: there is no other key to choose."""
        del kid
        return self if self.verify(message, signature) else None

    def all(self) -> Sequence["Key"]:
        """Return this key."""
        return (self,)


class KeySet:
    """Public keys for one algorithm, of which the ``kid`` of a token chooses (RFC 7515 section 4.1.4).

    A key has the ``kid`` of its JWK, if any, and its thumbprint. Several keys may have the same ``kid``.
    """

    def __init__(self, keys: Iterable[tuple[Key, str | None]]) -> None:
        """``keys`` has each key with the ``kid`` of its JWK, which is ``None`` if it has none."""
        by_kid: dict[str, list[Key]] = {}
        every = []
        for key, kid in keys:
            every.append(key)
            for name in dict.fromkeys((kid, key.kid)):
                if name is not None:
                    by_kid.setdefault(name, []).append(key)
        self._keys: Sequence[Key] = tuple(every)
        self._by_kid: Mapping[str, Sequence[Key]] = by_kid

    def signer(self, message: bytes, signature: bytes, kid: str | None) -> Key | None:
        """Return the key that made the signature, or None. Without a key of that ``kid``, each key is tried."""
        candidates = self._keys if kid is None else self._by_kid.get(kid, self._keys)
        return next((key for key in candidates if key.verify(message, signature)), None)

    def all(self) -> Sequence[Key]:
        """Return all keys."""
        return self._keys

    def knows(self, kid: str) -> bool:
        """Return whether a key has this ``kid``."""
        return kid in self._by_kid


class SharedKey(Key):
    """A shared key with a prepared HMAC (RFC 2104).

    A token may be tried with the keys of a thousand applications. Copying a prepared HMAC takes 1.2 us for each, and
    PyJWT, which prepares it again for each token, 1.8 us.
    """

    __slots__ = ("_prepared",)
    _prepared: hmac.HMAC

    def __init__(self, algorithm: str, material: bytes) -> None:
        super().__init__(algorithm, material)
        # The dataclass is frozen, and its repr and equality ignore this attribute.
        object.__setattr__(self, "_prepared", hmac.new(material, digestmod=_HASHES[algorithm]))

    def sign(self, message: bytes) -> bytes:
        """Return the HMAC of ``message``."""
        mac = self._prepared.copy()
        mac.update(message)
        return mac.digest()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Return whether ``signature`` is the HMAC of ``message``, in constant time."""
        return hmac.compare_digest(self.sign(message), signature)


def alternatives(algorithm: str) -> Sequence[str]:
    """Return the other algorithms that the same key can be used with."""
    family = next((family for family in (tuple(HMAC_LENGTHS), RSA) if algorithm in family), ())
    return [one for one in family if one != algorithm]


def with_algorithm(algorithm: str, key: Key) -> Key:
    """Return the same key for another of its ``alternatives``."""
    if algorithm == key.algorithm:
        return key
    return SharedKey(algorithm, key.material) if is_shared(algorithm) else Key(algorithm, key.material, key.kid)


def is_same(algorithm: str, one: str, other: str) -> bool:
    """Return whether two secrets are the same key: equal texts, or one public key in two encodings."""
    if hmac.compare_digest(one.encode(), other.encode()):
        return True
    if is_shared(algorithm):
        return False
    try:
        return verification_key(algorithm, one).kid == verification_key(algorithm, other).kid
    except RuleError:
        return False


def verification_key(algorithm: str, secret: str) -> Key:
    """Return the key that verifies an application's tokens; raise ``RuleError`` if ``secret`` is not usable as one.

    Stored keys are read here too. The stricter rules for new keys are in ``vetting``.
    """
    if not is_shared(algorithm):
        return _public_key(algorithm, secret)
    if not secret:
        raise RuleError("can not be empty")
    if pem.is_public_key(secret):
        # Anyone may know it, and could sign with it. No version stored one: the record was edited by hand.
        raise RuleError(
            "must be a shared key for %(algorithm)s, not a public key or PEM: use a random text", algorithm=algorithm
        )
    return SharedKey(algorithm, secret.encode())


def signing_key(algorithm: str, expected: Sequence[Key], private_key: str | None) -> tuple[Key, int] | None:
    """Return the key that signs an application's tokens, and the position in ``expected`` of the key it belongs to.

    ``expected`` has the current key and, during a grace period, the previous one. ``private_key`` is the shared key,
    which may be None, or a private key in PEM. A shared key must equal an expected one, and the current one signs; a
    private key must belong to an expected public key, and signs. Return None if it does not. Raise ``RuleError`` if a
    private key is missing or not an unencrypted PEM.
    """
    if is_shared(algorithm):
        for number, key in enumerate(expected):
            # As bytes: compare_digest raises TypeError for text that is not ASCII.
            if private_key is None or hmac.compare_digest(private_key.encode(), key.material):
                return expected[0], number
        return None
    if private_key is None:
        raise RuleError(
            "is missing: %(algorithm)s tokens are signed with it, and only its public key is stored",
            algorithm=algorithm,
        )
    found = _PRIVATE_KEYS.get(private_key, [key.material for key in expected])
    return None if found is None else (Key(algorithm, found[0], expected[found[1]].kid), found[1])


class _CachedKey(NamedTuple):
    private: Any
    public: PublicKey
    used: float


class _PrivateKeyCache:
    """Cache of parsed private keys: parsing an RSA key takes 40 ms to 5 s, since the key is checked.

    Entries are found by the hash of the PEM text, and are usable for ``_CACHE_SECONDS`` after their last use.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, _CachedKey] = {}

    def get(self, text: str, accepted: Sequence[PublicKey]) -> tuple[Any, int] | None:
        """Return the private key of a PEM text and the position of its public key in ``accepted``, or ``None``."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        now = time.monotonic()
        entry = self._entries.get(digest)
        if entry is not None and now - entry.used >= _CACHE_SECONDS:
            entry = None
        public = pem.public_half(text) if entry is None else entry.public
        if public not in accepted:
            return None
        private = pem.private_key(text) if entry is None else entry.private
        if entry is None:
            fresh = [item for item in list(self._entries.items()) if now - item[1].used < _CACHE_SECONDS]
            self._entries = dict(fresh[-(_MAX_CACHED - 1) :])
        self._entries[digest] = _CachedKey(private, public, now)
        return private, accepted.index(public)


_PRIVATE_KEYS = _PrivateKeyCache()


def new_secret(algorithm: str) -> str:
    """Return a random shared secret of the algorithm's full length, as base64url."""
    return secrets.token_urlsafe(HMAC_LENGTHS[algorithm])


def jwk(algorithm: str, secret: str) -> dict[str, str]:
    """Return a public key as a JWK (RFC 7517). The algorithm must not be one with shared keys."""
    key = _public_key(algorithm, secret)
    members: dict[str, Any] = json.loads(_BY_NAME[algorithm].to_jwk(key.material))
    members.pop("key_ops", None)
    return {**members, "kid": str(key.kid), "alg": algorithm, "use": "sig"}


@functools.lru_cache(maxsize=1024)
def _public_key(algorithm: str, text: str) -> Key:
    # Cached: parsing an RSA key takes longer than verifying with it.
    key = pem.public_key(algorithm, text)
    if algorithm in RSA:
        if not isinstance(key, rsa.RSAPublicKey):
            raise RuleError("must be an RSA public key for %(algorithm)s", algorithm=algorithm)
        return Key(algorithm, key, _thumbprint(algorithm, key))
    if algorithm in _CURVES:
        curve = _CURVES[algorithm]
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, curve):
            raise RuleError(
                "must be a public key on the curve %(curve)s for %(algorithm)s", curve=curve.name, algorithm=algorithm
            )
        return Key(algorithm, key, _thumbprint(algorithm, key))
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise RuleError("must be an Ed25519 public key for %(algorithm)s", algorithm=algorithm)
    return Key(algorithm, key, _thumbprint(algorithm, key))


def _thumbprint(algorithm: str, key: PublicKey) -> str:
    """Return the thumbprint of a public key (RFC 7638): the SHA-256 of its JWK's required members."""
    jwk = json.loads(_BY_NAME[algorithm].to_jwk(key))
    required = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    digest = hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
