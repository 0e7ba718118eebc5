"""Opening of an installation: its store, keys, audit log and users; the first start creates them."""

import dataclasses
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from datafor_token.activity import records as activity
from datafor_token.activity.activity import Activity
from datafor_token.applications import record
from datafor_token.audit.events import Origin
from datafor_token.audit.log import Audit
from datafor_token.crypto import at_rest
from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import StoreNotReady, StoreUnavailable
from datafor_token.gate import gate
from datafor_token.metrics.counters import Metrics
from datafor_token.operations import migration
from datafor_token.operations.audit_logs import Retention, audit_log_of, warn_of_files
from datafor_token.operations.clock import ServiceClock, check_clock
from datafor_token.operations.store_identity import StoreIdentity
from datafor_token.providers import records as key_sets
from datafor_token.rehearsal import records as rehearsal
from datafor_token.settings import ENVIRONMENT_PREFIX, Settings
from datafor_token.sinks.sinks import Sinks
from datafor_token.store.base import Store
from datafor_token.store.metered import Metered
from datafor_token.store.opening import is_new, open_store, store_location
from datafor_token.tokens import cut_offs, personal, revocations
from datafor_token.users import session_notes, sessions, users
from datafor_token.users.passwords import Passwords
from datafor_token.users.throttle import Throttle
from datafor_token.validation import logs

log = logging.getLogger(__name__)

COLLECTIONS = (
    record.COLLECTION,
    users.COLLECTION,
    sessions.COLLECTION,
    session_notes.COLLECTION,
    revocations.COLLECTION,
    cut_offs.COLLECTION,
    personal.COLLECTION,
    gate.TICKETS,
    key_sets.COLLECTION,
    activity.COLLECTION,
    rehearsal.COLLECTION,
    at_rest.COLLECTION,
)


class Opener(Enum):
    """Opener of an installation, which decides what may be created."""

    SERVER = "the server: its first start creates everything"
    COMMAND = "a command: creates nothing, needs a store"
    RESTORE = "the restore of a backup that was read: creates the folders of the store"


@dataclass(frozen=True)
class Opened:
    """An open installation."""

    backend: Store  # for operations on the whole store
    store: Metered  # the same, with metrics
    keyring: Keyring
    audit: Audit
    users: users.Users
    activity: Activity
    sinks: Sinks
    retention: Retention
    audience_since: int  # see ``StoreIdentity``


@dataclass(frozen=True)
class _CheckedStore:
    """A store that is the one of this installation."""

    backend: Store
    store: Metered
    identity: StoreIdentity


@dataclass(frozen=True)
class Opening:
    """Opens an installation. ``origin`` returns who is acting, for the audit log."""

    settings: Settings
    opener: Opener
    clock: Callable[[], float]
    metrics: Metrics
    passwords: Passwords
    origin: Callable[[], Origin]

    def open(self) -> Opened:
        """Open the store, keys, audit log and users.

        Raises ``StartError`` with a sentence that states what to do; in an outage, ``StoreNotReady``.
        """
        try:
            checked = self._open_store()
            opened = self._open_users(checked)
            if self.opener is Opener.SERVER:
                self._complete_first_start(checked.identity, opened.users)
                checked.identity.begin_audience_rule(int(self.clock() * 1000))
                opened.activity.last_uses.begin()
            return dataclasses.replace(opened, audience_since=checked.identity.audience_since)
        except StoreUnavailable as error:
            raise StoreNotReady(f"{store_location(self.settings)}: {error.reason}") from None

    def _open_store(self) -> _CheckedStore:
        """Open the store, and check that it is the one of this installation before anything is written to it."""
        settings, metrics = self.settings, self.metrics
        if self.opener is Opener.SERVER:
            self._check_new_store()
        serves = self.opener is Opener.SERVER
        backend = open_store(
            settings, COLLECTIONS, waited=metrics.lock_waited, may_create=self._may_create, serves=serves
        )
        store = Metered(backend, metrics.store_operation, metrics.store_failure)
        if isinstance(self.clock, ServiceClock):
            self.clock.follow(backend)
        migration.check_complete(store)
        if serves:
            # After the first read, before the first write.
            check_clock(backend.clock_offset, settings.leeway)
        identity = StoreIdentity(store, settings.config_dir, store_location(settings))
        if self.opener is Opener.SERVER:
            identity.check_may_create()
            at_rest.check_keys(settings.config_dir, os.environ)
            identity.create_in_empty_store()
        elif self.opener is Opener.COMMAND:
            identity.check_exists()
        return _CheckedStore(backend, store, identity)

    def _check_new_store(self) -> None:
        """Check a new store before any folder is created: its folder may be a mount point that is not mounted."""
        settings = self.settings
        # Read before looking for a store: a server that creates the same store writes to the configuration folder last.
        identity = StoreIdentity(None, settings.config_dir, store_location(settings))
        if is_new(settings):
            identity.check_may_create()
            at_rest.check_keys(settings.config_dir, os.environ)

    def _open_users(self, checked: _CheckedStore) -> Opened:
        settings, store = self.settings, checked.store
        keyring = at_rest.load_keyring(settings.config_dir, os.environ, store, may_create=self._may_create)
        activity_of_all = Activity(store, self.clock)
        found = audit_log_of(checked.backend, settings)
        if self.opener is Opener.SERVER:
            warn_of_files(found, settings)
        sinks = Sinks(settings, self.clock, self.metrics)
        audit = Audit(
            found,
            self.clock,
            self.origin,
            self.metrics,
            keyring.derive("audit"),
            activity_of_all.happened,
            settings.node_name,
            sinks.put,
        )
        throttle = Throttle(
            settings.data_dir,
            self.clock,
            keyring.derive("throttle"),
            settings.ratelimit_storage_uri,
            self.metrics.limit_failed,
            # Without a trusted proxy, an address may be that of a proxy, and so the address of all users.
            bound_names=settings.trusted_proxies > 0,
        )
        user_records = users.Users(store, self.passwords, throttle, audit)
        return Opened(
            checked.backend,
            store,
            keyring,
            audit,
            user_records,
            activity_of_all,
            sinks,
            Retention(found, settings.audit_days),
            0,
        )

    def _complete_first_start(self, identity: StoreIdentity, user_records: users.Users) -> None:
        """Create the first user in a new store, and write the store's identifier to the configuration folder."""
        settings, generated = self.settings, None
        if identity.is_new:
            wanted = os.environ.get(f"{ENVIRONMENT_PREFIX}ADMIN_PASSWORD")
            generated = user_records.create_first(settings.config_dir, wanted, settings.min_password_length)
        identity.save()
        if generated is not None:
            file = settings.config_dir / users.PASSWORD_FILE
            # Once, and whatever the level of the log.
            logs.write(
                log,
                logging.INFO,
                logs.event("first start", user=users.FIRST_USER, password=generated, file=str(file)),
            )

    @property
    def _may_create(self) -> bool:
        return self.opener is not Opener.COMMAND
