"""Records of activity: their collection, and reading one that may be damaged."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from datafor_token.errors import RecordDamaged
from datafor_token.store.base import Document
from datafor_token.store.cache import RecordCache
from datafor_token.validation import logs

log = logging.getLogger(__name__)

T = TypeVar("T")

COLLECTION = "activity"
FORMAT = 1
WAIT = 1.0  # seconds that a write in the background waits for other writers


def member(document: Document, name: str, is_value: Callable[[object], bool]) -> Mapping[str, Any]:
    """Return a member of a record that maps texts to values; raise ``RecordDamaged``."""
    version, found = document.get("format"), document.get(name)
    if type(version) is not int or version > FORMAT:
        raise RecordDamaged(reason=f"{COLLECTION}/{document['name']}: a newer version of this service wrote the record")
    if not isinstance(found, dict) or not all(is_value(value) for value in found.values()):
        raise RecordDamaged(reason=f"{COLLECTION}/{document['name']}: {name} has an invalid value")
    return found


def is_time(value: object) -> bool:
    """Return whether a value is a time in milliseconds since 1970."""
    return type(value) is int


def read(cache: RecordCache[T], name: str, empty: T) -> T:
    """Return a record, or ``empty`` if it does not exist or is damaged: pages show that nothing is known."""
    try:
        return cache.get(name) or empty
    except RecordDamaged as error:
        log.warning(logs.event("record damaged", reason=error.reason))
        return empty
