"""Benchmark of the whole service beside a bare Flask demo (``make bench``)."""

import datetime as dt
import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.bench import calls, floods, inside, report, singles, sizes, workers
from tests.bench.load import Failed, is_there
from tests.bench.plan import Plan, arguments, planned, workplace

PACKAGES = ("flask", "werkzeug", "gunicorn", "pyjwt", "cryptography", "marshmallow")


def machine() -> dict[str, Any]:
    """Return what the figures depend on: those of different machines cannot be compared."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False)
    return {
        "cores": os.cpu_count(),
        "processor": processor[1] if processor else platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "wrk": (wrk.stdout + wrk.stderr).partition(" [")[0],
    }


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def progress(text: str) -> None:
    """Write progress to standard error; standard output has only the tables."""
    now = dt.datetime.now(dt.UTC)
    sys.stderr.write(f"{now:%H:%M:%S} {text}\n")


def measured(plan: Plan, *, soak: bool) -> dict[str, Any]:
    """Measure each section of the plan, and print it when it is done."""
    results: dict[str, Any] = {}
    for name, section in (
        ("calls", calls.calls),
        ("list", calls.listed),
        ("beside", calls.beside),
        ("attacked", calls.attacked),
    ):
        if name in plan.sections:
            progress(name)
            summaries = section(plan)
            results[name] = [asdict(one) for one in summaries]
            say(report.details(summaries))
            if name == "calls":
                results["memory"] = sizes.memory(plan)
                middle = plan.connections[len(plan.connections) // 2]
                results["overview"] = report.overview(summaries, middle)
    for name, other in (
        ("unseen", singles.unseen),
        ("writes", singles.writes),
        ("floods", floods.floods),
        ("inside", inside.inside),
        ("sizes", sizes.sizes),
    ):
        if name in plan.sections:
            progress(name)
            results[name] = other(plan)
    if soak:
        progress("soak")
        results["soak"] = sizes.soak(plan)
    return results


def main() -> None:
    options = arguments().parse_args()
    if not is_there():
        sys.exit("The benchmark needs wrk, and it is not installed: apt-get install wrk (Debian, Ubuntu).")
    # So that the servers are stopped as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    now = dt.datetime.now(dt.UTC)
    results: dict[str, Any] = {"date": now.isoformat(timespec="seconds"), "machine": machine()}
    results["load_before"] = os.getloadavg()[0]
    with workplace() as folder:
        try:
            plan = planned(options, folder)
            results["options"] = {name: str(value) for name, value in vars(options).items()}
            try:
                if options.compare_workers:
                    summaries = workers.compared(plan)
                    results["workers"] = [asdict(one) for one in summaries]
                    say(report.details(summaries))
                else:
                    results |= measured(plan, soak=options.soak)
            finally:
                plan.stop()
        except Failed as failure:
            sys.exit(f"Stopped: {failure}")
    took = (dt.datetime.now(dt.UTC) - now).total_seconds()
    results |= {"seconds": took, "load_after": os.getloadavg()[0]}
    shape = results["machine"]
    say(
        f"{now:%Y-%m-%d}, {shape['cores']} cores ({shape['processor']}), Python {shape['python']}, gunicorn"
        f" {shape['packages']['gunicorn']}, {shape['wrk']}; load average before {results['load_before']:.1f};"
        f" took {took:.0f} s\n"
    )
    for text in (
        results.pop("overview", ""),
        floods.table(results["floods"]) if "floods" in results else "",
        report.singles(results),
    ):
        if text:
            say(text)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    progress(f"written to {options.output}")


if __name__ == "__main__":
    main()
