"""Sets whose members expire."""

from collections.abc import Callable, Mapping
from typing import Protocol

from datafor_token.limits.redis_scripts import Redis
from datafor_token.limits.tables import Members, Tables, put


class ExpiringSets(Protocol):
    """Sets whose members expire, by key."""

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """Add a member for ``seconds``, unless the set has ``limit`` others. With 0 seconds, only check the limit.

        A member that the set has already expires at the later of the two times. Return ``None``, or for a full set the
        seconds until one of its members expires.
        """

    def remove(self, key: str, member: str) -> int:
        """Remove a member, and return how many others the set has."""


class LocalSets:
    """Sets in tables: of each member, when it expires, in seconds since 1970.

    ``clock`` returns seconds since 1970; ``longest`` is the longest time of a member in seconds.
    """

    def __init__(self, tables: Tables, clock: Callable[[], float], longest: float) -> None:
        self._tables = tables
        self._clock = clock
        self._longest = longest

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """See ``ExpiringSets``."""
        with self._tables.locked(key) as table:
            # Read under the lock: what others added during the wait must not be in the future.
            now = self._clock()
            members = self._live(table.get(key, {}), now)
            if member not in members and len(members) >= limit:
                return min(members.values()) - now
            if seconds:
                members[member] = max(now + seconds, members.get(member, 0))
                put(table, key, members, lambda _, others: not self._live(others, now))
        return None

    def remove(self, key: str, member: str) -> int:
        """See ``ExpiringSets``."""
        with self._tables.locked(key) as table:
            members = self._live(table.pop(key, {}), self._clock())
            members.pop(member, None)
            if members:
                table[key] = members
            return len(members)

    def _live(self, members: Mapping[str, float], now: float) -> Members:
        # A time too far ahead is from before the clock was set back.
        return {member: until for member, until in members.items() if now < until <= now + self._longest}


_LIVE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now))
"""
_ADD = f"""{_LIVE}
local member, seconds, limit, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
if not redis.call('ZSCORE', KEYS[1], member) and redis.call('ZCARD', KEYS[1]) >= limit then
  return tostring(redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] - now)
end
if seconds > 0 then
  redis.call('ZADD', KEYS[1], 'GT', string.format('%.6f', now + seconds), member)
  redis.call('EXPIRE', KEYS[1], longest)
end
return false
"""
_REMOVE = f"""{_LIVE}
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('ZCARD', KEYS[1])
"""


class RedisSets:
    """Sets in a Redis. ``longest`` is the longest time of a member in seconds."""

    def __init__(self, redis: Redis, longest: int) -> None:
        self._longest = longest
        self._add = redis.script("failed", _ADD)
        self._remove = redis.script("failed", _REMOVE)

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """See ``ExpiringSets``."""
        wait = self._add(key, [member, seconds, limit, self._longest])
        return None if wait is None else float(wait)

    def remove(self, key: str, member: str) -> int:
        """See ``ExpiringSets``."""
        return int(self._remove(key, [member]))
