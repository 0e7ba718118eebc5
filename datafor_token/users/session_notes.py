"""Notes for a session, such as a new secret, that the next page of its browser shows once.

A note is encrypted under the cookie of the session, which is not in the store: a copy of the store reveals no note.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from datafor_token.crypto import sealed_texts
from datafor_token.store.base import Document, Store
from datafor_token.store.sweeping import Sweeper
from datafor_token.users.sessions import name_of_cookie
from datafor_token.validation import strict_json

COLLECTION = "notes"
SECONDS = 600.0  # that a note waits for its page
_MOST = 20  # notes of a session; further ones replace the oldest
_PURPOSE = "notes"
Note = Mapping[str, Any]


class SessionNotes:
    """The notes of all sessions. ``clock`` returns seconds since 1970. Every method raises ``StoreUnavailable``."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._sweeper = Sweeper(store, COLLECTION, clock, self._is_over)

    def add(self, cookie: str, note: Note) -> None:
        """Add a note, a JSON object, to those of the session."""
        name = name_of_cookie(cookie)
        if name is None:
            return

        def change(present: Document | None) -> Document:
            notes = [*self._notes(cookie, present), {**note, "written": self._clock()}]
            return self._document(cookie, name, notes[-_MOST:])

        self._store.update(COLLECTION, name, change)
        self._sweeper.sweep_if_due()

    def take(self, cookie: str, wanted: Callable[[Note], bool]) -> list[Note]:
        """Remove the wanted notes of the session and return them, oldest first. Each is returned once."""
        name = name_of_cookie(cookie)
        document = None if name is None else self._store.get(COLLECTION, name)
        if name is None or document is None or not any(map(wanted, self._notes(cookie, document))):
            return []
        taken: list[Note] = []

        def change(present: Document | None) -> Document:
            # Under the lock: another page may have taken some of them in the meantime.
            notes = self._notes(cookie, present)
            taken[:] = [note for note in notes if wanted(note)]
            return self._document(cookie, name, [note for note in notes if not wanted(note)])

        self._store.update(COLLECTION, name, change)
        return taken

    def sweep(self) -> None:
        """Remove the notes that no page has taken in time."""
        self._sweeper.sweep()

    def _notes(self, cookie: str, document: Document | None) -> list[dict[str, Any]]:
        """Return the notes of a record that are not over; of a damaged one, none."""
        text = sealed_texts.unseal(cookie, _PURPOSE, (document or {}).get("sealed"))
        notes = [] if text is None else strict_json.loads(text.encode())
        return [note for note in notes if self._clock() - note["written"] < SECONDS]

    def _document(self, cookie: str, name: str, notes: list[dict[str, Any]]) -> Document:
        sealed = sealed_texts.seal(cookie, _PURPOSE, json.dumps(notes))
        return {"format": 1, "name": name, "written": self._clock(), "sealed": sealed}

    def _is_over(self, document: Document) -> bool:
        written = document.get("written")
        return not isinstance(written, int | float) or self._clock() - written >= SECONDS
