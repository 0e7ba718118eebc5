"""Selection of the worker: the one of this package, or gunicorn's ``gthread``."""

from typing import NamedTuple

import gunicorn

from datafor_token.validation import logs

# The worker replaces private parts of gunicorn, which may differ in any other version.
TESTED_GUNICORN = "27.0.1"


class Selection(NamedTuple):
    """gunicorn's settings ``worker_class`` and ``threads``, and an event for the log if the worker is not our own."""

    worker_class: str
    threads: int
    notice: logs.Event | None


def select(wanted: str, version: str = gunicorn.__version__) -> Selection:
    """Select our own worker, or ``gthread`` if it is wanted or gunicorn does not have the tested version.

    With the tested version, ``gthread`` starts and stops as our own worker does.

    Compared side by side on two cores, ``token/generate`` by Basic at 16 and 64 connections (``make bench
    BENCH=--compare-workers``): ``gthread`` with two, four or eight threads takes 1.3 to 1.5 times the CPU of our worker
    and 1.3 to 3 times its p99. Our worker with two or four threads serves as many requests, with four at 1.1 to 1.3
    times the p99; the fewer there are, the sooner slow clients hold all of them.

    ``gthread`` has eight threads, because a sign-in holds one while it waits for its password hash. All but two may
    wait.
    """
    kind = "gthread"
    if wanted == "gthread":
        if version == TESTED_GUNICORN:
            kind = "datafor_token.server.gthread.Worker"
        notice = logs.event("gthread serves", reason="DATAFOR_TOKEN_WORKER=gthread")
    elif version != TESTED_GUNICORN:
        reason = f"gunicorn {version} is installed, and our own worker is tested with {TESTED_GUNICORN} only"
        notice = logs.event("gthread serves", reason=reason)
    else:
        return Selection("datafor_token.server.worker.Worker", 3, None)
    return Selection(kind, 8, notice)
