"""Last uses of applications and users, noted in memory and stored in a few records.

A deleted one leaves the time of its deletion behind for a day: a use from before, which another worker has noted and
not yet stored, is not stored any more.
"""

import contextlib
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from datafor_token.activity import records
from datafor_token.applications import record as applications
from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache
from datafor_token.users import users
from datafor_token.validation.names import fold

APPLICATIONS, USERS = applications.COLLECTION, users.COLLECTION
_KINDS = (APPLICATIONS, USERS)
SHARDS = 8  # records of each kind: with 20,000 names, one has 80 kB
_RESOLUTION = 300_000  # milliseconds: a later use within that time is not written
_KEPT = 86_400_000  # milliseconds that a deletion is remembered
_SWEEP = 3600  # seconds between two looks for names that no longer exist
_FUTURE = 3_600_000  # milliseconds; a stored use that is further ahead is that of a clock that was wrong
_SINCE = "since"


class Shard(NamedTuple):
    """The uses, and the deletions of the last day, in milliseconds since 1970 by folded name."""

    uses: Mapping[str, int]
    deleted: Mapping[str, int]


_EMPTY = Shard({}, {})


class LastUses:
    """The last uses that all workers and nodes have stored: to five minutes, and a minute late.

    ``clock`` returns seconds since 1970. Methods that read raise ``StoreUnavailable`` in an outage; their times are in
    milliseconds since 1970, by the folded names of those that have been used.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._began = int(clock() * 1000)
        self._cache = RecordCache(store, records.COLLECTION, shard_of)
        self._since = RecordCache(store, records.COLLECTION, since_of)
        self._noted: Mapping[str, dict[str, float]] = {kind: {} for kind in _KINDS}
        self._swept = clock()

    @property
    def since(self) -> int:
        """The time since which uses are noted, in milliseconds since 1970: before it, nothing is known."""
        return records.read(self._since, _SINCE, self._began)

    def of_applications(self, names: Iterable[str]) -> Mapping[str, int]:
        """Return the last uses of these applications."""
        return self._of(APPLICATIONS, names)

    def of_users(self, names: Iterable[str]) -> Mapping[str, int]:
        """Return the last uses of these users."""
        return self._of(USERS, names)

    def all_applications(self) -> Mapping[str, int]:
        """Return the last uses of all applications."""
        return self._all(APPLICATIONS)

    def all_users(self) -> Mapping[str, int]:
        """Return the last uses of all users."""
        return self._all(USERS)

    def _of(self, kind: str, names: Iterable[str]) -> Mapping[str, int]:
        shards: dict[str, Mapping[str, int]] = {}
        found = {}
        for name in map(fold, names):
            record = _record(kind, name)
            if record not in shards:
                shards[record] = records.read(self._cache, record, _EMPTY).uses
            if name in shards[record]:
                found[name] = shards[record][name]
        return found

    def _all(self, kind: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for record in _records(kind):
            found |= records.read(self._cache, record, _EMPTY).uses
        return found

    def begin(self) -> None:
        """Store, once, since when uses are noted, best effort."""
        document = {"format": records.FORMAT, "name": _SINCE, "since": {"uses": self._began}}
        with contextlib.suppress(StoreUnavailable):
            if self._store.version(records.COLLECTION, _SINCE) is None:
                # Another node may store it meanwhile, with the same time.
                self._store.update(records.COLLECTION, _SINCE, lambda present: present or document)

    def note(self, kind: str, name: str) -> None:
        """Note in memory that an existing application or user is used now."""
        self._noted[kind][name] = self._clock()

    def store_noted(self, ends: float | None) -> bool:
        """Store the uses in memory; ``ends`` and the result are those of ``BackgroundWriter.store_noted``."""
        shards: dict[tuple[str, str], dict[str, int]] = {}
        for kind, noted in self._noted.items():
            for _ in range(len(noted)):
                name, used = noted.popitem()
                key = fold(name)
                of_shard = shards.setdefault((kind, _record(kind, key)), {})
                # Two spellings of one name, or one that was put back.
                of_shard[key] = max(int(used * 1000), of_shard.get(key, 0))
        try:
            while shards and (ends is None or time.monotonic() < ends):
                (kind, record), uses = next(iter(shards.items()))
                with contextlib.suppress(RecordDamaged):
                    self._write(record, uses)
                del shards[kind, record]
            if ends is None and abs(self._clock() - self._swept) >= _SWEEP:
                self._swept = self._clock()
                self._sweep()
        except StoreUnavailable:
            if ends is None:
                for (kind, _), uses in shards.items():
                    for name, used in uses.items():
                        # A use that was noted meanwhile is later.
                        self._noted[kind].setdefault(name, used / 1000)
            return False
        return True

    def _write(self, record: str, uses: Mapping[str, int]) -> None:
        present = self._cache.get(record) or _EMPTY
        latest = int(self._clock() * 1000) + _FUTURE

        def is_later(name: str, used: int, shard: Shard) -> bool:
            stored = shard.uses.get(name, 0)
            return used >= shard.deleted.get(name, 0) and (used - stored >= _RESOLUTION or stored > latest)

        def add(shard: Shard) -> Shard:
            return shard._replace(
                uses={**shard.uses, **{name: used for name, used in uses.items() if is_later(name, used, shard)}}
            )

        if any(is_later(name, used, present) for name, used in uses.items()):
            self._change(record, add)

    def remove(self, kind: str, name: str) -> None:
        """Remove the use of one that was deleted, and those that are still to be stored, best effort."""
        self._noted[kind].pop(name, None)
        key, now = fold(name), int(self._clock() * 1000)

        def change(shard: Shard) -> Shard:
            uses = {other: used for other, used in shard.uses.items() if other != key}
            return Shard(uses, {**shard.deleted, key: now})

        with contextlib.suppress(StoreUnavailable):
            self._change(_record(kind, key), change)

    def begin_of(self, kind: str, name: str) -> None:
        """Remove what is left of an earlier one with the name of one that was created now, best effort."""
        key = fold(name)
        with contextlib.suppress(StoreUnavailable):
            shard = self._cache.get(_record(kind, key)) or _EMPTY
            if key in shard.uses or key in shard.deleted:
                self.remove(kind, name)

    def forget_noted(self) -> None:
        """Forget the uses in memory."""
        self._noted = {kind: {} for kind in _KINDS}

    def _sweep(self) -> None:
        """Remove the uses of names that no longer exist, which were removed by hand, or could not be removed."""
        for kind in _KINDS:
            now = int(self._clock() * 1000)
            present = {fold(name) for name in self._store.names(kind)}
            for record in _records(kind):
                with contextlib.suppress(RecordDamaged):
                    shard = self._cache.get(record) or _EMPTY
                    if _kept(shard, present, now) != shard:
                        self._change(record, lambda shard: _kept(shard, present, now))  # noqa: B023 - called here

    def _change(self, record: str, change: Callable[[Shard], Shard]) -> None:
        def changed(document: Document | None) -> Document:
            after = change(_EMPTY if document is None else shard_of(document))
            begin = document or {"format": records.FORMAT, "name": record}
            return {**begin, "uses": after.uses, "deleted": after.deleted}

        self._store.update(records.COLLECTION, record, changed, wait=records.WAIT)


def _kept(shard: Shard, present: Collection[str], now: int) -> Shard:
    """Return the uses of the names that existed at ``now``, or were used since, and the deletions of the last day."""
    return Shard(
        {name: used for name, used in shard.uses.items() if name in present or used >= now},
        {name: when for name, when in shard.deleted.items() if now - _KEPT < when},
    )


def shard_of(document: Document) -> Shard:
    """Return the uses of a record; raise ``RecordDamaged``."""
    return Shard(
        records.member(document, "uses", records.is_time), records.member(document, "deleted", records.is_time)
    )


def since_of(document: Document) -> int:
    """Return the time since which uses are noted; raise ``RecordDamaged``."""
    found = records.member(document, "since", records.is_time).get("uses")
    if found is None:
        raise RecordDamaged(reason=f"{records.COLLECTION}/{_SINCE}: since has an invalid value")
    return int(found)


def _record(kind: str, name: str) -> str:
    """Return the name of the record that has a folded name."""
    return f"{kind}-{zlib.crc32(name.encode('utf-8', 'surrogatepass')) % SHARDS}"


def _records(kind: str) -> Sequence[str]:
    return [f"{kind}-{number}" for number in range(SHARDS)]


def check(document: Document) -> None:
    """Check a record of last uses; raise ``RecordDamaged``."""
    if document["name"] == _SINCE:
        since_of(document)
    else:
        shard_of(document)
