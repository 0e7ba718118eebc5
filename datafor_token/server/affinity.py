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


def choose(workers: Iterable[tuple[int, int | None]], wanted: int) -> int | None:
    """A core for one more worker of ``wanted``, of those that the fewest have; ``None``: there is nothing to choose.

    ``workers``: age (the higher the younger) and core of those that run. gunicorn always ends the oldest: those that
    are too many are left out, and where as many are on two cores, it is the one that will sooner have fewer.
    """
    if sys.platform != "linux":
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    staying = sorted(workers, reverse=True)[: max(0, wanted - 1)]
    number = Counter(core for _, core in staying)
    youngest = {core: age for age, core in reversed(staying)}
    # Two services on one host begin at different cores, or at least not always at the first.
    first = os.getpid() % len(cores)
    return min(cores[first:] + cores[:first], key=lambda core: (number[core], youngest.get(core, -1)))


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
