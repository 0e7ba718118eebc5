"""A chart of the last day's hours as numbers for one small inline SVG: bars above for tokens, below for refusals."""

import dataclasses
from collections.abc import Sequence

from datafor_token.console.history import Hour

WIDTH, HEIGHT = 720, 160  # of the drawing, in its own units
_MIDDLE, _ROOM = 84, 64  # where the two kinds of bars meet, and how long one can be
_STEP, _BAR = 30, 20


@dataclasses.dataclass(frozen=True)
class Bar:
    """One hour's pair of bars."""

    hour: Hour
    x: int
    issued_y: int
    issued_height: int
    refused_height: int


@dataclasses.dataclass(frozen=True)
class Chart:
    """The whole drawing. ``most`` is what the longest bar stands for."""

    bars: Sequence[Bar]
    most: int
    width: int = WIDTH
    height: int = HEIGHT
    middle: int = _MIDDLE
    bar: int = _BAR


def of(hours: Sequence[Hour]) -> Chart:
    """The chart of some hours; both kinds have one scale, so that they can be compared."""
    most = max(1, *(max(hour.issued, hour.refused) for hour in hours))
    bars = []
    for number, hour in enumerate(hours):
        issued, refused = _length(hour.issued, most), _length(hour.refused, most)
        bars.append(Bar(hour, number * _STEP + (_STEP - _BAR) // 2, _MIDDLE - issued, issued, refused))
    return Chart(bars, most)


def _length(count: int, most: int) -> int:
    # What happened at all is seen, however much else did.
    return max(2, round(count / most * _ROOM)) if count else 0
