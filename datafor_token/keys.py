"""A secret or private key as text becomes a usable, checked key for one algorithm.

The only module that imports PyJWT and ``cryptography``. PyJWT's algorithm objects sign and verify
bytes here; its token functions are not used, since they accept keys, headers and claims that this
service refuses (RFC 8725; ``issuer`` and ``verifier`` do that part).
"""

import base64
import binascii
import functools
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import Algorithm, get_default_algorithms
from zxcvbn import zxcvbn

from datafor_token.errors import RuleError

# The shared key's least length in bytes (RFC 7518 section 3.2: as long as the hash).
HMAC_LENGTHS = {"HS256": 32, "HS384": 48, "HS512": 64}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
ALGORITHMS = (*HMAC_LENGTHS, *_RSA, *_CURVES, "EdDSA")

# Below 10**20 guesses a shared key is found from one of its tokens by whoever can afford some
# graphics cards for some months (10**13 HMACs a second).
_ENOUGH_GUESSES_LOG10 = 20
_ESTIMATED_CHARACTERS = 72  # what zxcvbn takes at most; the time that it needs grows with the square
_LONGEST_PEM = 16 * 1024  # characters; a private RSA key of 8,192 bits has 6,400
_ENCRYPTED_PEM = re.compile("-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4, *ENCRYPTED")
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)

_BY_NAME: dict[str, Algorithm] = get_default_algorithms()

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, repr=False)
class Key:
    """A checked key, ready to sign or verify with the one algorithm that it is for.

    ``material`` is what PyJWT's algorithm object takes, ``kid`` the RFC 7638 thumbprint of a public
    key; ``None`` for a shared one, of which nothing may be shown.
    """

    algorithm: str
    material: Any
    kid: str | None = None

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``; only for a shared or private key."""
        return _BY_NAME[self.algorithm].sign(message, self.material)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's for ``message``; only for a shared or public key."""
        return _BY_NAME[self.algorithm].verify(message, self.material, signature)


def is_shared(algorithm: str) -> bool:
    """Whether tokens of the algorithm are signed and verified with one shared key."""
    return algorithm in HMAC_LENGTHS


def verification_key(algorithm: str, secret: str) -> Key:
    """The key that verifies an application's tokens; ``RuleError`` says why ``secret`` cannot be one."""
    if is_shared(algorithm):
        if not secret:
            raise RuleError("can not be empty")
        if "-----BEGIN " in secret:
            raise RuleError(f"must be a shared key for {algorithm}, not a PEM key or certificate")
        return Key(algorithm, secret.encode())
    return _public_key(algorithm, secret)


def signing_key(algorithm: str, secret: str, private_key: str | None) -> Key | None:
    """The key that signs an application's tokens, or ``None`` when ``private_key`` is not the one of ``secret``.

    ``private_key`` may be ``None`` for a shared key only: then ``secret`` itself signs. Raises
    ``RuleError`` when ``private_key`` is no unencrypted private key in PEM.
    """
    expected = verification_key(algorithm, secret)
    if is_shared(algorithm):
        # Bytes: compare_digest raises on text that is not ASCII.
        if private_key is None or hmac.compare_digest(private_key.encode(), expected.material):
            return expected
        return None
    if private_key is None:
        raise RuleError(f"is missing: {algorithm} tokens are signed with it, and only its public key is stored")
    private = _private_key(private_key)
    if private.public_key() != expected.material:
        return None
    return Key(algorithm, private, expected.kid)


def weakness(algorithm: str, secret: str) -> str | None:
    """Why a shared secret is weak, as one sentence, or ``None`` when it is not.

    Weak is what is shorter than RFC 7518 section 3.2 asks, or easily guessed by the estimate of zxcvbn.
    """
    if not is_shared(algorithm):
        return None
    length, least = len(secret.encode()), HMAC_LENGTHS[algorithm]
    if length < least:
        return f"secret is weak: {length} bytes, where {algorithm} asks for at least {least} (RFC 7518 section 3.2)"
    if _guesses_log10(secret) < _ENOUGH_GUESSES_LOG10:
        return "secret is weak: it can be guessed; use a random one"
    return None


