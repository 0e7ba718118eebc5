"""Times as people write and read them."""

import datetime as dt
import re

from datafor_token.errors import RuleError

# The texts that ``parse_time`` accepts, and days that do not exist, such as 30 February.
_DAY = r"(19|20)[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-[012][0-9])"
_TIME = r"[Tt ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?([Zz]|[-+ ]([01][0-9]|2[0-3]):[0-5][0-9])?"
TIME_PATTERN = rf"[0-9]{{1,6}}[smhd]|{_DAY}({_TIME})?"
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # seconds


def parse_time(text: str, now: float) -> float:
    """Parse a time (RFC 3339), a day (UTC), or a duration before ``now`` (``90m``, ``24h``, ``7d``).

    ``now`` and the result are in seconds since 1970. Raise ``RuleError`` if the text is none of them.
    """
    try:
        if not re.fullmatch(TIME_PATTERN, text):
            raise ValueError(text)
        if text[-1] in _SPANS:
            return now - int(text[:-1]) * _SPANS[text[-1]]
        # A "+" that was not encoded as %2B in a query string has become a space.
        day, time = text[:10], text[10:].upper().replace(" ", "T", 1).replace(" ", "+")
        found = dt.datetime.fromisoformat(day + re.sub(r"(?<=\.[0-9]{6})[0-9]+", "", time))
        return (found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)).timestamp()
    except ValueError:
        raise RuleError("must be a time such as 2026-11-21T09:30:00Z, a day, or how long ago: 90m, 24h, 7d") from None


def check_time(text: str) -> str:
    """Return the text if ``parse_time`` accepts it; raise ``RuleError``."""
    parse_time(text, 0)
    return text


def show(time: float) -> str:
    """Return a time in seconds since 1970 as text in UTC (RFC 3339).

    A record that was edited by hand can have any number.
    """
    try:
        return dt.datetime.fromtimestamp(int(time), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time:.0f} s after 1970"
