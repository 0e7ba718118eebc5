"""Lists of the valid sessions of each user, and ending sessions without their cookie."""

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from typing import Any, NamedTuple

from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.errors import NotFound, RecordDamaged
from datafor_token.store.base import Document, Store
from datafor_token.users.sessions import COLLECTION, CONSOLE, Session, Sessions
from datafor_token.users.users import User, Users
from datafor_token.validation.names import fold

KINDS = ("api", CONSOLE, "gate")
_IDENTIFIER = re.compile("[0-9a-f]{64}")
_MANY = 1000  # records, from which on reading all of a database takes less time than reading each
_LATEST = 1e12  # seconds; a record edited by hand may have any number


class ListedSession(NamedTuple):
    """A valid session, whose ``identifier`` is the name of its record.

    The identifier is the SHA-256 of a part of the cookie, and does not open the session. ``opened`` and ``used`` are
    in seconds since 1970; ``used`` is to the minute, or to a tenth of a shorter idle limit. ``address`` is the client's
    when the session was opened, empty for a record of an earlier version. ``application`` is that of a token or ticket
    that opened a gate session, else empty.
    """

    identifier: str
    kind: str
    opened: float
    used: float
    address: str
    application: str

    def to_response(self) -> dict[str, Any]:
        """Return the members that calls and commands show."""
        return {
            "id": self.identifier,
            "kind": self.kind,
            "since": _milliseconds(self.opened),
            "last_seen": _milliseconds(self.used),
            "address": self.address,
            "application": self.application,
        }


class _Place(NamedTuple):
    """User of a session, and the application whose token or ticket opened it, both folded; they never change.

    ``application`` is empty for other sessions, and ``None`` after the user left: the record then has no grant.
    """

    user: str
    application: str | None


def _place(document: Document) -> _Place:
    user, grant = document.get("user"), document.get("grant")
    application = grant.get("application", "") if isinstance(grant, dict) else None
    return _Place(
        fold(user) if isinstance(user, str) else "", fold(application) if isinstance(application, str) else None
    )


