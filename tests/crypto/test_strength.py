"""Weak secrets are told from strong ones."""

from typing import Any

import pytest
from hypothesis import given
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
def test_weak_secrets_are_told(algorithm: str, secret: str, weak: bool) -> None:
    """A secret shorter than RFC 7518 asks, or easily guessed, is weak, and the sentence does not repeat it."""
    sentence = weakness(algorithm, secret)
    assert (sentence is not None) is weak
    assert sentence is None or secret not in sentence


@given(st.text(alphabet="0123456789\n\r\t -/.²٣१x", max_size=80))
def test_every_text_has_an_estimate(text: str) -> None:
    """Line breaks behind digits, and other text that a date may be taken from, raise nothing."""
    weakness("HS256", f"{STRONG_SECRET}{text}")
    weakness("HS256", text + STRONG_SECRET)


def test_public_keys_are_never_weak() -> None:
    """The rule for weak secrets is about shared ones."""
    assert weakness("ES256", public_pem(key_for("ES256"))) is None


def test_the_estimate_has_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret makes the estimate look words up for many combinations of l33t signs, nor look at a long text."""
    looked_up: list[str] = []
    look = matching.dictionary_match

    def counted(text: str, *given: Any, **named: Any) -> Any:
        looked_up.append(text)
        return look(text, *given, **named)

    monkeypatch.setattr(matching, "dictionary_match", counted)
    signs = "".join(sign for signs in matching.L33T_TABLE.values() for sign in signs)
    strength._guesses_log10(signs * 2000)
    # One for each combination, and each substring that repeats is estimated by itself.
    assert sum(len(text) == 64 for text in looked_up) < 20
    assert max(map(len, looked_up)) == 64


@pytest.mark.parametrize("secret", ["p@$$w0rd|password!" * 3, "<hange{hange[hange(hange" * 2, "l!nk|1n+0nl1ne" * 4])
def test_l33t_is_weak_whatever_its_signs(secret: str) -> None:
    """A secret of words with signs for letters is weak, whichever of the signs for a letter it has."""
    assert weakness("HS256", secret) is not None
