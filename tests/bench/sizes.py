"""Few, many and very many applications and users: start, first call, thousandth call, load, memory."""

import statistics
import time
from dataclasses import asdict
from typing import Any

from tests.bench.calls import B, bare, is_token, tried
from tests.bench.load import Contender, Failed, Request, compare, one_round
from tests.bench.plan import Plan
from tests.bench.records import DETAIL, bearer, token_of
from tests.bench.servers import Running, call

_CALLS = 1000  # or fewer, in a short run


def sizes(plan: Plan) -> dict[str, Any]:
    """Measure each size, with 16 connections and requests spread over up to a thousand applications."""
    found: dict[str, Any] = {}
    contenders: list[tuple[Contender, str]] = [(bare(plan), B)]
    few = plan.sizes[0]
    for size in plan.sizes:
        plan.stop(str(size))
        server, records = plan.product(size), plan.records(size)
        figures: dict[str, Any] = {"start_seconds": server.started}
        for name, requests in (("generate", records.generate()), ("sign-in", records.sign_in())):
            first, later = _first_and_later(server, requests, min(_CALLS, 20 * plan.samples))
            figures[name] = {"first_ms": first, "thousandth_ms": later}
        figures["unseen_ms"] = _unseen(server, size)
        contenders += [
            (tried(f"generate, {size:,}", server, records.generate(), is_token), f"generate, {few:,}"),
            (
                tried(f"sign-in, {size:,}", server, records.sign_in(), lambda response: bool(response.json["success"])),
                f"sign-in, {few:,}",
            ),
        ]
        found[str(size)] = figures
    for contender, _ in contenders:
        # Until both workers have read the records.
        one_round(contender, 16, 2 * plan.seconds)
    summaries = compare(contenders, 16, plan.seconds, plan.rounds)
    for size in plan.sizes:
        figures = found[str(size)]
        figures["memory"], figures["worker_memory"] = plan.product(size).memory()
        for name in ("generate", "sign-in"):
            figures[name] |= asdict(next(one for one in summaries if one.name == f"{name}, {size:,}"))
    # It would take memory from the next measurement.
    plan.stop(str(plan.sizes[2]))
    return found


def _unseen(server: Running, size: int) -> float:
    """Measure a call with an uncached token of the last application, in milliseconds."""
    tokens = [token_of(size - 1, f"person-{size - 1:06d}", jti=f"{time.time()} {number}") for number in range(7)]
    requests = [Request("GET", DETAIL, bearer(text)) for text in tokens]
    return _first_and_later(server, requests, len(requests))[1]


def _first_and_later(server: Running, requests: list[Request], calls: int) -> tuple[float, float]:
    """Measure the first call after the start, and those around the thousandth, in milliseconds."""
    taken = []
    connection = server.connection()
    for number in range(calls):
        request = requests[number % len(requests)]
        begun = time.perf_counter()
        response = call(connection, request.method, request.path, request.headers, request.body)
        taken.append((time.perf_counter() - begun) * 1000)
        if response.status != 200:
            raise Failed(f"call {number} was {response.status}: {response.body[:200]!r}")
    connection.close()
    return taken[0], statistics.median(taken[-21:])


def memory(plan: Plan) -> dict[str, Any]:
    """Return the PSS of the servers that were measured so far, in MiB."""
    (theirs, their_worker), (ours, our_worker) = plan.baseline().memory(), plan.product(plan.sizes[0]).memory()
    return {
        "B": theirs,
        "B_worker": their_worker,
        "service": ours,
        "service_worker": our_worker,
        "ratio": ours / theirs,
    }


def soak(plan: Plan, wanted: int = 200_000, early: int = 20_000) -> dict[str, Any]:
    """Measure the memory after many requests to the service and to B, and its growth since the early ones."""
    found: dict[str, Any] = {}
    records = plan.records(plan.sizes[1])
    plan.stop(str(plan.sizes[1]))
    # Of many applications, every other request with a token: all caches have many entries.
    ours = Contender("service", plan.product(plan.sizes[1]), records.generate() + records.sign_in())
    plan.stop("B")
    for contender in (bare(plan), ours):
        sent = 0
        early_memory = None
        while sent < wanted:
            sent += one_round(contender, 16, 5.0).requests
            if early_memory is None and sent >= early:
                early_memory = contender.server.memory()[0]
        last = contender.server.memory()[0]
        found[contender.name] = {"requests": sent, "early": early_memory, "last": last}
    return found