@functools.lru_cache(maxsize=256)
def _guesses_log10(secret: str) -> float:
    # A pure function of its argument: remembering it can never be wrong.
    return float(zxcvbn(secret[:_ESTIMATED_CHARACTERS], max_length=_ESTIMATED_CHARACTERS)["guesses_log10"])


@functools.lru_cache(maxsize=1024)
def _public_key(algorithm: str, text: str) -> Key:
    # A pure function of its arguments too. Parsing an RSA key costs more than using it.
    key = _load_public(text)
    if algorithm in _RSA:
        if not isinstance(key, rsa.RSAPublicKey):
            raise RuleError(f"must be an RSA public key for {algorithm}")
        if not 2048 <= key.key_size <= 8192:
            raise RuleError(f"must be an RSA key of 2048 to 8192 bits, not {key.key_size}")
        if key.public_numbers().e != 65537:
            raise RuleError("must be an RSA key with the public exponent 65537")
        return Key(algorithm, key, _thumbprint(algorithm, key))
    if algorithm in _CURVES:
        curve = _CURVES[algorithm]
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, curve):
            raise RuleError(f"must be a public key on the curve {curve.name} for {algorithm}")
        return Key(algorithm, key, _thumbprint(algorithm, key))
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise RuleError(f"must be an Ed25519 public key for {algorithm}")
    return Key(algorithm, key, _thumbprint(algorithm, key))


def _load_public(text: str) -> Any:
    """The public key of a PEM text or of the bare Base64 of its DER (SubjectPublicKeyInfo)."""
    if len(text) > _LONGEST_PEM:
        raise RuleError(f"must be a public key of at most {_LONGEST_PEM} characters")
    if "-----BEGIN " in text:
        _refuse_other_pem(text)
        try:
            return serialization.load_pem_public_key(text.encode())
        except _UNREADABLE:
            raise RuleError("is not a readable public key in PEM; in a form, '+' must be sent as %2B") from None
    try:
        data = base64.b64decode("".join(text.splitlines()), validate=True)
    except (binascii.Error, ValueError):
        raise RuleError(
            "must be a public key, as PEM or as the Base64 of its DER; in a form, '+' must be sent as %2B"
        ) from None
    try:
        return serialization.load_der_public_key(data)
    except _UNREADABLE:
        raise RuleError(_der_fault(data)) from None


def _refuse_other_pem(text: str) -> None:
    if _ENCRYPTED_PEM.search(text):
        raise RuleError("must be a public key: this is an encrypted private one")
    if "PRIVATE KEY-----" in text:
        raise RuleError("must be a public key: this is a private one, which this service never stores")
    if "-----BEGIN CERTIFICATE" in text:
        raise RuleError("must be a public key: this is a certificate")


def _der_fault(data: bytes) -> str:
    """What is wrong with bytes that are no public key, as a predicate."""
    for load, fault in (
        (
            lambda: serialization.load_der_private_key(data, None),
            "this is a private one, which this service never stores",
        ),
        (lambda: x509.load_der_x509_certificate(data), "this is a certificate"),
    ):
        try:
            load()
        except TypeError:
            # What cryptography says of a private key whose password is missing.
            return "must be a public key: this is an encrypted private one"
        except _UNREADABLE:
            continue
        return f"must be a public key: {fault}"
    return "is not a readable public key in DER"


def _private_key(text: str) -> Any:
    if "-----BEGIN " not in text or len(text) > _LONGEST_PEM:
        raise RuleError("must be a private key in PEM")
    if _ENCRYPTED_PEM.search(text):
        raise RuleError("must be an unencrypted private key: this one is encrypted")
    if not re.search("-----BEGIN [A-Z ]*PRIVATE KEY-----", text):
        raise RuleError("must be a private key: this is none")
    try:
        return serialization.load_pem_private_key(text.encode(), None)
    except _UNREADABLE:
        raise RuleError("is not a readable private key; in a form, '+' must be sent as %2B") from None


def _thumbprint(algorithm: str, key: PublicKey) -> str:
    """RFC 7638: the SHA-256 of the required members of the JWK, in this exact form."""
    jwk = json.loads(_BY_NAME[algorithm].to_jwk(key))
    required = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    digest = hashlib.sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
