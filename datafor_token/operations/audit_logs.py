"""The audit log of an installation: a table of its database, or a file of this host. Deletion of old events."""

import logging
import threading

from datafor_token.audit.reader import FILE
from datafor_token.audit.writer import AuditLog
from datafor_token.errors import StoreUnavailable
from datafor_token.settings import Settings
from datafor_token.store.base import Store
from datafor_token.store.lines import HasLineLog, LineLog
from datafor_token.validation import logs

log = logging.getLogger(__name__)

_HOUR = 3600.0  # seconds
_PAUSE = 0.05  # seconds between two deletions, for the writers of events


def audit_log_of(store: Store, settings: Settings) -> LineLog:
    """Return the audit log: a table if the store is a database, else the file of this host."""
    return store.line_log if isinstance(store, HasLineLog) else AuditLog(settings.data_dir)


def warn_of_files(found: LineLog, settings: Settings) -> None:
    """Log that the data folder has an audit log that is not read."""
    if not isinstance(found, AuditLog) and AuditLog(settings.data_dir).extent()[0]:
        advice = "add its events with `datafor-token audit import`, then move it aside with its rotated files"
        file = str(settings.data_dir / FILE)
        log.warning(logs.event("the audit log is in the database, and this file is not read", file=file, advice=advice))


class Retention:
    """Deletes the events in a database that are older than ``days``; 0 keeps them for ever."""

    def __init__(self, found: LineLog, days: int) -> None:
        self._log = found
        self._days = days

    def start(self) -> None:
        """Delete old events now and once an hour, in a thread of this process."""
        if self._days and not isinstance(self._log, AuditLog):
            threading.Thread(target=self._run, name="audit retention", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self.delete(pause)
            pause.wait(_HOUR)

    def delete(self, pause: threading.Event) -> None:
        """Delete all old events, some at a time, unless another node or worker does it now."""
        number = 0
        try:
            while deleted := self._log.delete_older(self._days):
                number += deleted
                pause.wait(_PAUSE)
        except StoreUnavailable as error:
            log.warning(logs.event("old events not deleted", reason=error.reason))
        if number:
            log.info(logs.event("old events deleted", number=number, days=self._days))
