"""Failed passwords of several hosts, counted in a Redis that they share."""

from typing import Any

from datafor_token.errors import StartError

_LONGEST_WAIT = 0.5  # seconds for an answer


def counts_in(uri: str) -> Any:
    """A storage of ``limits`` in a Redis; its own script counts, so that no two count past each other.

    Raises ``StartError`` for what is no URI of one.
    """
    try:
        # Only now: without the setting it is not needed, or installed.
        from limits.storage.redis import RedisStorage  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError:
        raise StartError(
            "RATELIMIT_STORAGE_URI: the packages for it are not installed; run `make sql`, or"
            " `.venv/bin/python -m pip install -r requirements-sql.txt`"
        ) from None

    class Shared(RedisStorage):
        STORAGE_SCHEME = None  # type: ignore[assignment] # as no URI of our own

        def clear(self, key: str) -> None:
            """Take back the last count, as the other storages do; the library's own forgets them all."""
            self.storage.lpop(self.prefixed_key(key))

    try:
        return Shared(
            uri,
            key_prefix="datafor_token",
            socket_timeout=_LONGEST_WAIT,
            socket_connect_timeout=_LONGEST_WAIT,
            # Once more, for a connection that was closed meanwhile; by itself it tries for seconds.
            retry=Retry(NoBackoff(), 1),  # type: ignore[arg-type]
        )
    except (ValueError, KeyError):
        # Without its words, which repeat parts of the URI.
        raise StartError("RATELIMIT_STORAGE_URI is no URI of a Redis") from None
