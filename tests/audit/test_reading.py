"""The search reads blocks of lines, and finds the same as one that reads line by line."""

import contextlib
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datafor_token.audit import reader, search
from datafor_token.audit.filters import Filter, FilteredEvents
from datafor_token.audit.reader import Lines, newest_first
from datafor_token.audit.search import Page
from datafor_token.audit.writer import AuditLog
from datafor_token.store.lines import Place, time_of
from datafor_token.validation.logs import timestamp
from datafor_token.validation.names import fold
from tests.audit.test_filters import line, write
from tests.support import Clock, audit_in

NAMES = ["lena", "L\u00c9NA", "\u738b", "\u2f5f", "\u7389", 'a"b', "\uff2bARL", "karl"]  # U+2F5F is folded to U+7389


def by_line(folder: Path, wanted: Filter, limit: int, page: str | None) -> Page:
    """Return what ``search.find`` does: the same search, line by line."""
    filtered = FilteredEvents(wanted, lambda name: f"hash of {name}")
    since = None if wanted.since is None else timestamp(wanted.since - search.CLOCK_STEPS).encode()
    until = None if wanted.until is None else timestamp(wanted.until).encode()
    events: list[dict[str, Any]] = []
    parsed = past = 0
    last = None
    for read, (place, text) in enumerate(lines_before(folder, page), 1):
        time = time_of(text)
        last = last if time is None else time.decode()
        later = time is not None and until is not None and time > until
        if time is not None and not later:
            past = past + 1 if since is not None and time < since else 0
            if past == search._PAST:
                break
        if not later and filtered.may_fit(text):
            parsed += 1
            event = search.parse(text)
            shown = None if event is None else filtered.shown(event)
            events += [] if shown is None else [shown]
        if len(events) == limit or read >= search._MOST_LINES or parsed >= search._MOST_PARSED:
            return Page(events, f"{place.file}-{place.offset}", last)
    return Page(events, None)


class Line(NamedTuple):
    place: Place
    text: bytes


def lines_before(folder: Path, page: str | None) -> Iterator[Line]:
    content = (folder / "audit.log").read_bytes()
    file = next(newest_first(folder)).place.file if content else ""
    content = content[: len(content) if page is None else int(page.partition("-")[2])]
    offset = len(content)
    for text in reversed(content.splitlines(keepends=True)):
        offset -= len(text)
        yield Line(Place(file, offset), text)


def events_at(times: list[float], users: list[str]) -> list[bytes]:
    return [
        line(time=timestamp(time), target={"user": user, "application": "ERP"})
        for time, user in zip(times, users, strict=True)
    ]


@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_and_lines(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    """Blocks of any size give the events, the place and the time of a search line by line, page after page."""
    draw = data.draw
    monkeypatch.setattr(reader, "_BLOCK", draw(st.sampled_from([64, 700, 3000, 20_000])))
    monkeypatch.setattr(reader, "_SMALLEST", draw(st.sampled_from([1, 100, 1024])))
    monkeypatch.setattr(search, "_MOST_LINES", draw(st.integers(1, 80)))
    monkeypatch.setattr(search, "_MOST_PARSED", draw(st.integers(1, 40)))
    monkeypatch.setattr(search, "_PAST", draw(st.integers(1, 8)))
    times = draw(st.lists(st.sampled_from([0.0, 4000.0, 8000.0, 12000.0, 16000.0]), min_size=1, max_size=60))
    if draw(st.booleans()):
        times.sort()
    users = draw(st.lists(st.sampled_from(NAMES), min_size=len(times), max_size=len(times)))
    lines = events_at(times, users)
    for junk in draw(st.lists(st.sampled_from([b"{}\n", b"no event \xc3\xa9\n", b"x" * 3000 + b"\n"]), max_size=3)):
        lines.insert(draw(st.integers(0, len(lines))), junk)
    folder = tmp_path_factory.mktemp("log")
    write(folder, *lines)
    bounds = st.none() | st.sampled_from([3000.0, 4000.0, 8000.0, 13000.0])
    filters: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {"since": bounds, "until": bounds},
        optional={
            "user": st.sampled_from(NAMES),
            "event": st.sampled_from(["sign_in", "user_made"]),
            "address": st.sampled_from(["10.0.0.0/16", "192.0.2.1"]),
            "q": st.sampled_from(["erp", "nothing"]),
        },
    )
    wanted, limit = Filter(**draw(filters)), draw(st.integers(1, 20))
    audit, page = audit_in(folder, Clock()), None
    while True:
        found = audit.page(wanted, limit, page)
        assert found == by_line(folder, wanted, limit, page)
        page = found.next
        if page is None:
            return


