"""Rates, such as 600 a minute."""

import re
from typing import NamedTuple

from datafor_token.errors import RuleError

PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}  # in seconds
MOST = 1_000_000
_RATE = re.compile(rf"(?P<most>[1-9][0-9]{{0,6}})/(?P<period>{'|'.join(PERIODS)})")


class Rate(NamedTuple):
    """At most ``most`` events in any period of ``seconds``."""

    most: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read a rate such as ``600/minute``; raise ``RuleError``."""
        found = _RATE.fullmatch(text)
        if found is None or int(found["most"]) > MOST:
            raise RuleError(
                "must be a number from 1 to %(most)s and a period, such as 600/minute; the periods are %(periods)s",
                most=MOST,
                periods=", ".join(PERIODS),
            )
        return cls(int(found["most"]), PERIODS[found["period"]])

    def __str__(self) -> str:
        period = next(name for name, seconds in PERIODS.items() if seconds == self.seconds)
        return f"{self.most}/{period}"
