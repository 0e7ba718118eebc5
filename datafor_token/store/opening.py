"""Opening of the store that the setting ``STORE`` names: a folder of files, or a database."""

import dataclasses
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from datafor_token.errors import RuleError, StartError, StoreNotReady
from datafor_token.settings import Settings
from datafor_token.store.base import Store
from datafor_token.store.files import file_system
from datafor_token.store.files.disk import create_folder, outage
from datafor_token.store.files.restoring import READY, finish_at_start
from datafor_token.store.files.store import FileStore

if TYPE_CHECKING:
    from datafor_token.store.sql.engine import Database

FILE = "file"
_COMMON_COLLECTIONS = ("instance", "users", "applications")
# The first record that a restore writes. A store without another one was never complete.
_FIRST_RESTORED = Path("instance", "key.json")
_WHAT_TO_DO = (
    "name the data folder of the service with --data or DATAFOR_TOKEN_DATA_DIR; only the first start of the service or"
    " `datafor-token store restore` create a new store"
)


def open_store(
    settings: Settings,
    collections: tuple[str, ...],
    waited: Callable[[float], None] | None = None,
    *,
    may_create: bool = True,
    serves: bool = False,
) -> Store:
    """Open the store of the setting ``STORE``.

    ``waited`` is called with the seconds that each lock was waited for. With ``may_create``, missing folders are
    created. A store that ``serves`` excludes migrations as long as it exists.

    Raise ``StoreNotReady`` if a database does not have this version's tables; without ``may_create``, if the data
    folder has no records; with it, if the file system is unsuitable. Raise ``StartError`` if the setting is not a URL
    of a database or the driver is not installed, ``StoreUnavailable`` in an outage.
    """
    if may_create:
        file_system.check(settings.data_dir, is_new=is_new(settings))
    if settings.store == FILE:
        if not may_create:
            _check_folder(settings.data_dir)
        finish_at_start(settings.data_dir, collections)
        if not may_create and not has_records(settings.data_dir):
            raise StoreNotReady(f"{settings.data_dir} has no records of this service: {_WHAT_TO_DO}")
        store = FileStore(settings.data_dir, collections, settings.lock_timeout, waited=waited)
        if serves:
            store.serve()
        return store
    database = _database(settings)
    from datafor_token.store.sql import schema  # noqa: PLC0415 - as in _database
    from datafor_token.store.sql import store as sql  # noqa: PLC0415 - as in _database

    schema.check(database)
    if serves:
        database.serve()
    # The data of each node: the audit log, the counts of failed passwords.
    if not may_create:
        _check_folder(settings.data_dir)
    with outage("create the data folder"):
        create_folder(settings.data_dir)
    return sql.SqlStore(database, collections, waited)


def has_records(folder: Path) -> bool:
    """Return whether a data folder, which need not exist, has records; raise ``StoreUnavailable`` in an outage.

    The remains of a killed first restore are not records, so that it can be repeated.
    """
    with outage(f"look into {folder}"):
        for collection in _COMMON_COLLECTIONS:
            try:
                names = os.listdir(folder / collection)  # noqa: PTH208 - one call
                if any(name.endswith(".json") and Path(collection, name) != _FIRST_RESTORED for name in names):
                    return True
            except (FileNotFoundError, NotADirectoryError):
                continue
    return False


def is_new(settings: Settings) -> bool:
    """Return whether the store is a data folder without records and without a restore to finish."""
    with outage(f"look into {settings.data_dir}"):
        return (
            settings.store == FILE and not (settings.data_dir / READY).exists() and not has_records(settings.data_dir)
        )


def create_tables(settings: Settings) -> bool:
    """Create the tables of the database that ``STORE`` names, and return whether any were missing.

    Raise errors as ``open_store`` does.
    """
    database = _database(settings)
    from datafor_token.store.sql import schema  # noqa: PLC0415 - as in _database

    return schema.create(database)


def with_store(settings: Settings, store: str) -> Settings:
    """Return the settings with another store."""
    return dataclasses.replace(settings, store=store)


def store_location(settings: Settings) -> str:
    """Return the location of the records for a message. The URL of a database is left out, since it has a password."""
    return str(settings.data_dir) if settings.store == FILE else "the store"


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
        # Imported late: the packages need not be installed for a store in files.
        from datafor_token.store.sql.engine import Database  # noqa: PLC0415
    except ImportError:
        raise StartError(
            "STORE: the packages for databases are not installed: run `make sql` in a checkout, else"
            " `pip install 'datafor-token[sql]'` in the environment of the service"
        ) from None
    try:
        return Database(settings.store, settings.store_timeout, settings.lock_timeout)
    except RuleError as error:
        raise StartError(f"STORE {error}") from None
