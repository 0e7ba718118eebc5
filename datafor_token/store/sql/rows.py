"""Rows of the SQL store's tables become documents, and documents rows."""

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
_HASH_MARK = "~"
_LONGEST_NAME = 200  # characters
_PAGE = CHUNK = 1000  # records read at once
_RECORDS = sa.select(records.c.collection, records.c.name, records.c.document, records.c.write_id)
GENERATIONS = sa.select(generations.c.collection, generations.c.n, generations.c.write_id)
# Built once: building a statement costs as much as running it.
_WANTED = records.c.collection == sa.bindparam("c"), records.c.name == sa.bindparam("n")
_RECORD = _RECORDS.where(*_WANTED)
_WRITE_ID = sa.select(records.c.write_id).where(*_WANTED)
_WRITE_IDS = sa.select(records.c.name, records.c.write_id).where(_WANTED[0])
_SEVERAL = _RECORDS.where(_WANTED[0], records.c.name.in_(sa.bindparam("names", expanding=True)))


def key_of(name: str) -> str:
    """The name as it stands in the table: folded, and readable where that is short and harmless.

    No two names collide: one with the mark in it is always hashed.
    """
    key = fold(name)
    if key and key.isprintable() and len(key) <= _LONGEST_NAME and _HASH_MARK not in key:
        return key
    return _HASH_MARK + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def of(collection: str) -> sa.ColumnElement[bool]:
    """The row of a collection's generation."""
    return generations.c.collection == collection


def at(collection: str, key: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    """Where a record is."""
    return records.c.collection == collection, records.c.name == key


def row_of(connection: sa.Connection, collection: str, key: str) -> Row | None:
    """The row of a record, ``None`` where there is none."""
    return connection.execute(_RECORD, {"c": collection, "n": key}).one_or_none()


def write_id_of(connection: sa.Connection, collection: str, key: str) -> str | None:
    """Which write a record is of, ``None`` where there is none."""
    return connection.execute(_WRITE_ID, {"c": collection, "n": key}).scalar()


def write_ids_of(connection: sa.Connection, collection: str) -> dict[str, Hashable]:
    """Which write each record of a collection is of."""
    return {row.name: row.write_id for row in connection.execute(_WRITE_IDS, {"c": collection})}


def rows_of(connection: sa.Connection, collection: str, keys: Sequence[str]) -> Sequence[Row]:
    """The rows of those names, at most ``CHUNK``."""
    return connection.execute(_SEVERAL, {"c": collection, "names": keys}).all()


def page_of(connection: sa.Connection, collection: str, after: str | None) -> Sequence[Row]:
    """The rows of a collection that come after a name, as many as are read at once."""
    page = _RECORDS.where(records.c.collection == collection).order_by(records.c.name).limit(_PAGE)
    return connection.execute(page if after is None else page.where(records.c.name > after)).all()


def document_of(row: Row, wanted: str | None) -> Document:
    """The document of a row; ``wanted`` is the folded name that it should have, where that is known."""
    place = f"{row.collection}/{row.name}"
    try:
        document = strict_json.loads(row.document)
    except strict_json.JSONError as error:
        raise RecordDamaged(reason=f"{place} {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise RecordDamaged(reason=f"{place} is no JSON object with a name")
    if key_of(document["name"]) != row.name or (wanted is not None and fold(document["name"]) != wanted):
        raise RecordDamaged(reason=f"{place} holds the record of another name")
    return document


def keep(connection: sa.Connection, collection: str, document: Document, write_id: str, *, new: bool) -> None:
    """Write the document; ``new`` where there is no row of that name yet."""
    values = {"document": strict_json.readable(document), "write_id": write_id}
    key = key_of(document["name"])
    if new:
        connection.execute(records.insert().values(collection=collection, name=key, **values))
    else:
        connection.execute(records.update().where(*at(collection, key)).values(**values))


def begin_generation(connection: sa.Connection, collection: str, write_id: str) -> int:
    """Begin a new generation of the collection, which nobody else can until this transaction has ended."""
    following = generations.update().where(of(collection)).values(n=generations.c.n + 1, write_id=write_id)
    n = connection.execute(following.returning(generations.c.n)).scalar()
    if n is None:
        connection.execute(generations.insert().values(collection=collection, n=1, write_id=write_id))
    return int(n or 1)
