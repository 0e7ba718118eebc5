"""How strong a shared secret is: whether its owner should be warned, and what its tokens may do."""

import functools

from zxcvbn import zxcvbn

from datafor_token.crypto import vetting
from datafor_token.crypto.keys import HMAC_LENGTHS, is_shared

# Below 10**20 guesses a shared key is found from one of its tokens by whoever can afford some
# graphics cards for some months (10**13 HMACs a second).
_ENOUGH_GUESSES_LOG10 = 20
# The longest minimum of RFC 7518 (HS512). The time that the estimate takes grows with the square of the length.
_ESTIMATED_CHARACTERS = 64
# zxcvbn tries each combination of letters that l33t signs may stand for: with all of them in a secret, it took 2.7 s.
# Signs that stand for the same letter are made one; 64 characters now take at most 45 ms. A line break becomes a blank:
# zxcvbn takes one behind digits for a part of a date, and raises ValueError.
_SIMPLIFIED = str.maketrans("@{[<!|$+\n", "4(((1157 ")


def weakness(algorithm: str, secret: str) -> str | None:
    """Why a shared secret is weak, as one sentence, or ``None`` when it is not.

    Weak is what is shorter than RFC 7518 section 3.2 asks, or easily guessed by the estimate of zxcvbn.
    """
    # A stored key is not vetted again. Where others know it or can break it, it is worth as much as a short one.
    fault = vetting.fault(algorithm, secret)
    if fault is not None:
        return f"secret {fault}"
    if not is_shared(algorithm):
        return None
    length, least = len(secret.encode()), HMAC_LENGTHS[algorithm]
    if length < least:
        return f"secret is weak: {length} bytes, where {algorithm} asks for at least {least} (RFC 7518 section 3.2)"
    if _guesses_log10(secret) < _ENOUGH_GUESSES_LOG10:
        return "secret is weak: it can be guessed; use a random one"
    return None


@functools.lru_cache(maxsize=4096)
def _guesses_log10(secret: str) -> float:
    # A pure function of its argument: remembering it can never be wrong.
    begins = secret[:_ESTIMATED_CHARACTERS].translate(_SIMPLIFIED)
    return float(zxcvbn(begins, max_length=_ESTIMATED_CHARACTERS)["guesses_log10"])
