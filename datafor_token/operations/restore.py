"""Restore of a backup: the records that it leads to, and a comparison with the present ones.

Revocations and cut-offs of a backup are added to the present ones and never take one back: no token that was revoked is
accepted again. Personal tokens are added too: those that were issued since the backup are still valid, and their users
must be able to revoke them.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datafor_token.applications import record as applications
from datafor_token.applications.record import Application
from datafor_token.applications.sealing import Sealer
from datafor_token.crypto.at_rest import COLLECTION as INSTANCE
from datafor_token.crypto.at_rest import FORMER, Keyring
from datafor_token.errors import Forbidden, RecordDamaged
from datafor_token.gate import assertion_keys
from datafor_token.operations.backup import COLLECTIONS, Backup, Records
from datafor_token.operations.store_identity import identifier_record, is_identifier
from datafor_token.store.base import Document
from datafor_token.tokens import cut_offs, personal
from datafor_token.tokens.cut_offs import CutOff
from datafor_token.tokens.revocations import COLLECTION as REVOCATIONS
from datafor_token.users import users
from datafor_token.users.users import User
from datafor_token.validation.names import fold

# Fields of an application that decide whose tokens are accepted, and whom they may create.
_TRUST_FIELDS = ("secret", "previous", "algorithm", "enable", "inituser", "initroles", "initpwd", "fieldmap")
_ACCESS_FIELDS = ("password", "type", "roles", "enabled")  # of a user


def reencrypt(backup: Backup, keyring: Keyring) -> Records:
    """Return the records of a backup with their secrets encrypted with the present key.

    Raises ``RecordDamaged`` for a secret that cannot be decrypted.
    """
    sealer = Sealer(keyring)
    records: list[tuple[str, Document]] = []
    for collection, document in backup.records:
        if collection == INSTANCE and document["name"] == FORMER:
            keyring.load_former_keys(document)
        elif collection == INSTANCE and document["name"] == assertion_keys.RECORD:
            records.append((collection, assertion_keys.resealed(document, keyring)))
        elif collection == applications.COLLECTION and backup.key != keyring.identifier:
            records.append((collection, sealer.seal(sealer.unseal(document))))
        else:
            records.append((collection, document))
    if len(keyring.token_identifier_keys) > 1:
        # The revocations of a backup may be named with any of them.
        records.append((INSTANCE, keyring.former_keys_record(None)))
    return records


def with_identifier(records: Records, known: str | None, path: object, file: Path) -> Records:
    """Return the records of a backup; add the identifier of this service's store if they have none.

    Raises ``Forbidden`` for a backup (``path``) of another store than the ``known`` one, whose identifier is in
    ``file``.
    """
    found = next((str(one["identifier"]) for collection, one in records if is_identifier(collection, one)), None)
    if known is None or found == known:
        return records
    if found is not None:
        raise Forbidden(
            "%(path)s is a backup of the store %(found)s, and %(file)s says that the store of this service is"
            " %(known)s: name the folders that you mean (DATAFOR_TOKEN_CONFIG_DIR, DATAFOR_TOKEN_DATA_DIR); to replace"
            " the store of this service on purpose, remove %(file)s, then restore again",
            path=path,
            found=found,
            known=known,
            file=file,
        )
    return [*records, (INSTANCE, identifier_record(known))]


def _own_record(present: Document, restored: Document) -> Document:
    # A key that was dropped since the backup must not sign again.
    return present if present["name"] == assertion_keys.RECORD else restored


# Of these the present records stay. A function merges the present record with that of the backup; None: the latter.
_STAYING: Mapping[str, Callable[[Document, Document], Document] | None] = {
    INSTANCE: _own_record,
    REVOCATIONS: None,
    cut_offs.COLLECTION: cut_offs.merged,
    personal.COLLECTION: personal.merged,
}


def merge(present: Records, restored: Records, now: float) -> Records:
    """Return the records after a restore: those of the backup, and the present ones that stay.

    Keys, revocations, cut-offs and lists of personal tokens stay. Of a cut-off, the later one stays. ``now`` is in
    seconds since 1970.
    """
    stored = {(one, fold(document["name"])): document for one, document in present}
    merged: list[tuple[str, Document]] = []
    for collection, document in restored:
        before = stored.pop((collection, fold(document["name"])), None)
        both = _STAYING.get(collection)
        if before is None:
            merged.append((collection, document))
        elif collection == applications.COLLECTION:
            merged.append((collection, _with_last_expiry(before, document, now)))
        else:
            merged.append((collection, both(before, document) if both else document))
    merged += [(collection, document) for (collection, _), document in stored.items() if collection in _STAYING]
    added = [document for collection, document in merged if collection == applications.COLLECTION]
    return [
        (collection, _prolonged(document, added) if collection == cut_offs.COLLECTION else document)
        for collection, document in merged
    ]


def _with_last_expiry(present: Document, restored: Document, now: float) -> Document:
    """Return a restored application with the end of the tokens that were issued with the present ``expire``.

    A later cut-off must concern them.
    """
    ends = [one for one in (present.get("lastExpiry"), restored.get("lastExpiry")) if isinstance(one, int)]
    if _number(present.get("expire")) > _number(restored.get("expire")):
        ends.append(int((now + _number(present["expire"])) * 1000))
    return {**restored, "lastExpiry": max(ends)} if ends else restored


def _prolonged(document: Document, added: Sequence[Document]) -> Document:
    """Return a cut-off in force until the tokens of these applications, which the store may not have had, expired."""
    try:
        found = CutOff.from_document(document)
    except RecordDamaged:
        return document
    for one in added:
        found = found.until_expiry(one["name"], _number(one.get("expire")), _number(one.get("lastExpiry")))
    return found.to_document()


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


class Changes(NamedTuple):
    """Changes that a restore would make, by name.

    ``administrators`` are new ones. ``users`` and ``applications`` have the changed fields that give access. Deleted
    Administrators come first and are marked. ``counts`` are of created, changed and deleted records; sessions and
    one-time links always end and are not counted.
    """

    administrators: list[str]
    users: list[tuple[str, list[str]]]
    applications: list[tuple[str, list[str]]]
    deleted_users: list[str]
    deleted_applications: list[str]
    counts: dict[str, int]


def compare(present: Records, after: Records, keyring: Keyring) -> Changes:
    """Compare the present records with those after a restore; a damaged present record is treated as missing."""
    old, new = _by_name(present), _by_name(after)
    written = sorted(key for key, document in new.items() if old.get(key) != document)
    deleted = sorted(old.keys() - new.keys())
    administrators: list[str] = []
    changed_users: list[tuple[str, list[str]]] = []
    changed_applications: list[tuple[str, list[str]]] = []
    for key in written:
        if key[0] == users.COLLECTION:
            before, user = _user(old.get(key)), User.from_document(new[key])
            if user.administers and not (before is not None and before.administers):
                administrators.append(user.name)
            if before is not None and (fields := _changed_access(before, user)):
                changed_users.append((user.name, fields))
        elif key[0] == applications.COLLECTION:
            application = Sealer(keyring).unseal(new[key])
            if fields := _changed_trust(_application(old.get(key), keyring), application):
                changed_applications.append((application.name, fields))
    return Changes(
        administrators,
        changed_users,
        changed_applications,
        _administrators_first([old[key] for key in deleted if key[0] == users.COLLECTION]),
        [old[key]["name"] for key in deleted if key[0] == applications.COLLECTION],
        {
            "created": len(new.keys() - old.keys()),
            "changed": len(old.keys() & written),
            "deleted": len(deleted),
        },
    )


def _by_name(records: Records) -> dict[tuple[str, str], Document]:
    # Without the records of the service about itself, and those that no backup has.
    return {(one, fold(document["name"])): document for one, document in records if one in COLLECTIONS}


def _administrators_first(documents: list[Document]) -> list[str]:
    """Return the names of these users, Administrators first and marked."""
    found = [(document["name"], _user(document)) for document in documents]
    administrators = [name for name, user in found if user is not None and user.administers]
    others = [name for name, user in found if user is None or not user.administers]
    return [*(f"{name} (Administrator)" for name in administrators), *others]


def _user(document: Document | None) -> User | None:
    try:
        return None if document is None else User.from_document(document)
    except RecordDamaged:
        return None


def _application(document: Document | None, keyring: Keyring) -> Application | None:
    try:
        return None if document is None else Sealer(keyring).unseal(document)
    except RecordDamaged:
        return None


def _changed_access(before: User, after: User) -> list[str]:
    return [field for field in _ACCESS_FIELDS if getattr(before, field) != getattr(after, field)]


def _changed_trust(before: Application | None, after: Application) -> list[str]:
    if before is None:
        return ["new"]

    def value(application: Application, field: str) -> Any:
        # Of a previous secret, neither its grace period nor its last use is a change of trust.
        found = getattr(application, field)
        return found and found.secret if field == "previous" else found

    return [field for field in _TRUST_FIELDS if value(before, field) != value(after, field)]
