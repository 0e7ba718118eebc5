"""Single calls, timed one by one: a token that is not cached, and durable writes."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.bench.load import Contender, Failed, Request, one_round
from tests.bench.plan import Plan
from tests.bench.records import DETAIL, bearer, token_of, update
from tests.bench.servers import call


def taken_in_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Measure calls in turns, in milliseconds: median, 99th percentile and longest."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, one in calls.items():
            begun = time.perf_counter()
            one()
            taken[name].append((time.perf_counter() - begun) * 1000)
    return {
        name: {"median": statistics.median(times), "p99": sorted(times)[int(len(times) * 0.99)], "longest": max(times)}
        for name, times in taken.items()
    }


def unseen(plan: Plan) -> dict[str, Any]:
    """Measure tokens that are not cached, of many applications with shared secrets, beside a cached one."""
    size = plan.sizes[1]
    server = plan.product(size)
    connection = server.connection()

    def ask(text: str) -> None:
        response = call(connection, "GET", DETAIL, bearer(text), "")
        if response.status != 200:
            raise Failed(f"refused token: {response.status} {response.body[:200]!r}")

    # A different claim makes each token a new one; of every 7th application, and often of the last one.
    numbers = [number * 7 % size for number in range(plan.samples)]
    fresh = iter(
        [token_of(number, "person-000001", jti=f"{time.time()}-{count}") for count, number in enumerate(numbers)]
    )
    last = iter([token_of(size - 1, "person-000001", jti=f"{time.time()}-{count}") for count in range(plan.samples)])
    known = token_of(0, "person-000000")
    # The first call reads all records.
    ask(token_of(1, "person-000001"))
    ask(known)
    calls = {
        "never seen": lambda: ask(next(fresh)),
        "of the last one": lambda: ask(next(last)),
        "known": lambda: ask(known),
    }
    found = taken_in_turns(calls, plan.samples)
    connection.close()
    return {"applications": size, **found}


def bare_write(folder: Path, data: bytes) -> None:
    """Write one record durably, and do no more: temporary file, fsync, rename, fsync of the folder."""
    temp = folder / ".temp-bench"
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temp.rename(folder / ".bench")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def writes(plan: Plan) -> dict[str, Any]:
    """Measure ``update`` beside the bare write of the same bytes in the same folder, and eight writers at once."""
    size = plan.sizes[0]
    server = plan.product(size)
    folder = server.data_dir / "applications"
    connection = server.connection()

    def ask(request: Request) -> None:
        response = call(connection, request.method, request.path, request.headers, request.body)
        if response.status != 200:
            raise Failed(f"{request.path}: {response.status} {response.body[:200]!r}")

    change = update(size - 1)
    ask(change)
    record = next(folder.glob(f"system-{size - 1:06d}.json")).read_bytes()
    found: dict[str, Any] = taken_in_turns(
        {
            "update": lambda: ask(change),
            "bare write": lambda: bare_write(folder, record),
            "round trip": lambda: ask(Request("GET", "/healthz")),
        },
        plan.samples,
    )
    connection.close()
    (folder / ".bench").unlink()
    writers = Contender("eight writers", server, [update(number % size) for number in range(8)])
    # Until both workers have cached the password.
    one_round(writers, 8, plan.seconds)
    eight = one_round(writers, 8, 4 * plan.seconds)
    found["eight writers"] = {"rate": eight.rate, "median": eight.p50, "p99": eight.p99, "longest": eight.longest}
    return found
