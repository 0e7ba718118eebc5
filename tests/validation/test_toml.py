"""TOML of files that may have secrets."""

import pytest

from datafor_token.errors import RuleError
from datafor_token.validation import toml


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('a = 1\nsecret = "marked\n', " (at line 2, column 17)"),
        ('secret = "marked', " (at end of document)"),
        ('["(at marked)"]\n["(at marked)"]', " (at line 2, column 15)"),
        (f"marked = {'1' * 5000}", ""),
        (f"marked = {'[' * 10**5}", ""),
    ],
)
def test_an_error_has_the_position_only(text: str, place: str) -> None:
    """An error has the line and the column, and repeats nothing of the text."""
    with pytest.raises(RuleError) as caught:
        toml.loads(text)
    assert caught.value.message == f"is not valid TOML{place}"
