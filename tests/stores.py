"""The store under test, and its records, to be read and edited by hand.

``TEST_STORE`` chooses it: files if it is not set; ``postgresql`` for a server that each test process starts, with a
schema for each data folder; ``sqlite`` for a database beside each data folder. A test that is about files has the
marker ``file_store``.
"""

import atexit
import contextlib
import functools
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datafor_token.store.files.store import FileStore
from datafor_token.validation.names import fold

KIND = os.environ.get("TEST_STORE", "file")
COLLECTIONS = (
    "applications",
    "users",
    "sessions",
    "revocations",
    "tickets",
    "instance",
    "key_sets",
    "cut_offs",
    "personal_tokens",
    "activity",
    "sign_ins",
)
# The folder for temporary folders in memory, where there is room.
_MEMORY = Path("/dev/shm")  # noqa: S108 - each gets a new name there
MEMORY = (
    _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > 2**31 else None
)
_numbers = itertools.count()
_urls: dict[Path, str] = {}
_schemas: list[str] = []


@functools.cache
def server() -> Any:
    """Start the PostgreSQL server of this process."""
    from tests.store.postgres import Postgres

    made = Postgres(safe=False, trusting=True).make().start()
    atexit.register(made.remove)
    _prepared(made.url())
    return made


def url_for(data_dir: Path) -> str:
    """Return the setting ``STORE`` for a service with this data folder, and create its tables."""
    if KIND == "file":
        return "file"
    if data_dir not in _urls and KIND == "sqlite":
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        _urls[data_dir] = _prepared(f"sqlite:///{data_dir.parent}/{data_dir.name}.db")
    elif data_dir not in _urls:
        if not _schemas:
            _create_schemas()
        _urls[data_dir] = server().url(query=f"?options=-csearch_path%3D{_schemas.pop()}")
    return _urls[data_dir]


def _create_schemas() -> None:
    """Create empty schemas for the next tests: a connection takes three times as long as a schema."""
    statements = []
    for _ in range(20):
        schema = f"test{next(_numbers)}"
        _schemas.append(schema)
        # Copies of tables that the service created: a hundred times faster.
        copies = [
            f"CREATE TABLE {schema}.{table} (LIKE public.{table} INCLUDING ALL)"
            for table in ("datafor_records", "datafor_generations", "datafor_schema", "datafor_audit")
        ]
        version = f"INSERT INTO {schema}.datafor_schema SELECT * FROM public.datafor_schema"  # noqa: S608 - made here
        statements += [f"CREATE SCHEMA {schema}", *copies, version]
    server().ask("; ".join(statements))


def _prepared(url: str) -> str:
    from datafor_token.store.sql import schema as sql_schema
    from datafor_token.store.sql.engine import Database

    database = Database(url, 30, 30)
    sql_schema.create(database)
    database.close()
    return url


class Record:
    """A stored record of the service with this data folder: a file, or a row with the same methods."""

    def __init__(self, data_dir: Path, collection: str, name: str) -> None:
        self.name = name
        self._place = (data_dir, collection, name)

    def read_text(self) -> str:
        """Return the stored text."""
        if KIND == "file":
            return self._path().read_text()
        return str(_ask("SELECT document FROM datafor_records WHERE collection = :c AND name = :n", *self._place)[0][0])

    def write_text(self, text: str) -> None:
        """Replace the record with a text, without the service."""
        if KIND == "file":
            self._path().write_text(text)
            return
        self.unlink()
        _ask(f"INSERT INTO datafor_records VALUES (:c, :n, :d, 'by hand {next(_numbers)}')", *self._place, text)  # noqa: S608 - no text of others

    def unlink(self) -> None:
        """Remove the record, without the service."""
        if KIND == "file":
            self._path().unlink()
            return
        _ask("DELETE FROM datafor_records WHERE collection = :c AND name = :n", *self._place)
        # The documentation asks for this after a change by hand.
        _ask("UPDATE datafor_generations SET n = n + 1 WHERE collection = :c", *self._place)

    def exists(self) -> bool:
        """Return whether the record exists."""
        data_dir, collection, _ = self._place
        return self.name in [one.name for one in records_in(data_dir, collection)]

    def _path(self) -> Path:
        data_dir, collection, name = self._place
        return Path(FileStore(data_dir, COLLECTIONS, 1)._file(collection, name))


def records_in(data_dir: Path, collection: str) -> list[Record]:
    """Return all records of a collection, sorted by name."""
    if KIND == "file":
        names = [path.stem for path in (data_dir / collection).glob("*.json")]
    else:
        names = [row[0] for row in _ask("SELECT name FROM datafor_records WHERE collection = :c", data_dir, collection)]
    return [Record(data_dir, collection, name) for name in sorted(names)]


def audit_text(data_dir: Path) -> str:
    """Return the lines of the audit log of the service with this data folder, oldest first."""
    if KIND == "file":
        return (data_dir / "audit.log").read_text()
    return "".join(f"{row[0]}\n" for row in _ask("SELECT line FROM datafor_audit ORDER BY at, id", data_dir))


@contextlib.contextmanager
def unavailable(data_dir: Path, collection: str) -> Iterator[None]:
    """Make a collection (with a database: every one) impossible to read or write for a while."""
    gone = data_dir / "gone"
    if KIND == "file":
        (data_dir / collection).rename(gone)
    else:
        # The generations first: records that are cached under them need no table of records.
        _ask("ALTER TABLE datafor_generations RENAME TO gone_generations", data_dir)
        _ask("ALTER TABLE datafor_records RENAME TO gone", data_dir)
    try:
        yield
    finally:
        if KIND == "file":
            gone.rename(data_dir / collection)
        else:
            _ask("ALTER TABLE gone RENAME TO datafor_records", data_dir)
            _ask("ALTER TABLE gone_generations RENAME TO datafor_generations", data_dir)


def _ask(question: str, data_dir: Path, collection: str = "", name: str = "", text: str = "") -> list[Any]:
    import sqlalchemy as sa

    from datafor_token.store.sql.engine import Database
    from datafor_token.store.sql.rows import key_of

    database = Database(url_for(data_dir), 30, 30)
    values = {"c": collection, "n": key_of(fold(name)), "d": text}
    wanted = {key: value for key, value in values.items() if f":{key}" in question}
    try:
        with database.writing(None) as connection:
            found = connection.execute(sa.text(question), wanted)
            rows = list(found.all()) if found.returns_rows else []
            connection.commit()
            return rows
    finally:
        database.close()
