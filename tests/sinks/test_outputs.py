"""Sinks on this host, with a socket in place of the syslog daemon's."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from datafor_token.sinks.outputs import SinkError, StandardOutput, Syslog
from datafor_token.sinks.queue import Entry, Position

ENTRY = Entry("1", b'{"event":"sign_in"}', Position("", 0))


@contextlib.contextmanager
def daemon(path: Path) -> Iterator[socket.socket]:
    """Return the socket of a syslog daemon."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        yield listener


def test_syslog(tmp_path: Path) -> None:
    """A line is one datagram: facility authpriv, severity informational, the name and process of the service, JSON."""
    with daemon(tmp_path / "log") as listener:
        sink = Syslog(str(tmp_path / "log"))
        sink.send(ENTRY)
        sink.send(ENTRY)
        sink.close()
        assert listener.recv(1000) == f'<86>datafor-token[{os.getpid()}]: {{"event":"sign_in"}}'.encode()
        assert listener.recv(1000)


def test_a_restart_of_the_syslog_daemon(tmp_path: Path) -> None:
    """Without the daemon a line is an error; after its restart, lines are sent to it."""
    path = tmp_path / "log"
    sink = Syslog(str(path))
    with pytest.raises(SinkError, match=r"log cannot be written: is a syslog daemon running\? \(No such file"):
        sink.send(ENTRY)
    with daemon(path):
        sink.send(ENTRY)
    with pytest.raises(SinkError, match="Connection refused"):
        sink.send(ENTRY)
    path.unlink()
    with daemon(path) as listener:
        sink.send(ENTRY)
        assert listener.recv(1000).endswith(ENTRY.line)
    sink.close()


def test_a_line_too_long_for_syslog(tmp_path: Path) -> None:
    """A line that the socket cannot take is an error for ever, so that it is not tried again."""
    with daemon(tmp_path / "log") as listener:
        sink = Syslog(str(tmp_path / "log"))
        with pytest.raises(SinkError) as caught:
            sink.send(ENTRY._replace(line=b"x" * 10**7))
        assert caught.value.forever
        sink.send(ENTRY)
        sink.close()
        assert listener.recv(1000).endswith(ENTRY.line)


def test_standard_output() -> None:
    """A line of standard output is the JSON of an event."""
    ours, theirs = os.pipe()
    sink = StandardOutput(theirs)
    sink.send(ENTRY)
    sink.close()
    assert os.read(ours, 1000) == b'{"event":"sign_in"}\n'
    os.close(ours)
    with pytest.raises(SinkError, match=r"standard output cannot be written \(Broken pipe\)"):
        sink.send(ENTRY)
    os.close(theirs)
