"""Counts of events in a sliding period.

A period is divided into parts, and each part has one number, so that a count of a million is as small as one of ten.
An event is counted until its whole part is over. So there are never more events in any period than allowed, and the
next one is allowed up to a sixtieth of the period later than an exact count would.
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

from datafor_token.limits.redis_scripts import Redis
from datafor_token.limits.tables import Members, Tables, put

PARTS = 60


class SlidingCounts(Protocol):
    """Counts of events, by key."""

    def add(self, key: str, most: int, seconds: int) -> float | None:
        """Count an event, unless there were ``most`` in the last ``seconds``.

        Return ``None``, or the seconds until the next event is allowed. Other ``seconds`` are another count.
        """


class LocalCounts:
    """Counts in tables: of each part, its number since 1970 and its events. ``clock`` returns seconds since 1970.

    After the clock was set back by less than the period, events are counted for longer; by more, they are forgotten.
    """

    def __init__(self, tables: Tables, clock: Callable[[], float]) -> None:
        self._tables = tables
        self._clock = clock

    def add(self, key: str, most: int, seconds: int) -> float | None:
        """See ``SlidingCounts``."""
        key = f"{seconds}:{key}"
        with self._tables.locked(key) as table:
            # Read under the lock: what others counted during the wait must not be in the future.
            now = self._clock()
            current = _part(now, seconds)
            counts = _live(table.get(key, {}), current)
            total = sum(counts.values())
            if total >= most:
                for part in sorted(counts, key=int):
                    total -= counts[part]
                    if total < most:
                        return (int(part) + PARTS + 1) * seconds / PARTS - now
            counts[str(current)] = counts.get(str(current), 0) + 1
            put(table, key, counts, lambda other, its: not _live(its, _part(now, int(other.partition(":")[0]))))
        return None


def _part(now: float, seconds: int) -> int:
    return math.floor(now * PARTS / seconds)


def _live(counts: Mapping[str, float], current: int) -> Members:
    """Return the parts that are not over. One too far ahead is from before the clock was set back."""
    return {part: count for part, count in counts.items() if part.isdecimal() and abs(int(part) - current) <= PARTS}


_ADD = f"""
local most, seconds, total, live = tonumber(ARGV[1]), tonumber(ARGV[2]), 0, {{}}
local current = math.floor(now * {PARTS} / seconds)
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
  local part, count = tonumber(counts[i]), tonumber(counts[i + 1])
  if math.abs(part - current) > {PARTS} then
    redis.call('HDEL', KEYS[1], counts[i])
  else
    total = total + count
    live[#live + 1] = {{part, count}}
  end
end
if total >= most then
  table.sort(live, function (one, other) return one[1] < other[1] end)
  for _, part in ipairs(live) do
    total = total - part[2]
    if total < most then return tostring((part[1] + {PARTS} + 1) * seconds / {PARTS} - now) end
  end
end
redis.call('HINCRBY', KEYS[1], string.format('%.0f', current), 1)
redis.call('EXPIRE', KEYS[1], 2 * seconds)
return false
"""


class RedisCounts:
    """Counts in a Redis, with its clock."""

    def __init__(self, redis: Redis) -> None:
        self._add = redis.script("rate", _ADD)

    def add(self, key: str, most: int, seconds: int) -> float | None:
        """See ``SlidingCounts``."""
        wait = self._add(f"{seconds}:{key}", [most, seconds])
        return None if wait is None else float(wait)
