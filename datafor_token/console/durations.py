"""Durations in forms: a number and a unit."""

import re

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}


def in_largest_unit(seconds: int) -> tuple[str, str]:
    """Return a duration as a number and the largest unit that divides it."""
    unit = [name for name, size in UNITS.items() if seconds % size == 0][-1]
    return str(seconds // UNITS[unit]), unit


def to_seconds(number: str, unit: str, *, may_be_zero: bool = False) -> str:
    """Convert a typed duration to a number of seconds.

    Any text other than a plain decimal number is returned unchanged: the schema refuses it with its message.
    """
    if number == "0" and may_be_zero and unit in UNITS:
        return number
    if re.fullmatch("[1-9][0-9]{0,8}", number) and unit in UNITS:
        return str(int(number) * UNITS[unit])
    return number if unit in UNITS else f"{number} {unit}"
