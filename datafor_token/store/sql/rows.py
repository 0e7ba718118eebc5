"""Rows of the SQL store's tables, and their conversion to documents."""

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

import sqlalchemy as sa

from datafor_token.errors import RecordDamaged
from datafor_token.store.base import Document
from datafor_token.store.sql.schema import generations, records
from datafor_token.validation import strict_json
from datafor_token.validation.names import fold

Row = sa.Row[Any, Any, Any, Any]
HASH_MARK = "~"
_LONGEST_NAME = 200  # characters
_PAGE = CHUNK = 1000  # records read at once
_RECORDS = sa.select(records.c.collection, records.c.name, records.c.document, records.c.write_id)
GENERATION = sa.select(generations.c.n, generations.c.write_id).where(generations.c.collection == sa.bindparam("c"))
# Built once: building a statement takes as long as executing it.
_WANTED = records.c.collection == sa.bindparam("c"), records.c.name == sa.bindparam("n")
_RECORD = _RECORDS.where(*_WANTED)
_WRITE_ID = sa.select(records.c.write_id).where(*_WANTED)
_WRITE_IDS = sa.select(records.c.name, records.c.write_id).where(_WANTED[0])
_SEVERAL = _RECORDS.where(_WANTED[0], records.c.name.in_(sa.bindparam("names", expanding=True)))


def key_of(name: str) -> str:
    """Return the key of a record in the table: its folded name, or a hash if that is long or not printable.

    No two names collide: a name that contains the mark is always hashed.
    """
    key = fold(name)
    if key and key.isprintable() and len(key) <= _LONGEST_NAME and HASH_MARK not in key:
        return key
    return HASH_MARK + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_record(collection: str, key: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Return the conditions for the row of a record."""
    return records.c.collection == collection, records.c.name == key


def row_of(connection: sa.Connection, collection: str, key: str) -> Row | None:
    """Return the row of a record, or None if it does not exist."""
    return connection.execute(_RECORD, {"c": collection, "n": key}).one_or_none()


def write_id_of(connection: sa.Connection, collection: str, key: str) -> str | None:
    """Return the identifier of the write that a record is from, or None if it does not exist."""
    return connection.execute(_WRITE_ID, {"c": collection, "n": key}).scalar()


def write_ids_of(connection: sa.Connection, collection: str) -> dict[str, Hashable]:
    """Return the identifier of the write that each record of a collection is from, by key."""
    return {row.name: row.write_id for row in connection.execute(_WRITE_IDS, {"c": collection})}


def rows_of(connection: sa.Connection, collection: str, keys: Sequence[str]) -> Sequence[Row]:
    """Return the rows of these keys, at most ``CHUNK``."""
    return connection.execute(_SEVERAL, {"c": collection, "names": keys}).all()


def page_of(connection: sa.Connection, collection: str, after: str | None) -> Sequence[Row]:
    """Return the next page of a collection's rows, in the order of their keys."""
    page = _RECORDS.where(records.c.collection == collection).order_by(records.c.name).limit(_PAGE)
    return connection.execute(page if after is None else page.where(records.c.name > after)).all()


def document_of(row: Row, wanted: str | None) -> Document:
    """Return the document of a row; raise ``RecordDamaged`` if it is not valid.

    ``wanted`` is the folded name that the document must have, if that is known.
    """
    place = f"{row.collection}/{row.name}"
    try:
        document = strict_json.loads(row.document)
    except strict_json.JSONError as error:
        raise RecordDamaged(reason=f"{place} {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise RecordDamaged(reason=f"{place} is not a JSON object with a name")
    if key_of(document["name"]) != row.name or (wanted is not None and fold(document["name"]) != wanted):
        raise RecordDamaged(reason=f"{place} holds the record of another name")
    return document


def write(connection: sa.Connection, collection: str, document: Document, write_id: str, *, new: bool) -> None:
    """Write the document, as a new row with ``new``."""
    values = {"document": strict_json.readable(document), "write_id": write_id}
    key = key_of(document["name"])
    if new:
        connection.execute(records.insert().values(collection=collection, name=key, **values))
    else:
        connection.execute(records.update().where(*is_record(collection, key)).values(**values))
