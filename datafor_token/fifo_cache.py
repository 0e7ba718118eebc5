"""Cache of bounded size for several threads."""

import threading
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FifoCache(Generic[K, V]):
    """Values by key, at most ``most`` of them: a new one replaces the one that was put first.

    A lookup takes no lock and changes nothing, which a cache by last use or by age cannot offer. The caller decides
    whether a value is still valid.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._values: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """Return the value of the key, or ``None``."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Cache a value; it replaces an earlier value of the key."""
        with self._lock:
            self._values.pop(key, None)
            while len(self._values) >= self.most:
                del self._values[next(iter(self._values))]
            self._values[key] = value

    def discard(self, key: K) -> None:
        """Forget the value of the key, if it has one."""
        with self._lock:
            self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)
