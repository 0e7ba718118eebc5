"""Vetting of new keys: public keys in place of shared secrets, and keys that can be broken.

Stored keys are not vetted again: a stricter rule must not turn a working application into a damaged record. Vetting
takes at most about 5 ms for each key, for an RSA key of 8,192 bits.
"""

import functools
from math import gcd, isqrt

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from datafor_token.crypto import jwk
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.key_material import find_key
from datafor_token.crypto.keys import Key, verification_key
from datafor_token.errors import Message, RuleError

_FERMAT_ROUNDS = 100
_SMALL_FACTORS = 65_536  # primes below this are tried as factors; 0.3 ms
# Primes for which few residues are powers of 65537 (Nemec et al., CCS 2017). One in 2**27 other moduli passes all 17.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
# The field and the curve of Ed25519 (RFC 8032 section 5.1), and the y of the points of order 8.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = (0, 1, _P - 1, _ORDER_8, _P - _ORDER_8)


def check(algorithm: str, secret: str) -> None:
    """Raise ``RuleError`` if the secret cannot or should not be a key of the algorithm."""
    found = fault(algorithm, secret)
    if found is not None:
        raise RuleError(found)


@functools.lru_cache(maxsize=1024)
def fault(algorithm: str, secret: str) -> Message | None:
    """Return a predicate that states why a secret should not be a key of the algorithm, or None."""
    if is_shared(algorithm) and secret:
        found = find_key(secret)
        if found is None:
            return None
        return Message(
            "must be a shared key for %(algorithm)s, not %(key)s: use a random text", algorithm=algorithm, key=found
        )
    try:
        keys = verification_key(algorithm, secret).all()
        numbers = [one.number for one in jwk.read(algorithm, secret)] if jwk.is_jwk(secret) else [0]
    except RuleError as error:
        return error.message
    for number, key in zip(numbers, keys, strict=True):
        found = key_fault(key)
        if found is not None:
            return jwk.faulty_key(number, found) if number else found
    return None


def key_fault(key: Key) -> Message | None:
    """Return a predicate that states why a public key should not be used, or None."""
    if isinstance(key.material, rsa.RSAPublicKey):
        return _rsa_fault(key.material)
    if isinstance(key.material, ed25519.Ed25519PublicKey):
        return _ed25519_fault(key.material)
    # EC keys: the parser refuses the point at infinity and points off the curve, ``keys`` another curve.
    return None


def _rsa_fault(key: rsa.RSAPublicKey) -> Message | None:
    if not 2048 <= key.key_size <= 8192:
        return Message("must be an RSA key of 2048 to 8192 bits, not %(size)s", size=key.key_size)
    numbers = key.public_numbers()
    if numbers.e != 65537:
        return Message("must be an RSA key with the public exponent 65537")
    if gcd(numbers.n, _small_primes()) != 1:
        return Message("must not be an RSA key whose modulus has a small factor: create a new one")
    if _is_roca(numbers.n):
        return Message("must not be an RSA key of the broken kind ROCA (CVE-2017-15361): create a new one")
    if _has_close_factors(numbers.n):
        return Message("must not be an RSA key whose two primes are close together (CVE-2022-26320): create a new one")
    return None


@functools.cache
def _small_primes() -> int:
    """Return the product of all primes below ``_SMALL_FACTORS``, 2 included."""
    product, sieve = 1, bytearray([1]) * _SMALL_FACTORS
    for number in range(2, _SMALL_FACTORS):
        if sieve[number]:
            product *= number
            sieve[number * number :: number] = bytes(len(range(number * number, _SMALL_FACTORS, number)))
    return product


def _is_roca(modulus: int) -> bool:
    """Return whether the modulus is a power of 65537 modulo each small prime, as keys of Infineon's generator are."""
    return all(modulus % prime in powers for prime, powers in _roca_marks())


@functools.cache
def _roca_marks() -> tuple[tuple[int, frozenset[int]], ...]:
    return tuple(
        (prime, frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))) for prime in _ROCA_PRIMES
    )


def _has_close_factors(modulus: int) -> bool:
    """Return whether Fermat's method (n = a**2 - b**2) factors the modulus in a few rounds."""
    first = isqrt(modulus - 1) + 1
    for a in range(first, first + _FERMAT_ROUNDS):
        square = a * a - modulus
        if isqrt(square) ** 2 == square:
            return True
    return False


def _ed25519_fault(key: ed25519.Ed25519PublicKey) -> Message | None:
    encoded = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    # The highest bit is the sign of x. The y of a point of small order may also be encoded unreduced.
    y = int.from_bytes(encoded, "little") % 2**255
    if y % _P in _SMALL_ORDER:
        return Message("must not be an Ed25519 key of small order, for which anyone can sign: create a new one")
    # The value for x**2 (RFC 8032 section 5.1.3) must be a square (Euler's criterion).
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if y >= _P or pow(square, (_P - 1) // 2, _P) != 1:
        return Message("is not an Ed25519 key: it is not a point of the curve")
    return None
