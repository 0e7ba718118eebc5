"""The tables of the SQL store, and which version of them a database has."""

import secrets

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from datafor_token.errors import StoreNotReady
from datafor_token.store.sql.engine import Database, deadline, encoding_of
from datafor_token.store.sql.errors import outage

VERSION = 1
_LONGEST_INIT = 60.0  # seconds
_PROBED = "(probe)"  # no collection has this name
_PROBE_WAIT = 0.5  # seconds that a probe waits for a lock
_metadata = sa.MetaData()

records = sa.Table(
    "datafor_records",
    _metadata,
    sa.Column("collection", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),  # folded; see ``sql.key_of``
    # Text and not a JSON type: those drop the order of members, and PostgreSQL's refuses what a text may hold.
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("write_id", sa.String(32), nullable=False),
)
generations = sa.Table(
    "datafor_generations",
    _metadata,
    sa.Column("collection", sa.String(64), primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("write_id", sa.String(32), nullable=False),
)
_schema = sa.Table(
    "datafor_schema",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
)


def make(database: Database) -> bool:
    """Make the tables where they are missing; answer whether anything was made.

    Raises ``StoreNotReady`` where there are those of a newer version, and for a database that is not UTF-8.
    """
    with outage("make the tables of"), deadline(_LONGEST_INIT):
        version, missing = _found(database)
        _refuse_other(version)
        if version is not None and not missing:
            return False
        with database.writing(None) as connection:
            _metadata.create_all(connection)
            if records.name in missing:
                # Nodes remember records under their generations.
                connection.execute(generations.delete())
            try:
                if version is None:
                    connection.execute(_schema.insert().values(id=1, version=VERSION))
                connection.commit()
            except IntegrityError:
                # Somebody else was faster.
                return False
        return True


def check(database: Database) -> None:
    """Raise ``StoreNotReady`` where the database has not all tables, those of another version, or is not UTF-8."""
    with outage("read"), deadline(database.timeout):
        version, missing = _found(database)
    if version is None:
        raise StoreNotReady(
            "STORE: the database has no tables of this service yet; if it is the right one, make them"
            " once with `.venv/bin/flask store init`"
        )
    _refuse_other(version)
    if missing:
        raise StoreNotReady(
            f"STORE: the table {missing[0]} is missing in the database: put it back from a backup, or make it, empty,"
            " with `.venv/bin/flask store init`"
        )


def probe(database: Database) -> None:
    """Write a row and roll it back: whatever makes this fail would make a real write fail.

    A new row under a random name: to change a row that exists would wait for its lock, which all nodes share.
    """
    row = {"collection": _PROBED, "name": secrets.token_hex(8), "document": "{}", "write_id": ""}
    with database.writing(_PROBE_WAIT) as connection:
        connection.execute(records.insert().values(row))
        connection.rollback()


def _found(database: Database) -> tuple[int | None, list[str]]:
    """Which version of the tables there is, if any, and which of them are missing."""
    with database.reading() as connection:
        encoding = encoding_of(connection)
        if encoding != "UTF8":
            raise StoreNotReady(
                f"STORE: the database has the encoding {encoding}, which cannot keep every name; make one with"
                " CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
            )
        inspector = sa.inspect(connection)
        missing = [table.name for table in _metadata.sorted_tables if not inspector.has_table(table.name)]
        if _schema.name in missing:
            return None, missing
        found = connection.execute(sa.select(_schema.c.version)).scalar()
    return None if found is None else int(found), missing


def _refuse_other(version: int | None) -> None:
    if version not in (None, VERSION):
        raise StoreNotReady(
            f"STORE: the tables in the database are version {version}, this service knows version {VERSION};"
            " start the version of the service that made them"
        )
