"""Index of all applications: their keys, and the fields that verification and lists search by."""

import dataclasses
import functools
import itertools
import logging
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from datafor_token.applications.record import Application
from datafor_token.crypto.keys import KeySource
from datafor_token.errors import RecordDamaged
from datafor_token.store.cache import Named
from datafor_token.validation import claims, logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class IndexEntry:
    """The part of an application that is cached for every application; it takes a third of the memory of the whole.

    ``claim`` holds the user name. ``expire`` and ``last_expiry`` are as in ``Application``, and ``changed`` is its
    ``last_modified_date``. ``previous`` is the key of
    the secret before the last rotation, and ``previous_until`` the end of its grace period in milliseconds since 1970
    (0: it is not accepted).
    """

    name: str
    algorithm: str
    token_name: str
    claim: str
    creator_id: str
    expire: int
    last_expiry: int
    changed: int
    enable: bool
    self_service: bool
    key: KeySource = dataclasses.field(repr=False)
    previous: KeySource | None = dataclasses.field(repr=False)
    previous_until: int
    rule_violations: tuple[str, ...] = ()  # see ``Application.rule_violations``
    origins: tuple[str, ...] = ()

    @classmethod
    def of(cls, application: Application) -> "IndexEntry":
        """Return the entry of an application; texts that many applications have in common are stored once."""
        return cls(
            name=application.name,
            algorithm=sys.intern(application.algorithm),
            token_name=sys.intern(application.token_name),
            claim=sys.intern(application.fieldmap.username),
            creator_id=sys.intern(application.creator_id),
            expire=application.expire,
            last_expiry=application.last_expiry,
            changed=application.last_modified_date,
            enable=application.enable,
            self_service=application.self_service,
            key=application.key,
            previous=application.previous_key,
            previous_until=0 if application.previous is None else application.previous.until,
            rule_violations=tuple(application.rule_violations.values()),
            origins=application.origins or (),
        )

    def in_grace(self, now: float) -> bool:
        """Return whether the previous secret is still accepted; ``now`` is in seconds since 1970."""
        return now * 1000 < self.previous_until


@dataclasses.dataclass(frozen=True)
class ApplicationIndex:
    """The entries of all readable applications, sorted by name, and the names of the damaged records."""

    entries: Sequence[IndexEntry]
    damaged: Sequence[str]
    # A different number for each index: a result that was cached for one is not valid for another.
    version: int = dataclasses.field(default_factory=itertools.count().__next__, compare=False)

    @functools.cached_property
    def by_token_name(self) -> Mapping[str, "ApplicationIndex"]:
        """The enabled applications by the URL parameter that carries their tokens."""
        found: dict[str, list[IndexEntry]] = {}
        for entry in self.entries:
            if entry.enable:
                found.setdefault(entry.token_name, []).append(entry)
        return {name: ApplicationIndex(entries, ()) for name, entries in found.items()}

    @functools.cached_property
    def token_names(self) -> Collection[str]:
        """The URL parameters that may carry a token, including those of disabled applications."""
        return frozenset(entry.token_name for entry in self.entries)

    @functools.cached_property
    def origins(self) -> Collection[str]:
        """The origins whose pages may embed pages of some enabled application, sorted."""
        return sorted({origin for entry in self.entries if entry.enable for origin in entry.origins})

    def candidates(self, algorithm: str, names: Collection[str]) -> Sequence[IndexEntry]:
        """Return the applications that could accept a token of that algorithm with these claims, sorted by name.

        ``names`` are those of the claims.
        """
        lists = [self._by_claim[algorithm, claim] for claim in names if (algorithm, claim) in self._by_claim]
        if len(lists) <= 1:
            return lists[0] if lists else ()
        # By name, since a token may have both a claim and the outermost claim of its JSON Pointer.
        found = {entry.name: entry for entries in lists for entry in entries}
        return sorted(found.values(), key=_by_name)

    @functools.cached_property
    def _by_claim(self) -> Mapping[tuple[str, str], Sequence[IndexEntry]]:
        found: dict[tuple[str, str], list[IndexEntry]] = {}
        for entry in self.entries:
            if entry.enable:
                for claim in claims.outermost(entry.claim):
                    found.setdefault((entry.algorithm, claim), []).append(entry)
        return found


def _by_name(entry: IndexEntry) -> str:
    return fold(entry.name)


EMPTY_INDEX = ApplicationIndex((), ())


def build_index(records: Iterable[Named[IndexEntry]]) -> ApplicationIndex:
    """Return the index of the records; log the damaged ones."""
    entries, damaged = [], []
    for name, entry in records:
        if isinstance(entry, RecordDamaged):
            damaged.append(name)
            log.warning(logs.event("record damaged", reason=entry.reason))
        else:
            entries.append(entry)
    return ApplicationIndex(sorted(entries, key=_by_name), sorted(damaged))
