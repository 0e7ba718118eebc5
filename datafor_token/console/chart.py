"""Bar chart of the last day for an inline SVG: tokens issued above the axis, sign-ins refused below it."""

import dataclasses
from collections.abc import Sequence

from datafor_token.console.history import Hour

WIDTH, HEIGHT = 720, 160  # of the view box; all lengths below are in its units
_AXIS = 84  # the axis' distance from the top
_LONGEST = 64  # of a bar
_STEP, _BAR = 30, 20  # from bar to bar, and a bar's width


@dataclasses.dataclass(frozen=True)
class Bar:
    """The two bars of one hour."""

    hour: Hour
    x: int
    issued_y: int
    issued_height: int
    refused_height: int


@dataclasses.dataclass(frozen=True)
class Chart:
    """The chart. ``most`` is the number of events in the longest bar."""

    bars: Sequence[Bar]
    most: int
    width: int = WIDTH
    height: int = HEIGHT
    axis: int = _AXIS
    bar: int = _BAR


def bar_chart(hours: Sequence[Hour]) -> Chart:
    """Lay out the chart; both kinds of bars have the same scale, so that they can be compared."""
    most = max(1, *(max(hour.issued, hour.refused) for hour in hours))
    bars = []
    for number, hour in enumerate(hours):
        issued, refused = _length(hour.issued, most), _length(hour.refused, most)
        bars.append(Bar(hour, number * _STEP + (_STEP - _BAR) // 2, _AXIS - issued, issued, refused))
    return Chart(bars, most)


def _length(count: int, most: int) -> int:
    # At least 2, so that a single event is visible beside any number of others.
    return max(2, round(count / most * _LONGEST)) if count else 0
