"""Parsing of public keys in JSON: a JWK or a JWK Set (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

Errors never repeat a value of the text, except for registered names of types, curves, algorithms and uses. Certificates
beside a key (``x5c``, ``x5t``, ``x5u``) and members that are not known are ignored. A member that is null counts as
left out.
"""

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from datafor_token.crypto.algorithms import ALGORITHMS, RSA
from datafor_token.errors import Message, RuleError
from datafor_token.validation import strict_json

MOST_KEYS = 32  # of a set that was pasted, and usable ones of a set that was fetched
_LONGEST = 64 * 1024  # characters; 32 RSA keys of 8,192 bits have 46,000
_LONGEST_KID = 256  # characters
_MOST_KINDS = 6  # that an error names
# Bits of an RSA modulus that is read: PS512 raises errors with a smaller one, and OpenSSL refuses larger ones. The
# limits for new keys are in ``vetting``.
_SMALLEST_MODULUS, _LARGEST_MODULUS = 1024, 16_384
_PRIVATE = Message("must have public keys only: there is a private or shared one")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
# Of RSA, EC and OKP keys (RFC 7518 section 6.2.2, 6.3.2, RFC 8037 section 2), of shared keys, and of ML-DSA keys.
_PRIVATE_MEMBERS = ("d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv")
_CURVES: Mapping[str, tuple[str, ec.EllipticCurve]] = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}
_UNKNOWN = "?"
# Registered values that an error may repeat.
_REGISTERED: Mapping[str, frozenset[str]] = {
    "kty": frozenset(("RSA", "EC", "OKP", "oct", "AKP")),
    "crv": frozenset(("P-256", "P-384", "P-521", "secp256k1", "Ed25519", "Ed448", "X25519", "X448")),
    "use": frozenset(("sig", "enc")),
    "alg": frozenset((*ALGORITHMS, "Ed25519", "Ed448", "ES256K", "RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "ECDH-ES")),
}

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class PublicJWK(NamedTuple):
    """The public key of a JWK, and its ``kid``, if any. ``number`` is its place in its set, from 1; 0 without a set."""

    number: int
    key: PublicKey
    kid: str | None


def is_jwk(text: str) -> bool:
    """Return whether a text must be read as a JWK or JWK Set: it looks like a JSON object."""
    return text.lstrip().startswith("{")


def read(algorithm: str, text: str) -> Sequence[PublicJWK]:
    """Parse a JWK, or a JWK Set of 1 to 32 keys, and return its public keys for the algorithm; raise ``RuleError``.

    Keys of a set that are for something else are left out. Any other key that cannot be read is an error.
    """
    document = _object(text)
    if "keys" not in document:
        if "kty" not in document:
            raise RuleError("must be a JWK, which has the member kty, or a JWK Set, which has the member keys")
        fault = _mismatch(algorithm, document)
        if fault is not None:
            raise RuleError(fault)
        return [_parsed(algorithm, document, 0)]
    members = document["keys"]
    if not isinstance(members, list) or not 1 <= len(members) <= MOST_KEYS:
        raise RuleError("must be a JWK Set of 1 to %(number)s keys", number=MOST_KEYS)
    found = []
    for number, member in enumerate(members, 1):
        try:
            if not isinstance(member, dict):
                raise RuleError("must be an object")
            if _mismatch(algorithm, member) is None:
                found.append(_parsed(algorithm, member, number))
        except RuleError as error:
            raise RuleError(faulty_key(number, error.message)) from None
    if not found:
        raise RuleError(_no_key(algorithm, members))
    return found


def usable(algorithm: str, keys: Sequence[object]) -> Sequence[PublicJWK]:
    """Return the public keys for the algorithm among the ``keys`` of a fetched JWK Set, which is parsed JSON.

    Keys for something else and keys that cannot be read are left out (RFC 7517 section 5).
    """
    found = []
    for number, member in enumerate(keys, 1):
        if isinstance(member, dict) and _mismatch(algorithm, member) is None:
            with contextlib.suppress(RuleError):
                found.append(_parsed(algorithm, member, number))
    return found


def faulty_key(number: int, fault: str) -> Message:
    """Return a predicate about a set, one of whose keys has a fault; ``fault`` is a predicate about that key."""
    return Message("has a key that is not accepted: key %(number)s %(fault)s", number=number, fault=fault)


def _object(text: str) -> dict[str, Any]:
    if len(text) > _LONGEST:
        raise RuleError("must be a JWK or JWK Set of at most %(number)s characters", number=_LONGEST)
    try:
        # An object, since it begins with a brace.
        document: dict[str, Any] = strict_json.loads(text)
    except strict_json.JSONError as error:
        raise RuleError("is not a readable JWK: its text %(predicate)s", predicate=error.message) from None
    if "PRIVATE KEY-----" in text or has_private(document):
        raise RuleError(_PRIVATE)
    return document


def has_private(value: object) -> bool:
    """Return whether there is a private or shared key anywhere in a JSON value, which has a limited depth."""
    if isinstance(value, Mapping):
        is_private = value.get("kty") == "oct" or any(value.get(name) is not None for name in _PRIVATE_MEMBERS)
        return is_private or any(has_private(member) for member in value.values())
    return isinstance(value, list | tuple) and any(has_private(member) for member in value)


def _mismatch(algorithm: str, jwk: Mapping[str, Any]) -> Message | None:
    """Return a predicate that states why a JWK is not meant for the algorithm, or None."""
    for member, accepted in _expected(algorithm):
        value = jwk.get(member)
        if value in accepted or (value is None and member in ("use", "alg")):
            continue
        wanted = Message(
            "must be a JWK with the %(member)s %(accepted)s for %(algorithm)s",
            member=member,
            accepted=accepted[0],
            algorithm=algorithm,
        )
        shown = _shown(member, value)
        return wanted if shown == _UNKNOWN else Message("%(wanted)s, not %(value)s", wanted=wanted, value=shown)
    operations = jwk.get("key_ops")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return Message("must be a JWK whose key_ops has verify")
    return None


def _expected(algorithm: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the names of members with the accepted values, the usual one first."""
    if algorithm in RSA:
        yield "kty", ("RSA",)
    elif algorithm in _CURVES:
        yield "kty", ("EC",)
        yield "crv", (_CURVES[algorithm][0],)
    else:
        yield "kty", ("OKP",)
        yield "crv", ("Ed25519",)
    yield "use", ("sig",)
    # RFC 9864 names EdDSA with Ed25519 after its curve.
    yield "alg", (algorithm, "Ed25519") if algorithm == "EdDSA" else (algorithm,)


def _no_key(algorithm: str, keys: Sequence[object]) -> Message:
    """Return a predicate about a set without a key for the algorithm, with the kinds of keys that it has."""
    kinds = list(dict.fromkeys(_kind(key) for key in keys if isinstance(key, dict)))
    shown = ", ".join(kinds[:_MOST_KINDS]) + (", ..." if len(kinds) > _MOST_KINDS else "")
    if not shown:
        return Message("has no key for %(algorithm)s: the JWK Set is empty", algorithm=algorithm)
    return Message("has no key for %(algorithm)s, but %(kinds)s", algorithm=algorithm, kinds=shown)


def _kind(jwk: Mapping[str, Any]) -> str:
    """Return the type and purpose of a JWK, such as ``kty=RSA use=enc``."""
    members = [f"{name}={_shown(name, jwk[name])}" for name in _REGISTERED if jwk.get(name) is not None]
    if jwk.get("key_ops") is not None:
        members.append("key_ops")
    return " ".join(members) or f"kty={_UNKNOWN}"


def _shown(member: str, value: object) -> str:
    """Return the value of a member if it is a registered one, else a question mark."""
    return value if isinstance(value, str) and value in _REGISTERED[member] else _UNKNOWN


def _parsed(algorithm: str, jwk: Mapping[str, Any], number: int) -> PublicJWK:
    """Parse a JWK that is meant for the algorithm; raise ``RuleError``."""
    kid = jwk.get("kid")
    if kid is not None and (not isinstance(kid, str) or len(kid) > _LONGEST_KID):
        raise RuleError("must have a kid that is a text of at most %(number)s characters", number=_LONGEST_KID)
    if algorithm in RSA:
        return PublicJWK(number, _rsa_key(jwk), kid)
    if algorithm in _CURVES:
        return PublicJWK(number, _ec_key(jwk, *_CURVES[algorithm]), kid)
    return PublicJWK(number, ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x", 32)), kid)


def _rsa_key(jwk: Mapping[str, Any]) -> rsa.RSAPublicKey:
    # Some libraries write a leading zero byte (RFC 7518 section 6.3.1.1), which changes nothing.
    modulus, exponent = (int.from_bytes(_bytes(jwk, member), "big") for member in ("n", "e"))
    if not _SMALLEST_MODULUS <= modulus.bit_length() <= _LARGEST_MODULUS:
        raise RuleError("must have an n of %(least)s to %(most)s bits", least=_SMALLEST_MODULUS, most=_LARGEST_MODULUS)
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise RuleError("must have an n and an e that are an RSA key") from None


def _ec_key(jwk: Mapping[str, Any], name: str, curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    size = (curve.key_size + 7) // 8
    x, y = (int.from_bytes(_bytes(jwk, member, size), "big") for member in ("x", "y"))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except ValueError:
        raise RuleError("must have an x and a y that are a point of the curve %(curve)s", curve=name) from None


def _bytes(jwk: Mapping[str, Any], member: str, size: int | None = None) -> bytes:
    """Return the decoded bytes of a member, which must be ``size`` many; raise ``RuleError``."""
    text = jwk.get(member)
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise RuleError("must have the member %(member)s in base64url without padding", member=member)
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if size is not None and len(data) != size:
        raise RuleError("must have the member %(member)s with %(size)s bytes", member=member, size=size)
    return data
