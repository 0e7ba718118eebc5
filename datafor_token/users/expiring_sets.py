"""Sets whose members expire: in memory, in files that all workers share, or in a Redis that several hosts share.

There is a fixed number of files, each of a limited size, so that an attacker cannot fill the disk. They are not synced
to disk: their content is not worth it.
"""

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from datafor_token.errors import StartError
from datafor_token.store.files.disk import create_folder
from datafor_token.store.files.locking import exclusive
from datafor_token.validation import strict_json

_FILES = 64
_MOST_KEYS = 500  # in one file; a new one replaces the least recently used one
_LONGEST_WAIT = 0.5  # seconds for a file that another worker has locked, or for a response of the Redis
_LARGEST_FILE = 1024 * 1024  # bytes; three times what the limits allow

Table = dict[str, dict[str, float]]  # by key, the members and when each expires, in seconds since 1970


class ExpiringSets(Protocol):
    """Sets whose members expire, by key."""

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """Add a member for ``seconds``, unless the set has ``limit`` others. With 0 seconds, only check the limit.

        A member that the set has already expires at the later of the two times. Return ``None``, or for a full set the
        seconds until one of its members expires.
        """

    def remove(self, key: str, member: str) -> int:
        """Remove a member, and return how many others the set has."""


class MemorySets:
    """Sets in the memory of this process.

    ``clock`` returns seconds since 1970; ``longest`` is the longest time of a member in seconds.
    """

    def __init__(self, clock: Callable[[], float], longest: float) -> None:
        self._clock = clock
        self._longest = longest
        self._lock = threading.Lock()
        self._memory: Table = {}

    @contextlib.contextmanager
    def _table(self, _: str) -> Iterator[Table]:
        """Lock the table that has the key's set, and yield it to be read and changed."""
        with self._lock:
            yield self._memory

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """See ``ExpiringSets``."""
        with self._table(key) as table:
            # Read under the lock: what others added during the wait must not be in the future.
            now = self._clock()
            members = self._live(table.get(key, {}), now)
            if member not in members and len(members) >= limit:
                return min(members.values()) - now
            if seconds:
                members[member] = max(now + seconds, members.get(member, 0))
                # Moved to the end of the table: its first keys are the least recently used.
                table.pop(key, None)
                table[key] = members
                self._trim(table, now)
        return None

    def remove(self, key: str, member: str) -> int:
        """See ``ExpiringSets``."""
        with self._table(key) as table:
            members = self._live(table.pop(key, {}), self._clock())
            members.pop(member, None)
            if members:
                table[key] = members
            return len(members)

    def _live(self, members: dict[str, float], now: float) -> dict[str, float]:
        # A time too far ahead is from before the clock was set back.
        return {member: until for member, until in members.items() if now < until <= now + self._longest}

    def _trim(self, table: Table, now: float) -> None:
        for key in [key for key, members in table.items() if not self._live(members, now)]:
            del table[key]
        while len(table) > _MOST_KEYS:
            del table[next(iter(table))]


class FileSets(MemorySets):
    """Sets in files that all workers share. Raises ``OSError``, and ``LockTimeout`` if another worker is stuck."""

    def __init__(self, folder: Path, clock: Callable[[], float], longest: float) -> None:
        super().__init__(clock, longest)
        self._folder = folder

    @contextlib.contextmanager
    def _table(self, key: str) -> Iterator[Table]:
        create_folder(self._folder)
        number = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % _FILES
        with exclusive(self._folder / f"{number:02d}", _LONGEST_WAIT) as descriptor:
            before = os.pread(descriptor, _LARGEST_FILE, 0)
            table = _read(before)
            yield table
            after = strict_json.compact(table).encode()
            if after != before:
                # Reserve the space first, so that a full disk is an error and not half a table.
                os.posix_fallocate(descriptor, 0, len(after))
                if os.pwrite(descriptor, after, 0) != len(after):
                    raise OSError(errno.ENOSPC, "short write")
                os.ftruncate(descriptor, len(after))


def _read(data: bytes) -> Table:
    """Return the sets of a file; a file damaged by hand or by a crash has none."""
    with contextlib.suppress(ValueError):
        table = strict_json.loads(data)
        if isinstance(table, dict) and all(isinstance(members, dict) for members in table.values()):
            return {
                key: {member: until for member, until in members.items() if type(until) in (int, float)}
                for key, members in table.items()
            }
    return {}


_PREFIX = "datafor_token:failed:"
# Scripts run atomically, and use the clock of the Redis, which is the same for all hosts.
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


class RedisSets:
    """Sets in a Redis that several hosts share. Raises one of ``failures`` if the Redis does not respond.

    ``longest`` is the longest time of a member in seconds. Raises ``StartError`` for a URI that is not one of a Redis.
    """

    def __init__(self, uri: str, longest: int) -> None:
        try:
            # Imported here: without the setting, the package need not be installed.
            import redis  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.retry import Retry  # noqa: PLC0415
        except ImportError:
            raise StartError(
                "RATELIMIT_STORAGE_URI: the package for it is not installed: run `make sql` in a checkout, else"
                " `pip install 'datafor-token[redis]'` in the environment of the service"
            ) from None
        try:
            client: Any = redis.from_url(
                uri.replace("redis+unix:", "unix:", 1),
                socket_timeout=_LONGEST_WAIT,
                socket_connect_timeout=_LONGEST_WAIT,
                # One retry, for a connection that was closed in the meantime; the default retries for seconds.
                retry=Retry(NoBackoff(), 1),
            )
        except (ValueError, KeyError):
            # Without the text of the error, which repeats parts of the URI.
            raise StartError("RATELIMIT_STORAGE_URI is not the URI of a Redis") from None
        self.failures: tuple[type[Exception], ...] = (redis.RedisError,)
        self._longest = longest
        self._add = client.register_script(_ADD)
        self._remove = client.register_script(_REMOVE)

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """See ``ExpiringSets``."""
        wait = self._add([_PREFIX + key], [member, seconds, limit, self._longest])
        return None if wait is None else float(wait)

    def remove(self, key: str, member: str) -> int:
        """See ``ExpiringSets``."""
        return int(self._remove([_PREFIX + key], [member]))
