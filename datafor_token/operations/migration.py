"""Migration of all records to another store. They are copied and read back; the source is never changed.

A mark in the target states that the copy is incomplete, and of which installation it is. With the mark, an interrupted
migration continues, and the service does not start on the target. Without it, a target with records is left alone.
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
    """Result of a migration: the numbers of records in both stores, written and removed.

    ``changed`` names the records of the source that changed meanwhile.
    """

    records: int
    written: int
    removed: int
    changed: Names


def check_complete(store: Store) -> None:
    """Raise ``StoreNotReady`` if a migration to this store is incomplete."""
    if store.get(INSTANCE, _MARK) is not None:
        raise StoreNotReady(
            "the migration to this store is incomplete: run `datafor-token store migrate` again, on the host that has"
            " the source"
        )


def damaged(source: Store, collections: Sequence[str]) -> list[str]:
    """Return the reasons why records of the source cannot be copied."""
    return [
        str(document.reason)
        for collection in collections
        for _, document in source.documents(collection)
        if isinstance(document, RecordDamaged)
    ]


def migrate(  # noqa: PLR0913, PLR0917 - each is something else
    source: Store,
    target: Store,
    collections: Sequence[str],
    keyring: Keyring,
    progress: Progress,
    copy_log: Callable[[], None] = lambda: None,
) -> Outcome:
    """Make the target a copy of the source.

    No server uses the source meanwhile: the target would lack what it acknowledges after the copy. ``progress`` takes
    the names of the records to copy and a label; it yields the names one by one. ``copy_log`` copies the audit log, and
    is called again after an interruption. Raises ``Forbidden`` if a server uses the source, or for a target with
    records that are not part of this migration, and ``RecordDamaged``.
    """
    with source.exclude_servers() as check_excluded:
        outcome = _replicate(source, target, collections, keyring, progress)
        copy_log()
        check_excluded()
        if not outcome.changed:
            target.delete(INSTANCE, _MARK)
    return outcome


def _replicate(
    source: Store, target: Store, collections: Sequence[str], keyring: Keyring, progress: Progress
) -> Outcome:
    """Make the target a copy of the source, still with the mark, unless it is a complete copy already."""
    present = _texts(target, collections)
    mark = present.pop((INSTANCE, _MARK), None)
    wanted = _texts(source, collections)
    if mark is None and present and present != wanted:
        if is_own_key(keyring, json.loads(present.get((INSTANCE, KEY), "null"))):
            raise Forbidden(
                "the migration to the target is complete, and records of the source or the target have changed since:"
                " to migrate again, empty the target first"
            )
        raise Forbidden("the target has records that are not from this migration: empty it first")
    if mark is not None and json.loads(mark).get("identifier") != keyring.identifier:
        raise Forbidden("the target is an incomplete copy of another installation: empty it first")
    if mark is None and present:
        return Outcome(len(wanted), 0, 0, [])
    target.put(INSTANCE, {"format": 1, "name": _MARK, "identifier": keyring.identifier})
    missing = [place for place, text in wanted.items() if present.get(place) != text]
    _copy(target, wanted, missing, progress)
    surplus = [place for place in present if place not in wanted]
    for collection, name in surplus:
        target.delete(collection, name)
    copied = _texts(target, collections)
    copied.pop((INSTANCE, _MARK), None)
    if copied != wanted:
        raise Forbidden(
            "the records read back from the target differ from those written: does another process write to it?"
        )
    now = _texts(source, collections)
    changed = sorted(place for place in now.keys() | wanted.keys() if now.get(place) != wanted.get(place))
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
    """Return every record as text, so that the order of members is compared too."""
    texts = {}
    for collection in collections:
        for _, document in store.documents(collection):
            if isinstance(document, RecordDamaged):
                raise document
            texts[collection, fold(document["name"])] = json.dumps(document)
    return texts
