"""Disk faults: full, no inodes, read-only, immutable, too many open files, damaged records, power loss."""

import contextlib
import fcntl
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import MaybeStored, RecordDamaged, StoreUnavailable
from datafor_token.store.files.store import FileStore
from tests.faults.killing import plus_one
from tests.faults.tracing import Outcome
from tests.faults.variants import make_store
from tests.store.contract import is_writable

_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
_OLD = {"name": "counter", "value": 1, "text": "old"}
_NEW = {"name": "counter", "value": 2, "text": "n" * 60_000}


@contextlib.contextmanager
def mounted(*arguments: str) -> Iterator[Path]:
    point = Path(tempfile.mkdtemp(prefix="faults-"))
    subprocess.run(["mount", *arguments, point], check=True, capture_output=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
        point.rmdir()


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill every block."""
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    yield
    filler.unlink()


@contextlib.contextmanager
def without_inodes(folder: Path) -> Iterator[None]:
    made = []
    with contextlib.suppress(OSError):
        for number in range(1000):
            path = folder / f"filler{number}"
            path.touch()
            made.append(path)
    yield
    for path in made:
        path.unlink()


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    yield
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)


@contextlib.contextmanager
def immutable(folder: Path) -> Iterator[None]:
    """Make the record and its folder immutable, even for root."""
    paths = [folder / "data" / "records" / "counter.json", folder / "data" / "records"]
    subprocess.run(["chattr", "+i", *paths], check=True)
    yield
    subprocess.run(["chattr", "-i", *paths], check=True)


@contextlib.contextmanager
def too_many_files(_: Path) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit is the lowest free descriptor.
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def check_disk(trouble: Callable[[Path], contextlib.AbstractContextManager[None]], variant: str = "whole") -> Outcome:
    """S6: while the disk refuses, writes fail and the old value is served; afterwards writes work."""
    violations = []
    with contextlib.ExitStack() as stack:
        if trouble is immutable or trouble is too_many_files:
            point = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        else:
            point = stack.enter_context(mounted("-t", "tmpfs", "-o", "size=256k,nr_inodes=40", "tmpfs"))
        store = make_store(point / "data", variant)
        store.put("records", dict(_OLD))
        with trouble(point):
            try:
                store.put("records", dict(_NEW))
                violations.append("a write went through")
            except MaybeStored:
                violations.append("the write says that it may be stored, and it is not")
            except StoreUnavailable:
                pass
            if trouble is not too_many_files and served(store) != _OLD:
                violations.append("the old value is not served")
            # Without a free descriptor not even reading works.
            if trouble is not too_many_files and is_writable(store):
                violations.append("the store says that it is writable")
        if served(store) != _OLD:
            violations.append("the old value is lost")
            return Outcome(1, violations)
        store.put("records", dict(_NEW))
        left = [path.name for path in (point / "data" / "records").iterdir()]
        if sorted(left) != [".lock", "counter.json"] or served(store) != _NEW:
            violations.append(f"afterwards: {left}")
    return Outcome(1, violations)


def served(store: FileStore) -> object:
    """Return the document of the record, or the reason of the outage."""
    try:
        return store.get("records", "counter")
    except StoreUnavailable as error:
        return error.reason


def check_damage(variant: str = "whole") -> Outcome:
    """S8: a record that is cut, or in which a flipped bit breaks the JSON or an encrypted value, is damaged."""
    runs, violations = 0, []
    keyring = Keyring([bytes(range(32))])
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        store = make_store(Path(name) / "data", variant)
        store.put("records", {"name": "counter", "value": 1, "secret": keyring.encrypt("counter", "secret", "abcd")})
        path = Path(name) / "data" / "records" / "counter.json"
        whole = path.read_bytes()
        changed = [whole[:length] for length in range(len(whole) - 1)]
        changed += [
            whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :] for at in range(len(whole)) for bit in (1, 128)
        ]
        for data in changed:
            path.write_bytes(data)
            runs += 1
            try:
                document = store.get("records", "counter")
            except RecordDamaged:
                continue
            if document is None:
                violations.append(f"{data[-20:]!r}: the record does not exist for the store")
                continue
            # Still a valid record: its secret decrypts to itself or not at all.
            with contextlib.suppress(RecordDamaged):
                opened = keyring.decrypt("counter", "secret", document.get("secret", "abcd"))
                if opened != "abcd" and str(opened).startswith("enc1:"):
                    violations.append(f"another secret was served: {opened!r}")
    return Outcome(runs, violations)


def check_power_loss(variant: str = "whole", seconds: float = 4, rounds: int = 3) -> Outcome:
    """S4: after a shutdown of the file system without a flush of its log, every acknowledged write exists."""
    runs, violations = 0, []
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="faults-"))
        image = folder / "disk.img"
        with image.open("wb") as file:
            file.truncate(64 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        acknowledged: dict[str, int] = {}
        with mounted("-o", "loop", str(image)) as point:
            store = make_store(point / "data", variant)
            os.sync()
            until = time.monotonic() + seconds
            number = 0
            while time.monotonic() < until:
                record = f"record{number % 50}"
                document = store.update("records", record, lambda old, record=record: plus_one(old, record))  # type: ignore[misc]
                acknowledged[record] = document["value"]
                number += 1
            descriptor = os.open(point, os.O_RDONLY)
            fcntl.ioctl(descriptor, _SHUTDOWN, _NO_LOG_FLUSH.to_bytes(4, "little"))
            os.close(descriptor)
        with mounted("-o", "loop", str(image)) as point:
            store = make_store(point / "data", "whole")
            lost = 0
            for record, value in acknowledged.items():
                try:
                    found = (store.get("records", record) or {"value": 0})["value"]
                except RecordDamaged:
                    found = -1
                lost += found != value
            runs += number
            if lost:
                violations.append(f"{lost} of {len(acknowledged)} records are not as acknowledged")
        shutil.rmtree(folder)
    return Outcome(runs, violations)
