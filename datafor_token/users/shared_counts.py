"""Sets of members that expire, in a Redis that several hosts share."""

from typing import Any

from datafor_token.errors import StartError

_LONGEST_WAIT = 0.5  # seconds for an answer
_PREFIX = "datafor_token:failed:"
# Scripts, so that no two hosts count past each other, and on the clock of the Redis, which is one for all of them.
_LIVE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
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


class SharedCounts:
    """The sets of ``counts.Counts``. Raises one of ``failures`` where the Redis does not answer.

    ``StartError`` for what is no URI of a Redis. ``longest`` is how many seconds a member stays at most.
    """

    def __init__(self, uri: str, longest: int) -> None:
        try:
            # Only now: without the setting it is not needed, or installed.
            import redis  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.retry import Retry  # noqa: PLC0415
        except ImportError:
            raise StartError(
                "RATELIMIT_STORAGE_URI: the packages for it are not installed; run `make sql`, or"
                " `.venv/bin/python -m pip install -r requirements-sql.txt`"
            ) from None
        try:
            client: Any = redis.from_url(
                uri.replace("redis+unix:", "unix:", 1),
                socket_timeout=_LONGEST_WAIT,
                socket_connect_timeout=_LONGEST_WAIT,
                # Once more, for a connection that was closed meanwhile; by itself it tries for seconds.
                retry=Retry(NoBackoff(), 1),
            )
        except (ValueError, KeyError):
            # Without its words, which repeat parts of the URI.
            raise StartError("RATELIMIT_STORAGE_URI is no URI of a Redis") from None
        self.failures: tuple[type[Exception], ...] = (redis.RedisError,)
        self._longest = longest
        self._add = client.register_script(_ADD)
        self._remove = client.register_script(_REMOVE)

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """See ``counts.Counts``."""
        found = self._add([_PREFIX + key], [member, seconds, limit, self._longest])
        return None if found is None else float(found)

    def remove(self, key: str, member: str) -> int:
        """See ``counts.Counts``."""
        return int(self._remove([_PREFIX + key], [member]))
