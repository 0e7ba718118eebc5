"""Registry of the applications in the store: find, save, rotate and delete them."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.applications import policy
from datafor_token.applications.events import event_of_change
from datafor_token.applications.index import ApplicationIndex, IndexEntry, UnreadableEntry, build_index
from datafor_token.applications.record import COLLECTION, MASK, Application
from datafor_token.applications.rules import check_password
from datafor_token.applications.sealing import Sealer
from datafor_token.applications.update import changes, merge, rotated, without_grace
from datafor_token.audit.events import Event, Kind
from datafor_token.audit.log import Audit
from datafor_token.crypto.damaged_secrets import warnings_about
from datafor_token.crypto.strength import weakness
from datafor_token.errors import Conflict, InvalidInput, NotFound, RecordDamaged, RuleError, StoreUnavailable, about
from datafor_token.settings import Settings
from datafor_token.store.base import Document, Store
from datafor_token.store.cache import RecordCache, RecordIndex
from datafor_token.validation import logs, urls

log = logging.getLogger(__name__)

# Returns the new application for the stored one, or for None.
Change = Callable[[Application | None], Application]
# Returns the fields to save, for those of the stored application.
Build = Callable[[dict[str, Any]], Mapping[str, Any]]

_NOTE_INTERVAL = 60_000  # milliseconds
_NOTE_WAIT = 0.05  # seconds; a writer that holds the lock must not delay a sign-in


@dataclasses.dataclass(frozen=True)
class Rotation:
    """Result of a rotation: the secret that the service generated (None for a given one), and the warnings about it.

    ``until`` is the time until which the previous secret is accepted, in milliseconds since 1970; without one, the
    time of the rotation.
    """

    secret: str | None = dataclasses.field(repr=False)
    until: int
    warnings: Sequence[str]


class Saved(NamedTuple):
    """An application as it was stored, and the warnings about it."""

    application: Application
    warnings: Sequence[str]


class Preview(NamedTuple):
    """An application as a change would store it, as it is stored now (None: not at all), and the warnings about it."""

    application: Application
    stored: Application | None
    warnings: Sequence[str]

    @property
    def changes(self) -> Mapping[str, tuple[Any, Any]]:
        """By field, the present value and the new one, with secrets masked."""
        return changes(self.stored, self.application)

    @property
    def after_grace(self) -> Application | None:
        """For a rotation, the application when its grace period is over; None without a grace period."""
        previous = self.application.previous
        if previous is None or not previous.until:
            return None
        return without_grace(self.application, previous.until)


class Registry:
    """The applications in the store.

    ``clock`` returns seconds since 1970. ``fetch_keys`` is called after an application with ``jwks_uri`` was stored, to
    fetch its keys in the background. ``logs_warnings``: whether the warnings about a record, which are returned, are
    logged too; a command prints them. Every method raises ``StoreUnavailable`` in an outage, and ``RecordDamaged``
    for a record that is not a valid application.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate collaborator
        self,
        store: Store,
        sealer: Sealer,
        audit: Audit,
        clock: Callable[[], float],
        settings: Settings,
        fetch_keys: Callable[[], None] = lambda: None,
    ) -> None:
        self._fetch_keys = fetch_keys
        self._store = store
        self._audit = audit
        self._sealer = sealer
        self._applications = RecordCache(store, COLLECTION, self._sealer.unseal)
        self._entries = RecordIndex(store, COLLECTION, self._entry)
        self._logged_violations: set[tuple[str, str]] = set()
        self._index: tuple[int, ApplicationIndex] | None = None
        self._clock = clock
        self._settings = settings
        self.logs_warnings = True

    def get(self, name: str) -> Application:
        """Return the application of that name, regardless of case; raise ``NotFound``."""
        application = self._applications.get(name)
        if application is None:
            raise NotFound
        return application

    def only_application(self) -> Application:
        """Return the application if only one exists; raise ``InvalidInput`` for several, ``NotFound`` for none."""
        # An edit of a record by hand is noticed when the application is read.
        found = self._entries.all(thorough=False).records
        if len(found) > 1:
            raise InvalidInput.of("name", "can not be empty")
        if not found:
            raise NotFound
        ((name, _),) = found.values()
        return self.get(name)

    def index(self, *, thorough: bool = True) -> ApplicationIndex:
        """Return the index of all applications: the same object until one of them changes.

        A record that cannot be read is named in the index and does not affect the others. ``thorough`` is as in
        ``RecordIndex.all``.
        """
        content = self._entries.all(thorough=thorough)
        index = self._index
        if index is None or index[0] != content.version:
            index = self._index = content.version, build_index(content.records.values())
        return index[1]

    def all_applications(self) -> tuple[Sequence[Application], Sequence[str]]:
        """Return all applications, sorted by name, and the names of those that cannot be read."""
        index = self.index()
        applications, damaged = self.applications_of(index.entries)
        return applications, sorted([*index.damaged, *damaged])

    def applications_of(self, entries: Iterable[IndexEntry]) -> tuple[Sequence[Application], Sequence[str]]:
        """Return the applications of these entries, and the names of those that cannot be read.

        Applications that were deleted since are left out.
        """
        applications, damaged = [], []
        for entry in entries:
            try:
                applications.append(self.get(entry.name))
            except NotFound:
                continue
            except RecordDamaged:
                damaged.append(entry.name)
        return applications, damaged

    def save(self, wanted: Mapping[str, Any], creator: str, *, new: bool = False) -> Sequence[str]:
        """Create or replace the application of that name; return the warnings about it.

        ``wanted`` is a request checked by ``ApplicationSchema``. A secret that is left out or masked, and a masked
        initial password, keep the stored value. Raises ``Conflict`` if the stored name differs by case only (``new``:
        if the application exists at all), and ``InvalidInput`` for errors that depend on the stored record.
        """
        return self._update(wanted["name"], self._saving(wanted, creator, new=new)).warnings

    def preview(self, wanted: Mapping[str, Any], *, new: bool = False) -> Preview:
        """Return what ``save`` would store; raise its errors, but store nothing."""
        return self._preview(wanted["name"], self._saving(wanted, "", new=new))

    def _saving(self, wanted: Mapping[str, Any], creator: str, *, new: bool) -> Change:
        def change(stored: Application | None) -> Application:
            if new and stored is not None:
                raise Conflict("name already exists as '%(name)s'", name=stored.name)
            return merge(stored, wanted, creator, self._milliseconds())

        return change

    def modify(self, name: str, build: Build) -> Saved:
        """Change an application: ``build`` takes its fields, as in a response, and returns ``wanted`` for ``save``.

        The store's lock is held meanwhile, so that two callers who change different fields do not undo each other's
        change. Raises ``NotFound``, and the errors of ``save`` and ``build``.
        """
        return self._update(name, self._modifying(build))

    def preview_change(self, name: str, build: Build) -> Preview:
        """Return what ``modify`` would store; raise its errors, but store nothing."""
        return self._preview(name, self._modifying(build))

    def _modifying(self, build: Build) -> Change:
        def change(stored: Application | None) -> Application:
            present = _existing(stored)
            return merge(
                present, build({**present.to_response(self._clock()), "secret": MASK}), "", self._milliseconds()
            )

        return change

    def rotate(
        self, name: str, secret: str | None, grace: int, seen: int | None = None, jwks_uri: str | None = None
    ) -> Rotation:
        """Give the application a new secret; the present one is accepted for ``grace`` more seconds.

        ``secret`` is None to generate a shared one, or if ``jwks_uri`` replaces it. The keys of a provider end at once.
        ``seen`` is the time of the last change that the caller knows of (milliseconds since 1970), so that a request
        that was sent twice rotates once. Raises ``NotFound``, ``Conflict`` for a later change, and ``InvalidInput`` for
        a secret or URL that does not fit or is the present one.
        """
        now = self._milliseconds()
        change = self._rotating(secret, grace, seen, jwks_uri, now)
        application, warnings = self._update(name, change, Kind.APPLICATION_ROTATED)
        generated = application.secret if secret is None and jwks_uri is None else None
        return Rotation(generated, now if application.previous is None else now + grace * 1000, warnings)

    def preview_rotation(self, name: str, secret: str | None, grace: int, jwks_uri: str | None = None) -> Preview:
        """Return what ``rotate`` would store; raise its errors, but store nothing. A generated secret is discarded."""
        return self._preview(name, self._rotating(secret, grace, None, jwks_uri, self._milliseconds()))

    @staticmethod
    def _rotating(secret: str | None, grace: int, seen: int | None, jwks_uri: str | None, now: int) -> Change:
        def change(stored: Application | None) -> Application:
            present = _existing(stored)
            if seen is not None and present.last_modified_date != seen:
                raise Conflict("the application was changed meanwhile")
            return rotated(present, secret, jwks_uri, now, grace * 1000)

        return change

    def end_grace(self, name: str, until: int) -> None:
        """Accept the secret before the last rotation no longer; ignore a grace period that has ended.

        ``until`` is the end of the grace period that the caller knows of, in milliseconds since 1970. Raises
        ``NotFound``, and ``Conflict`` if it is that of another rotation.
        """

        def change(stored: Application | None) -> Application:
            present = _existing(stored)
            if present.previous is None or present.previous.until != until:
                raise Conflict("the application was changed meanwhile")
            return without_grace(present, self._milliseconds())

        if self.get(name).previous_secret(self._clock()) is not None:
            self._update(name, change)

    def delete(self, name: str) -> None:
        """Remove the application; ignore a name that does not exist, and leave a damaged record alone."""
        with contextlib.suppress(NotFound), self._audit.change() as record:
            record(Event(kind=Kind.APPLICATION_DELETED, application=self.get(name).name))
            self._store.delete(COLLECTION, name)

    def preview_deletion(self, names: Iterable[str]) -> tuple[Sequence[str], Sequence[str]]:
        """Return the names of the applications that ``delete`` would remove, and those that do not exist.

        Raise the errors of ``delete``, but remove nothing.
        """
        found, missing = [], []
        for name in names:
            try:
                found.append(self.get(name).name)
            except NotFound:
                missing.append(name)
        return found, missing

    def note_previous_use(self, application: Application) -> None:
        """Store that the previous secret was used just now, accurate to a minute; only log a failure."""
        now = self._milliseconds()
        previous = application.previous
        if previous is None or (previous.last_used is not None and now - previous.last_used < _NOTE_INTERVAL):
            return

        def change(document: Document | None) -> Document:
            stored = _existing(None if document is None else self._sealer.unseal(document))
            if stored.previous is None or stored.previous.secret != previous.secret:
                raise NotFound
            used = dataclasses.replace(stored.previous, last_used=now)
            return self._sealer.seal(dataclasses.replace(stored, previous=used))

        try:
            self._store.update(COLLECTION, application.name, change, wait=_NOTE_WAIT)
        except NotFound:
            # Rotated again, or deleted, in the meantime.
            return
        except StoreUnavailable as error:
            # A disk that cannot be written must not make a token invalid.
            log.warning(logs.event("last use not stored", application=application.name, reason=error.reason))

    def reseal(self, name: str) -> None:
        """Write the application's record again, so that its secrets are encrypted with the present key."""

        def change(document: Document | None) -> Document:
            return self._sealer.seal(_existing(None if document is None else self._sealer.unseal(document)))

        self._store.update(COLLECTION, name, change)

    def _preview(self, name: str, change: Change) -> Preview:
        document = self._store.get(COLLECTION, name)
        stored = None if document is None else self._sealer.unseal(document)
        application = change(stored)
        return Preview(application, stored, [sentence for _, sentence in self._warnings(application, stored)])

    def _update(self, name: str, change: Change, kind: Kind | None = None) -> Saved:
        """Change one application under the store's lock: check it, record the event, log the warnings, write it.

        ``change`` takes the stored application, or None, and returns the new one. ``kind`` is that of the event, if it
        is neither "added" nor "changed".
        """
        saved: list[Saved] = []
        with self._audit.change() as record:

            def update(document: Document | None) -> Document:
                stored = None if document is None else self._sealer.unseal(document)
                application = change(stored)
                warnings = self._warnings(application, stored)
                record(event_of_change(stored, application, kind))
                # A store may call this more than once: the last attempt is stored.
                saved[:] = [Saved(application, self._logged(application.name, warnings))]
                return self._sealer.seal(application)

            self._store.update(COLLECTION, name, update)
        if saved[0].application.jwks_uri:
            self._fetch_keys()
        return saved[0]

    def _milliseconds(self) -> int:
        """Return the time in milliseconds since 1970."""
        return int(self._clock() * 1000)

    def _entry(self, document: Document) -> IndexEntry | UnreadableEntry:
        """Return the index entry of a record; log each rule that its stored values break, once."""
        try:
            entry = IndexEntry.of(self._sealer.unseal(document))
        except RecordDamaged as error:
            return UnreadableEntry.of(document, error)
        for violation in entry.rule_violations if self.logs_warnings else ():
            if (entry.name, violation) not in self._logged_violations:
                self._logged_violations.add((entry.name, violation))
                log.warning(logs.event("stored value breaks a rule", application=entry.name, reason=violation))
        return entry

    def _warnings(self, application: Application, stored: Application | None) -> list[tuple[str, str]]:
        """Return each warning about an application to be stored: its event for the log ("": none), and its sentence.

        Raises ``InvalidInput`` for a weak secret if the setting ``REQUIRE_STRONG_SECRETS`` is true.
        """
        weak = weakness(application.algorithm, application.secret)
        is_new = stored is None or (application.algorithm, application.secret) != (stored.algorithm, stored.secret)
        if weak is not None and is_new and self._settings.require_strong_secrets:
            raise InvalidInput({"secret": [weak]})
        if application.jwks_uri and (stored is None or application.jwks_uri != stored.jwks_uri):
            self._check_key_url(application.jwks_uri)
        suspicious = warnings_about(application.algorithm, application.secret)
        short = self.short_password(application)
        return [
            *([] if weak is None else [("weak secret", weak)]),
            *(("suspicious secret", sentence) for sentence in suspicious),
            *(("trust policy", sentence) for sentence in policy.warnings_about(application, self._settings)),
            # Not refused: existing applications that have one continue to work.
            *([] if short is None else [("short initial password", short)]),
            # These were logged when the record was read. A violation by the secret is what makes it weak.
            *(("", text) for field, text in application.rule_violations.items() if field != "secret" or weak is None),
        ]

    def _check_key_url(self, url: str) -> None:
        try:
            urls.parse(url, self._settings.jwks_http_hosts)
        except RuleError as error:
            raise InvalidInput.of("jwks_uri", error.message) from None

    def _logged(self, name: str, warnings: Sequence[tuple[str, str]]) -> list[str]:
        """Log the warnings about an application, and return their sentences."""
        for event, sentence in warnings if self.logs_warnings else ():
            if event:
                log.warning(logs.event(event, application=name, reason=sentence))
        return [sentence for _, sentence in warnings]

    def short_password(self, application: Application) -> str | None:
        """Return a sentence if the initial password of an application breaks the rule for new passwords, or None."""
        try:
            if application.initpwd:
                check_password(application.initpwd, None, self._settings.min_password_length)
        except RuleError as error:
            return about("initpwd", error.message)
        return None


def _existing(stored: Application | None) -> Application:
    if stored is None:
        raise NotFound
    return stored
