"""What is kept of all applications, be there ever so many, and the ways to find those that a token may be of."""

import dataclasses
import functools
import logging
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

from datafor_token.applications.record import Application
from datafor_token.crypto.keys import Key
from datafor_token.errors import RecordDamaged
from datafor_token.store.cache import Named
from datafor_token.validation import logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class IndexEntry:
    """What a token is tried with, and what lists are searched by: a third of the application in memory.

    ``claim`` names the user. ``previous`` verifies what the secret before the last rotation signed; until when that
    counts (milliseconds since 1970) is for the application itself to say, once it is read.
    """

    name: str
    algorithm: str
    token_name: str
    claim: str
    creator_id: str
    enable: bool
    self_service: bool
    key: Key = dataclasses.field(repr=False)
    previous: Key | None = dataclasses.field(repr=False)
    previous_until: int
    rule_violations: tuple[str, ...] = ()  # see ``Application.rule_violations``

    @classmethod
    def of(cls, application: Application) -> "IndexEntry":
        """What is kept of it; words that many have in common are kept once."""
        return cls(
            name=application.name,
            algorithm=sys.intern(application.algorithm),
            token_name=sys.intern(application.token_name),
            claim=sys.intern(application.fieldmap.username),
            creator_id=sys.intern(application.creator_id),
            enable=application.enable,
            self_service=application.self_service,
            key=application.key,
            previous=application.previous_key,
            previous_until=0 if application.previous is None else application.previous.until,
            rule_violations=tuple(application.rule_violations.values()),
        )

    def in_grace(self, now: float) -> bool:
        """Whether the previous secret is still accepted; ``now`` is in seconds since 1970."""
        return now * 1000 < self.previous_until


@dataclasses.dataclass(frozen=True)
class ApplicationIndex:
    """The entries of all applications that can be read, sorted by name, and the names of the records that cannot."""

    entries: Sequence[IndexEntry]
    damaged: Sequence[str]

    @functools.cached_property
    def by_token_name(self) -> Mapping[str, "ApplicationIndex"]:
        """The enabled applications whose tokens come under each name in a URL."""
        found: dict[str, list[IndexEntry]] = {}
        for entry in self.entries:
            if entry.enable:
                found.setdefault(entry.token_name, []).append(entry)
        return {name: ApplicationIndex(entries, ()) for name, entries in found.items()}

    @functools.cached_property
    def token_names(self) -> Collection[str]:
        """The URL parameters that may hold a token, also of disabled applications."""
        return frozenset(entry.token_name for entry in self.entries)

    def candidates(self, algorithm: str, claims: Collection[str]) -> Sequence[IndexEntry]:
        """The applications that could accept a token of that algorithm with these claims, in their order."""
        lists = [found for claim in claims if (found := self._by_claim.get((algorithm, claim))) is not None]
        if len(lists) <= 1:
            return lists[0] if lists else ()
        return sorted((entry for found in lists for entry in found), key=lambda one: fold(one.name))

    @functools.cached_property
    def _by_claim(self) -> Mapping[tuple[str, str], Sequence[IndexEntry]]:
        found: dict[tuple[str, str], list[IndexEntry]] = {}
        for entry in self.entries:
            if entry.enable:
                found.setdefault((entry.algorithm, entry.claim), []).append(entry)
        return found


EMPTY_INDEX = ApplicationIndex((), ())


def build_index(found: Iterable[Named[IndexEntry]]) -> ApplicationIndex:
    """What there is, of the records as they were read."""
    entries, damaged = [], []
    for name, one in found:
        if isinstance(one, RecordDamaged):
            damaged.append(name)
            log.warning(logs.event(event="record damaged", reason=one.reason))
        else:
            entries.append(one)
    return ApplicationIndex(sorted(entries, key=lambda one: fold(one.name)), sorted(damaged))
