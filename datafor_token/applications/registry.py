"""The applications in the store: save one as a request wants it, find one by name."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.applications.index import ApplicationIndex, IndexEntry, build_index
from datafor_token.applications.record import COLLECTION, Application, Previous, Sealer
from datafor_token.applications.rules import check_password
from datafor_token.applications.update import changed_fields, check_new_secret, merge
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.crypto.at_rest import Keyring
from datafor_token.crypto.damaged_secrets import warnings_about
from datafor_token.crypto.keys import is_shared, new_secret
from datafor_token.crypto.strength import weakness
from datafor_token.errors import Conflict, InvalidInput, NotFound, RecordDamaged, RuleError, StoreUnavailable, about
from datafor_token.settings import Settings
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache, RecordIndex
from datafor_token.validation import logs

log = logging.getLogger(__name__)

_NOTED_MILLISECONDS = 60_000
_NOTE_WAIT = 0.05  # seconds; a stuck writer must not hold up who signs in


@dataclasses.dataclass(frozen=True)
class Rotation:
    """What a rotation did: the secret that the service made (else ``None``), until when the old one counts (ms)."""

    secret: str | None = dataclasses.field(repr=False)
    until: int
    warnings: Sequence[str]


class Saved(NamedTuple):
    """An application as it was stored, or would be, and the warnings about it."""

    application: Application
    warnings: Sequence[str]


class Registry:
    """The applications that the service knows.

    ``clock`` answers seconds since 1970. Every method raises ``StoreUnavailable`` in an outage, and
    ``RecordDamaged`` where a record is no application.
    """

    def __init__(
        self, store: Store, keyring: Keyring, audit: Audit, clock: Callable[[], float], settings: Settings
    ) -> None:
        self._store = store
        self._audit = audit
        self._sealer = Sealer(keyring)
        self._kept = RecordCache(store, COLLECTION, self._sealer.unseal)
        self._entries = RecordIndex(store, COLLECTION, self._entry)
        self._complained: set[tuple[str, str]] = set()
        self._listing: tuple[object, ApplicationIndex] | None = None
        self._clock = clock
        self._settings = settings

    def get(self, name: str) -> Application:
        """The application of that name, in whatever case; raises ``NotFound``."""
        application = self._kept.get(name)
        if application is None:
            raise NotFound
        return application

    def only_application(self) -> Application:
        """The application where there is just one; with several ``InvalidInput``, with none ``NotFound``."""
        # What was changed in a record by hand is seen when it is read.
        found = self._entries.all(thorough=False)
        if len(found) > 1:
            raise InvalidInput.of("name", "can not be empty")
        if not found:
            raise NotFound
        ((name, _),) = found.values()
        return self.get(name)

    def index(self, *, thorough: bool = True) -> ApplicationIndex:
        """What is kept of every application; one that cannot be read is named and stops no other.

        ``thorough`` is as ``RecordIndex.all`` has it. It is the same object for as long as nothing changed.
        """
        found = self._entries.all(thorough=thorough)
        kept = self._listing
        if kept is None or kept[0] is not found:
            kept = self._listing = found, build_index(found.values())
        return kept[1]

    def all_applications(self) -> tuple[Sequence[Application], Sequence[str]]:
        """Every application itself, sorted by name, and the names of those that cannot be read."""
        listing = self.index()
        applications, damaged = self.applications_of(listing.entries)
        return applications, sorted([*listing.damaged, *damaged])

    def applications_of(self, entries: Iterable[IndexEntry]) -> tuple[Sequence[Application], Sequence[str]]:
        """The applications of these entries, and the names of those that cannot be read; not those deleted since."""
        applications, damaged = [], []
        for entry in entries:
            try:
                applications.append(self.get(entry.name))
            except NotFound:
                continue
            except RecordDamaged:
                damaged.append(entry.name)
        return applications, damaged

    def delete(self, name: str) -> None:
        """Remove the application; a name without one is no error, a damaged record is left alone."""
        with contextlib.suppress(NotFound), self._audit.change() as record:
            record(Event(kind=Kind.APPLICATION_DELETED, application=self.get(name).name))
            self._store.delete(COLLECTION, name)

    def rotate(self, name: str, secret: str | None, grace: int, seen: int | None = None) -> Rotation:
        """Give the application a new secret; for ``grace`` seconds the present one goes on being accepted.

        ``secret`` may be ``None`` for a shared one: a random one is made. ``seen``: the last change that the caller
        knows of (milliseconds), so that nobody rotates twice by sending twice. Raises ``NotFound``, ``Conflict``
        where there was a later one, and ``InvalidInput`` for a secret that does not fit or is the present one.
        """
        made = None if secret is not None else ""
        until = int(self._clock() * 1000) + grace * 1000
        warnings: list[str] = []

        def change(document: Document | None) -> Document:
            nonlocal made
            stored = self._found(document)
            if seen is not None and stored.last_modified_date != seen:
                raise Conflict("the application was changed meanwhile")
            if made is not None:
                if not is_shared(stored.algorithm):
                    raise InvalidInput.of(
                        "secret", "is missing: the service makes none for %(algorithm)s", algorithm=stored.algorithm
                    )
                made = new_secret(stored.algorithm)
            new = made or secret or ""
            check_new_secret(stored, new)
            now = int(self._clock() * 1000)
            # Without grace it is stored as well, so that an update with it is recognised; 0 is past on every clock.
            previous = Previous(stored.secret, until if grace else 0, rotated=now)
            rotated = dataclasses.replace(stored, secret=new, previous=previous, last_modified_date=now)
            found = self._warnings(rotated, stored)
            record(Event(kind=Kind.APPLICATION_ROTATED, application=stored.name))
            warnings[:] = _logged(stored.name, found)
            return self._sealer.seal(rotated)

        with self._audit.change() as record:
            self._store.update(COLLECTION, name, change)
        return Rotation(made, until, warnings)

    def note_previous_use(self, application: Application) -> None:
        """Keep that the previous secret was used just now, to within a minute; what fails here is only logged."""
        now = int(self._clock() * 1000)
        previous = application.previous
        if previous is None or (previous.last_used is not None and now - previous.last_used < _NOTED_MILLISECONDS):
            return

        def change(document: Document | None) -> Document:
            stored = None if document is None else self._sealer.unseal(document)
            if stored is None or stored.previous is None or stored.previous.secret != previous.secret:
                raise NotFound
            noted = dataclasses.replace(stored.previous, last_used=now)
            return self._sealer.seal(dataclasses.replace(stored, previous=noted))

        try:
            self._store.update(COLLECTION, application.name, change, wait=_NOTE_WAIT)
        except NotFound:
            # Rotated again, or deleted, in the meantime: there is nothing to note.
            return
        except StoreUnavailable as error:
            # A token is good on a disk that cannot be written, too.
            log.warning(logs.event(event="last use not kept", application=application.name, reason=error.reason))

    def save(self, wanted: Mapping[str, Any], creator: str, *, new: bool = False) -> list[str]:
        """Create the application, or replace the one of that name; answer the warnings about it.

        ``wanted`` is what ``schemas.UpdateSchema`` makes of a request. A secret that is left out or
        masked, and a masked initial password, keep what is stored. Raises ``Conflict`` where a name
        differs by case only (``new``: where there is one at all), and ``InvalidInput`` for what only
        the stored record can tell.
        """
        warnings: list[str] = []

        def change(document: Document | None) -> Document:
            stored = None if document is None else self._sealer.unseal(document)
            if new and stored is not None:
                raise Conflict("name already exists as '%(name)s'", name=stored.name)
            application = merge(stored, wanted, creator, int(self._clock() * 1000))
            found = self._warnings(application, stored)
            record(_saved(stored, application))
            # Instead of what an attempt before found: a store may ask more than once.
            warnings[:] = _logged(application.name, found)
            return self._sealer.seal(application)

        with self._audit.change() as record:
            self._store.update(COLLECTION, wanted["name"], change)
        return warnings

    def modify(self, name: str, build: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Saved:
        """Change an application: ``build`` makes of its fields, as calls answer them, what ``save`` takes.

        Under one lock, so that of two who change different fields neither undoes the other.
        """
        warnings: list[str] = []

        def change(document: Document | None) -> Document:
            stored = self._found(document)
            application = merge(stored, build(stored.to_response(self._clock())), "", int(self._clock() * 1000))
            found = self._warnings(application, stored)
            record(_saved(stored, application))
            warnings[:] = _logged(application.name, found)
            return self._sealer.seal(application)

        with self._audit.change() as record:
            return Saved(self._sealer.unseal(self._store.update(COLLECTION, name, change)), warnings)

    def preview(self, wanted: Mapping[str, Any]) -> Saved:
        """What ``save`` would store, with its refusals, storing nothing."""
        document = self._store.get(COLLECTION, wanted["name"])
        stored = None if document is None else self._sealer.unseal(document)
        application = merge(stored, wanted, "", int(self._clock() * 1000))
        return Saved(application, [sentence for _, sentence in self._warnings(application, stored)])

    def reseal(self, name: str) -> None:
        """Write the application's record anew, so that its secrets are encrypted with the present key."""

        def change(document: Document | None) -> Document:
            return self._sealer.seal(self._found(document))

        self._store.update(COLLECTION, name, change)

    def _entry(self, document: Document) -> IndexEntry:
        """Return the entry of a record; rules that it breaks although it is stored are logged once."""
        entry = IndexEntry.of(self._sealer.unseal(document))
        for complaint in entry.rule_violations:
            if (entry.name, complaint) not in self._complained:
                self._complained.add((entry.name, complaint))
                log.warning(logs.event(event="stored value breaks a rule", application=entry.name, reason=complaint))
        return entry

    def _found(self, document: Document | None) -> Application:
        if document is None:
            raise NotFound
        return self._sealer.unseal(document)

    def _warnings(self, application: Application, stored: Application | None) -> list[tuple[str, str]]:
        """Return each warning about an application that is to be stored: its event in the log, and its sentence.

        Raises ``InvalidInput`` for a weak secret where new ones must be strong.
        """
        weak = weakness(application.algorithm, application.secret)
        is_new = stored is None or (application.algorithm, application.secret) != (stored.algorithm, stored.secret)
        if weak is not None and is_new and self._settings.require_strong_secrets:
            raise InvalidInput({"secret": [weak]})
        suspicious = warnings_about(application.algorithm, application.secret)
        short = self.short_password(application)
        return [
            *([] if weak is None else [("weak secret", weak)]),
            *(("suspicious secret", sentence) for sentence in suspicious),
            # Not refused: applications that have one must go on.
            *([] if short is None else [("short initial password", short)]),
            # Logged when the record was read. The same fault of a secret makes it weak.
            *(("", text) for field, text in application.rule_violations.items() if field != "secret" or weak is None),
        ]

    def short_password(self, application: Application) -> str | None:
        """Return what is wrong with the password that an application gives new users, as a sentence."""
        try:
            if application.initpwd:
                check_password(application.initpwd, None, self._settings.min_password_length)
        except RuleError as error:
            return about("initpwd", error.message)
        return None


def _logged(name: str, warnings: Sequence[tuple[str, str]]) -> list[str]:
    """Log the warnings about an application, and return their sentences."""
    for event, sentence in warnings:
        if event:
            log.warning(logs.event(event=event, application=name, reason=sentence))
    return [sentence for _, sentence in warnings]


def _saved(stored: Application | None, application: Application) -> Event:
    if stored is None:
        return Event(kind=Kind.APPLICATION_ADDED, application=application.name)
    fields = changed_fields(stored, application)
    return Event(kind=Kind.APPLICATION_CHANGED, application=application.name, fields=fields)
