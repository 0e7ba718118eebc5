"""Queue of lines on disk."""

import contextlib
import os
import threading
from pathlib import Path

import pytest

from datafor_token.errors import StoreUnavailable
from datafor_token.sinks import queue as queues
from datafor_token.sinks.queue import Entry, Queue, Reader, noted_position, segments
from datafor_token.store.files.locking import hold


def line(number: int) -> bytes:
    return b'{"number":%d}\n' % number


def read_all(folder: Path) -> list[Entry]:
    """Read what is waiting as a new reader, and note each line."""
    found: list[Entry] = []
    with contextlib.closing(Reader(folder)) as reader:
        while entries := reader.read():
            for entry in entries:
                reader.note(entry.end)
            found += entries
    return found


def numbers(entries: list[Entry]) -> list[int]:
    return [int(entry.line[10:-1]) for entry in entries]


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Return a queue with small segments, of two lines each."""
    monkeypatch.setattr(queues, "SEGMENT", 2 * len(line(0)))
    monkeypatch.setattr(queues, "MOST", 4)
    return Queue(tmp_path / "data" / "sink")


def test_lines_are_read_in_their_order(queue: Queue) -> None:
    """All lines are read, the oldest first, also over several segments; segments that were read are removed."""
    for number in range(6):
        queue.append(line(number), durably=number % 2 == 0)
    assert len(segments(queue.folder)) == 3
    assert numbers(read_all(queue.folder)) == list(range(6))
    assert len(segments(queue.folder)) == 1
    assert queue.waiting() == 0


def test_the_position_is_kept(queue: Queue) -> None:
    """A later reader begins after the line whose position was noted, and gives the others the same identifiers."""
    for number in range(6):
        queue.append(line(number))
    with contextlib.closing(Reader(queue.folder)) as reader:
        first = reader.read()
        reader.note(first[0].end)
    found = read_all(queue.folder)
    assert numbers(found) == list(range(1, 6))
    assert found[: len(first) - 1] == first[1:]


def test_equal_lines(queue: Queue, tmp_path: Path) -> None:
    """Equal lines have different identifiers, also those of another queue."""
    other = Queue(tmp_path / "data" / "other")
    for one in (queue, queue, other):
        one.append(line(1))
    assert len({entry.id for folder in (queue.folder, other.folder) for entry in read_all(folder)}) == 3


def test_a_full_queue(queue: Queue) -> None:
    """A queue has a limited size; when lines were read, it takes further ones."""
    for number in range(8):
        queue.append(line(number))
    with pytest.raises(StoreUnavailable) as caught:
        queue.append(line(8))
    assert caught.value.reason == "the queue sink is full"
    assert numbers(read_all(queue.folder)) == list(range(8))
    queue.append(line(9))
    assert numbers(read_all(queue.folder)) == [9]


def test_what_is_waiting(queue: Queue) -> None:
    """The bytes that were not read are counted over all segments."""
    assert queue.waiting() == 0
    for number in range(3):
        queue.append(line(number))
    size = 1 + len(line(0))
    assert queue.waiting() == 3 * size
    with contextlib.closing(Reader(queue.folder)) as reader:
        reader.note(reader.read()[0].end)
    assert queue.waiting() == 2 * size


@pytest.mark.parametrize("torn", [b"\n{", b'\n{"number":4', b"\n\0\0\0\0", b"\n\xff\n"])
def test_a_torn_line(queue: Queue, torn: bytes) -> None:
    """The part of a line that a full disk or a power cut left is passed over, and the next line is not joined to it."""
    queue.append(line(1))
    with segments(queue.folder)[0].open("ab") as file:
        file.write(torn)
    assert numbers(read_all(queue.folder)) == [1]
    for number in (2, 3, 4):
        queue.append(line(number))
    assert numbers(read_all(queue.folder)) == [2, 3, 4]
    assert len(segments(queue.folder)) == 1


def test_a_torn_end_of_a_full_segment(queue: Queue) -> None:
    """A segment that ends with a part of a line is removed too."""
    queue.append(line(1))
    with segments(queue.folder)[0].open("ab") as file:
        file.write(b'\n{"number":' + b"1" * 30)
    queue.append(line(2))
    assert len(segments(queue.folder)) == 2
    assert numbers(read_all(queue.folder)) == [1, 2]
    assert len(segments(queue.folder)) == 1


def test_a_full_disk(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was written in part is an error."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:-4]))
    with pytest.raises(StoreUnavailable) as caught:
        queue.append(line(1))
    assert caught.value.reason == "cannot write to the queue sink: the disk is full"


def test_a_power_cut_that_removed_lines(queue: Queue) -> None:
    """If the lines before the position no longer exist, new lines in their place are read, with other identifiers."""
    for number in (1, 2):
        queue.append(line(number))
    before = read_all(queue.folder)
    segment = segments(queue.folder)[0]
    for size in (0, 5):
        os.truncate(segment, size)
        queue.append(line(3))
        after = read_all(queue.folder)
        assert numbers(after) == [3]
        assert not {entry.id for entry in before} & {entry.id for entry in after}


def test_a_position_that_cannot_be_read(queue: Queue) -> None:
    """Without a readable position, reading begins with the oldest line."""
    queue.append(line(1))
    read_all(queue.folder)
    (queue.folder / "position").write_text("nonsense")
    assert numbers(read_all(queue.folder)) == [1]


def test_a_clock_that_was_set_back(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of lines does not depend on the clock."""
    for number in range(6):
        monkeypatch.setattr("time.time_ns", lambda number=number: 10**18 - number * 10**9)
        queue.append(line(number))
    assert numbers(read_all(queue.folder)) == list(range(6))


