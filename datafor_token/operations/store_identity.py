"""Identifier of the store, in the store and in the configuration folder, so that no mistake creates a second store.

The server's first start creates a store and writes its identifier to the file ``store_id`` of the configuration folder.
Later starts compare the two: a data folder that was mistyped, wiped or not mounted is refused, and no new store is
created there. A store of an earlier version, without an identifier, gets one at its next start. A further node, without
the file, takes the identifier of the shared store.

The record also has the time of the first start of a version that refuses a token with an ``aud`` unless its application
names an ``audience``: applications from before that time keep accepting such tokens.
"""

import contextlib
import functools
import logging
import re
import secrets
from pathlib import Path

from datafor_token.errors import RecordDamaged, StoreNotReady, StoreUnavailable
from datafor_token.store.base import AlreadyExists, Document, Store
from datafor_token.store.files.disk import outage, remove, sync_folder, write_new
from datafor_token.validation import files, logs

log = logging.getLogger(__name__)

FILE = "store_id"
COLLECTION = "instance"
RECORD = "store"
# The last identifier of FILE. It remains when an operator removes FILE to start over on purpose.
_LAST = ".last_store_id"
# Files that show that the configuration folder belongs to an installation, of any version.
_TRACES = ("secret_key", "initial_admin_password")
_RECORDS = ("users", "applications")
_IDENTIFIER = re.compile("[0-9a-f]{32}")
_AUDIENCE_SINCE = "audienceSince"
_NEVER = 2**63  # milliseconds since 1970, later than any record


def is_identifier(collection: str, document: object) -> bool:
    """Return whether a record is a valid one of a store's identifier."""
    if collection != COLLECTION or not isinstance(document, dict) or document.get("name") != RECORD:
        return False
    identifier = document.get("identifier")
    return isinstance(identifier, str) and _IDENTIFIER.fullmatch(identifier) is not None


def identifier_record(identifier: str) -> Document:
    """Return the record of a store's identifier."""
    return {"format": 1, "name": RECORD, "identifier": identifier}


def known_identifier(config_dir: Path) -> str | None:
    """Return the identifier in the configuration folder, or None; raise ``StoreNotReady`` for an invalid file."""
    file = config_dir / FILE
    try:
        text = files.read(file).decode("utf-8-sig").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise StoreNotReady(f"{file} cannot be read: {reason}") from None
    if not _IDENTIFIER.fullmatch(text):
        raise StoreNotReady(f"{file} is not the identifier of a store: restore the file from a copy, or remove it")
    return text


