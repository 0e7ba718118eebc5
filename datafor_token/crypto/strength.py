"""Strength of shared secrets."""

import functools
import itertools
import operator

from zxcvbn import zxcvbn

from datafor_token.crypto import vetting
from datafor_token.crypto.algorithms import HMAC_LENGTHS, RSA, is_shared
from datafor_token.crypto.keys import Key, SharedKey
from datafor_token.errors import Message, about

# With fewer guesses, some graphics cards (10**13 HMACs a second) find the key from one of its tokens in some months.
_ENOUGH_GUESSES_LOG10 = 20
# The longest minimum of RFC 7518 (HS512). The time of the estimate grows with the square of the length.
_ESTIMATED_CHARACTERS = 64
# zxcvbn tries every combination of letters that l33t characters may stand for: a secret with all of them took 2.7 s.
# Characters for the same letter are merged, so that 64 characters take at most 45 ms. A line break becomes a blank:
# after digits, zxcvbn reads one as part of a date and raises ValueError.
_SIMPLIFIED = str.maketrans("@{[<!|$+\n", "4(((1157 ")
# Of a random text: the least share of characters of another kind than the one before, and of pairs of neighbours that
# occur once. Of generated secrets two in a thousand have less, and of those in hexadecimal digits one in five.
_CHANGES, _DIFFERENT = 0.4, 0.8


def weakness(algorithm: str, secret: str) -> Message | None:
    """Return a sentence that states why a secret is weak, or None if it is not.

    A shared secret is weak if it is shorter than RFC 7518 section 3.2 requires, or if zxcvbn estimates that it is easy
    to guess. An application whose keys come from a provider has an empty one.
    """
    if not secret:
        return None
    # Stored keys are not refused by newer rules of vetting. A key that breaks one is as weak as a short secret.
    fault = vetting.fault(algorithm, secret)
    if fault is not None:
        return about("secret", fault)
    if not is_shared(algorithm):
        return None
    length, least = len(secret.encode()), HMAC_LENGTHS[algorithm]
    if length < least:
        return Message(
            "secret is weak: %(length)s bytes, where %(algorithm)s asks for at least %(least)s (RFC 7518 section 3.2)",
            length=length,
            algorithm=algorithm,
            least=least,
        )
    if _guesses_log10(secret) < _ENOUGH_GUESSES_LOG10:
        return Message("secret is weak: it can be guessed; use a random one")
    return None


@functools.lru_cache(maxsize=4096)
def _guesses_log10(secret: str) -> float:
    begins = secret[:_ESTIMATED_CHARACTERS].translate(_SIMPLIFIED)
    return float(zxcvbn(begins, max_length=_ESTIMATED_CHARACTERS)["guesses_log10"])


def weakness_of(key: Key) -> Message | None:
    """Return a sentence that states why a parsed key is weak, or None if it is not. See ``is_quick``."""
    if not isinstance(key, SharedKey):
        fault = vetting.key_fault(key)
        return None if fault is None else about("secret", fault)
    secret = key.material.decode()
    if _is_long(key) and _looks_random(secret):
        fault = vetting.fault(key.algorithm, secret)
        return None if fault is None else about("secret", fault)
    return weakness(key.algorithm, secret)


def is_quick(key: Key) -> bool:
    """Return whether ``weakness_of`` takes some microseconds. An estimate takes 10 ms, an RSA key up to 5 ms."""
    if isinstance(key, SharedKey):
        return not _is_long(key) or _looks_random(key.material.decode())
    return key.algorithm not in RSA


def _is_long(key: Key) -> bool:
    return len(key.material) >= HMAC_LENGTHS[key.algorithm]


def _kind(character: str) -> int:
    return character.isdigit() + 2 * character.islower() + 4 * character.isupper()


_KINDS = bytes(_kind(chr(code)) for code in range(256))


def _looks_random(secret: str) -> bool:
    """Return whether a text is obviously random: no estimate is needed."""
    begins = secret[:_ESTIMATED_CHARACTERS]
    # A table, and no loop in Python: thousands of keys are looked at while a page waits.
    kinds = begins.encode().translate(_KINDS) if begins.isascii() else [_kind(one) for one in begins]
    changes = sum(map(operator.ne, kinds, kinds[1:]))
    different = len(set(itertools.pairwise(begins)))
    return changes >= _CHANGES * len(begins) and different >= _DIFFERENT * len(begins)
