"""Weak secrets are told from strong ones."""

import pytest

from datafor_token.strength import weakness
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


def test_public_keys_are_never_weak() -> None:
    """The rule for weak secrets is about shared ones."""
    assert weakness("ES256", public_pem(key_for("ES256"))) is None
