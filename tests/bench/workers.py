"""Comparison of the service under other worker classes and settings of gunicorn."""

import importlib.util

from tests.bench.calls import is_signed, tried
from tests.bench.load import Contender, Summary, compare
from tests.bench.plan import Plan
from tests.bench.records import generate
from tests.support import basic

SHIPPED = "as shipped"
# Changes to config/gunicorn.conf.py, one at a time.
VARIANTS = {
    SHIPPED: "",
    "any core": "pre_fork = lambda server, worker: None",
    "2 threads": "threads = 2",
    "4 threads": "threads = 4",
    "sync": 'worker_class = "sync"',
    "gthread x2": 'worker_class = "gthread"\nthreads = 2',
    "gthread x4": 'worker_class = "gthread"\nthreads = 4',
    "gthread x8": 'worker_class = "gthread"\nthreads = 8',
    "gthread x2, reuse_port": 'worker_class = "gthread"\nthreads = 2\nreuse_port = True',
    "gthread x4, reuse_port": 'worker_class = "gthread"\nthreads = 4\nreuse_port = True',
    "keepalive 75": "keepalive = 75",
    "backlog 64": "backlog = 64",
    "no preload": "preload_app = False",
}


def variants() -> dict[str, str]:
    """Return the variants whose packages are installed."""
    if importlib.util.find_spec("gevent") is None:
        return VARIANTS
    return {**VARIANTS, "gevent": 'worker_class = "gevent"'}


def compared(plan: Plan) -> list[Summary]:
    """Measure ``generate`` by Basic under each variant, at 16 and 64 connections."""
    contenders: list[tuple[Contender, str]] = []
    for name, changes in variants().items():
        server = plan.variant(name.replace(" ", "-").replace(",", ""), changes)
        contenders.append((tried(name, server, [generate(0, basic())], is_signed), SHIPPED))
    found = []
    for connections in (16, 64):
        found += compare(contenders, connections, plan.seconds, plan.rounds)
    return found
