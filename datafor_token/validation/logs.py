"""Logging: one line per event on standard error, and nothing secret in any of them.

Exceptions are logged by their type and where they happened, without their text: a text such as
``KeyError: 'abcd'`` or gunicorn's "Invalid HTTP Header: ..." repeats what a client sent.
"""

import functools
import json
import logging
import re
import time
import traceback
from types import TracebackType
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

_PACKAGE = logging.getLogger("datafor_token")
_LONGEST_NAME = 40  # characters; a ticket has 43, a token more
_QUERY = re.compile("[?&;=]")
_BARE = re.compile(r"[!#-<>-~]+")  # ASCII to be seen, no space, no '"', no '='


def configure(level: str) -> None:
    """Send the package's log to standard error; called again it only changes the level."""
    _PACKAGE.setLevel(level)
    # When standard error is closed, a request must not fail, and no record may be printed without its format.
    logging.raiseExceptions = False
    if not _PACKAGE.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(SafeFormatter())
        _PACKAGE.addHandler(handler)


def event(**values: object) -> str:
    """The values as ``name=value``, quoted and escaped where needed: always one line of ASCII."""
    return " ".join(f"{name}={quoted(str(value))}" for name, value in values.items() if value is not None)


def quoted(text: str) -> str:
    """A text as it stands behind a ``name=``."""
    return text if _BARE.fullmatch(text) else json.dumps(text)


def safe_path(path: str) -> str:
    """A request's path without what may be a token in it: nothing behind a sign of a query, no long name.

    Links are mangled on their way: ``/auth/enter%3Ftoken=...`` is a path. No path of ours has such names.
    """
    path = _QUERY.split(path, maxsplit=1)[0]
    if len(path) <= _LONGEST_NAME:
        return path
    return "/".join(name if len(name) <= _LONGEST_NAME else f"({len(name)} characters)" for name in path.split("/"))


def timestamp(now: float) -> str:
    """A time (seconds since 1970) to the millisecond, in UTC (RFC 3339)."""
    return f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"


@functools.lru_cache(maxsize=4)
def _second(second: int) -> str:
    # In a busy second for all of its lines.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class SafeFormatter(logging.Formatter):
    """Time (RFC 3339, UTC), level, logger, message; exceptions without their text."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - the standard library's names
        """The time of the record."""
        return timestamp(record.created)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s[%(process)d] %(message)s")

    def formatException(  # noqa: N802 - the standard library's name
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """The frames and the types of the exception and of those that led to it."""
        lines: list[str] = []
        exception = ei[1]
        while exception is not None:
            kind = type(exception)
            lines = [
                *traceback.format_tb(exception.__traceback__),
                f"{kind.__module__}.{kind.__qualname__} (its text is not logged)",
                *lines,
            ]
            exception = exception.__cause__ or exception.__context__
        return "\n".join(line.rstrip("\n") for line in lines)


class ServerLogger(GunicornLogger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's log in the same form, without the parts of requests that it repeats."""

    def setup(self, cfg: Any) -> None:
        """As gunicorn does it, then our formatter and filter on every handler."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(SafeFormatter())
            handler.addFilter(_without_request)


def _without_request(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    # These two repeat a request line, a header or a URL, and with it a token.
    for beginning in (r"Invalid request from ip=\S+?(?=: |$)", r"Error handling request"):
        match = re.match(beginning, message)
        if match:
            record.msg, record.args = match.group(), ()
    return True
