"""Index of all applications: their keys, and the fields that verification and lists search by."""

import dataclasses
import functools
import itertools
import logging
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from datafor_token.applications import rules
from datafor_token.applications.record import FIELDS, FORMAT, PLAIN_FORMAT, Application
from datafor_token.crypto.keys import KeySource
from datafor_token.errors import RecordDamaged, RuleError
from datafor_token.store.cache import Named
from datafor_token.validation import claims, logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class IndexEntry:
    """The part of an application that is cached for every application; it takes a third of the memory of the whole.

    ``claim`` holds the user name. ``expire`` and ``last_expiry`` are as in ``Application``, and ``changed`` is its
    ``last_modified_date``. ``previous`` is the key of the secret before the last rotation, and ``previous_until`` the
    end of its grace period in milliseconds since 1970 (0: it is not accepted).
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableEntry:
    """An application whose record cannot be read, such as one that is encrypted with a key that this node lacks.

    ``reason`` is why. The other members are as in ``IndexEntry``, and None where the record does not state it.
    """

    name: str
    reason: str | None
    algorithm: str | None = None
    token_name: str | None = None
    claim: str | None = None
    enable: bool | None = None
    self_service: bool | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any], error: RecordDamaged) -> "UnreadableEntry":
        """Return the entry of a document that is no valid application: what its valid members state."""
        entry = cls(name=str(document.get("name")), reason=error.reason)
        try:
            rules.record_format(document.get("format", PLAIN_FORMAT), FORMAT)
        except RuleError:
            # In a newer format, members can mean something else.
            return entry
        fieldmap = _member(document, "fieldmap")
        return dataclasses.replace(
            entry,
            claim=None if fieldmap is None else fieldmap.username,
            **{name: _member(document, name) for name in ("algorithm", "token_name", "enable", "self_service")},
        )

    def may_have_signed(self, algorithm: str, names: Collection[str]) -> bool:
        """Return whether the application could accept a token of that algorithm with claims of these names."""
        return (
            self.enable is not False
            and self.algorithm in (None, algorithm)
            and (self.claim is None or not set(claims.outermost(self.claim)).isdisjoint(names))
        )


def _member(document: Mapping[str, Any], name: str) -> Any:
    field = FIELDS[name]
    try:
        return field.rule(document.get(name, field.default))
    except RuleError:
        return None


@dataclasses.dataclass(frozen=True)
class ApplicationIndex:
    """The entries of all readable applications, and of those whose records cannot be read, both sorted by name."""

    entries: Sequence[IndexEntry]
    unreadable: Sequence[UnreadableEntry] = ()
    # A different number for each index: a result that was cached for one is not valid for another.
    version: int = dataclasses.field(default_factory=itertools.count().__next__, compare=False)

    @property
    def damaged(self) -> Sequence[str]:
        """The names of the records that cannot be read."""
        return [entry.name for entry in self.unreadable]

    @functools.cached_property
    def by_token_name(self) -> Mapping[str, "ApplicationIndex"]:
        """The enabled applications by the URL parameter that carries their tokens.

        Those whose parameter is not known, because their record cannot be read, are in each.
        """
        found: dict[str, list[IndexEntry]] = {}
        for entry in self.entries:
            if entry.enable:
                found.setdefault(entry.token_name, []).append(entry)
        maybe = [entry for entry in self.unreadable if entry.enable is not False]
        for unread in maybe:
            if unread.token_name is not None:
                found.setdefault(unread.token_name, [])
        return {
            name: ApplicationIndex(entries, [one for one in maybe if one.token_name in (None, name)])
            for name, entries in found.items()
        }

    @functools.cached_property
    def token_names(self) -> frozenset[str]:
        """The URL parameters that may carry a token, including those of disabled applications."""
        readable = {entry.token_name for entry in self.entries}
        return frozenset(readable | {entry.token_name for entry in self.unreadable if entry.token_name is not None})

    @functools.cached_property
    def own_texts(self) -> Collection[str]:
        """The names of all applications, and the URL parameters of their tokens."""
        return self.token_names | {entry.name for entry in self.entries} | set(self.damaged)

    def unreadable_signer(self, algorithm: str, names: Collection[str]) -> UnreadableEntry | None:
        """Return an application that may have signed a token of that algorithm with claims of these names, or None.

        Its record cannot be read.
        """
        return next((entry for entry in self.unreadable if entry.may_have_signed(algorithm, names)), None)

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


def _by_name(entry: IndexEntry | UnreadableEntry) -> str:
    return fold(entry.name)


EMPTY_INDEX = ApplicationIndex(())


def build_index(records: Iterable[Named[IndexEntry | UnreadableEntry]]) -> ApplicationIndex:
    """Return the index of the records; log those that cannot be read."""
    entries, unreadable = [], []
    for name, found in records:
        entry = UnreadableEntry(name=name, reason=found.reason) if isinstance(found, RecordDamaged) else found
        if isinstance(entry, IndexEntry):
            entries.append(entry)
        else:
            unreadable.append(entry)
            log.warning(logs.event("record damaged", reason=entry.reason))
    return ApplicationIndex(sorted(entries, key=_by_name), sorted(unreadable, key=lambda entry: entry.name))
