"""Sets of members that expire, in files that all workers share, or in the memory of one worker.

A fixed number of small files, each with a bound, so that no attacker fills the disk. Their content is not worth an
fsync.
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
_MOST_KEYS = 500  # in one file; beyond it the ones that were quiet for longest are forgotten
_LONGEST_WAIT = 0.5  # seconds for a file that another worker has
_LARGEST_FILE = 1024 * 1024  # bytes; three times what the bounds allow

Table = dict[str, dict[str, float]]  # per key, its members and when each expires, in seconds since 1970


class ExpiringSets(Protocol):
    """Sets of members that expire, each set under a key."""

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """Add a member for so many seconds, unless the set has ``limit`` others.

        A member that is there already stays until the later of the two times. Returns None, or for a full set the
        seconds until one of its members expires. 0 seconds: only ask.
        """

    def remove(self, key: str, member: str) -> int:
        """Remove a member. Returns how many others the set has."""


class MemorySets:
    """Sets in the memory of this process.

    ``clock`` returns seconds since 1970; ``longest`` is how many seconds a member stays at most.
    """

    def __init__(self, clock: Callable[[], float], longest: float) -> None:
        self._clock = clock
        self._longest = longest
        self._lock = threading.Lock()
        self._memory: Table = {}

    @contextlib.contextmanager
    def _table(self, _: str) -> Iterator[Table]:
        """Give the sets among which the key's is, to read and to change under a lock."""
        with self._lock:
            yield self._memory

    def add(self, key: str, member: str, seconds: float, limit: int) -> float | None:
        """See ``ExpiringSets``."""
        with self._table(key) as table:
            # Read under the lock: what others added while this one waited must not lie in its future.
            now = self._clock()
            members = self._live(table.get(key, {}), now)
            if member not in members and len(members) >= limit:
                return min(members.values()) - now
            if seconds:
                members[member] = max(now + seconds, members.get(member, 0))
                # Last in the table: the first ones are those that were quiet for longest.
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
        # One that lies too far ahead is from before the clock was set back.
        return {member: until for member, until in members.items() if now < until <= now + self._longest}

    def _trim(self, table: Table, now: float) -> None:
        for key in [key for key, members in table.items() if not self._live(members, now)]:
            del table[key]
        while len(table) > _MOST_KEYS:
            del table[next(iter(table))]


class FileSets(MemorySets):
    """Sets in files that all workers share. Raises ``OSError``, and ``LockTimeout`` where another worker is stuck."""

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
                # First the room, so that a full disk is an error and not half a table.
                os.posix_fallocate(descriptor, 0, len(after))
                if os.pwrite(descriptor, after, 0) != len(after):
                    raise OSError(errno.ENOSPC, "short write")
                os.ftruncate(descriptor, len(after))


def _read(data: bytes) -> Table:
    """Read the sets of a file; one that was mutilated by hand, or by a crash, begins anew."""
    with contextlib.suppress(ValueError):
        table = strict_json.loads(data)
        if isinstance(table, dict) and all(isinstance(members, dict) for members in table.values()):
            return {
                key: {member: until for member, until in members.items() if type(until) in (int, float)}
                for key, members in table.items()
            }
    return {}


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


class RedisSets:
    """The sets of ``ExpiringSets``. Raises one of ``failures`` where the Redis does not answer.

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
        """See ``ExpiringSets``."""
        found = self._add([_PREFIX + key], [member, seconds, limit, self._longest])
        return None if found is None else float(found)

    def remove(self, key: str, member: str) -> int:
        """See ``ExpiringSets``."""
        return int(self._remove([_PREFIX + key], [member]))
