"""Where the workers of gunicorn count: a private folder that they share, while the service runs.

The client's multi-process mode keeps one file of each type for each process, and leaves those of the dead,
so that its counts stay: with every restarted worker there are more. Here a worker takes the place of a dead
one (a *slot*) and counts on in its files. A slot is a lock that the kernel drops when its holder dies.

The client makes its files without their bytes on the disk, and writes through memory: on a full disk that is
a SIGBUS, the end of the worker. So a slot's files are made here, whole, before anything is counted in them.
"""

import atexit
import contextlib
import itertools
import os
import shutil
import struct
import tempfile
import threading
import time
from collections.abc import MutableMapping
from pathlib import Path

from datafor_token.store.files.locking import hold

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # where the client looks
_PREFIX = "datafor-token-metrics-"
_LOCK = "in-use.lock"
# Size in bytes of a slot's file of each type. Label values that do not fit are counted as "(other)" (``has_room``).
# Every route once takes 160 KB of the histograms.
_SIZES = {"counter": 2 * 1024 * 1024, "histogram": 256 * 1024}
# In bytes, for "(other)" and for what three threads add at once: the largest, a histogram of one route, takes 3.3 KB.
_RESERVE = 16 * 1024
_FREE_AFTER = 60  # seconds; a younger folder may be one whose maker has not locked it yet


class MetricFiles:
    """The folder of one run of the service. ``fault`` says why there is none, or why this process cannot count."""

    def __init__(self, parent: Path) -> None:
        """Make the folder, for its owner alone, and take its first slot, which is gunicorn's master's."""
        self.folder: Path | None = None
        self.fault: str | None = None
        self.number: int | None = None  # the slot of this process
        self._maker = os.getpid()
        self._claiming = threading.Lock()
        try:
            _sweep(parent)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            hold(self.folder / _LOCK)
        except OSError as error:
            self.fault = _words(error)
        atexit.register(self._remove)
        self.claim()

    def claim(self) -> None:
        """Take the lowest slot that no living process has; to be called in each new process."""
        self.number = None
        if self.folder is None:
            return
        held = None
        try:
            slot, held = _lowest(self.folder, 0 if os.getpid() == self._maker else 1)
            for kind, size in _SIZES.items():
                _make(self._file(kind, slot), size)
            self.number, self.fault = slot, None
        except OSError as error:
            self.fault = _words(error)
            if held is not None:
                os.close(held)

    def slot(self) -> int:
        """The slot of this process; raises ``OSError`` where it has none, so that nothing is counted."""
        if self.number is None:
            raise OSError("no slot")
        return self.number

    def check(self) -> None:
        """Raise ``OSError`` unless this process can count; after an outage try anew."""
        with self._claiming:
            if self.number is None:
                self.claim()
        for kind in _SIZES:
            # Also the maker's, which every run has: whoever cleans up does not stop at one worker's.
            for slot in (0, self.slot()):
                self._file(kind, slot).stat()

    def has_room(self, kind: str) -> bool:
        """Return whether further label values fit into this process's file, which the client would enlarge."""
        with self._file(kind, self.slot()).open("rb") as file:
            (used,) = struct.unpack("i", file.read(4))
        return bool(used <= _SIZES[kind] - _RESERVE)

    def _file(self, kind: str, slot: int) -> Path:
        return (self.folder or Path()) / f"{kind}_{slot}.db"

    def _remove(self) -> None:
        # A fork of gunicorn's master ends like its master, and is not the one.
        if self.folder is not None and os.getpid() == self._maker:
            shutil.rmtree(self.folder, ignore_errors=True)


class _Shared:
    """Of a process there is one, as the client has it."""

    files: MetricFiles | None = None


def shared() -> MetricFiles | None:
    """The folder of this process and of those that it is a fork of; ``None``: it counts for itself alone."""
    return _Shared.files


def share(environ: MutableMapping[str, str]) -> None:
    """Make the folder, once in a run of gunicorn, whose reload reads its settings again."""
    if _Shared.files is None:
        _Shared.files = MetricFiles(Path(environ.get("DATAFOR_TOKEN_METRICS_DIR") or tempfile.gettempdir()).absolute())
        environ[VARIABLE] = str(_Shared.files.folder)


def claim() -> None:
    """Take a slot for this new worker."""
    if _Shared.files is not None:
        _Shared.files.claim()


def _lowest(folder: Path, first: int) -> tuple[int, int]:
    """The lowest free slot from ``first`` on, and the descriptor that holds it."""
    for number in itertools.count(first):
        held = hold(folder / f"{number}.lock")
        if held is not None:
            return number, held
    raise AssertionError


def _make(path: Path, size: int) -> None:
    """Make the file with all its bytes on the disk, unless it is there; whoever reads it never sees a part."""
    if path.exists():
        return
    new = path.with_suffix(".new")
    try:
        with new.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        new.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def _sweep(parent: Path) -> None:
    """Remove the folders of services that were killed: nobody holds their lock."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _FREE_AFTER:
                continue
            descriptor = hold(folder / _LOCK)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0)
