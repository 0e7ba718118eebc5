"""Lock that the servers of a store share, and that a migration takes to exclude them.

A ``flock`` belongs to the open file. The workers of a server inherit it, and the kernel releases it when the last
process has ended: after ``kill -9`` of gunicorn's master its workers still hold it. Programs that a server executes do
not inherit it, and its successor (``USR2``) takes it again.
"""

import contextlib
import errno
import logging
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

from datafor_token.errors import Forbidden, StoreNotReady
from datafor_token.store.files.disk import match_owner, outage
from datafor_token.store.files.locking import hold
from datafor_token.validation import logs

log = logging.getLogger(__name__)
FILE = ".server.lock"


def share(path: Path, place: object, owner: object) -> None:
    """Hold the lock ``path`` with other servers until ``owner`` is collected and all forked processes have ended.

    ``place`` names the store in errors. Raise ``StoreNotReady`` while a migration holds the lock. If the file cannot be
    created, as on a full disk, log that the server cannot be seen: it can still verify tokens.
    """
    try:
        descriptor = _hold(path, is_shared=True)
    except BlockingIOError:
        raise StoreNotReady(
            f"`store migrate` is copying the records in {place}: start the service when it has ended"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        log.warning(logs.event("store migrate cannot see this server", file=str(path), reason=reason))
        return
    if descriptor is not None:
        weakref.finalize(owner, os.close, descriptor)


@contextlib.contextmanager
def exclude(path: Path, place: object) -> Iterator[None]:
    """Hold the lock ``path`` alone, so that no server starts; raise ``Forbidden`` if somebody else holds it."""
    with outage("lock the store"):
        try:
            descriptor = _hold(path, is_shared=False)
        except BlockingIOError:
            raise Forbidden(_user_of(path), place=place) from None
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _user_of(path: Path) -> str:
    """Return a sentence that names who holds the lock: servers share it, a migration does not."""
    try:
        descriptor = _hold(path, is_shared=True)
    except BlockingIOError:
        return "another `store migrate` is copying the records in %(place)s: wait until it has ended"
    if descriptor is not None:
        os.close(descriptor)
    return "a server is using the records in %(place)s: stop the service, then run this command again"


def _hold(path: Path, *, is_shared: bool) -> int | None:
    """Return the descriptor of the lock, or None on a read-only disk without it, where no server can write.

    Raise ``BlockingIOError`` if it is locked, and other errors of the system.
    """
    try:
        descriptor = hold(path, is_shared=is_shared)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        try:
            descriptor = hold(path, is_shared=is_shared, flags=os.O_RDONLY)
        except FileNotFoundError:
            return None
    else:
        match_owner(path)
    if descriptor is None:
        raise BlockingIOError
    return descriptor