@pytest.mark.parametrize("later", [12_000.0, 20_000.0])
def test_old_lines_within_a_block_end_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: float) -> None:
    """Enough old lines in a row end a search also where a line before them, in their block, is not old."""
    monkeypatch.setattr(search, "_PAST", 3)
    lines = events_at([12_000, later, 0, 0, 0, 12_000], ["lena", "karl", "karl", "karl", "karl", "karl"])
    monkeypatch.setattr(reader, "_BLOCK", len(b"".join(lines[1:])) + 1)
    write(tmp_path, *lines)
    wanted = Filter(user="lena", since=12_000.0, until=15_000.0)
    assert audit_in(tmp_path, Clock()).page(wanted) == by_line(tmp_path, wanted, 100, None) == Page([], None)


@pytest.mark.parametrize("block", [1, 7, 100, 1000, 100_000])
def test_every_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Blocks have every complete line once, each at its offset, also lines that are longer than a block."""
    monkeypatch.setattr(reader, "_BLOCK", block)
    texts = [b"%d " % number + b"x" * (number % 7 * 50) + b"\n" for number in range(60)]
    write(tmp_path, *texts, b"in progress")
    content, found = b"".join(texts), b""
    for lines in newest_first(tmp_path):
        assert content[lines.place.offset :][: len(lines.text)] == lines.text
        assert lines.text.endswith(b"\n")
        found = lines.text + found
    assert found == content


@pytest.mark.parametrize("lengths", [[10] * 400, [5000, 10], [10, 5000], [10, 5000, 10], [1]])
def test_parts(lengths: list[int]) -> None:
    """The parts of lines are these lines, in their order and at their offsets, and more than one part if possible."""
    text = b"".join(b"x" * (length - 1) + b"\n" for length in lengths)
    parts = Lines(Place("file", 100), text).parts()
    assert b"".join(part.text for part in parts) == text
    assert [text[part.place.offset - 100 :][: len(part.text)] for part in parts] == [part.text for part in parts]
    assert len(parts) > 1 or len(lengths) == 1


def test_a_block_without_the_text_is_not_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that no filter can fit are passed over as a block, although some have ideographs."""
    users = [("lena", "\u738b")[number % 2] for number in range(1000)]
    write(tmp_path, *events_at([float(number) for number in range(1000)], users))
    monkeypatch.setattr(Lines, "parts", lambda _: pytest.fail("a block was split"))
    excluding: list[dict[str, Any]] = [
        {"user": "nobody"}, {"application": "\u7389"}, {"q": "nothing"}, {"event": "user_made"}, {"id": "0" * 32},
        {"request_id": "0" * 32}, {"address": "192.0.2.1"}, {"until": -7200.0},
    ]  # fmt: skip
    for wanted in excluding:
        assert audit_in(tmp_path, Clock()).page(Filter(**wanted)) == Page([], None)


def test_ideographs_are_written_in_one_way() -> None:
    """Folding leaves the characters whose escape sequences are compared with a name as they are."""
    assert all(fold(chr(code)) == chr(code) for code in range(0x4000, 0xA000))


def test_joined_files(tmp_path: Path) -> None:
    """Compressed files that were joined are read to the end of the last one."""
    lines = [line(time=timestamp(number)) for number in range(3)]
    (tmp_path / "audit.log.1.gz").write_bytes(b"".join(map(gzip.compress, lines)))
    assert list(AuditLog(tmp_path).oldest_first()) == lines
    assert len(audit_in(tmp_path, Clock()).page(Filter()).events) == 3


def test_no_regular_file(tmp_path: Path) -> None:
    """A folder or pipe with the name of a rotated file is passed over, and does not stay open."""
    folder, pipe = tmp_path / "audit.log.1", tmp_path / "audit.log.2"
    folder.mkdir()
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    write(tmp_path, *events_at([1.0], ["lena"]))
    try:
        assert len(audit_in(tmp_path, Clock()).page(Filter()).events) == 1
        assert opened(pipe) == 1
        assert opened(folder) == 0
    finally:
        os.close(writer)


def opened(path: Path) -> int:
    """Return how many descriptors of this process are those of a file."""
    number = 0
    for link in Path("/proc/self/fd").iterdir():
        # One of another thread may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            number += link.readlink() == path
    return number
