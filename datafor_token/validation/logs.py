"""Logging: one line per event on standard error, and nothing secret in any of them.

Exceptions are logged by their type and where they happened, without their text: a text such as
``KeyError: 'abcd'`` or gunicorn's "Invalid HTTP Header: ..." repeats what a client sent.
"""

import functools
import json
import logging
import os
import re
import sys
import time
import traceback
from types import TracebackType
from typing import Any, TextIO

from gunicorn.glogging import Logger as GunicornLogger

_PACKAGE = logging.getLogger("datafor_token")
_LONGEST_NAME = 40  # characters; a ticket has 43, a token more
_QUERY = re.compile("[?&;=]")
_BARE = re.compile(r"[!#-<>-~]+")  # ASCII to be seen, no space, no '"', no '='


def configure(level: str) -> None:
    """Send the package's log to standard error; called again it only changes the level."""
    _PACKAGE.setLevel(level)
    # Nothing of these is shown, and each record would look for them (Python's logging documentation, Optimization).
    logging.logThreads = logging.logMultiprocessing = False
    if not _PACKAGE.handlers:
        handler = LineHandler()
        handler.setFormatter(SafeFormatter())
        _PACKAGE.addHandler(handler)


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes each line at once, by one system call, which no line of another thread comes into.

    The lock of the standard library stays, which it takes around ``emit`` and ``flush`` (from Python 3.13 on without
    asking whether there is one). The line of a request does not pass it: see ``say``.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line to standard error; a stream of somebody's own gets it as text."""
        self.write(f"{self.format(record)}{self.terminator}")

    def write(self, line: str) -> None:
        """Write a line."""
        try:
            if self.stream is sys.stderr:
                os.write(sys.stderr.fileno(), line.encode(errors="backslashreplace"))
            else:
                self.stream.write(line)
        except (OSError, ValueError):
            # Nobody listens any more: a request must not fail for it.
            return


def say(logger: logging.Logger, message: str) -> None:
    """Log at INFO; by a shorter way where only our own handler listens, as the library's costs more than the line.

    It takes no lock, for which every request of every thread would wait.
    """
    handler = _PACKAGE.handlers[0] if len(_PACKAGE.handlers) == 1 else None
    others = logger.handlers or logger.filters or logging.root.handlers
    if type(handler) is LineHandler and not (handler.filters or others):
        handler.write(f"{timestamp(time.time())} INFO {logger.name}[{os.getpid()}] {message}\n")
    else:
        # Without looking for the line of code that said it, which nobody shows.
        logger.handle(logging.LogRecord(logger.name, logging.INFO, "", 0, message, None, None))


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
