"""Crash-safe operations on files and folders. They turn every ``OSError`` into an error of the service."""

import contextlib
import errno
import os
import stat
from pathlib import Path

from datafor_token.errors import MaybeStored, RecordDamaged, StoreUnavailable

_LARGEST_RECORD = 16 * 1024 * 1024  # bytes; a body of MAX_CONTENT_LENGTH whose characters JSON escapes is smaller
_PART = 64 * 1024  # bytes
# The file exists but is not a readable record. The rest of the folder is not affected.
_DAMAGED = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENXIO, errno.EIO, errno.ENODEV})


class outage:  # noqa: N801 - like contextlib.suppress
    """Context manager that turns every ``OSError`` into ``StoreUnavailable``. The log says "cannot ``action``"."""

    def __init__(self, action: str) -> None:
        self._action = action

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Raise ``StoreUnavailable`` for an ``OSError``."""
        if isinstance(error, OSError):
            raise StoreUnavailable(reason=f"cannot {self._action}: {os.strerror(error.errno or 0)}") from error


def create_folder(path: Path) -> None:
    """Create the folder and its parents with mode 0700. An existing folder stays unchanged.

    Raises ``FileExistsError`` if something else is in its place.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_dir():
            return
        raise
    except FileNotFoundError:
        create_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    match_owner(path)
    sync(path.parent)


# Paths may be text, since these functions run at each write: creating a path object takes longer than most of them.
def write_new(path: Path | str, data: bytes) -> None:
    """Create the file and sync its bytes to the disk, or raise ``StoreUnavailable``."""
    with outage(f"write in {os.path.basename(os.path.dirname(path))}"):  # noqa: PTH119, PTH120
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            match_owner(path)
            # Not retried: after a failed fsync, the kernel may report the pages as clean (Rebello et al., ATC 2020).
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def match_owner(path: Path | str) -> None:
    """Give a file that root created the owner of its folder, so that the service can read it."""
    if os.geteuid() == 0:
        # The folder of a bare file name is the empty text.
        owner, present = os.stat(os.path.dirname(path) or "."), os.lstat(path)  # noqa: PTH116, PTH120
        if (owner.st_uid, owner.st_gid) != (present.st_uid, present.st_gid):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove(path: Path | str) -> None:
    """Remove a temporary file, best effort: the next start removes what is left."""
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108


def sync_folder(folder: Path | str) -> None:
    """Sync the renames and removals in the folder to the disk, or raise ``MaybeStored``."""
    try:
        with outage(f"sync the folder {os.path.basename(folder)}"):  # noqa: PTH119
            sync(folder)
    except StoreUnavailable as error:
        raise MaybeStored(reason=error.reason) from error.__cause__


def sync(folder: Path | str) -> None:
    """Sync the renames and removals in the folder to the disk, or raise ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(file: str) -> bytes | None:
    """Return the bytes of a record's file, or None if it does not exist. Never block, never follow a link."""
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer.
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise RecordDamaged(reason=f"{short_path(file)} is not a regular file")
            if status.st_size > _LARGEST_RECORD:
                raise RecordDamaged(reason=f"{short_path(file)} is larger than any record")
            # Without a file object or a buffer for the largest record: either takes longer than reading.
            parts = []
            while part := os.read(descriptor, _PART):
                parts.append(part)
                if len(parts) > _LARGEST_RECORD // _PART:
                    # It grew since its status was read.
                    raise RecordDamaged(reason=f"{short_path(file)} is larger than any record")
            return b"".join(parts)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        _check_folder(file)
        return None
    except OSError as error:
        kind = RecordDamaged if error.errno in _DAMAGED else StoreUnavailable
        raise kind(reason=f"cannot read {short_path(file)}: {os.strerror(error.errno or 0)}") from error


def status(file: str) -> os.stat_result | None:
    """Return the status of a record's file, or None if it does not exist. Do not follow a link."""
    try:
        return os.lstat(file)
    except FileNotFoundError:
        _check_folder(file)
        return None
    except OSError as error:
        raise StoreUnavailable(reason=f"cannot look at {short_path(file)}: {os.strerror(error.errno or 0)}") from error


def _check_folder(file: str) -> None:
    """Raise ``StoreUnavailable`` if the folder of a missing file is missing too: it was moved, or is not mounted."""
    folder = Path(file).parent
    with outage(f"find the folder {folder.name}"):
        folder.stat()


def short_path(file: Path | str) -> str:
    """Return the name of a file for the log: its folder and its own name."""
    return "/".join(str(file).split("/")[-2:])
