"""Files and folders that survive a crash, and what the disk's refusals mean: every ``OSError`` gets its error here."""

import contextlib
import errno
import os
import stat
from pathlib import Path

from datafor_token.errors import MaybeStored, RecordDamaged, StoreUnavailable

_LARGEST_RECORD = 16 * 1024 * 1024  # bytes; the largest body (MAX_CONTENT_LENGTH) of characters that JSON escapes
_PART = 64 * 1024  # bytes
# The file is there and is no readable record: its own fault, while the rest of the folder is fine.
_DAMAGED = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENXIO, errno.EIO, errno.ENODEV})


class outage:  # noqa: N801 - as contextlib's own are written
    """Turn every ``OSError`` within into ``StoreUnavailable``; ``action`` is for the log."""

    def __init__(self, action: str) -> None:
        self._action = action

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise what an ``OSError`` means here."""
        if isinstance(error, OSError):
            raise StoreUnavailable(reason=f"cannot {self._action}: {os.strerror(error.errno or 0)}") from error


def create_folder(path: Path) -> None:
    """Make the folder, and those above it, for its owner alone (mode 0700); one that is there stays as it is."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    except FileNotFoundError:
        create_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    match_owner(path)
    sync(path.parent)


# Files as text where each write passes: a path object costs more than most of what is done with it.
def write_new(path: Path | str, data: bytes) -> None:
    """Make the file and have its bytes on the disk, or raise ``StoreUnavailable``."""
    with outage(f"write in {os.path.basename(os.path.dirname(path))}"):  # noqa: PTH119, PTH120
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            match_owner(path)
            # Once: after a failed fsync the kernel may call the same pages clean (Rebello et al., ATC 2020).
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def match_owner(path: Path | str) -> None:
    """What root makes beside the service's records belongs to the service, or it could not read them any more."""
    if os.geteuid() == 0:
        # Of a bare file name the folder is the empty text, which is no path.
        owner, present = os.stat(os.path.dirname(path) or "."), os.lstat(path)  # noqa: PTH116, PTH120
        if (owner.st_uid, owner.st_gid) != (present.st_uid, present.st_gid):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove(path: Path | str) -> None:
    """Remove a temp file if it can be: what is left is swept at the next start."""
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108


def sync_folder(folder: Path | str) -> None:
    """Have the folder's renames and removals on the disk, or raise ``MaybeStored``."""
    try:
        with outage(f"sync the folder {os.path.basename(folder)}"):  # noqa: PTH119
            sync(folder)
    except StoreUnavailable as error:
        raise MaybeStored(reason=error.reason) from error.__cause__


def sync(folder: Path | str) -> None:
    """Have the folder's renames and removals on the disk; raises ``OSError`` as it comes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(file: str) -> bytes | None:
    """The bytes of a record's file, ``None`` where there is none; never hangs, never follows a link."""
    try:
        # O_NONBLOCK: opening a pipe that somebody left there would wait for its writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise RecordDamaged(reason=f"{shown(file)} is no regular file")
            if status.st_size > _LARGEST_RECORD:
                raise RecordDamaged(reason=f"{shown(file)} is larger than any record")
            # No file object, nor room for the largest record: each costs more than all the rest of reading.
            parts = []
            while part := os.read(descriptor, _PART):
                parts.append(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        _check_folder(file)
        return None
    except OSError as error:
        kind = RecordDamaged if error.errno in _DAMAGED else StoreUnavailable
        raise kind(reason=f"cannot read {shown(file)}: {os.strerror(error.errno or 0)}") from error


def status(file: str) -> os.stat_result | None:
    """What the file system says of a record's file itself, ``None`` where there is none."""
    try:
        # As text: a path object costs more than the look.
        return os.lstat(file)
    except FileNotFoundError:
        _check_folder(file)
        return None
    except OSError as error:
        raise StoreUnavailable(reason=f"cannot look at {shown(file)}: {os.strerror(error.errno or 0)}") from error


def _check_folder(file: str) -> None:
    """A missing file is no record as long as its folder is there: one that was moved or not mounted is an outage."""
    folder = Path(file).parent
    with outage(f"find the folder {folder.name}"):
        folder.stat()


def shown(file: Path | str) -> str:
    """A file as the log names it: its folder and itself."""
    return "/".join(str(file).split("/")[-2:])
