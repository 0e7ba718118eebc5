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
    """Return the core with the fewest workers, for a new worker; None on a single core.

    ``workers``: age and core of each running worker; gunicorn's younger workers have a higher age. ``wanted``: how many
    workers should run. gunicorn ends the oldest first, so workers beyond ``wanted`` do not count. Among equals, the
    core whose youngest worker is the oldest is chosen: it will lose its workers first.
    """
    if sys.platform != "linux":
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return None
    staying = sorted(workers, reverse=True)[: max(0, wanted - 1)]
    number = Counter(core for _, core in staying)
    youngest = {core: age for age, core in reversed(staying)}
    # So that two services on one host do not both start at the first core.
    first = os.getpid() % len(cores)
    return min(cores[first:] + cores[:first], key=lambda core: (number[core], youngest.get(core, -1)))


def stay(core: int | None) -> None:
    """Bind this thread, and all threads that it starts, to a core; background computations keep all cores."""
    if sys.platform == "linux" and core is not None:
        # Some hosts forbid it, and a container may have lost the core in the meantime: then the kernel chooses.
        with suppress(OSError):
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {core})
            blocking.compute_on(cores)
