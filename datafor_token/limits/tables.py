"""Tables of members by key, for counts that expire: in memory, or in files that all workers share.

There is a fixed number of files, each of a limited size, so that an attacker cannot fill the disk. They are not synced
to disk: their content is not worth it.
"""

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from datafor_token.store.files.disk import create_folder
from datafor_token.store.files.locking import exclusive
from datafor_token.validation import strict_json

_FILES = 64
_MOST_KEYS = 500  # in one file; a new one replaces the least recently used one
_LONGEST_WAIT = 0.5  # seconds for a file that another worker has locked
_LARGEST_FILE = 1024 * 1024  # bytes; more than the limits allow

Members = dict[str, float]
Table = dict[str, Members]


class Tables(Protocol):
    """Tables, of which each key has one."""

    def locked(self, key: str) -> contextlib.AbstractContextManager[Table]:
        """Lock the table that has the key, and yield it to be read and changed."""


class MemoryTables:
    """One table in the memory of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table: Table = {}

    @contextlib.contextmanager
    def locked(self, _: str) -> Iterator[Table]:
        """See ``Tables``."""
        with self._lock:
            yield self._table


class FileTables:
    """Tables in files that all workers share. Raises ``OSError``, and ``LockTimeout`` if another worker is stuck."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[Table]:
        """See ``Tables``."""
        create_folder(self._folder)
        number = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) % _FILES
        with exclusive(self._folder / f"{number:02d}", _LONGEST_WAIT) as descriptor:
            before = os.pread(descriptor, _LARGEST_FILE, 0)
            table = _read(before)
            yield table
            # Padded, since a process that is killed before it cuts a shorter table off would leave an unreadable one.
            after = strict_json.compact(table).encode().ljust(len(before))
            if after != before:
                # Reserve the space first, so that a full disk is an error and not half a table.
                os.posix_fallocate(descriptor, 0, len(after))
                if os.pwrite(descriptor, after, 0) != len(after):
                    raise OSError(errno.ENOSPC, "short write")


def put(table: Table, key: str, members: Members, is_over: Callable[[str, Mapping[str, float]], bool]) -> None:
    """Set the members of a key, and remove the keys that are over and, of too many, the least recently used ones."""
    # Moved to the end of the table: its first keys are the least recently used.
    table.pop(key, None)
    table[key] = members
    for old in [old for old, its_members in table.items() if is_over(old, its_members)]:
        del table[old]
    while len(table) > _MOST_KEYS:
        del table[next(iter(table))]


def _read(data: bytes) -> Table:
    """Return the table of a file; that of a file damaged by hand or by a crash is empty."""
    with contextlib.suppress(ValueError):
        table = strict_json.loads(data)
        if isinstance(table, dict) and all(isinstance(members, dict) for members in table.values()):
            return {
                key: {member: value for member, value in members.items() if type(value) in (int, float)}
                for key, members in table.items()
            }
    return {}
