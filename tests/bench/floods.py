"""Latency of auth/check beside probes, and beside changes of one application of many.

Alone: ``make bench BENCH="--quick --sections=floods"``.
"""

import contextlib
import http.client
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tests.bench.load import Failed, Request
from tests.bench.plan import Plan
from tests.bench.records import bearer, token_of, update
from tests.bench.servers import Running, call

APPLICATIONS = 20_000
_PAUSE = 0.002  # seconds between two checks: the server must not be busy with them alone
_PROBE = Request("GET", "/readyz", {})
# Name, requests a second, and what they are.
_BESIDE: dict[str, tuple[float, Request]] = {
    "10 probes a second": (10, _PROBE),
    "a change of one application a second": (1, update(3)),
    "junk tokens, 200 a second": (200, Request("GET", "/auth/check", bearer("e30.e30.AAAA"))),
}


def floods(plan: Plan) -> dict[str, Any]:
    """Measure auth/check beside each and alone in turns, in milliseconds, and their ratios."""
    applications = min(APPLICATIONS, plan.sizes[2])
    server = plan.product(applications)
    checks = [bearer(token_of(number, f"person-{number:06}")) for number in range(3)]
    with contextlib.closing(server.connection()) as connection:
        seconds = plan.seconds * 3
        # Both workers read all records, and cache each token.
        _times(connection, checks, seconds)
        found: dict[str, Any] = {"applications": applications, "beside": {}}
        for name, (rate, request) in _BESIDE.items():
            alone, beside = [], []
            for _ in range(plan.rounds):
                alone += _times(connection, checks, seconds)
                with _sent(server, request, rate):
                    beside += _times(connection, checks, seconds)
            found["beside"][name] = {
                "alone": _summary(alone),
                "beside": _summary(beside),
                "ratio": statistics.median(beside) / statistics.median(alone),
            }
    return found


def _times(connection: Any, checks: Sequence[dict[str, str]], seconds: float) -> list[float]:
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < ends:
        response = call(connection, "GET", "/auth/check", checks[len(times) % len(checks)], "")
        times.append((time.perf_counter() - begun) * 1000)
        if response.status != 200:
            raise Failed(f"refused token: {response.status}")
        time.sleep(_PAUSE)
    return times


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"p50": statistics.median(ordered), "p99": ordered[int(len(ordered) * 0.99)], "longest": ordered[-1]}


@contextlib.contextmanager
def _sent(server: Running, request: Request, rate: float) -> Iterator[None]:
    """Send the request at a rate per second, in another process."""
    sender = multiprocessing.Process(target=_send, args=(server.port, request, rate), daemon=True)
    sender.start()
    try:
        yield
        if not sender.is_alive():
            raise Failed(f"no request was sent: {request.path}")
    finally:
        sender.terminate()
        sender.join()


def _send(port: int, request: Request, rate: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    due = time.monotonic()
    while True:
        call(connection, request.method, request.path, request.headers, request.body)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


def table(found: dict[str, Any]) -> str:
    """Return the ratios as a table."""
    lines = [
        f"auth/check with {found['applications']} applications, milliseconds:",
        "",
        "| beside | p50 alone | p50 beside | ratio | p99 alone | p99 beside | longest beside |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in found["beside"].items():
        alone, beside = one["alone"], one["beside"]
        lines.append(
            f"| {name} | {alone['p50']:.2f} | {beside['p50']:.2f} | {one['ratio']:.2f} | {alone['p99']:.1f} |"
            f" {beside['p99']:.1f} | {beside['longest']:.0f} |"
        )
    return "\n".join(lines) + "\n"
