"""Results as tables in Markdown."""

from collections.abc import Sequence
from typing import Any

from tests.bench.load import Summary

# The goals: requests per second, times those of the baseline.
GOALS = {
    "generate HS256, Basic": "1.0",
    "generate HS256, session": "0.9",
    "generate HS256, Bearer": "0.9",
    "generate RS256, Basic": "1.0",
    "generate ES256, Basic": "1.0",
    "auth/check, Bearer": "1.25",
    "auth/check, cookie": "1.25",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [" | ".join(cells) for cells in (head, ["---"] * len(head), *rows)]
    return "".join(f"| {line} |\n" for line in lines)


def times(ratios: tuple[float, float, float]) -> str:
    """Format a ratio to the baseline, with its quartiles."""
    median, low, high = ratios
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def details(summaries: Sequence[Summary]) -> str:
    """Return the table of each contender at each number of connections."""
    figures = ("requests/s", "p50 ms", "p99 ms", "CPU us")
    head = ("what", "connections", *figures, "against", "rate x", "p99 x", "CPU x", "slowest round x")
    medians = {(one.name, one.connections): one.rate for one in summaries}
    return table(
        head,
        [
            (
                one.name,
                str(one.connections),
                f"{one.rate:,.0f}",
                f"{one.p50:.2f}",
                f"{one.p99:.2f}",
                f"{one.cpu:,.0f}",
                one.against,
                *(times(one.ratios[part]) for part in ("rate", "p99", "cpu")),
                f"{one.slowest / medians.get((one.against, one.connections), one.rate):.2f}",
            )
            for one in summaries
        ],
    )


def overview(summaries: Sequence[Summary], middle: int) -> str:
    """Return one line per call: figures at the middle number of connections, ratios to the baseline at all."""
    connections = sorted({one.connections for one in summaries})
    found = {(one.name, one.connections): one for one in summaries}
    at = " / ".join(map(str, connections))
    head = (
        f"{middle} connections",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "CPU us",
        f"rate x at {at}",
        "goal",
        "p99 x",
        "CPU x",
    )
    rows = []
    for name in dict.fromkeys(one.name for one in summaries):
        one = found.get((name, middle))
        if one is not None:
            all_of_it = [found[name, count] for count in connections if (name, count) in found]
            ratios = [
                " / ".join(f"{summary.ratios[part][0]:.2f}" for summary in all_of_it) for part in ("rate", "p99", "cpu")
            ]
            against = "" if one.against in ("B", name) else f" (against {one.against})"
            figures = (f"{one.rate:,.0f}", f"{one.p50:.1f}", f"{one.p99:.1f}", f"{one.cpu:,.0f}")
            rows.append((f"{name}{against}", *figures, ratios[0], GOALS.get(name, ""), *ratios[1:]))
    return table(head, rows)


def singles(results: dict[str, Any]) -> str:
    """Return the table of other figures, each with its goal."""
    rows: list[tuple[str, str, str]] = []
    if "inside" in results:
        rows += _inside(results["inside"])
    if "sizes" in results:
        rows += _sizes(results["sizes"])
    if "unseen" in results:
        rows += _unseen(results["unseen"])
    if "writes" in results:
        rows += _writes(results["writes"])
    for one in results.get("beside", ()):
        if one["name"] != "alone":
            rate, p99 = (f"{one['ratios'][part][0]:.2f}" for part in ("rate", "p99"))
            goal = "0.8; 1.5" if "wrong" in one["name"] else "0.8; 1.3"
            rows.append((f"`generate` {one['name']}", f"{rate} x the throughput, {p99} x the p99", f"P10: {goal}"))
    rows += _attacked(results.get("attacked", ()))
    if "memory" in results:
        found = results["memory"]
        shown = f"{found['service']:.0f} MiB; B {found['B']:.0f} MiB; x {found['ratio']:.2f}"
        rows.append(("memory of master and workers, after all calls", shown, "P9: 1.5"))
    if "soak" in results:
        for name, found in results["soak"].items():
            shown = f"{found['last']:.1f} MiB; {found['last'] - found['early']:+.1f} MiB since the first 20,000"
            rows.append((f"{name} after {found['requests']:,} requests", shown, "P9: no growth"))
    return table(("what", "measured", "goal"), rows) if rows else ""


def _attacked(found: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    rows = []
    for one in found:
        if one["name"] != one["against"]:
            p50, p99 = (f"{one['ratios'][part][0]:.2f}" for part in ("p50", "p99"))
            shown = f"p50 {one['p50']:.2f} ms, {p50} x that alone; p99 {one['p99']:.1f} ms, {p99} x"
            rows.append((one["name"], shown, "P10: 2; 5"))
    return rows


def _inside(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for name, first in (("generate HS256, Basic", "B"), ("auth/check, Bearer", "B"), ("update", "bare write")):
        one, other = found[name], found[first]
        shown = (
            f"least {one['least']:,.0f} us, median {one['median']:,.0f} us; {first} {other['least']:,.0f} and"
            f" {other['median']:,.0f}; x {one['ratio_of_least']:.2f} and {one['ratio']:.2f}"
        )
        goal = {"generate HS256, Basic": "P1: 0.9", "update": "P8: 1.5"}.get(name, "")
        rows.append((f"in process: {name}", shown, goal))
    return rows


def _sizes(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    least_memory = min(one["worker_memory"] for one in found.values())
    for size, one in found.items():
        shown = f"start {one['start_seconds']:.2f} s; a worker {one['worker_memory']:.0f} MiB"
        shown += f" ({one['worker_memory'] - least_memory:+.0f})"
        rows.append((f"{int(size):,} applications and users", shown, "P6: 2 s; + 150 MiB"))
        for name in ("generate", "sign-in"):
            part = one[name]
            shown = f"first call {part['first_ms']:.1f} ms, thousandth {part['thousandth_ms']:.2f} ms;"
            shown += f" {part['rate']:,.0f} a second, CPU {part['cpu']:,.0f} us, x {part['ratios']['cpu'][0]:.2f}"
            rows.append((f"`{name}` among them", shown, "P6: CPU 1.05"))
        rows.append(("a token never seen, of the last of them", f"{one['unseen_ms']:.1f} ms", ""))
    return rows


def _unseen(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    shown = "; ".join(
        f"{name} {found[name]['median']:.2f} ms (p99 {found[name]['p99']:.2f})"
        for name in ("never seen", "of the last one", "known")
    )
    return [(f"a token, among {found['applications']:,} shared secrets", shown, "P7: 2 ms")]


def _writes(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    alone, bare, trip, eight = (found[name] for name in ("update", "bare write", "round trip", "eight writers"))
    shown = f"{alone['median']:.2f} ms; bare write {bare['median']:.2f} ms; x {alone['median'] / bare['median']:.2f}"
    shown += f" (of it {trip['median']:.2f} ms are a `/healthz`)"
    together = f"{eight['rate']:,.0f} a second, p99 {eight['p99']:.0f} ms, longest {eight['longest']:.0f} ms"
    return [("`update` alone", shown, "P8: 1.5"), ("eight writers at once", together, "P8: 500 ms")]
