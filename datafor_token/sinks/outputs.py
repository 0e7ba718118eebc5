"""Sinks on this host: the syslog daemon and standard output."""

import contextlib
import errno
import os
import socket
from typing import Protocol

from datafor_token.sinks.queue import Entry

_SYSLOG = "/dev/log"
_AUTHPRIV, _INFORMATIONAL = 10, 6  # facility and severity, RFC 5424 section 6.2.1
_SECONDS = 5.0  # for the syslog daemon to take a line
_STANDARD_OUTPUT = 1


class SinkError(Exception):
    """A line was not sent. The text says why, without a secret; ``forever`` if this line can never be sent."""

    def __init__(self, reason: str, *, forever: bool = False) -> None:
        super().__init__(reason)
        self.forever = forever


class Sink(Protocol):
    """A place for lines. Its methods are called in one thread."""

    def send(self, entry: Entry) -> None:
        """Send a line, and return when it has arrived; raise ``SinkError``."""

    def close(self) -> None:
        """Close the connection, if there is one."""


class StandardOutput:
    """Standard output of this process, with one line of JSON for each event."""

    def __init__(self, descriptor: int = _STANDARD_OUTPUT) -> None:
        self._descriptor = descriptor

    def send(self, entry: Entry) -> None:
        """See ``Sink``."""
        rest = memoryview(entry.line + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise _not_sent("standard output cannot be written", error) from None

    def close(self) -> None:
        """See ``Sink``."""


class Syslog:
    """The syslog daemon of this host: journald, rsyslog or another one that listens on a socket of datagrams."""

    def __init__(self, address: str = _SYSLOG) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def send(self, entry: Entry) -> None:
        """See ``Sink``."""
        head = f"<{_AUTHPRIV * 8 + _INFORMATIONAL}>datafor-token[{os.getpid()}]: ".encode()
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(_SECONDS)
                self._socket.connect(self._address)
            self._socket.send(head + entry.line)
        except OSError as error:
            self.close()
            if error.errno == errno.EMSGSIZE:
                raise SinkError("the event is too long for the syslog daemon", forever=True) from None
            raise _not_sent(f"{self._address} cannot be written: is a syslog daemon running?", error) from None

    def close(self) -> None:
        """See ``Sink``."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None


def _not_sent(what: str, error: OSError) -> SinkError:
    return SinkError(f"{what} ({os.strerror(error.errno) if error.errno else 'time-out'})")
