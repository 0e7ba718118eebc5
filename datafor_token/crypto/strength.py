"""Strength of shared secrets."""

import functools

from zxcvbn import zxcvbn

from datafor_token.crypto import vetting
from datafor_token.crypto.algorithms import HMAC_LENGTHS, is_shared
from datafor_token.errors import Message, about

# With fewer guesses, some graphics cards (10**13 HMACs a second) find the key from one of its tokens in some months.
_ENOUGH_GUESSES_LOG10 = 20
# The longest minimum of RFC 7518 (HS512). The time of the estimate grows with the square of the length.
_ESTIMATED_CHARACTERS = 64
# zxcvbn tries every combination of letters that l33t characters may stand for: a secret with all of them took 2.7 s.
# Characters for the same letter are merged, so that 64 characters take at most 45 ms. A line break becomes a blank:
# after digits, zxcvbn reads one as part of a date and raises ValueError.
_SIMPLIFIED = str.maketrans("@{[<!|$+\n", "4(((1157 ")


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
