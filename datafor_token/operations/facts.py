"""Facts about an installation for its Administrators: where it runs, what it stores, how much of it there is."""

import contextlib
import platform
import socket
from pathlib import Path
from typing import NamedTuple

from datafor_token.audit.search import parse
from datafor_token.audit.writer import FILE as AUDIT_FILE
from datafor_token.errors import StoreUnavailable
from datafor_token.operations.checklist import Look
from datafor_token.operations.milestones import BACKUP, Milestone
from datafor_token.store.files.store import FileStore
from datafor_token.users.sessions import COLLECTION as SESSIONS

_LONGEST_LINE = 65_536  # bytes


class Facts(NamedTuple):
    """The facts; those that cannot be read now are None.

    ``node`` is the name of this host. ``audit_size`` is that of the present file in bytes, and ``audit_since`` the time
    of its first event in milliseconds since 1970. ``last_backup`` is None too without one.
    """

    python: str
    node: str
    in_files: bool
    data_dir: Path
    config_dir: Path
    applications: int | None
    users: int | None
    sessions: int | None
    audit_size: int | None
    audit_since: float | None
    last_backup: Milestone | None


def facts(look: Look) -> Facts:
    """Return the facts. It takes no longer with many records, once they are in memory."""
    services = look.services
    applications = users = sessions = last_backup = None
    with contextlib.suppress(StoreUnavailable):
        applications = len(look.applications.entries)
    with contextlib.suppress(StoreUnavailable):
        users = len(look.users[0])
    with contextlib.suppress(StoreUnavailable):
        # Those that are over and not swept yet are counted too.
        sessions = len(services.store.names(SESSIONS))
    with contextlib.suppress(StoreUnavailable):
        last_backup = look.milestones.get(BACKUP)
    settings = services.settings
    size, since = _audit(settings.data_dir / AUDIT_FILE)
    return Facts(
        platform.python_version(),
        socket.gethostname(),
        isinstance(services.store, FileStore),
        settings.data_dir,
        settings.config_dir,
        applications,
        users,
        sessions,
        size,
        since,
        last_backup,
    )


def _audit(file: Path) -> tuple[int | None, float | None]:
    try:
        size = file.stat().st_size
        with file.open("rb") as log:
            first = parse(log.readline(_LONGEST_LINE))
    except OSError:
        return None, None
    return size, None if first is None else first.time * 1000
