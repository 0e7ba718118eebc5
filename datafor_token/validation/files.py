"""Reading of small files from outside: never waits for a pipe, and never reads without end."""

import errno
import os
import stat
from pathlib import Path

LARGEST = 1024 * 1024  # bytes
_PART = 64 * 1024  # bytes


def read(path: Path, largest: int = LARGEST, *, waits: bool = False) -> bytes:
    """Return the bytes of a regular file, or of one that a link leads to; raise ``OSError``, also for any other file.

    ``largest`` is in bytes. With ``waits``, any kind of file is read: a user may name a pipe, such as ``/dev/stdin``.
    """
    # O_NONBLOCK: opening a named pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if waits else os.O_NONBLOCK))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode) and not waits:
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        # Not by the size of its status: it is 0 for files of /proc, and a file may grow.
        data = bytearray()
        while part := os.read(descriptor, _PART):
            data += part
            if len(data) > largest:
                raise OSError(errno.EFBIG, f"it is larger than {largest // 1024**2} MiB", str(path))
        return bytes(data)
    finally:
        os.close(descriptor)
