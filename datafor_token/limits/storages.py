"""Storages of counts in the order of preference: a Redis for several hosts, files for all workers, memory.

If the disk cannot be written, each worker counts in memory. With a Redis that does not respond, each host counts on its
own, as without one: the limit holds for it, and nobody is locked out.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from datafor_token.errors import StoreUnavailable
from datafor_token.limits.redis_scripts import Redis
from datafor_token.limits.tables import FileTables, MemoryTables, Tables
from datafor_token.validation import logs

log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")
_RETRY_SECONDS = 5.0  # after which a storage that failed is used again


class Storages(Generic[S]):
    """Storages of the same counts; ``event`` is logged when one fails, and ``failed`` called with redis or files.

    The files are in ``folder``. ``shared`` is the URI of a Redis, or empty; raises ``StartError`` for another URI.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        event: str,
        folder: Path,
        shared: str,
        local: Callable[[Tables], S],
        in_redis: Callable[[Redis], S],
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.memory = local(MemoryTables())
        self.failures: tuple[type[Exception], ...] = (OSError, StoreUnavailable)
        self._event = event
        self._count_failure = failed
        self._files = local(FileTables(folder))
        self._in_order = [self._files]
        self._retry_at: dict[int, float] = {}
        if shared:
            redis = Redis(shared)
            self._in_order.insert(0, in_redis(redis))
            self.failures += redis.failures

    def use(self, function: Callable[[S], T]) -> T:
        """Call a function with the first storage that works, except those that failed recently: they may hang again."""
        for storage in self._in_order:
            if time.monotonic() >= self._retry_at.get(id(storage), 0.0):
                try:
                    return function(storage)
                except self.failures as error:
                    self.failed(storage, error)
        return function(self.memory)

    def failed(self, storage: S, error: Exception) -> None:
        """Log that a storage failed, and do not use it for a while."""
        self._retry_at[id(storage)] = time.monotonic() + _RETRY_SECONDS
        reason = getattr(error, "reason", None) or type(error).__name__
        self._count_failure("files" if storage is self._files else "redis")
        log.warning(logs.event(self._event, by="worker" if storage is self._files else "host", reason=reason))
