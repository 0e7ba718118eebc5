"""Rates, such as 600 a minute."""

import pytest

from datafor_token.errors import RuleError
from datafor_token.validation.rates import MOST, Rate


@pytest.mark.parametrize("text", ["1/second", "600/minute", "10000/hour", "5000/minute", f"{MOST}/day"])
def test_a_rate(text: str) -> None:
    """A rate is a number from 1 to a million and a period; its text is the same again."""
    rate = Rate.parse(text)
    assert str(rate) == text
    assert (rate.most, rate.seconds) == (int(text.split("/", maxsplit=1)[0]), rate.seconds)


WRONG = (
    "", "5", "0/day", "05/day", "+5/day", "-5/day", "1.5/day", "1e3/day", "\u0665/day", "5/week", "5/DAY", "5 / day",
    "5/day\n", f"{MOST + 1}/day",
)  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_no_rate(text: str) -> None:
    """Anything else is refused with an example and the periods."""
    with pytest.raises(RuleError, match="from 1 to 1000000 and a period, such as 600/minute"):
        Rate.parse(text)
