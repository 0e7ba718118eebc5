"""Comparison of file store and SQL store: duration of each call, as the store grows.

    .venv/bin/python -m tests.bench.stores [10 1000 100000]

PostgreSQL is one of Debian's on this machine, with its usual durability; the network is the loopback.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from datafor_token.store.base import Document, Store
from datafor_token.store.files.store import FileStore
from datafor_token.store.sql import schema
from datafor_token.store.sql.engine import Database
from datafor_token.store.sql.store import SqlStore
from tests.store.postgres import Postgres

COLLECTIONS = ("applications", "users", "sessions")
SIZES = (10, 1000, 100_000)


def document(number: int) -> Document:
    """Return a document about the size of a user or an application."""
    return {"format": 1, "name": f"name{number}", "secret": "x" * 120, "roles": ["SYS_Reader"], "enabled": True}


def microseconds(call: Callable[[int], object], times: int) -> float:
    """Return the median duration of a call."""
    taken = []
    for number in range(times):
        begun = time.perf_counter()
        call(number)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


def fill(store: Store, size: int) -> None:
    """Write so many applications and users, as fast as the store allows."""
    for collection in ("applications", "users"):
        if isinstance(store, SqlStore):
            for begin in range(0, size, 1000):
                store.put_many(collection, [document(number) for number in range(begin, min(size, begin + 1000))])
        elif isinstance(store, FileStore):
            for number in range(size):
                # Without fsync: this is not measured.
                path = Path(store._file(collection, f"name{number}"))
                path.write_text(str(document(number)).replace("'", '"').replace("True", "true"))


def writers(store: Store, number: int, seconds: float) -> float:
    """Measure the writes per second of several threads to one collection."""
    until = time.monotonic() + seconds
    done = [0] * number

    def write(index: int) -> None:
        while time.monotonic() < until:
            store.put("sessions", document(index))
            done[index] += 1

    threads = [threading.Thread(target=write, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


def measure(name: str, store: Store, size: int) -> None:
    """Measure one store, and print its line of the table."""
    fill(store, size)
    generations = getattr(store, "generations", None)
    figures = (
        microseconds(lambda number: store.get("users", f"name{number % size}"), 500),
        microseconds(lambda number: store.version("users", f"name{number % size}"), 500),
        microseconds(lambda _: generations(), 500) if generations is not None else float("nan"),
        microseconds(lambda number: store.put("users", document(number % size)), 100),
        microseconds(lambda _: list(store.documents("applications")), 1 if size > 1000 else 20),
        writers(store, 4, 2),
    )
    print(f"| {name} | {size} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |", flush=True)  # noqa: T201


def main(sizes: list[int]) -> None:
    """Print the table."""
    print("| store | records of each kind | get, us | version | generations | put | list all | 4 writers, puts/s |")  # noqa: T201
    print("|---|---|---|---|---|---|---|---|")  # noqa: T201
    server = Postgres().make().start()
    try:
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                measure("file", FileStore(Path(folder), COLLECTIONS, 30), size)
            server.ask(f"CREATE DATABASE bench{size}")
            database = Database(server.url(f"bench{size}"), 30, 30)
            schema.create(database)
            measure("PostgreSQL", SqlStore(database, COLLECTIONS), size)
            database.close()
    finally:
        server.remove()


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or list(SIZES))
