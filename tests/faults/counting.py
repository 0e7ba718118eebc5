"""Metrics files on a disk that fills up: the process survives, and no count is lost."""

import subprocess
import sys

from tests.faults.disks import full, mounted
from tests.faults.tracing import Outcome
from tests.support import ROOT

_COUNTED = 10_000  # more than fit into the files
_COUNT = f"""
import os, sys
from pathlib import Path
from datafor_token.metrics import files as metric_files
from datafor_token.metrics.counters import Metrics
if sys.argv[2] == "sparse files":
    metric_files._create = lambda path, size: path.touch()
metric_files.share({{"DATAFOR_TOKEN_METRICS_DIR": sys.argv[1]}})
os.environ[metric_files.VARIABLE] = str(metric_files.shared().folder)
metrics = Metrics("1")
print("ready", flush=True)
sys.stdin.readline()
for number in range({_COUNTED}):
    metrics.store_operation(str(number), "users")
lines = metrics.exposition("")[0].decode().splitlines()
print(sum(float(line.split()[-1]) for line in lines if line.startswith("datafor_token_store_operations_total")))
"""


def check_full_metrics(variant: str = "whole", runs: int = 3) -> Outcome:
    """Count on a full disk: no SIGBUS, and no count is lost."""
    violations = []
    for _ in range(runs):
        with mounted("-t", "tmpfs", "-o", "size=4m", "none") as folder:
            process = subprocess.Popen(
                [sys.executable, "-c", _COUNT, str(folder), variant],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            with process:
                assert process.stdout is not None
                process.stdout.readline()
                with full(folder):
                    said, _ = process.communicate("\n", timeout=120)
            if process.returncode != 0 or float(said or 0) != _COUNTED:
                violations.append(f"ended with {process.returncode}, counted {said.strip() or 'nothing'}")
    return Outcome(runs, violations)