class StoreIdentity:
    """The identifier of one store and one configuration folder.

    ``place`` names the store in errors. Methods raise ``StoreUnavailable`` in an outage, and ``StoreNotReady`` if the
    store is not that of the configuration folder.
    """

    def __init__(self, store: Store | None, config_dir: Path, place: str) -> None:
        """Read both identifiers. ``store`` is None if it does not exist, and nothing may be created before a check."""
        self._store = store
        self._config_dir = config_dir
        self._place = place
        # In this order: another server that creates this store at the same time writes them in the opposite one.
        self._known = known_identifier(config_dir)
        with outage(f"look into {config_dir}"):
            traces = [name for name in _TRACES if (config_dir / name).exists()]
            self._traces = [] if (config_dir / _LAST).exists() else traces
        self._present = self._stored()

    @functools.cached_property
    def _is_empty(self) -> bool:
        if self._store is None:
            return True
        return all(next(iter(self._store.documents(collection)), None) is None for collection in _RECORDS)

    @property
    def is_new(self) -> bool:
        """True until the first start is complete."""
        return self._known is None and self._is_empty

    def check(self) -> None:
        """Refuse another store than the one whose identifier the configuration folder has."""
        if self._known is None or self._known == self._present:
            return
        file = self._config_dir / FILE
        found = "which has no identifier" if self._present is None else f"whose identifier is {self._present}"
        if self._present is None and self._is_empty:
            remedy = f"to start over on purpose, remove {file}"
        else:
            remedy = f"to use its records, remove {file}: they stay as they are"
            if self._present is None:
                remedy += ", and the next start gives the store a new identifier"
        raise StoreNotReady(
            f"{file} says that the store of this service is {self._known}, but this is {self._place}, {found}: put the"
            f" right store there, or configure its place (DATAFOR_TOKEN_DATA_DIR, STORE); {remedy}"
        )

    def check_exists(self) -> None:
        """Check the store for a command, which needs an existing one."""
        self.check()
        if self._present is None and self._is_empty:
            raise StoreNotReady(
                f"{self._place} has no records: only the service's first start creates a store; is the configured"
                " place right (DATAFOR_TOKEN_DATA_DIR, STORE)?"
            )

    def check_may_create(self) -> None:
        """Check the store for the server, which may create one if there are no traces of an earlier one."""
        self.check()
        if self._present is None and self._is_empty and self._traces:
            traces = " and ".join(str(self._config_dir / name) for name in self._traces)
            raise StoreNotReady(
                f"{self._place} has no records, but {traces} of an earlier installation exist"
                f"{'' if len(self._traces) > 1 else 's'}: put its records there, or configure their place"
                f" (DATAFOR_TOKEN_DATA_DIR, STORE); to start over on purpose, move"
                f" {'them' if len(self._traces) > 1 else 'it'} away"
            )

    @property
    def audience_since(self) -> int:
        """The time from which new applications need an ``audience``, in milliseconds since 1970."""
        document = None if self._store is None else self._store.get(COLLECTION, RECORD)
        since = (document or {}).get(_AUDIENCE_SINCE)
        return since if type(since) is int else _NEVER

    def begin_audience_rule(self, now: int) -> None:
        """Store, once, that applications need an ``audience`` from ``now`` on (milliseconds since 1970)."""
        if self._store is None or self.audience_since != _NEVER:
            return

        # What an existing store has now is older than the rule, also what was created in this millisecond.
        since = now if self._is_empty else now + 1

        def change(document: Document | None) -> Document:
            return {_AUDIENCE_SINCE: since, **(document or identifier_record(secrets.token_hex(16)))}

        try:
            self._store.update(COLLECTION, RECORD, change)
        except StoreUnavailable as error:
            # On a disk that cannot be written, nothing new needs an audience either.
            log.warning(logs.event("start of the audience rule not stored", reason=error.reason))

    def create_in_empty_store(self) -> None:
        """Create the identifier of an empty store before its key, so that an interrupted first start can continue."""
        if self._is_empty:
            self._create()

    def save(self) -> None:
        """Create the identifier of a store that has none, and write it to the configuration folder.

        If the folder cannot be written, log that: the service runs without this protection.
        """
        identifier = self._create()
        if self._known == identifier:
            return
        try:
            self._config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (_LAST, FILE):
                _write(self._config_dir / name, identifier)
        except (OSError, StoreUnavailable) as error:
            reason = error.reason if isinstance(error, StoreUnavailable) else error.strerror
            file = self._config_dir / FILE
            log.warning(logs.event("identifier of the store not written", file=str(file), reason=reason))

    def _create(self) -> str:
        if self._present is None and self._store is not None:
            with contextlib.suppress(AlreadyExists):
                self._store.create(COLLECTION, identifier_record(secrets.token_hex(16)))
            # Another server may have been faster.
            self._present = self._stored()
        return self._present or ""

    def _stored(self) -> str | None:
        try:
            document = None if self._store is None else self._store.get(COLLECTION, RECORD)
            if document is None:
                return None
            if not is_identifier(COLLECTION, document):
                raise RecordDamaged(reason=f"{COLLECTION}/{RECORD} is not the identifier of a store")
            return str(document["identifier"])
        except RecordDamaged as error:
            if isinstance(error.__cause__, OSError):
                # It cannot be read now, which is no reason to remove it.
                raise
            raise StoreNotReady(
                f"{self._place}: {error.reason}: restore this record from a copy, or remove it and"
                f" {self._config_dir / FILE}: all other records stay, and the next start gives the store a new"
                " identifier"
            ) from None


def _write(path: Path, identifier: str) -> None:
    """Write the file atomically."""
    temp = path.with_name(f".{FILE}-{secrets.token_hex(8)}")
    try:
        write_new(temp, f"{identifier}\n".encode())
        temp.rename(path)
    except BaseException:
        remove(temp)
        raise
    sync_folder(path.parent)
