"""Bar chart of the last hours for an inline SVG: tokens issued, sign-ins accepted and refused, side by side."""

import dataclasses
from collections.abc import Iterator, Sequence

from datafor_token.activity.hours import Hour

WIDTH, HEIGHT = 720, 220  # of the view box; all lengths below are in its units
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 708, 12, 188  # the ends of the axis, the highest gridline, and the axis
_BAR = 8  # the width of a bar
_MOST_LINES = 4  # gridlines above the axis
KINDS = ("issued", "accepted", "refused")


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar: its kind, which is the name of its class too, and its rectangle."""

    kind: str
    x: float
    y: int
    height: int


@dataclasses.dataclass(frozen=True)
class Tick:
    """The label of an hour below the axis."""

    x: float
    begins: int


@dataclasses.dataclass(frozen=True)
class Line:
    """A gridline with its value."""

    y: int
    value: int


@dataclasses.dataclass(frozen=True)
class Chart:
    """The chart. ``busiest`` is the hour with the most events, or None if there are none at all."""

    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    lines: Sequence[Line]
    busiest: Hour | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    axis: int = _BOTTOM
    bar: int = _BAR


def bar_chart(hours: Sequence[Hour]) -> Chart:
    """Lay out the chart; all bars have the same scale, so that they can be compared."""
    step = _step(max(_highest(hour) for hour in hours))
    top = step * _MOST_LINES
    slot = (_RIGHT - _LEFT) / len(hours)
    bars = [
        Bar(kind, round(_LEFT + number * slot + (slot - 3 * _BAR) / 2 + place * _BAR, 1), _BOTTOM - height, height)
        for number, hour in enumerate(hours)
        for place, kind in enumerate(KINDS)
        if (height := _height(getattr(hour, kind), top))
    ]
    ticks = [
        Tick(round(_LEFT + number * slot + 2, 1), hour.begins) for number, hour in enumerate(hours) if number % 3 == 0
    ]
    busiest = max(hours, key=lambda hour: sum(_counts(hour)))
    return Chart(bars, ticks, list(_lines(step)), busiest if sum(_counts(busiest)) else None)


def _counts(hour: Hour) -> Sequence[int]:
    return [getattr(hour, kind) for kind in KINDS]


def _highest(hour: Hour) -> int:
    return max(_counts(hour))


def _step(most: int) -> int:
    """Return the least of 1, 2, 5, 10, 20, ... whose fourfold is at least ``most``."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if factor * size * _MOST_LINES >= most:
                return factor * size
        size *= 10


def _lines(step: int) -> Iterator[Line]:
    for number in range(_MOST_LINES + 1):
        value = number * step
        yield Line(_BOTTOM - _height(value, step * _MOST_LINES), value)


def _height(count: int, top: int) -> int:
    # At least 2, so that a single event is visible beside any number of others.
    return max(2, round(count / top * (_BOTTOM - _TOP))) if count else 0
