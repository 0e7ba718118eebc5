"""Records of fetched keys: the last good set of a URL and issuer, and the attempts to fetch it, in two records.

The set is written only when it changes, so that its version tells every process that it did.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datafor_token.crypto.algorithms import ALGORITHMS, is_shared
from datafor_token.crypto.keys import KeySet, usable_keys
from datafor_token.errors import RecordDamaged
from datafor_token.store.base import Document

COLLECTION = "key_sets"
_ATTEMPT = "-attempt"  # suffix of the names of records of attempts

JWK = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """A URL of keys and the issuer of the tokens that they verify."""

    uri: str
    issuer: str

    @functools.cached_property
    def name(self) -> str:
        """The name of the record with the set."""
        return hashlib.sha256(f"{self.uri}\n{self.issuer}".encode()).hexdigest()

    @functools.cached_property
    def attempt_name(self) -> str:
        """The name of the record of attempts."""
        return self.name + _ATTEMPT


@dataclass(frozen=True)
class StoredSet:
    """The keys of a place. ``fetched`` is the time when they came, in milliseconds since 1970."""

    keys: Sequence[JWK]
    fetched: int
    _parsed: dict[str, KeySet] = field(default_factory=dict, compare=False, repr=False)

    def for_algorithm(self, algorithm: str) -> KeySet:
        """Return the keys for an algorithm: the same object each time."""
        # Two threads may parse at the same time; then one result replaces the other.
        return self._parsed.get(algorithm) or self._parsed.setdefault(
            algorithm, KeySet(usable_keys(algorithm, self.keys))
        )

    @functools.cached_property
    def kids(self) -> Sequence[str]:
        """The ``kid`` of each key, or its thumbprint if it has none."""
        found = (
            pair for algorithm in ALGORITHMS if not is_shared(algorithm) for pair in usable_keys(algorithm, self.keys)
        )
        return list(dict.fromkeys(kid or str(key.kid) for key, kid in found))

    def to_document(self, place: Place) -> Document:
        """Return the record."""
        return {
            "format": 1,
            "name": place.name,
            "uri": place.uri,
            "issuer": place.issuer,
            "fetched": self.fetched,
            "keys": [dict(key) for key in self.keys],
        }


@dataclass(frozen=True)
class Attempt:
    """The last attempt to fetch the keys of a place. Times are in milliseconds since 1970.

    - ``attempted``: its beginning; ``is_pending``: its result is not yet stored.
    - ``fetched``: the end of the last one that succeeded, or None.
    - ``error``: the sentence of one that failed, or None.
    """

    attempted: int = 0
    is_pending: bool = False
    fetched: int | None = None
    error: str | None = None

    def to_document(self, place: Place) -> Document:
        """Return the record."""
        return {
            "format": 1,
            "name": place.attempt_name,
            "uri": place.uri,
            "issuer": place.issuer,
            "attempted": self.attempted,
            "pending": self.is_pending,
            "fetched": self.fetched,
            "error": self.error,
        }


def place_of(document: Document) -> Place:
    """Return the place of a record; raise ``RecordDamaged``."""
    return Place(_member(document, "uri", str), _member(document, "issuer", str))


def set_of(document: Document) -> StoredSet:
    """Parse the record of a set; raise ``RecordDamaged``."""
    keys = _member(document, "keys", list)
    if not all(isinstance(key, dict) for key in keys):
        raise _damaged(document, "keys")
    return StoredSet(keys, _member(document, "fetched", int))


def attempt_of(document: Document) -> Attempt:
    """Parse the record of an attempt; raise ``RecordDamaged``."""
    return Attempt(
        attempted=_member(document, "attempted", int),
        is_pending=_member(document, "pending", bool),
        fetched=_member(document, "fetched", int, type(None)),
        error=_member(document, "error", str, type(None)),
    )


def is_attempt(name: str) -> bool:
    """Return whether a name is that of a record of attempts."""
    return name.endswith(_ATTEMPT)


def _member(document: Document, name: str, *kinds: type) -> Any:
    if type(document.get(name)) not in kinds:
        raise _damaged(document, name)
    return document.get(name)


def _damaged(document: Document, member: str) -> RecordDamaged:
    return RecordDamaged(reason=f"{COLLECTION}/{document['name']}: {member} is not valid")
