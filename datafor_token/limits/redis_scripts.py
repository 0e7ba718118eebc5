"""Scripts in a Redis that several hosts share.

Scripts run atomically, and use the clock of the Redis, which is the same for all hosts.
"""

from collections.abc import Callable
from typing import Any

from datafor_token.errors import StartError

_LONGEST_WAIT = 0.5  # seconds for a response
PREFIX = "datafor_token:"  # of all keys

# Takes the key without its prefix, and the arguments of the script.
Script = Callable[[str, list[Any]], Any]


class Redis:
    """A Redis. Its scripts raise one of ``failures`` if it does not respond; other URIs raise ``StartError``."""

    def __init__(self, uri: str) -> None:
        try:
            # Imported here: without the setting, the package need not be installed.
            import redis  # noqa: PLC0415
            from redis.backoff import NoBackoff  # noqa: PLC0415
            from redis.retry import Retry  # noqa: PLC0415
        except ImportError:
            raise StartError(
                "RATELIMIT_STORAGE_URI: the package for it is not installed: run `make sql` in a checkout, else"
                " `pip install 'datafor-token[redis]'` in the environment of the service"
            ) from None
        try:
            self._client: Any = redis.from_url(
                uri.replace("redis+unix:", "unix:", 1),
                socket_timeout=_LONGEST_WAIT,
                socket_connect_timeout=_LONGEST_WAIT,
                # One retry, for a connection that was closed in the meantime; the default retries for seconds.
                retry=Retry(NoBackoff(), 1),
            )
        except (ValueError, KeyError):
            # Without the text of the error, which repeats parts of the URI.
            raise StartError("RATELIMIT_STORAGE_URI is not the URI of a Redis") from None
        self.failures: tuple[type[Exception], ...] = (redis.RedisError,)

    def script(self, name: str, text: str) -> Script:
        """Return a script, whose key is prefixed by ``name``. In ``text``, ``now`` is the time in s since 1970."""
        begin = "local time = redis.call('TIME')\nlocal now = time[1] + time[2] / 1000000\n"
        registered = self._client.register_script(begin + text)
        return lambda key, arguments: registered([f"{PREFIX}{name}:{key}"], arguments)
