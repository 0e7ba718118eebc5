"""The store that the setting ``STORE`` names: the folder of files, or a database."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from datafor_token.errors import RuleError, StartError
from datafor_token.settings import Settings
from datafor_token.store.base import Store
from datafor_token.store.disk import make_folder, outage
from datafor_token.store.files import FileStore
from datafor_token.store.restoring import finish_at_start

if TYPE_CHECKING:
    from datafor_token.store.sql_engine import Database

FILE = "file"


def open_store(
    settings: Settings, collections: tuple[str, ...], waited: Callable[[float], None] | None = None
) -> Store:
    """The store, ready to be used; ``waited`` is told for how many seconds each lock was waited for.

    Raises ``StoreNotReady`` where a database has no tables, or others, ``StartError`` where the setting is
    no URL or the driver is missing, and ``StoreUnavailable`` in an outage.
    """
    if settings.store == FILE:
        finish_at_start(settings.data_dir, collections)
        return FileStore(settings.data_dir, collections, settings.lock_timeout, waited=waited)
    # What each node has for itself: the audit log, the counts of failed passwords.
    with outage("make the data folder"):
        make_folder(settings.data_dir)
    database = _database(settings)
    from datafor_token.store import sql, sql_schema  # noqa: PLC0415 - as in _database

    sql_schema.check(database)
    return sql.SqlStore(database, collections, waited)


def make_tables(settings: Settings) -> bool:
    """Make the tables of the database that ``STORE`` names; answer whether there was anything to make.

    Raises as ``open_store`` does.
    """
    database = _database(settings)
    from datafor_token.store import sql_schema  # noqa: PLC0415 - as in _database

    return sql_schema.make(database)


def instead(settings: Settings, store: str) -> Settings:
    """The same settings with another store."""
    return dataclasses.replace(settings, store=store)


def place_of(settings: Settings) -> str:
    """Where the records are, as a sentence may say it: without the URL, which holds a password."""
    return str(settings.data_dir) if settings.store == FILE else "the store"


def _database(settings: Settings) -> "Database":
    try:
        # Only now: without a database nothing of this is needed, or installed.
        from datafor_token.store.sql_engine import Database  # noqa: PLC0415
    except ImportError:
        raise StartError(
            "STORE: the packages for databases are not installed; run `make sql`, or"
            " `.venv/bin/python -m pip install -r requirements-sql.txt`"
        ) from None
    try:
        return Database(settings.store, settings.store_timeout, settings.lock_timeout)
    except RuleError as error:
        raise StartError(f"STORE {error}") from None
