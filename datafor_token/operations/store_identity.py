"""Identifier of the store, in the store and in the configuration folder, so that no mistake begins a second one.

The server's first start creates a store, and writes its identifier to ``store_id`` of the configuration folder. Later
starts compare the two: a data folder that was mistyped, wiped or not mounted is refused instead of begun. A store from
before there were identifiers gets one at its first start; a node without the file takes over that of the shared store.
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
from datafor_token.validation import logs

log = logging.getLogger(__name__)

FILE = "store_id"
COLLECTION = "instance"
RECORD = "store"
# The identifier that FILE had last. It stays when FILE is removed, which is how an operator says: begin anew.
_LAST = ".last_store_id"
# What shows that the configuration folder belongs to an installation, whichever version it is of.
_TRACES = ("secret_key", "initial_admin_password")
_RECORDS = ("users", "applications")
_IDENTIFIER = re.compile("[0-9a-f]{32}")


def is_identifier(collection: str, document: object) -> bool:
    """Return whether a record is the one that holds a store's identifier."""
    if collection != COLLECTION or not isinstance(document, dict) or document.get("name") != RECORD:
        return False
    identifier = document.get("identifier")
    return isinstance(identifier, str) and _IDENTIFIER.fullmatch(identifier) is not None


def identifier_record(identifier: str) -> Document:
    """Return the record that holds a store's identifier."""
    return {"format": 1, "name": RECORD, "identifier": identifier}


def known_identifier(config_dir: Path) -> str | None:
    """Return the identifier in the configuration folder; raise ``StoreNotReady`` for a file that is none."""
    file = config_dir / FILE
    try:
        text = file.read_text("utf-8-sig").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise StoreNotReady(f"{file} cannot be read: {reason}") from None
    if not _IDENTIFIER.fullmatch(text):
        raise StoreNotReady(f"{file} is not the identifier of a store: put it back from a backup, or remove it")
    return text


class StoreIdentity:
    """The identifier of one store and one configuration folder.

    ``place`` names the store in sentences. Methods raise ``StoreUnavailable`` in an outage, and ``StoreNotReady`` where
    this is not the store of this configuration folder.
    """

    def __init__(self, store: Store | None, config_dir: Path, place: str) -> None:
        """``store`` is ``None`` where nothing of it exists yet, and nothing may be created before the check."""
        self._store = store
        self._config_dir = config_dir
        self._place = place
        # In this order: another server that begins this store at the same time writes them the other way round.
        self._known = known_identifier(config_dir)
        with outage(f"look into {config_dir}"):
            traces = [name for name in _TRACES if (config_dir / name).exists()]
            self._traces = [] if (config_dir / _LAST).exists() else traces
        self._present = self._in_store()

    @functools.cached_property
    def _is_empty(self) -> bool:
        if self._store is None:
            return True
        return all(next(iter(self._store.documents(collection)), None) is None for collection in _RECORDS)

    @property
    def is_new(self) -> bool:
        """Return whether the first start has not come to its end yet."""
        return self._known is None and self._is_empty

    def check(self) -> None:
        """Refuse another store than the one whose identifier the configuration folder has."""
        if self._known is None or self._known == self._present:
            return
        file = self._config_dir / FILE
        found = "which has no identifier" if self._present is None else f"whose identifier is {self._present}"
        if self._present is None and self._is_empty:
            way_out = f"to begin anew on purpose, remove {file}"
        else:
            way_out = f"to use the records that are there, remove {file}: they stay as they are"
            if self._present is None:
                way_out += ", and the next start gives the store a new identifier"
        raise StoreNotReady(
            f"{file} says that the store of this service is {self._known}, but this is {self._place}, {found}: put the"
            f" right one there, or name it (DATAFOR_TOKEN_DATA_DIR, STORE); {way_out}"
        )

    def check_exists(self) -> None:
        """The same for a command, which needs a store that was begun."""
        self.check()
        if self._present is None and self._is_empty:
            raise StoreNotReady(
                f"there is no record in {self._place}: a new store is begun by the service's first start only; is it"
                " another one (DATAFOR_TOKEN_DATA_DIR, STORE)?"
            )

    def check_may_create(self) -> None:
        """The same for the server, which may begin a store where nothing says that there was one."""
        self.check()
        if self._present is None and self._is_empty and self._traces:
            traces = " and ".join(str(self._config_dir / name) for name in self._traces)
            raise StoreNotReady(
                f"there is no record in {self._place}, but {traces} of an earlier installation: put its records there,"
                f" or name their place (DATAFOR_TOKEN_DATA_DIR, STORE); to begin anew on purpose, move"
                f" {'them' if len(self._traces) > 1 else 'it'} away"
            )

    def create_in_empty_store(self) -> None:
        """Give an empty store its identifier, before its key is made: a first start that is killed goes on later."""
        if self._is_empty:
            self._make()

    def save(self) -> None:
        """End a start: give the store an identifier where it has none, and write it to the configuration folder.

        A folder that cannot be written is logged: the service serves, without this protection.
        """
        identifier = self._make()
        if self._known == identifier:
            return
        try:
            self._config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (_LAST, FILE):
                _write(self._config_dir / name, identifier)
        except (OSError, StoreUnavailable) as error:
            reason = error.reason if isinstance(error, StoreUnavailable) else error.strerror
            file = self._config_dir / FILE
            log.warning(logs.event(event="identifier of the store not written", file=file, reason=reason))

    def _make(self) -> str:
        if self._present is None and self._store is not None:
            with contextlib.suppress(AlreadyExists):
                self._store.create(COLLECTION, identifier_record(secrets.token_hex(16)))
            # Of another server that was faster, perhaps.
            self._present = self._in_store()
        return self._present or ""

    def _in_store(self) -> str | None:
        try:
            document = None if self._store is None else self._store.get(COLLECTION, RECORD)
            if document is None:
                return None
            if not is_identifier(COLLECTION, document):
                raise RecordDamaged(reason=f"{COLLECTION}/{RECORD} does not hold the identifier of a store")
            return str(document["identifier"])
        except RecordDamaged as error:
            if isinstance(error.__cause__, OSError):
                # It cannot be read at the moment: that is no reason to remove it.
                raise
            raise StoreNotReady(
                f"{self._place}: {error.reason}: put this record back from a copy, or remove it and"
                f" {self._config_dir / FILE}: all other records stay, and the next start gives the store a new"
                " identifier"
            ) from None


def _write(path: Path, identifier: str) -> None:
    """Write the file whole or not at all."""
    temp = path.with_name(f".{FILE}-{secrets.token_hex(8)}")
    try:
        write_new(temp, f"{identifier}\n".encode())
        temp.rename(path)
    except BaseException:
        remove(temp)
        raise
    sync_folder(path.parent)
