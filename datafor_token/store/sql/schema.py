"""Tables of the SQL store, and their version."""

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from datafor_token.errors import StoreNotReady, StoreUnavailable
from datafor_token.store.sql.engine import Database, commit, deadline, encoding_of
from datafor_token.store.sql.errors import outage

VERSION = 1
_LONGEST_INIT = 60.0  # seconds
_metadata = sa.MetaData()

records = sa.Table(
    "datafor_records",
    _metadata,
    sa.Column("collection", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),  # see ``rows.key_of``
    # Text, since JSON types lose the order of members, and PostgreSQL's does not allow every text.
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
audit_lines = sa.Table(
    "datafor_audit",
    _metadata,
    # No number is used again on SQLite either, as it does by default after the last row was deleted.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),  # the time of the line, in milliseconds since 1970
    sa.Column("line", sa.Text, nullable=False),  # without its end
    sa.Index("datafor_audit_at", "at", "id"),
    sqlite_autoincrement=True,
)
versions = sa.Table(
    "datafor_schema",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
)


def create(database: Database) -> bool:
    """Create the missing tables, and return whether any were missing.

    Raise ``StoreNotReady`` if the tables are of another version, or the database's encoding is not UTF-8.
    """
    with outage("create the tables of"), deadline(_LONGEST_INIT):
        version, missing = _found(database)
        _refuse_other(version)
        if version is not None and not missing:
            return False
        with database.writing(None) as connection:
            _metadata.create_all(connection)
            if records.name in missing:
                # Nodes cache records by generation.
                connection.execute(generations.delete())
            try:
                if version is None:
                    connection.execute(versions.insert().values(id=1, version=VERSION))
                if not commit(connection):
                    raise StoreUnavailable(reason="no synchronous standby has the tables that were created: start it")
            except IntegrityError:
                # Another process created them first.
                return False
        return True


def check(database: Database) -> None:
    """Raise ``StoreNotReady`` if tables are missing or of another version, or the encoding is not UTF-8."""
    with outage("read"), deadline(database.timeout):
        version, missing = _found(database)
    if version is None:
        raise StoreNotReady(
            "STORE: the database has no tables of this service yet; if it is the right one, create them"
            " once with `datafor-token store init`"
        )
    _refuse_other(version)
    if missing == [audit_lines.name]:
        raise StoreNotReady(
            f"STORE: the table of the audit log, {audit_lines.name}, is missing in the database: after an upgrade,"
            " create it with `datafor-token store init`, else restore it from a backup"
        )
    if missing:
        raise StoreNotReady(
            f"STORE: the table {missing[0]} is missing in the database: restore it from a backup, or create an empty"
            " one with `datafor-token store init`"
        )


def tables() -> list[sa.Table]:
    """Return all tables."""
    return _metadata.sorted_tables


def check_version(version: int | None) -> None:
    """Raise ``StoreUnavailable`` if the tables have got another version while this process runs."""
    if version != VERSION:
        raise StoreUnavailable(
            reason=f"the tables in the database are version {version}, this service knows version {VERSION}: start the"
            " version of the service that changed them on this node too"
        )


def _found(database: Database) -> tuple[int | None, list[str]]:
    """Return the version of the tables, if they exist, and the names of the missing ones."""
    with database.reading() as connection:
        encoding = encoding_of(connection)
        if encoding != "UTF8":
            raise StoreNotReady(
                f"STORE: the database has the encoding {encoding}, which cannot store every name; create one with"
                " CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
            )
        inspector = sa.inspect(connection)
        missing = [table.name for table in _metadata.sorted_tables if not inspector.has_table(table.name)]
        if versions.name in missing:
            return None, missing
        found = connection.execute(sa.select(versions.c.version)).scalar()
    return None if found is None else int(found), missing


def _refuse_other(version: int | None) -> None:
    if version not in (None, VERSION):
        raise StoreNotReady(
            f"STORE: the tables in the database are version {version}, this service knows version {VERSION};"
            " start the version of the service that created them"
        )
