"""CPU affinity: all threads of a worker run on one core, as only one of them holds the interpreter at a time.

The kernel moves each thread that another one wakes to an idle core. There it waits for the interpreter, without the
data that is in the other core's cache: the same requests then take up to twice the CPU.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from datafor_token import blocking


def choose(workers: Iterable[tuple[int, int | None]], wanted: int) -> int | None:
    """Return the core that has the fewest workers, for one more worker of ``wanted``; None on a single core.

    ``workers``: age (the higher the younger) and core of those that run. gunicorn ends the oldest first: workers beyond
    ``wanted`` are left out, and of two cores with as many workers, the one that will sooner have fewer is chosen.
    """
    if sys.platform != "linux":
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    staying = sorted(workers, reverse=True)[: max(0, wanted - 1)]
    number = Counter(core for _, core in staying)
    youngest = {core: age for age, core in reversed(staying)}
    # Two services on one host start at different cores, or at least not always at the first.
    first = os.getpid() % len(cores)
    return min(cores[first:] + cores[:first], key=lambda core: (number[core], youngest.get(core, -1)))


def stay(core: int | None) -> None:
    """Bind this thread, and all that it starts, to a core; computations in the background keep all cores."""
    if sys.platform == "linux" and core is not None:
        # Some hosts forbid it, and a container may have lost the core since: then the kernel chooses.
        with suppress(OSError):
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {core})
            blocking.compute_on(cores)
