"""Folder of metric files that the workers of gunicorn share while the service runs.

The multiprocess mode of prometheus_client has a file per process and type, and keeps the files of dead processes with
their counts: each restarted worker would add files. Here a new worker takes the *slot* of a dead one and continues to
count in its files. A slot is a lock, which the kernel releases when its holder dies.

prometheus_client creates sparse files and writes them through memory: on a full disk, SIGBUS would kill the worker.
So the files of a slot are created here with all their blocks before they are used.
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

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # for prometheus_client
_PREFIX = "datafor-token-metrics-"
_LOCK = "in-use.lock"
# Size in bytes of a slot's file of each type. Label values that do not fit are counted as "(other)" (``has_room``).
# Every route once takes 160 KB of the histograms.
_SIZES = {"counter": 2 * 1024 * 1024, "histogram": 256 * 1024}
# In bytes, for "(other)" and for what three threads add at once: the largest, a histogram of one route, takes 3.3 KB.
_RESERVE = 16 * 1024
_FREE_AFTER = 60  # seconds; the creator of a younger folder may not have locked it yet


class MetricFiles:
    """The folder of one run of the service. ``fault`` is the reason why it, or a slot in it, is missing."""

    def __init__(self, parent: Path) -> None:
        """Create the folder, readable by its owner only, and take its first slot for the master of gunicorn."""
        self.folder: Path | None = None
        self.fault: str | None = None
        self.number: int | None = None  # the slot of this process
        self._creator = os.getpid()
        self._claiming = threading.Lock()
        try:
            _sweep(parent)
            self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            hold(self.folder / _LOCK)
        except OSError as error:
            self.fault = _reason(error)
        atexit.register(self._remove)
        self.claim()

    def claim(self) -> None:
        """Take the lowest slot that no living process holds; to be called in each new process."""
        self.number = None
        if self.folder is None:
            return
        held = None
        try:
            slot, held = _lowest(self.folder, 0 if os.getpid() == self._creator else 1)
            for kind, size in _SIZES.items():
                _create(self._file(kind, slot), size)
            self.number, self.fault = slot, None
        except OSError as error:
            self.fault = _reason(error)
            if held is not None:
                os.close(held)

    def slot(self) -> int:
        """Return the slot of this process; raise ``OSError`` if it has none, so that nothing is counted."""
        if self.number is None:
            raise OSError("no slot")
        return self.number

    def check(self) -> None:
        """Raise ``OSError`` unless this process can count; after an outage, try again to take a slot."""
        with self._claiming:
            if self.number is None:
                self.claim()
        for kind in _SIZES:
            # Also slot 0, which every run has: if files were deleted, those of other workers may be missing too.
            for slot in (0, self.slot()):
                self._file(kind, slot).stat()

    def has_room(self, kind: str) -> bool:
        """Return whether further label values fit into this process's file, which prometheus_client would enlarge."""
        with self._file(kind, self.slot()).open("rb") as file:
            (used,) = struct.unpack("i", file.read(4))
        return bool(used <= _SIZES[kind] - _RESERVE)

    def _file(self, kind: str, slot: int) -> Path:
        return (self.folder or Path()) / f"{kind}_{slot}.db"

    def _remove(self) -> None:
        # A fork of gunicorn's master also runs this at exit.
        if self.folder is not None and os.getpid() == self._creator:
            shutil.rmtree(self.folder, ignore_errors=True)


class _Shared:
    """The one folder of this process. prometheus_client also has one per process."""

    files: MetricFiles | None = None


def shared() -> MetricFiles | None:
    """Return the folder that this process shares with its parent, or None if it counts in memory."""
    return _Shared.files


def share(environ: MutableMapping[str, str]) -> None:
    """Create the folder, unless it exists: on a reload, gunicorn reads its settings again."""
    if _Shared.files is None:
        _Shared.files = MetricFiles(Path(environ.get("DATAFOR_TOKEN_METRICS_DIR") or tempfile.gettempdir()).absolute())
        if _Shared.files.folder is not None:
            environ[VARIABLE] = str(_Shared.files.folder)


def claim() -> None:
    """Take a slot for this new worker."""
    if _Shared.files is not None:
        _Shared.files.claim()


def _lowest(folder: Path, first: int) -> tuple[int, int]:
    """Return the lowest free slot from ``first`` on, and the descriptor of its lock."""
    for number in itertools.count(first):
        held = hold(folder / f"{number}.lock")
        if held is not None:
            return number, held
    raise AssertionError


def _create(path: Path, size: int) -> None:
    """Create the file with all its blocks, unless it exists; a reader never sees an incomplete file."""
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
    """Delete the folders of killed services, whose lock nobody holds."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if found.st_uid != os.geteuid() or time.time() - found.st_mtime < _FREE_AFTER:
                continue
            descriptor = hold(folder / _LOCK)
            if descriptor is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0)