def test_a_writer_in_an_old_segment(queue: Queue) -> None:
    """A segment is not removed while a writer is about to append to it, and its line is read."""
    queue.append(line(1))
    old = segments(queue.folder)[0]
    held = hold(old, is_shared=True, flags=os.O_WRONLY | os.O_APPEND)
    assert held is not None
    queue.append(line(2))
    queue.append(line(3))
    assert numbers(read_all(queue.folder)) == [1, 2]
    assert old.exists()
    os.write(held, b"\n" + line(4))
    os.close(held)
    assert numbers(read_all(queue.folder)) == [4, 3]
    assert not old.exists()


def test_a_removed_segment(queue: Queue, tmp_path: Path) -> None:
    """A writer that has used a segment continues in another one when it was removed."""
    other = Queue(queue.folder)
    other.append(line(1))
    for number in (2, 3):
        queue.append(line(number))
    read_all(queue.folder)
    other.append(line(4))
    assert numbers(read_all(queue.folder)) == [4]


def test_many_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While threads append and a reader removes segments, no line is lost or read twice."""
    monkeypatch.setattr(queues, "SEGMENT", 500)
    monkeypatch.setattr(queues, "MOST", 10_000)
    folder = tmp_path / "sink"

    def write(first: int) -> None:
        mine = Queue(folder)
        for number in range(first, first + 500):
            mine.append(line(number))

    threads = [threading.Thread(target=write, args=(number * 500,)) for number in range(4)]
    folder.mkdir()
    for thread in threads:
        thread.start()
    found: list[int] = []
    with contextlib.closing(Reader(folder)) as reader:
        while True:
            is_last = not any(thread.is_alive() for thread in threads)
            entries = reader.read()
            for entry in entries:
                reader.note(entry.end)
            found += numbers(entries)
            if is_last and not entries:
                break
    assert sorted(found) == list(range(2000))


def test_modes(queue: Queue) -> None:
    """Only the user of the service can read the files."""
    queue.append(line(1))
    read_all(queue.folder)
    assert {path.stat().st_mode & 0o777 for path in queue.folder.iterdir()} == {0o600}
    assert queue.folder.stat().st_mode & 0o777 == 0o700
    assert noted_position(queue.folder).segment == segments(queue.folder)[0].name
