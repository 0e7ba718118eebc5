"""Counts of events in a sliding period, in memory, in files and in a Redis."""

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.limits import tables
from datafor_token.limits.redis_scripts import Redis as RedisClient
from datafor_token.limits.sliding_counts import PARTS, LocalCounts, RedisCounts
from datafor_token.limits.tables import FileTables, MemoryTables
from tests.redis_server import Redis
from tests.support import Clock


@pytest.fixture(params=["memory", "files"])
def counts(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> LocalCounts:
    return LocalCounts(MemoryTables() if request.param == "memory" else FileTables(tmp_path), clock)


def allowed(counts: LocalCounts | RedisCounts, times: int, most: int = 5, seconds: int = 60, key: str = "ERP") -> int:
    """Return how many of some events are allowed."""
    return [counts.add(key, most, seconds) for _ in range(times)].count(None)


def test_so_many_in_a_period(counts: LocalCounts, clock: Clock) -> None:
    """The events after the last allowed one are refused until the first is as old as the period, and up to a part."""
    clock.advance(-clock() % 60)
    assert allowed(counts, 3) == 3
    clock.advance(30.5)
    assert allowed(counts, 9) == 2
    wait = counts.add("ERP", 5, 60)
    assert wait == 60 + 1 - 30.5
    clock.advance(wait - 0.01)
    assert allowed(counts, 9) == 0
    clock.advance(0.01)
    assert allowed(counts, 9) == 3
    assert counts.add("ERP", 5, 60) == 30


def test_keys_and_periods_are_counted_apart(counts: LocalCounts) -> None:
    """Another key, and the same key with another period, have counts of their own."""
    assert allowed(counts, 9) == 5
    assert allowed(counts, 9, key="CRM") == 5
    assert allowed(counts, 9, seconds=3600) == 5
    assert allowed(counts, 9) == 0


def test_a_changed_number(counts: LocalCounts, clock: Clock) -> None:
    """A changed number keeps the count; after it was lowered, the wait is until enough events are over."""
    clock.advance(-clock() % 60)
    for _ in range(4):
        assert allowed(counts, 2, most=8) == 2
        clock.advance(10)
    assert allowed(counts, 3, most=10) == 2
    # Ten events in all: at 0, 10, 20, 30 and 40 s. With 3, one is allowed when those of 0, 10, 20 and 30 s are over.
    assert counts.add("ERP", 3, 60) == 30 + 61 - 40


def test_a_clock_that_was_set_back(counts: LocalCounts, clock: Clock) -> None:
    """Set back by less than the period, nothing is forgotten; set back by more, nothing is refused for that."""
    assert allowed(counts, 9) == 5
    clock.advance(-50)
    assert allowed(counts, 9) == 0
    clock.advance(-15)
    assert allowed(counts, 9) == 5


@pytest.mark.parametrize("seconds", [1, 60, 3600, 86400])
@given(gaps=st.lists(st.integers(0, 40), max_size=60), most=st.integers(1, 6))
def test_never_more_in_any_period(gaps: list[int], most: int, seconds: int) -> None:
    """However events arrive, no period has more than allowed, and after the wait of a refusal one is served."""
    clock = Clock()
    counts = LocalCounts(MemoryTables(), clock)
    served = []
    for gap in gaps:
        clock.advance(gap * seconds / 80)
        wait = counts.add("ERP", most, seconds)
        if wait is None:
            served.append(clock())
        else:
            assert 0 < wait <= seconds * (1 + 1 / PARTS) + 1e-6
            # What of floating point is lost at the border of two parts.
            clock.advance(wait + 1e-6)
            assert counts.add("ERP", most, seconds) is None
            served.append(clock())
    for first, last in zip(served, served[most:], strict=False):
        assert last - first > seconds - 1e-6


def test_a_million_is_as_small_as_ten(tmp_path: Path, clock: Clock) -> None:
    """The file of an application has at most one number for each part of the period, and only one application."""
    counts = LocalCounts(FileTables(tmp_path), clock)
    for _ in range(300):
        assert allowed(counts, 3, most=1_000_000) == 3
        clock.advance(0.7)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 2000
    assert file.stat().st_mode & 0o777 == 0o600
    clock.advance(200)
    for key in map(str, range(300)):
        counts.add(key, 5, 60)
    assert all("ERP" not in file.read_text() for file in tmp_path.iterdir())


def test_a_kill_after_a_write_loses_nothing(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that became shorter is whole even if its worker is killed right after it wrote it."""
    monkeypatch.setattr(tables, "_FILES", 1)
    counts = LocalCounts(FileTables(tmp_path), clock)
    for _ in range(60):
        allowed(counts, 1, most=100)
        clock.advance(1)
    clock.advance(70)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.ftruncate", killed)
    assert allowed(counts, 4) == 4
    assert allowed(LocalCounts(FileTables(tmp_path), clock), 9) == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"60:ERP": 5}', '{"60:ERP": {"x": 9, "-1": 9, "28715491": null}}', "[" * 100_000]
)
def test_a_damaged_file_is_ignored(tmp_path: Path, clock: Clock, content: str) -> None:
    """A file that was damaged by hand or by a crash refuses nothing."""
    counts = LocalCounts(FileTables(tmp_path), clock)
    allowed(counts, 1)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert allowed(counts, 9) == 5
    json.loads(file.read_text())


def test_workers_count_together(tmp_path: Path, clock: Clock) -> None:
    """Of a hundred events at once in several workers, the allowed number is served."""
    workers = itertools.cycle([LocalCounts(FileTables(tmp_path), clock) for _ in range(4)])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: one.add("ERP", 30, 86400), itertools.islice(workers, 100)))
    assert found.count(None) == 30


class TestRedis:
    """The same rules in a Redis."""

    @staticmethod
    def node(redis: Redis) -> RedisCounts:
        return RedisCounts(RedisClient(redis.uri))

    def test_nodes_count_together(self, redis: Redis) -> None:
        """Two nodes serve the allowed number of a hundred events at once; other keys and periods count apart."""
        nodes = [self.node(redis), self.node(redis)]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: nodes[number % 2].add("ERP", 30, 86400), range(100)))
        assert found.count(None) == 30
        assert all(0 < wait <= 86400 * (1 + 1 / PARTS) for wait in found if wait is not None)
        assert allowed(nodes[0], 9, key="CRM") == 5
        assert allowed(nodes[0], 9, seconds=3600) == 5

    def test_an_event_is_allowed_again(self, redis: Redis) -> None:
        """After the wait, the next event is allowed."""
        node = self.node(redis)
        # On a busy machine four calls can take longer than a second.
        while (wait := node.add("ERP", 3, 1)) is None:
            pass
        assert 0 < wait <= 1 + 1 / PARTS
        time.sleep(wait + 0.01)
        assert node.add("ERP", 3, 1) is None

    def test_parts_that_are_over_are_removed(self, redis: Redis, command: Callable[..., str]) -> None:
        """The parts of an earlier or much later time are removed, and the whole key expires."""
        node = self.node(redis)
        current = int(time.time())
        stale = [str(current - 3600), "9", str(current + 3600), "9", str(current - 30), "2"]
        command("HSET", "datafor_token:rate:60:ERP", *stale)
        assert allowed(node, 9) == 3
        assert set(command("HKEYS", "datafor_token:rate:60:ERP").split()) <= {
            str(current - 30), *(str(current + late) for late in range(60)),
        }  # fmt: skip
        assert 0 < int(command("TTL", "datafor_token:rate:60:ERP")) <= 120

    @pytest.fixture
    def command(self, redis: Redis) -> Callable[..., str]:
        import redis as library

        client: Any = library.from_url(redis.uri, decode_responses=True)

        def run(*words: str) -> str:
            found = client.execute_command(*words)
            return " ".join(found) if isinstance(found, list) else str(found)

        return run
