"""Sender of the lines of a queue."""

import os
import queue as queues
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from datafor_token.sinks import sender as senders
from datafor_token.sinks.outputs import SinkError
from datafor_token.sinks.queue import Entry, Queue
from datafor_token.sinks.sender import Sender
from tests.sinks.test_queue import line


class Place:
    """A sink that notes what it gets; ``faults`` are errors of the next attempts."""

    def __init__(self) -> None:
        self.sent: queues.Queue[bytes] = queues.Queue()
        self.faults: list[SinkError] = []
        self.is_open = True

    def send(self, entry: Entry) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.sent.put(entry.line + b"\n")

    def close(self) -> None:
        self.is_open = False

    def next(self) -> bytes:
        return self.sent.get(timeout=60)


class Counts:
    """Metrics in memory."""

    def __init__(self) -> None:
        self.sent = self.failed = self.lost = 0

    def sink_sent(self, _: str) -> None:
        self.sent += 1

    def sink_failed(self, _: str) -> None:
        self.failed += 1

    def sink_lost(self, _: str) -> None:
        self.lost += 1


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "sink")


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def sender(queue: Queue, place: Place, counts: Counts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    monkeypatch.setattr(senders, "_LOOK", 0.01)
    monkeypatch.setattr(senders, "_TAKE_OVER", 0.01)
    monkeypatch.setattr(senders, "_FIRST_PAUSE", 0.01)
    sender = Sender(queue, lambda: place, counts)
    yield sender
    sender.stop()


def test_lines_are_sent(sender: Sender, queue: Queue, place: Place, counts: Counts) -> None:
    """Lines that were queued before the start and after it are sent in their order and counted."""
    queue.append(line(1))
    sender.start()
    assert place.next() == line(1)
    queue.append(line(2))
    assert place.next() == line(2)
    sender.stop()
    assert (counts.sent, counts.failed, counts.lost) == (2, 0, 0)
    assert not place.is_open


def test_a_failure(
    sender: Sender, queue: Queue, place: Place, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    """A line is sent again after each failure, with growing pauses, and before later lines; the log says why."""
    caplog.set_level("INFO", "datafor_token")
    place.faults = [SinkError("broken"), SinkError("still broken")]
    queue.append(line(1))
    queue.append(line(2))
    sender.start()
    assert (place.next(), place.next()) == (line(1), line(2))
    sender.stop()
    assert (counts.sent, counts.failed, counts.lost) == (2, 2, 0)
    assert [(one.msg["event"], one.msg.get("reason")) for one in caplog.records if isinstance(one.msg, dict)] == [
        ("audit event not sent", "broken"),
        ("audit event not sent", "still broken"),
        ("audit events are sent again", None),
    ]


def test_the_pauses(
    sender: Sender, queue: Queue, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each pause is twice as long as the one before, up to five minutes."""
    monkeypatch.setattr(senders, "_FIRST_PAUSE", 1.0)

    class Hasty(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(None if timeout is None else timeout / 1000)

    monkeypatch.setattr("threading.Event", Hasty)
    place.faults = [SinkError("broken")] * 11
    queue.append(line(1))
    sender.start()
    place.next()
    sender.stop()
    pauses = [one.msg["retry"] for one in caplog.records if isinstance(one.msg, dict) and "retry" in one.msg]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_line_that_cannot_be_sent(sender: Sender, queue: Queue, place: Place, counts: Counts) -> None:
    """A line that a sink can never take does not stop the others."""
    place.faults = [SinkError("too long", forever=True)]
    queue.append(line(1))
    queue.append(line(2))
    sender.start()
    assert place.next() == line(2)
    sender.stop()
    assert (counts.sent, counts.failed, counts.lost) == (1, 1, 1)


def test_a_stop_during_an_outage(
    sender: Sender, queue: Queue, place: Place, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop does not wait for a pause between two attempts; the line is sent after the next start."""
    monkeypatch.setattr(senders, "_FIRST_PAUSE", 3600.0)
    monkeypatch.setattr(senders, "_LONGEST_PAUSE", 3600.0)
    failed = threading.Event()
    monkeypatch.setattr(counts, "sink_failed", lambda _: failed.set())
    place.faults = [SinkError("broken")]
    queue.append(line(1))
    sender.start()
    failed.wait(60)
    sender.stop()
    assert place.sent.empty()
    later = Sender(queue, lambda: place, counts)
    later.start()
    assert place.next() == line(1)
    later.stop()
    assert place.sent.empty()


def test_only_one_sends(sender: Sender, queue: Queue, place: Place, counts: Counts) -> None:
    """Of two senders one sends; when it stops, the other one continues, and sends nothing twice."""
    other_place = Place()
    other = Sender(queue, lambda: other_place, counts)
    queue.append(line(1))
    sender.start()
    assert place.next() == line(1)
    other.start()
    queue.append(line(2))
    assert place.next() == line(2)
    sender.stop()
    queue.append(line(3))
    assert other_place.next() == line(3)
    other.stop()
    assert place.sent.empty()
    assert other_place.sent.empty()


def test_a_fork(sender: Sender, queue: Queue, place: Place) -> None:
    """A process that was forked from one with a sender has no thread of its own until it starts one."""
    sender.start()
    queue.append(line(1))
    place.next()
    child = os.fork()
    if child == 0:
        # pytest must not run in this process.
        try:
            started = [one.name for one in threading.enumerate()]
            sender.start()
            now = [one.name for one in threading.enumerate()]
            os._exit(0 if "sink sink" not in started and "sink sink" in now else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_a_bug(sender: Sender, queue: Queue, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """After an exception the thread lives, logs it, and sends again."""
    place.faults = [ValueError("a bug")]  # type: ignore[list-item]
    queue.append(line(1))
    sender.start()
    assert place.next() == line(1)
    assert [one.msg["event"] for one in caplog.records if isinstance(one.msg, dict)] == ["sending audit events failed"]
