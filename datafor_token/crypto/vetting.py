"""Vetting of keys when they are written: keys that everybody may know, and keys that can be broken.

A stored key is not vetted again: a stricter rule must not turn a working application into a damaged record. Bounded in
cost: at most about 5 ms, for an RSA key of 8,192 bits.
"""

import functools
from math import gcd, isqrt

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from datafor_token.crypto.key_material import description
from datafor_token.crypto.keys import is_shared, verification_key
from datafor_token.errors import RuleError

_FERMAT_ROUNDS = 100
_SMALL_FACTORS = 65_536  # below which primes are looked for; 0.3 ms
# Primes of whose residues few are powers of 65537 (Nemec et al., CCS 2017). All 17 fit one in 2**27 other moduli.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
# The field and the curve of Ed25519 (RFC 8032 section 5.1), and the y of the points of order 8.
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = (0, 1, _P - 1, _ORDER_8, _P - _ORDER_8)


def check(algorithm: str, secret: str) -> None:
    """Raise ``RuleError`` for a secret that cannot be a key of the algorithm, or that should not be one."""
    found = fault(algorithm, secret)
    if found is not None:
        raise RuleError(found)


@functools.lru_cache(maxsize=1024)
def fault(algorithm: str, secret: str) -> str | None:
    """Say as a predicate why a secret should not be a key of the algorithm; ``None``: there is no reason."""
    if is_shared(algorithm) and secret:
        what = description(secret)
        return None if what is None else f"must be a shared key for {algorithm}, not {what}: use a random text"
    try:
        key = verification_key(algorithm, secret)
    except RuleError as error:
        return error.message
    if isinstance(key.material, rsa.RSAPublicKey):
        return _rsa_fault(key.material)
    if isinstance(key.material, ed25519.Ed25519PublicKey):
        return _ed25519_fault(key.material)
    # The parser refuses the point at infinity and points that are not on the curve; the curve fits the algorithm.
    return None


def _rsa_fault(key: rsa.RSAPublicKey) -> str | None:
    if not 2048 <= key.key_size <= 8192:
        return f"must be an RSA key of 2048 to 8192 bits, not {key.key_size}"
    numbers = key.public_numbers()
    if numbers.e != 65537:
        return "must be an RSA key with the public exponent 65537"
    if gcd(numbers.n, _small_primes()) != 1:
        return "must not be an RSA key whose modulus has a small factor: create a new one"
    if _is_roca(numbers.n):
        return "must not be an RSA key of the broken kind ROCA (CVE-2017-15361): create a new one"
    if _has_close_factors(numbers.n):
        return "must not be an RSA key whose two primes are close together (CVE-2022-26320): create a new one"
    return None


@functools.cache
def _small_primes() -> int:
    """Multiply all primes below ``_SMALL_FACTORS``, 2 included: an even modulus has a small factor too."""
    product, sieve = 1, bytearray([1]) * _SMALL_FACTORS
    for number in range(2, _SMALL_FACTORS):
        if sieve[number]:
            product *= number
            sieve[number * number :: number] = bytes(len(range(number * number, _SMALL_FACTORS, number)))
    return product


def _is_roca(modulus: int) -> bool:
    """Return whether the modulus is a power of 65537 modulo many small primes, as those of Infineon's generator are."""
    return all(modulus % prime in powers for prime, powers in _roca_marks())


@functools.cache
def _roca_marks() -> tuple[tuple[int, frozenset[int]], ...]:
    return tuple(
        (prime, frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))) for prime in _ROCA_PRIMES
    )


def _has_close_factors(modulus: int) -> bool:
    """Return whether Fermat's method factors the modulus in a few rounds: n = a**2 - b**2."""
    first = isqrt(modulus - 1) + 1
    for a in range(first, first + _FERMAT_ROUNDS):
        square = a * a - modulus
        if isqrt(square) ** 2 == square:
            return True
    return False


def _ed25519_fault(key: ed25519.Ed25519PublicKey) -> str | None:
    encoded = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    # The highest bit is the sign of x. Points of small order also have encodings with a y that is not reduced.
    y = int.from_bytes(encoded, "little") % 2**255
    if y % _P in _SMALL_ORDER:
        return "must not be an Ed25519 key of small order, for which anyone can sign: create a new one"
    # x**2 (RFC 8032 section 5.1.3), which must be a square (Euler's criterion).
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if y >= _P or pow(square, (_P - 1) // 2, _P) != 1:
        return "is not an Ed25519 key: it is not a point of the curve"
    return None
