"""The log: one line for each event on standard error, in logfmt or JSON, and no secret in any line.

Exceptions are logged with their types and places, but without their texts: a text such as ``KeyError: 'abcd'`` or
gunicorn's "Invalid HTTP Header: ..." repeats what a client sent.
"""

import contextlib
import functools
import io
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

FORMATS = ("logfmt", "json")
_PACKAGE, _PYTHON = logging.getLogger("datafor_token"), logging.getLogger("python")
_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.DEBUG: "debug"}  # others: error
_LONGEST_NAME = 40  # characters; a ticket has 43, a token more
_LONGEST_PATH = 200  # characters; a line of at most 4,096 bytes (PIPE_BUF) is not mixed with lines of other processes
_MOST_FRAMES = 30  # of an exception; journald splits lines of 48 KiB
_QUERY = re.compile("[?&;=]")
_is_bare: Callable[[Any], object] = re.compile(r"[!#-<>-~]+").fullmatch  # printable ASCII without space, '"' and '='
_json = json.JSONEncoder(separators=(",", ":")).encode


class Event(dict[str, str | int]):
    """Fields of a log line, the first one named ``event``. As text, they are logfmt in ASCII."""

    def __str__(self) -> str:
        """Return ``name=value`` for each field, the value as a JSON string if it needs quotes."""
        # Without a function for the value: it would take half a microsecond of each request.
        return " ".join(
            [
                f"{name}={value}" if type(value) is int or _is_bare(value) else f"{name}={json.dumps(value)}"
                for name, value in self.items()
            ]
        )


def event(event: str, /, **values: str | int | None) -> Event:
    """Return an event with its fields. A field that is None is left out."""
    line = Event(event=event)
    for name, value in values.items():
        if value is not None:
            line[name] = value
    return line


def configure(level: str, form: str) -> None:
    """Send the package's log to standard error in one of ``FORMATS``. A second call changes only level and format."""
    _PACKAGE.setLevel(level)
    FORMATTER.is_json = form == "json"
    # If standard error is closed, logging must neither fail a request nor print a record in another format.
    logging.raiseExceptions = False
    # No line shows a thread or a process by name.
    logging.logThreads = logging.logMultiprocessing = False
    if not _PACKAGE.handlers:
        _PACKAGE.addHandler(LineHandler())


def write(log: logging.Logger, level: int, line: Event, error: BaseException | None = None) -> None:
    """Log an event, whatever the level of the log, without searching the stack for its caller.

    No line shows the caller, and the search takes 8 us of the 170 us of ``token/generate``.
    """
    exception = None if error is None else (type(error), error, error.__traceback__)
    log.handle(log.makeRecord(log.name, level, "", 0, line, (), exception))


def safe_path(path: str) -> str:
    """Return a request's path without possible tokens: cut off at the first sign of a query, without long names.

    A mangled link has its token in the path, as in ``/auth/enter%3Ftoken=...``. No path of this service has long names.
    """
    path = _QUERY.split(path, maxsplit=1)[0]
    if len(path) > _LONGEST_NAME:
        path = "/".join(name if len(name) <= _LONGEST_NAME else f"({len(name)} characters)" for name in path.split("/"))
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}... ({len(path)} characters)"


def timestamp(now: float) -> str:
    """Return a time (seconds since 1970) in RFC 3339, in UTC, with milliseconds."""
    return f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"


@functools.lru_cache(maxsize=4)
def _second(second: int) -> str:
    # Cached for all lines of a second.
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class LineHandler(logging.StreamHandler[TextIO]):
    """Handler that writes each line to standard error with one system call, and so needs no lock.

    With the lock of the standard library, each thread waits for the line of every other request.
    """

    def __init__(self) -> None:
        # Not sys.stderr, which ``capture_output`` replaces.
        super().__init__(sys.__stderr__)
        self.setFormatter(FORMATTER)

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the record's line; let the base class write to any other stream."""
        if self.stream is not sys.__stderr__:
            return bool(super().handle(record))
        if self.filter(record):
            # A process can start without standard error: then the stream is None.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.write(self.stream.fileno(), f"{self.format(record)}\n".encode())
        return True


class LineFormatter(logging.Formatter):
    """Formatter of log lines: time (RFC 3339, UTC), level, logger, process ID, then the fields of the event.

    A message that is not an ``Event`` becomes the field ``event``. ``is_json`` chooses between JSON and logfmt.
    """

    is_json = False

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of the record, at half the cost of the general method."""
        fields = record.msg if isinstance(record.msg, Event) else Event(event=record.getMessage())
        if record.exc_info:
            fields = Event(fields, exception=_without_texts(record.exc_info[1]))
        level = _LEVELS.get(record.levelno, "error")
        if self.is_json:
            head = {"time": timestamp(record.created), "level": level, "logger": record.name, "pid": record.process}
            return _json(head | fields)
        return f"time={timestamp(record.created)} level={level} logger={record.name} pid={record.process} {fields}"


FORMATTER = LineFormatter()


def _without_texts(exception: BaseException | None) -> str:
    """Return the types and places of the exception and of its causes, the first cause first."""
    lines: list[str] = []
    while exception is not None:
        kind = type(exception)
        frames = traceback.StackSummary.extract(
            traceback.walk_tb(exception.__traceback__), limit=-_MOST_FRAMES, lookup_lines=False
        )
        lines = [
            *(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames),
            f"{kind.__module__}.{kind.__qualname__} (its text is not logged)",
            *lines,
        ]
        exception = exception.__cause__ or exception.__context__
    return "\n".join(lines)


def capture_output() -> None:
    """Log everything that this process would print to standard error, in the format of the log.

    That is: the log of other libraries from WARNING, Python's warnings, uncaught exceptions, and printed lines.
    """
    logging.getLogger().addHandler(LineHandler())
    _PACKAGE.propagate = False
    warnings.formatwarning = _place_of_warning
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value)
    sys.unraisablehook = lambda raised: _log_uncaught(raised.exc_type, raised.exc_value)
    sys.stderr = _Printed()


def _place_of_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    del message, line  # may repeat what a client sent, as the text of an exception
    return f"{filename}:{lineno}: {category.__name__} (its text is not logged)"


def _log_uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None = None) -> None:
    if kind is not SystemExit:
        # PYTHONWARNINGS=error makes an exception of a warning.
        level = logging.WARNING if issubclass(kind, Warning) else logging.ERROR
        write(_PYTHON, level, event("uncaught exception", error=kind.__name__), error)


class _Printed(io.TextIOBase):
    """Standard error of a server: each line that is printed is an event."""

    def write(self, text: str) -> int:
        """Log the lines of the text."""
        for line in filter(str.strip, text.splitlines()):
            _PYTHON.warning(event(line))
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return 2