class SessionList:
    """The sessions of all kinds and users.

    ``sessions`` may be those of any kind. ``accepts`` returns whether the gate still accepts one of its sessions, as
    far as the record tells. Every method raises ``StoreUnavailable`` in an outage.
    """

    def __init__(
        self, store: Store, users: Users, audit: Audit, sessions: Sessions, accepts: Callable[[Session], bool]
    ) -> None:
        self._store = store
        self._users = users
        self._audit = audit
        self._sessions = sessions
        self._accepts = accepts
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}

    def of(self, user: User) -> list[ListedSession]:
        """Return the valid sessions of a user, newest first."""
        found = (self._listed(document, user) for document in self._documents(user))
        return sorted((one for one in found if one is not None), key=lambda one: one.opened, reverse=True)

    def count_of_application(self, application: str, most: int) -> int:
        """Return the number of valid gate sessions that an application's tokens and tickets opened, at most ``most``.

        Only the records of that application are read and checked.
        """
        wanted = fold(application)
        count = 0
        for _, document in self._read(self._names(lambda place: place.application in (wanted, None))):
            name, grant = document.get("user"), document.get("grant")
            opened_by = grant.get("application") if isinstance(grant, dict) else None
            # One that was left may have been opened again meanwhile, by a token of any application.
            if not isinstance(opened_by, str) or fold(opened_by) != wanted:
                continue
            user = self._users.get(name) if isinstance(name, str) else None
            if user is not None and self._listed(document, user) is not None:
                count += 1
                if count == most:
                    break
        return count

    def count_of_users(self, users: Collection[User], most: int) -> int:
        """Return the number of valid sessions of these users, at most ``most``."""
        by_name = {fold(user.name): user for user in users}
        count = 0
        for _, document in self._read(self._names(lambda place: place.user in by_name)):
            count += self._listed(document, by_name[_place(document).user]) is not None
            if count == most:
                break
        return count

    def count(self, user: User, opened_by: Callable[[Mapping[str, Any]], bool]) -> int:
        """Return the number of valid sessions of a user whose grant, what opened them, ``opened_by`` accepts."""
        return sum(
            isinstance(document.get("grant"), dict)
            and opened_by(document["grant"])
            and self._listed(document, user) is not None
            for document in self._documents(user)
        )

    def end(self, identifier: str, owner: str | None) -> User:
        """End a session for all processes, and return its user.

        Raise ``NotFound`` if there is no valid session of this identifier, or, with ``owner``, if it is another user's.
        """
        found = self._found(identifier)
        if found is None or owner not in (None, found[1].name):
            raise NotFound("session not found")
        self._end(*found)
        return found[1]

    def find(self, identifier: str) -> tuple[User, ListedSession] | None:
        """Return the valid session of this identifier with its user, or None. It does not count as a use."""
        found = self._found(identifier)
        return None if found is None else found[1:]

    def end_all(self, user: User) -> int:
        """End all sessions of a user for all processes, and return their number."""
        pairs = [(document, self._listed(document, user)) for document in self._documents(user)]
        valid = [(document, listed) for document, listed in pairs if listed is not None]
        for document, listed in valid:
            self._end(document, user, listed)
        return len(valid)

    def _found(self, identifier: str) -> tuple[Document, User, ListedSession] | None:
        document = self._document(identifier) if _IDENTIFIER.fullmatch(identifier) else None
        name = None if document is None else document.get("user")
        user = self._users.get(name) if isinstance(name, str) else None
        listed = None if document is None or user is None else self._listed(document, user)
        return None if document is None or user is None or listed is None else (document, user, listed)

    def _end(self, document: Document, user: User, listed: ListedSession) -> None:
        # One event for each, so that after an outage the audit log tells which sessions have ended.
        with self._audit.change() as record:
            record(Event(Kind.SESSION_ENDED, listed.application or None, user.name))
            self._sessions.end_for_good(document)

    def _documents(self, user: User) -> list[Document]:
        """Return the records of a user's sessions that can be read."""
        wanted = fold(user.name)
        return [document for _, document in self._read(self._names(lambda place: place.user == wanted))]

    def _names(self, is_wanted: Callable[["_Place"], bool]) -> Set[str]:
        """Return the names of the records with a wanted user or application.

        Both never change, but the last use does. So they are remembered, and only new records are read: reading all of
        20,000 takes a second.
        """
        with self._lock:
            present = set(self._store.names(COLLECTION))
            self._places = {name: place for name, place in self._places.items() if name in present}
            for name, document in self._read(present - self._places.keys()):
                self._places[name] = _place(document)
            return {name for name, place in self._places.items() if is_wanted(place)}

    def _read(self, names: Set[str]) -> Iterator[tuple[str, Document]]:
        """Yield the names and the documents of the records that exist and can be read."""
        if len(names) > _MANY:
            for name, found in self._store.documents(COLLECTION):
                if name in names and not isinstance(found, RecordDamaged):
                    yield name, found
            return
        for name in names:
            document = self._document(name)
            if document is not None:
                yield name, document

    def _document(self, name: str) -> Document | None:
        try:
            return self._store.get(COLLECTION, name)
        except RecordDamaged:
            return None

    def _listed(self, document: Document, user: User) -> ListedSession | None:
        """Return the session of a record if it is a valid one of the user."""
        if not self._sessions.may_be_of(document, user):
            return None
        kind, opened, grant = document["kind"], document["opened"], document["grant"]
        if kind == "api" and document.get("opened_in") == CONSOLE:
            kind = CONSOLE
        if kind not in KINDS or (kind == "gate" and not self._accepts(Session(user, opened, grant))):
            return None
        address, application = document.get("address"), grant.get("application")
        return ListedSession(
            document["name"],
            kind,
            opened,
            document["used"],
            address if isinstance(address, str) else "",
            application if isinstance(application, str) else "",
        )


def _milliseconds(seconds: float) -> int:
    return int(min(seconds, _LATEST) * 1000)
