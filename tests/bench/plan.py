"""Plan of a benchmark run: its options, and the servers that its sections share."""

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.load import Failed
from tests.bench.records import Records, first_start, write_keys
from tests.bench.servers import Running, baseline, product

SECTIONS = ("calls", "list", "sizes", "unseen", "writes", "beside", "floods", "attacked", "inside")


@dataclass
class Plan:
    """The options, and the servers started so far. ``seconds`` is the length of a round."""

    folder: Path
    seconds: float
    rounds: int
    connections: tuple[int, ...]
    sizes: tuple[int, int, int]  # few, many, very many applications and users
    samples: int
    sections: tuple[str, ...]
    worker: str = ""  # gthread: gunicorn's own threaded worker serves, instead of ours
    _running: dict[str, Running] = field(default_factory=dict)
    _stores: dict[int, Records] = field(default_factory=dict)

    def keys(self) -> Path:
        folder = self.folder / "keys"
        return folder if folder.exists() else write_keys(folder)

    def baseline(self, *, our_worker: bool = False) -> Running:
        name = "B, our worker" if our_worker else "B"
        if name not in self._running:
            self._running[name] = baseline(self.folder / name, self.keys(), our_worker=our_worker)
        return self._running[name]

    def first_start(self) -> Path:
        """Return the folder of a service that was started once."""
        folder = self.folder / "first-start"
        return folder if folder.exists() else first_start(folder)

    def records(self, size: int) -> Records:
        """Return a store of that size; it is written once."""
        if size not in self._stores:
            self._stores[size] = Records(self.folder / f"store-{size}", size).write(self.first_start())
        return self._stores[size]

    def product(self, size: int) -> Running:
        """Return the service on a store of that size."""
        name = str(size)
        if name not in self._running:
            self._running[name] = product(self.records(size).folder, worker=self.worker)
        return self._running[name]

    def variant(self, name: str, changes: str) -> Running:
        """Start the service under changed settings of gunicorn, on a small store of its own."""
        records = Records(self.folder / name, self.sizes[0]).write(self.first_start())
        self._running[name] = product(records.folder, changes)
        return self._running[name]

    def stop(self, name: str | None = None) -> None:
        """Stop one server, or all servers."""
        for one in [name] if name is not None else list(self._running):
            if one in self._running:
                self._running.pop(one).stop()


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measures the service against a bare Flask demo, side by side."
    )
    parser.add_argument("--quick", action="store_true", help="one minute: 16 connections only, short rounds")
    parser.add_argument("--seconds", type=float, help="length of a round")
    parser.add_argument("--rounds", type=int, help="rounds of each")
    parser.add_argument("--connections", type=_numbers, help="such as 1,16,64")
    parser.add_argument("--sizes", type=_numbers, help="three numbers of applications and users: 10,1000,100000")
    parser.add_argument("--samples", type=int, help="number of timed single calls")
    parser.add_argument("--sections", type=lambda text: tuple(text.split(",")), help=",".join(SECTIONS))
    parser.add_argument("--worker", choices=["gthread"], default="", help="serve by gunicorn's own threaded worker")
    parser.add_argument("--soak", action="store_true", help="also the memory after 200,000 requests (minutes)")
    parser.add_argument(
        "--compare-workers", action="store_true", help="only the service under other worker classes and settings"
    )
    parser.add_argument("--output", type=Path, default=Path("bench-results.json"), help="file for the results, as JSON")
    return parser


def planned(options: argparse.Namespace, folder: str) -> Plan:
    """Return the plan for the options, with the defaults of a full or a quick run."""
    quick = options.quick
    sections = options.sections or (
        tuple(name for name in SECTIONS if name not in ("list", "sizes")) if quick else SECTIONS
    )
    sizes = options.sizes or (10, 1000, 100_000)
    if unknown := set(sections) - set(SECTIONS):
        raise Failed(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    if len(sizes) != 3:
        raise Failed("--sizes must be three numbers")
    return Plan(
        folder=Path(folder),
        seconds=options.seconds or (0.6 if quick else 1.0),
        rounds=options.rounds or (3 if quick else 5),
        connections=options.connections or ((16,) if quick else (1, 16, 64)),
        sizes=(sizes[0], sizes[1], sizes[2]),
        samples=options.samples or (60 if quick else 300),
        sections=sections,
        worker=options.worker,
    )


def workplace() -> tempfile.TemporaryDirectory[str]:
    """Create a folder on the disk of temporary files, which is removed at the end."""
    return tempfile.TemporaryDirectory(prefix="datafor-token-bench-")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
