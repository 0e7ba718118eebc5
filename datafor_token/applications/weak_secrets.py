"""Enabled applications with weak keys, found among any number of them."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from datafor_token.applications.index import IndexEntry
from datafor_token.crypto.keys import Key, KeySource
from datafor_token.crypto.strength import is_quick, weakness_of
from datafor_token.errors import Message
from datafor_token.providers.key_sets import ProviderKeys

_MOST_SLOW = 8  # keys that one look estimates, which takes at most 0.1 s


class WeakSecrets(NamedTuple):
    """The applications whose key is weak, each with a sentence, and the number of those that were not looked at yet."""

    found: Sequence[tuple[str, Message]]
    left: int


class WeakSecretFinder:
    """Looks at the keys of applications, and remembers what it found for as long as they stay the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[KeySource, Message | None]] = {}

    def look(self, entries: Sequence[IndexEntry]) -> WeakSecrets:
        """Return the weak keys among these applications; each look estimates some more of those that take long.

        Keys that were fetched from a provider are its own business.
        """
        known: dict[str, tuple[KeySource, Message | None]] = {}
        found: list[tuple[str, Message]] = []
        slow, left = 0, 0
        for entry in entries:
            if not entry.enable or isinstance(entry.key, ProviderKeys):
                continue
            before = self._known.get(entry.name)
            if before is None or before[0] is not entry.key:
                keys = entry.key.all()
                if not all(map(is_quick, keys)):
                    slow += 1
                    if slow > _MOST_SLOW:
                        left += 1
                        continue
                before = entry.key, _weakness(keys)
            known[entry.name] = before
            if before[1] is not None:
                found.append((entry.name, before[1]))
        # Another thread may have looked meanwhile: what it knows is found again.
        self._known = known
        return WeakSecrets(found, left)


def _weakness(keys: Sequence[Key]) -> Message | None:
    return next(itertools.filterfalse(lambda one: one is None, map(weakness_of, keys)), None)
