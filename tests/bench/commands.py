"""``python -m tests.bench.commands``: CPU of commands, each a process of its own, on a store with one user."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.processes import environment, first_start
from tests.support import ROOT

_ROUNDS = 15
COMPLETION = {"_DATAFOR_TOKEN_COMPLETE": "bash_complete", "COMP_WORDS": "datafor-token user show a", "COMP_CWORD": "3"}
COMMANDS = ("--help", "application --help", "token --help", "user list", "application list", "store check")


def seconds(arguments: str, environ: Mapping[str, str]) -> float:
    """Return the seconds of CPU, user and system, that a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "datafor_token", *arguments.split()],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the median of each command; the commands take turns."""
    with tempfile.TemporaryDirectory() as folder:
        environ = environment(Path(folder))
        first_start(environ)
        runs = {**{one: (one, environ) for one in COMMANDS}, "completion": ("", {**environ, **COMPLETION})}
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(_ROUNDS):
            for name, run in runs.items():
                taken[name].append(seconds(*run))
    sys.stdout.write(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {_ROUNDS} rounds\n")
    for name, times in taken.items():
        sys.stdout.write(f"{name:20} {statistics.median(times):.2f} s of CPU\n")


if __name__ == "__main__":
    main()
