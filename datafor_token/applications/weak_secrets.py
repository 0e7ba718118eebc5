"""Enabled applications with weak keys, found among any number of them."""

from collections.abc import Sequence
from typing import NamedTuple

from datafor_token.applications.index import ApplicationIndex
from datafor_token.crypto.keys import Key, KeySource
from datafor_token.crypto.strength import is_quick, weakness_of
from datafor_token.errors import Message
from datafor_token.providers.key_sets import ProviderKeys

_MOST_SLOW = 4  # keys that one look estimates, which takes some 50 ms
_MOST_LOOKS = 25  # of one search, which takes some 1.25 s


class WeakSecrets(NamedTuple):
    """The applications whose key is weak, each with a sentence, and the number of those that were not looked at yet."""

    found: Sequence[tuple[str, Message]]
    left: int


class _Verdict(NamedTuple):
    """Verdict about a key: why it is weak, or that its estimate is still to be made."""

    key: KeySource
    weakness: Message | None
    is_pending: bool


class WeakSecretFinder:
    """Looks at the keys of applications, and remembers what it found for as long as they stay the same."""

    def __init__(self) -> None:
        self._known: dict[str, _Verdict] = {}
        self._last: tuple[int, WeakSecrets] | None = None

    def look(self, index: ApplicationIndex) -> WeakSecrets:
        """Return the weak keys of enabled applications; each look estimates some more of those that take long.

        Keys that were fetched from a provider are its own business.
        """
        last = self._last
        if last is not None and last[0] == index.version and not last[1].left:
            return last[1]
        known: dict[str, _Verdict] = {}
        found: list[tuple[str, Message]] = []
        estimated, left = 0, 0
        for entry in index.entries:
            if not entry.enable or isinstance(entry.key, ProviderKeys):
                continue
            verdict = self._known.get(entry.name)
            if verdict is None or verdict.key is not entry.key:
                verdict = _quick_verdict(entry.key)
            if verdict.is_pending and estimated < _MOST_SLOW:
                estimated += 1
                verdict = _Verdict(entry.key, _weakness(entry.key.all()), is_pending=False)
            known[entry.name] = verdict
            left += verdict.is_pending
            if verdict.weakness is not None:
                found.append((entry.name, verdict.weakness))
        # Another thread may have looked meanwhile: what it knows is found again.
        self._known, self._last = known, (index.version, WeakSecrets(found, left))
        return self._last[1]

    def search(self, index: ApplicationIndex) -> WeakSecrets:
        """Return the weak keys of all enabled applications; of many that take long, the next search estimates more."""
        found = self.look(index)
        for _ in range(1, _MOST_LOOKS):
            if not found.left:
                break
            found = self.look(index)
        return found


def _quick_verdict(key: KeySource) -> _Verdict:
    keys = key.all()
    is_pending = not all(map(is_quick, keys))
    return _Verdict(key, None if is_pending else _weakness(keys), is_pending)


def _weakness(keys: Sequence[Key]) -> Message | None:
    return next(filter(None, map(weakness_of, keys)), None)
