"""The audit log of an installation: a table of its database, or a file."""

from datafor_token.audit.writer import AuditLog
from datafor_token.settings import Settings
from datafor_token.store.base import Store
from datafor_token.store.lines import HasLineLog, LineLog


def audit_log_of(store: Store, settings: Settings) -> LineLog:
    """Return where the audit log of a store is written: to the store if it can, else to a file of this host."""
    return store.line_log if isinstance(store, HasLineLog) else AuditLog(settings.data_dir)
