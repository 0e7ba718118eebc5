"""A backup: one compressed file with all that is worth keeping, each record a line of JSON.

Sessions and one-time links are left out: putting them back would bring back what had ended. Revocations
are put back beside the present ones, never instead of them.
"""

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datafor_token import strict_json
from datafor_token.errors import Forbidden, StoreUnavailable
from datafor_token.names import fold
from datafor_token.revocations import COLLECTION as REVOCATIONS
from datafor_token.secrecy import COLLECTION as INSTANCE
from datafor_token.secrecy import Secrecy
from datafor_token.store.base import Document
from datafor_token.store.disk import remove, sync_folder, write_new

_FORMAT = 1
_KEPT = ("applications", "users", REVOCATIONS)

Records = Sequence[tuple[str, Document]]


def write(path: Path, records: Records, secrecy: Secrecy) -> int:
    """Write a backup; answer how many records are in it. An older file is there until the new one is whole."""
    kept = [(collection, document) for collection, document in records if collection in _KEPT]
    header = {"datafor_token": "backup", "format": _FORMAT, "key": secrecy.identifier, "records": len(kept)}
    lines = [header, *({"collection": collection, "document": document} for collection, document in kept)]
    data = "".join(strict_json.readable(line) + "\n" for line in lines).encode()
    if path.exists() and not path.is_file():
        raise Forbidden(f"{path} is no regular file")
    temp = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        write_new(temp, gzip.compress(data))
        temp.rename(path)
    except (OSError, StoreUnavailable) as error:
        remove(temp)
        raise Forbidden(f"{path} cannot be written") from error
    sync_folder(path.parent)
    return len(kept)


def read(path: Path, secrecy: Secrecy) -> Records:
    """The records of a backup; ``Forbidden`` says in a sentence why it cannot be taken."""
    try:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        header, *entries = [strict_json.loads(line) for line in lines]
        found: list[tuple[str, Document]] = [(entry["collection"], entry["document"]) for entry in entries]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise Forbidden(f"{path} is not a whole backup of this service") from None
    if not isinstance(header, dict) or header.get("datafor_token") != "backup" or header.get("format") != _FORMAT:
        raise Forbidden(f"{path} is not a backup that this version knows")
    if not all(isinstance(document, dict) and isinstance(document.get("name"), str) for _, document in found):
        raise Forbidden(f"{path} is not a whole backup of this service")
    if header.get("records") != len(found) or any(collection not in _KEPT for collection, _ in found):
        raise Forbidden(f"{path} is not a whole backup of this service")
    if header.get("key") not in secrecy.identifiers:
        raise Forbidden(f"{path} is encrypted with the key {header.get('key')}, which is not in config/secret_key")
    return found


def merged(present: Records, kept: Records) -> Records:
    """What is there after a restore: the backup's records, with the present key and all revocations."""
    stays = [(collection, document) for collection, document in present if collection in (INSTANCE, REVOCATIONS)]
    names = {(collection, fold(document["name"])) for collection, document in kept}
    return [*kept, *(one for one in stays if (one[0], fold(one[1]["name"])) not in names)]


def differences(present: Records, after: Records) -> dict[str, int]:
    """How many records a restore would make, change and remove."""
    old: dict[Any, Document] = {(collection, fold(document["name"])): document for collection, document in present}
    new: dict[Any, Document] = {(collection, fold(document["name"])): document for collection, document in after}
    return {
        "created": len(new.keys() - old.keys()),
        "changed": sum(old[key] != new[key] for key in new.keys() & old.keys()),
        "deleted": len(old.keys() - new.keys()),
    }
