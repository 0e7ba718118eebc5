"""All records from one store into another one: copied, read back, and nothing changed where they came from.

A mark in the target says that it is not whole yet, and of which installation it is a copy: with it a broken-off
migration goes on, without it a target with records is left alone, and the service does not start on a marked one.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from datafor_token.crypto.at_rest import COLLECTION as INSTANCE
from datafor_token.crypto.at_rest import RECORD as KEY
from datafor_token.crypto.at_rest import Keyring, is_own_key
from datafor_token.errors import Forbidden, RecordDamaged, StoreNotReady
from datafor_token.store.base import Document, Store
from datafor_token.validation.names import fold

_MARK = "migration"
_BATCH = 500  # records

Place = tuple[str, str]  # collection and folded name
Names = Sequence[Place]
Progress = Callable[[Names, str], AbstractContextManager[Iterable[Place]]]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How many records are in both stores, were written, were removed, and which changed at the source meanwhile."""

    records: int
    written: int
    removed: int
    changed: Names


def check_complete(store: Store) -> None:
    """Raise ``StoreNotReady`` where a migration into this store has not come to its end."""
    if store.get(INSTANCE, _MARK) is not None:
        raise StoreNotReady(
            "a migration into this store has not come to its end: run `.venv/bin/flask store migrate` again, where the"
            " records come from"
        )


def damaged(source: Store, collections: Sequence[str]) -> list[str]:
    """The reasons why records of the source cannot be copied."""
    return [
        str(found.reason)
        for collection in collections
        for _, found in source.documents(collection)
        if isinstance(found, RecordDamaged)
    ]


def migrate(source: Store, target: Store, collections: Sequence[str], keyring: Keyring, progress: Progress) -> Outcome:
    """Make the target a copy of the source.

    ``progress`` is given what is done step by step and a word for it, and hands it out one by one. Raises
    ``Forbidden`` for a target with records that are not a part of this migration, and ``RecordDamaged``.
    """
    there = _texts(target, collections)
    mark = there.pop((INSTANCE, _MARK), None)
    wanted = _texts(source, collections)
    if mark is None and there and there != wanted:
        if is_own_key(keyring, json.loads(there.get((INSTANCE, KEY), "null"))):
            raise Forbidden(
                "the migration into the target has come to its end already, and the records here or there have changed"
                " since: to do it again, empty the target first"
            )
        raise Forbidden("there are records in the target that this migration did not put there: empty it first")
    if mark is not None and json.loads(mark).get("identifier") != keyring.identifier:
        raise Forbidden("the target is an unfinished copy of another installation: empty it first")
    if mark is None and there:
        return Outcome(len(wanted), 0, 0, [])
    target.put(INSTANCE, {"format": 1, "name": _MARK, "identifier": keyring.identifier})
    missing = [place for place, text in wanted.items() if there.get(place) != text]
    _copy(target, wanted, missing, progress)
    surplus = [place for place in there if place not in wanted]
    for collection, name in surplus:
        target.delete(collection, name)
    copied = _texts(target, collections)
    copied.pop((INSTANCE, _MARK), None)
    if copied != wanted:
        raise Forbidden("what was read back from the target is not what was written: is something else writing there?")
    last = _texts(source, collections)
    changed = sorted(place for place in last.keys() | wanted.keys() if last.get(place) != wanted.get(place))
    if not changed:
        target.delete(INSTANCE, _MARK)
    return Outcome(len(wanted), len(missing), len(surplus), changed)


def _copy(target: Store, wanted: dict[Place, str], missing: Names, progress: Progress) -> None:
    batch: list[Place] = []
    with progress(missing, "Copying") as each:
        for place in each:
            if batch and (len(batch) == _BATCH or batch[0][0] != place[0]):
                _put(target, wanted, batch)
                batch = []
            batch.append(place)
        _put(target, wanted, batch)


def _put(target: Store, wanted: dict[Place, str], batch: Names) -> None:
    documents: list[Document] = [json.loads(wanted[place]) for place in batch]
    for collection in {collection for collection, _ in batch}:
        put_many = getattr(target, "put_many", None)
        if put_many is not None:
            put_many(collection, documents)
        else:
            for document in documents:
                target.put(collection, document)


def _texts(store: Store, collections: Sequence[str]) -> dict[Place, str]:
    """Every record as a text that is the same where the record is, the order of members included."""
    found = {}
    for collection in collections:
        for _, document in store.documents(collection):
            if isinstance(document, RecordDamaged):
                raise document
            found[collection, fold(document["name"])] = json.dumps(document)
    return found
