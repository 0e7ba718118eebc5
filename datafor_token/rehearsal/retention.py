"""Removal of kept sign-ins: those of days that are over, and those of users who do not exist."""

import logging
import random
import threading
from collections.abc import Callable

from datafor_token.errors import RecordDamaged, StoreUnavailable
from datafor_token.rehearsal.records import COLLECTION, DAY, UserRecord, kept_days, remove_record
from datafor_token.store.base import Document, Store
from datafor_token.users import users as user_records
from datafor_token.users.users import Users
from datafor_token.validation import logs
from datafor_token.validation.names import fold

log = logging.getLogger(__name__)

_HOUR = 3600.0  # seconds
_PAUSE = 0.005  # seconds between two records, for the requests of the worker


class SignInRetention:
    """Removes kept sign-ins after ``days``; all of them if that is 0. ``clock`` returns seconds since 1970."""

    def __init__(self, store: Store, users: Users, clock: Callable[[], float], days: int) -> None:
        self._store = store
        self._users = users
        self._clock = clock
        self._days = days
        self._swept: int | None = None

    def start(self) -> None:
        """Remove old sign-ins soon and then on each day, in a thread of this process, whether or not users sign in."""
        if self._days:
            threading.Thread(target=self._run, name="sign-in retention", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        # Not all workers at once.
        pause.wait(random.uniform(0, _HOUR))  # noqa: S311 - no secret
        while True:
            self.remove_old(pause)
            pause.wait(_HOUR)

    def sweep(self) -> None:
        """Remove the sign-ins of users who do not exist, and all if none are to be kept; raise ``StoreUnavailable``.

        No record is read, because a start waits for this.
        """
        # In this order: the user of each record existed before it.
        stored = self._store.names(COLLECTION)
        present = {fold(name) for name in self._store.names(user_records.COLLECTION)} if self._days else ()
        for name in stored:
            if fold(name) not in present:
                remove_record(self._store, name)

    def remove_old(self, pause: threading.Event) -> None:
        """On the first call of a day (UTC), sweep, and remove the days that are over, best effort."""
        today = int(self._clock() // DAY)
        if today == self._swept:
            return
        try:
            self.sweep()
            for name, document in self._store.documents(COLLECTION):
                self._remove_from(name, document)
                pause.wait(_PAUSE)
            self._swept = today
        except StoreUnavailable as error:
            log.warning(logs.event("old sign-ins not deleted", reason=error.reason))

    def _remove_from(self, name: str, document: Document | RecordDamaged) -> None:
        try:
            if isinstance(document, RecordDamaged):
                raise document
            rest = self._rest(document)
            if rest.is_empty:
                self._store.delete(COLLECTION, name, self._check_empty)
            elif rest != UserRecord.from_document(document):
                self._store.update(COLLECTION, name, self._changed, wait=1.0)
        except RecordDamaged as error:
            log.warning(logs.event("record damaged", reason=error.reason))
        except (StoreUnavailable, _StillKept):
            # Another writer has the lock, or was faster: the next sweep removes the rest.
            return

    def _rest(self, document: Document) -> UserRecord:
        """Return the record without the days that are over, and without what an earlier user of the name has left."""
        found, user = UserRecord.from_document(document), self._users.get(document["name"])
        is_of_user = user is not None and user.created_date == found.created
        return found.within(kept_days(self._clock(), self._days) if is_of_user else range(0))

    def _check_empty(self, document: Document) -> None:
        if not self._rest(document).is_empty:
            raise _StillKept

    def _changed(self, document: Document | None) -> Document:
        if document is None:
            raise _StillKept
        return self._rest(document).to_document()


class _StillKept(Exception):
    """Another writer has changed or removed the record."""
