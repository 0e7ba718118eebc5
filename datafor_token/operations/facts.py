"""Facts about an installation for its Administrators: where it runs, what it stores, how much of it there is."""

import contextlib
import platform
from pathlib import Path
from typing import NamedTuple

from datafor_token.errors import StoreUnavailable
from datafor_token.operations.checklist import Look
from datafor_token.operations.milestones import BACKUP, Milestone
from datafor_token.store.files.store import FileStore
from datafor_token.users.sessions import COLLECTION as SESSIONS


class Facts(NamedTuple):
    """The facts; those that cannot be read now are None.

    ``audit_size`` is that of the audit log in bytes (of a file, the present one), and ``audit_since`` the time of its
    first event in milliseconds since 1970. ``last_backup`` is None too without one.
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
    audit_since: int | None
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
    size = since = None
    with contextlib.suppress(StoreUnavailable):
        size, since = services.audit.extent()
    return Facts(
        platform.python_version(),
        settings.node_name,
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
