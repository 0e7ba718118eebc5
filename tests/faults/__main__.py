"""Command that runs the checks and prints one table; it exits with 1 if a check fails."""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.faults import counting, disks, failovers, killing, tracing
from tests.faults.tracing import Outcome

ROOT = os.geteuid() == 0


class Check(NamedTuple):
    """A fault, its check, the broken stores on which the check must fail, and the tools that it needs."""

    fault: str
    run: Callable[[str], Outcome]
    broken: tuple[str, ...]
    needs: tuple[str, ...] = ()


def checks(*, short: bool) -> list[Check]:
    """Return all checks; the short form has fewer rounds, no power loss and no failovers under load."""
    errors = ("EIO", "ENOSPC") if short else tracing.ERRORS
    kills, worker_kills = (150, 10) if short else (1000, 60)
    found = [
        Check("S1 order of system calls", tracing.check_order, tracing.BROKEN_ORDERS, ("strace",)),
        Check("S2 killed at each system call", tracing.check_kills, ("plain overwrite",), ("strace",)),
        Check("S3 writers killed at random", partial(killing.check_random_kills, kills=kills), ("no lock",)),
        Check(
            "S5 error at each system call", partial(tracing.check_errors, errors=errors), ("always done",), ("strace",)
        ),
        Check("S6 disk full", partial(disks.check_disk, disks.full), ("plain overwrite",), ("root",)),
        Check("S6 no inodes left", partial(disks.check_disk, disks.without_inodes), ("plain overwrite",), ("root",)),
        Check("S6 disk read-only", partial(disks.check_disk, disks.read_only), ("always done",), ("root",)),
        Check("S6 record immutable", partial(disks.check_disk, disks.immutable), ("always done",), ("root", "chattr")),
        Check("S6 too many open files", partial(disks.check_disk, disks.too_many_files), ("always done",)),
        Check("S7 holder of the lock stopped", killing.check_stopped_holder, ("no lock",)),
        Check("S8 records cut and flipped", disks.check_damage, ("lenient",)),
        Check("metrics on a full disk", counting.check_full_metrics, ("sparse files",), ("root",)),
        Check("S9 workers killed under load", partial(killing.check_workers, kills=worker_kills), ("late",)),
    ]
    if not short:
        # The tests of nodes have the failover itself, without load.
        found.append(Check("S10 failovers under load", failovers.check_failovers, failovers.BROKEN, ("pg_ctlcluster",)))
        found.insert(3, Check("S4 power loss", disks.check_power_loss, ("no fsync",), ("root", "mkfs.ext4")))
    return found


def missing(needs: tuple[str, ...]) -> str:
    """Return the first missing tool, ``root``, or an empty text."""
    return next((need for need in needs if (not ROOT if need == "root" else shutil.which(need) is None)), "")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Run the fault injection checks.")
    parser.add_argument("--short", action="store_true", help="fewer rounds, no power loss: under five minutes")
    parser.add_argument("--only", default="", help="only the checks whose name contains this text")
    options = parser.parse_args()
    say("| fault | runs | violations | broken stores detected | seconds |\n|---|---|---|---|---|")
    failed, not_run = 0, 0
    for check in checks(short=options.short):
        if options.only not in check.fault:
            continue
        if lack := missing(check.needs):
            say(f"| {check.fault} | not run: needs {lack} | | | |")
            not_run += 1
            continue
        begun = time.monotonic()
        outcome = check.run("whole")
        caught = [variant for variant in check.broken if check.run(variant).violations]
        shown = f"{len(caught)} of {len(check.broken)} ({', '.join(check.broken)})"
        seconds = time.monotonic() - begun
        say(f"| {check.fault} | {outcome.runs} | {len(outcome.violations)} | {shown} | {seconds:.0f} |")
        for violation in outcome.violations[:10]:
            say(f"    {violation}")
        failed += bool(outcome.violations) or len(caught) < len(check.broken)
    say(f"\n{failed} checks failed, {not_run} were not run")
    return 1 if failed else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
