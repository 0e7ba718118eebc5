"""Strength of shared secrets."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zxcvbn import matching

from datafor_token.crypto import strength
from datafor_token.crypto.strength import weakness
from tests.support import STRONG_SECRET, key_for, public_pem


@pytest.mark.parametrize(
    ("algorithm", "secret", "weak"),
    [
        ("HS256", "abcd", True),
        ("HS256", STRONG_SECRET, False),
        ("HS384", STRONG_SECRET, True),
        ("HS512", STRONG_SECRET + STRONG_SECRET, False),
        ("HS256", "a" * 64, True),
        ("HS256", "password" * 8, True),
        ("HS256", "0123456789abcdef0123456789abcdef", True),
        ("HS256", "changeme-changeme-changeme-changeme", True),
        ("HS256", "é" * 15, True),
        ("HS256", "a" * 60_000, True),
    ],
)
def test_weak_secrets_are_recognised(algorithm: str, secret: str, weak: bool) -> None:
    """A secret that is shorter than RFC 7518 requires, or easy to guess, is weak; the message does not repeat it."""
    sentence = weakness(algorithm, secret)
    assert (sentence is not None) is weak
    assert sentence is None or secret not in sentence


# Each estimate takes 40 ms.
@settings(max_examples=60)
@example("2012\n")
@given(st.text(alphabet="0123456789\n\r\t -/.²٣१x", max_size=80))
def test_every_text_has_an_estimate(text: str) -> None:
    """Line breaks after digits, and other texts that look like parts of dates, raise nothing."""
    weakness("HS256", f"{STRONG_SECRET}{text}")
    weakness("HS256", text + STRONG_SECRET)


def test_public_keys_are_never_weak() -> None:
    """Only shared secrets can be weak."""
    assert weakness("ES256", public_pem(key_for("ES256"))) is None


def test_the_estimate_has_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate takes bounded time, also for secrets with many l33t characters and for long texts."""
    looked_up: list[str] = []
    look = matching.dictionary_match

    def counted(text: str, *given: Any, **named: Any) -> Any:
        looked_up.append(text)
        return look(text, *given, **named)

    monkeypatch.setattr(matching, "dictionary_match", counted)
    signs = "".join(sign for signs in matching.L33T_TABLE.values() for sign in signs)
    strength._guesses_log10(signs * 2000)
    # One for each combination, and one for each repeated substring.
    assert sum(len(text) == 64 for text in looked_up) < 20
    assert max(map(len, looked_up)) == 64


@pytest.mark.parametrize("secret", ["p@$$w0rd|password!" * 3, "<hange{hange[hange(hange" * 2, "l!nk|1n+0nl1ne" * 4])
def test_l33t_is_weak(secret: str) -> None:
    """A secret of words with l33t characters is weak, whichever characters stand for a letter."""
    assert weakness("HS256", secret) is not None
