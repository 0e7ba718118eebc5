"""The store that the setting ``STORE`` names: the folder of files, or a database."""

import dataclasses
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from datafor_token.errors import RuleError, StartError, StoreNotReady
from datafor_token.settings import Settings
from datafor_token.store.base import Store
from datafor_token.store.files.disk import create_folder, outage
from datafor_token.store.files.restoring import READY, finish_at_start
from datafor_token.store.files.store import FileStore

if TYPE_CHECKING:
    from datafor_token.store.sql.engine import Database

FILE = "file"
_OF_EVERY_STORE = ("instance", "users", "applications")  # collections
# The first record that a restore writes: a store that has no other one was never complete.
_FIRST_OF_A_RESTORE = Path("instance", "key.json")


def open_store(
    settings: Settings,
    collections: tuple[str, ...],
    waited: Callable[[float], None] | None = None,
    *,
    may_create: bool = True,
) -> Store:
    """The store, ready to be used; ``waited`` is told for how many seconds each lock was waited for.

    ``may_create``: whether folders that are missing are created; without it a data folder without records is refused.
    Raises ``StoreNotReady`` for that, and where a database has no tables, or others, ``StartError`` where the setting
    is no URL or the driver is missing, and ``StoreUnavailable`` in an outage.
    """
    if settings.store == FILE:
        if not may_create:
            _check_folder(settings.data_dir)
        finish_at_start(settings.data_dir, collections)
        if not may_create and not has_records(settings.data_dir):
            raise StoreNotReady(f"there is no record of this service in {settings.data_dir}: {_WHAT_TO_DO}")
        return FileStore(settings.data_dir, collections, settings.lock_timeout, waited=waited)
    database = _database(settings)
    from datafor_token.store.sql import schema  # noqa: PLC0415 - as in _database
    from datafor_token.store.sql import store as sql  # noqa: PLC0415 - as in _database

    schema.check(database)
    # What each node has for itself: the audit log, the counts of failed passwords.
    if not may_create:
        _check_folder(settings.data_dir)
    with outage("make the data folder"):
        create_folder(settings.data_dir)
    return sql.SqlStore(database, collections, waited)


def has_records(folder: Path) -> bool:
    """Return whether a data folder, which need not exist, holds a store; raise ``StoreUnavailable`` if that is hidden.

    What a first restore left that was killed does not count, so that it can be repeated.
    """
    with outage(f"look into {folder}"):
        for collection in _OF_EVERY_STORE:
            try:
                names = os.listdir(folder / collection)  # noqa: PTH208 - one call
                if any(name.endswith(".json") and Path(collection, name) != _FIRST_OF_A_RESTORE for name in names):
                    return True
            except (FileNotFoundError, NotADirectoryError):
                continue
    return False


def is_new(settings: Settings) -> bool:
    """Return whether the store is a data folder without a store, nor one that only waits for a restore's last step."""
    return settings.store == FILE and not (settings.data_dir / READY).exists() and not has_records(settings.data_dir)


def create_tables(settings: Settings) -> bool:
    """Make the tables of the database that ``STORE`` names; answer whether there was anything to make.

    Raises as ``open_store`` does.
    """
    database = _database(settings)
    from datafor_token.store.sql import schema  # noqa: PLC0415 - as in _database

    return schema.make(database)


def with_store(settings: Settings, store: str) -> Settings:
    """The same settings with another store."""
    return dataclasses.replace(settings, store=store)


def store_location(settings: Settings) -> str:
    """Where the records are, as a sentence may say it: without the URL, which holds a password."""
    return str(settings.data_dir) if settings.store == FILE else "the store"


_WHAT_TO_DO = (
    "name the data folder of the service in DATAFOR_TOKEN_DATA_DIR; a new store is begun by the service's first start"
    " only, or by `flask store restore`"
)


def _check_folder(folder: Path) -> None:
    with outage(f"look into {folder}"):
        try:
            found = folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise StoreNotReady(f"the data folder {folder} does not exist: {_WHAT_TO_DO}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise StoreNotReady(f"{folder} is not a folder: {_WHAT_TO_DO}")


def _database(settings: Settings) -> "Database":
    try:
        # Only now: without a database nothing of this is needed, or installed.
        from datafor_token.store.sql.engine import Database  # noqa: PLC0415
    except ImportError:
        raise StartError(
            "STORE: the packages for databases are not installed; run `make sql`, or"
            " `.venv/bin/python -m pip install -r requirements-sql.txt`"
        ) from None
    try:
        return Database(settings.store, settings.store_timeout, settings.lock_timeout)
    except RuleError as error:
        raise StartError(f"STORE {error}") from None
