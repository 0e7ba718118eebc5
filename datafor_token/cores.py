"""Which core a worker's threads run on: one and the same, as only one of them has the interpreter at a time.

Left to the kernel, each thread that another one wakes goes to an idle core, finds the interpreter taken there, and
what it works with in the other core's cache: the same requests then take up to twice the CPU.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress


class _Present:
    """The cores that this process had when it began to stay on one."""

    cores: Sequence[int] = ()


def choose(taken: Iterable[int | None]) -> int | None:
    """A core for one more worker, of those that the fewest have; ``None`` where there is nothing to choose."""
    if sys.platform != "linux":
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    # Two services on one host begin at different cores, or at least not always at the first.
    first = os.getpid() % len(cores)
    workers = Counter(taken)
    return min(cores[first:] + cores[:first], key=lambda core: workers[core])


def stay(core: int | None) -> None:
    """Keep the threads of this process that begin from now on, and this one, on a core."""
    if sys.platform == "linux" and core is not None:
        # Where the host forbids it, or took the core away meanwhile, the kernel chooses as ever.
        with suppress(OSError):
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {core})
            _Present.cores = sorted(cores)


def leave() -> None:
    """Let this thread run on any core, and those that it begins: it works without the interpreter."""
    if sys.platform == "linux" and _Present.cores:
        with suppress(OSError):
            os.sched_setaffinity(0, _Present.cores)
