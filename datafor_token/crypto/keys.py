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

from datafor_token.crypto import jwk, pem
from datafor_token.crypto.algorithms import HMAC_LENGTHS, RSA, is_shared
from datafor_token.crypto.jwk import PublicKey
from datafor_token.errors import RuleError

_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_CACHE_SECONDS, _MAX_CACHED = 60.0, 64  # of parsed private keys
_BY_NAME: dict[str, Algorithm] = get_default_algorithms()


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
        every, kids = [], []
        for key, kid in keys:
            every.append(key)
            kids.append(str(key.kid) if kid is None else kid)
            for name in dict.fromkeys((kid, key.kid)):
                if name is not None:
                    by_kid.setdefault(name, []).append(key)
        self._keys: Sequence[Key] = tuple(every)
        # Of each key: that of its JWK, or its thumbprint.
        self.kids: Sequence[str] = tuple(kids)
        self._by_kid: Mapping[str, Sequence[Key]] = by_kid

    def signer(self, message: bytes, signature: bytes, kid: str | None) -> Key | None:
        """Return the key that made the signature, or None. Without a key of that ``kid``, each is tried.

        Trying 32 keys takes 6 ms (RS256) to 60 ms (ES512).
        """
        candidates = self._keys if kid is None else self._by_kid.get(kid, self._keys)
        return next((key for key in candidates if key.verify(message, signature)), None)

    def all(self) -> Sequence[Key]:
        """Return all keys."""
        return self._keys


class KeyPair(NamedTuple):
    """A private key and its public key, with the same ``kid``."""

    private: Key
    public: Key


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

    def signer(self, message: bytes, signature: bytes, kid: str | None) -> Key | None:
        """Return this key if it made the signature, without the calls of ``verify``: a token may be tried with many."""
        del kid
        mac = self._prepared.copy()
        mac.update(message)
        return self if hmac.compare_digest(mac.digest(), signature) else None


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
    """Return whether two secrets are the same: equal texts, or the same public keys, in any encoding and order."""
    if hmac.compare_digest(one.encode(), other.encode()):
        return True
    if is_shared(algorithm):
        return False
    try:
        return _thumbprints(algorithm, one) == _thumbprints(algorithm, other)
    except RuleError:
        return False


def _thumbprints(algorithm: str, secret: str) -> frozenset[str | None]:
    return frozenset(key.kid for key in verification_key(algorithm, secret).all())


def verification_key(algorithm: str, secret: str) -> KeySource:
    """Return the key or keys that verify an application's tokens; raise ``RuleError`` if ``secret`` is not usable.

    A public key may be PEM, the Base64 of DER, a JWK, or one of a JWK Set. Stored keys are read here too. The stricter
    rules for new keys are in ``vetting``.
    """
    if not is_shared(algorithm):
        return _public_keys(algorithm, secret)
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


def new_key_pair() -> KeyPair:
    """Return a new key pair for ES256."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = _key("ES256", private.public_key())
    return KeyPair(Key("ES256", private, public.kid), public)


def key_pair(algorithm: str, private_key: str) -> KeyPair:
    """Return the key pair of a private key in PEM; raise ``RuleError`` if it is not one for the algorithm."""
    private = pem.private_key(private_key)
    public = _key(algorithm, private.public_key())
    return KeyPair(Key(algorithm, private, public.kid), public)


def as_jwk(key: Key) -> Mapping[str, str]:
    """Return a public key as a JWK (RFC 7517), whose ``kid`` is its thumbprint, as in the tokens that it signs here."""
    members: dict[str, Any] = json.loads(_BY_NAME[key.algorithm].to_jwk(key.material))
    members.pop("key_ops", None)
    return {**members, "kid": str(key.kid), "alg": key.algorithm, "use": "sig"}


def usable_keys(algorithm: str, members: Sequence[object]) -> Sequence[tuple[Key, str | None]]:
    """Return the keys for the algorithm among the members of a fetched JWK Set, each with its ``kid`` if it has one.

    They are not vetted.
    """
    return [(_key(algorithm, one.key), one.kid) for one in jwk.usable(algorithm, members)]


@functools.lru_cache(maxsize=1024)
def _public_keys(algorithm: str, text: str) -> KeySource:
    # Cached: parsing an RSA key takes longer than verifying with it.
    if not jwk.is_jwk(text):
        return _key(algorithm, pem.public_key(algorithm, text))
    found = jwk.read(algorithm, text)
    if found[0].number == 0:
        return _key(algorithm, found[0].key)
    return KeySet((_key(algorithm, one.key), one.kid) for one in found)


def _key(algorithm: str, public: Any) -> Key:
    """Return a public key for the algorithm; raise ``RuleError`` if it is of another type."""
    if algorithm in RSA:
        if not isinstance(public, rsa.RSAPublicKey):
            raise RuleError("must be an RSA public key for %(algorithm)s", algorithm=algorithm)
    elif algorithm in _CURVES:
        curve = _CURVES[algorithm]
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, curve):
            raise RuleError(
                "must be a public key on the curve %(curve)s for %(algorithm)s", curve=curve.name, algorithm=algorithm
            )
    elif not isinstance(public, ed25519.Ed25519PublicKey):
        raise RuleError("must be an Ed25519 public key for %(algorithm)s", algorithm=algorithm)
    return Key(algorithm, public, _thumbprint(algorithm, public))


def _thumbprint(algorithm: str, key: PublicKey) -> str:
    """Return the thumbprint of a public key (RFC 7638): the SHA-256 of its JWK's required members."""
    members = json.loads(_BY_NAME[algorithm].to_jwk(key))
    required = {name: members[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in members}
    digest = hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
