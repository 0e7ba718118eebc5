"""A backup: one compressed file of JSON lines, authenticated with a key derived from the service's own.

The first line is a header, the last one an HMAC over all lines before it. Sessions, one-time links, counts and logs
are left out: restoring them would bring back what has ended. Revocations are restored beside the present ones,
never instead of them.
"""

import gzip
import hashlib
import hmac
import os
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from datafor_token.applications import record as applications
from datafor_token.applications.record import Sealer
from datafor_token.crypto.at_rest import COLLECTION as INSTANCE
from datafor_token.crypto.at_rest import FORMER, Keyring
from datafor_token.errors import Forbidden, RecordDamaged, StoreUnavailable
from datafor_token.operations.store_identity import is_identifier, record_of
from datafor_token.store.base import Document
from datafor_token.store.files.disk import remove, sync_folder, write_new
from datafor_token.tokens.revocations import COLLECTION as REVOCATIONS
from datafor_token.users import users
from datafor_token.validation import strict_json
from datafor_token.validation.names import fold

_FORMAT, _UNAUTHENTICATED_FORMAT = 2, 1
_KEPT = (applications.COLLECTION, users.COLLECTION, REVOCATIONS)
_PURPOSE = "backup"
_LAST_LINE = b'{"hmac": "'
_PART = 1024 * 1024  # bytes, read or decompressed at once
LONGEST_LINE = 16 * 1024 * 1024 + 4096  # bytes; a record file may have 16 MiB
LARGEST = 1024 * 1024 * 1024  # bytes, decompressed
# Anybody may have written these, and all of it is parsed.
LARGEST_UNAUTHENTICATED = 64 * 1024 * 1024
MOST_RECORDS = 1_000_000
_SHORTEST_LINE = 200  # bytes; a revocation has 300
_MOST_VALUES = 10_000  # of one record: in memory a list takes twenty times what it takes in JSON
_LONGEST_NAME = 1024  # characters; the longest names are 128
_KEY_NAME = re.compile(r"[0-9a-f]{16}")

Records = Sequence[tuple[str, Document]]


class Backup(NamedTuple):
    """The records of a backup, the name of the key that its secrets are encrypted with, and whether it is authentic."""

    records: Records
    key: str
    is_authentic: bool


def write(path: Path, records: Records, keyring: Keyring) -> int:
    """Write a backup; return how many records are in it. An older file stays until the new one is complete."""
    kept = [(collection, document) for collection, document in records if _is_kept(collection, document)]
    header = {"datafor_token": "backup", "format": _FORMAT, "key": keyring.identifier, "records": len(kept)}
    lines = [header, *({"collection": collection, "document": document} for collection, document in kept)]
    data = "".join(strict_json.readable(line) + "\n" for line in lines).encode()
    if len(data) > LARGEST or len(kept) > MOST_RECORDS:
        raise Forbidden(
            "the records are more than a backup may have (%(limits)s): copy the data folder instead",
            limits=_limits(LARGEST),
        )
    data += _last_line(hmac.digest(keyring.derive(_PURPOSE), data, hashlib.sha256)) + b"\n"
    target = _target(path)
    temp = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        write_new(temp, gzip.compress(data))
        temp.rename(target)
    except (OSError, StoreUnavailable) as error:
        remove(temp)
        reason = error.reason if isinstance(error, StoreUnavailable) else os.strerror(error.errno or 0)
        raise Forbidden("%(path)s cannot be written: %(detail)s", path=path, detail=reason) from error
    sync_folder(target.parent)
    return sum(collection != INSTANCE for collection, _ in kept)


def _target(path: Path) -> Path:
    """Return the file that a backup replaces: never a link, such as /dev/stdout, but what it leads to."""
    try:
        target = path.resolve()
        # The kernel follows some links, such as those to a pipe or a deleted file, to what has no path.
        is_there = path.exists()
        is_replaceable = not is_there or (path.is_file() and target.exists() and target.samefile(path))
    except (OSError, RuntimeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "its links lead in a circle"
        raise Forbidden("%(path)s cannot be written: %(detail)s", path=path, detail=reason) from None
    if not is_replaceable or target.is_symlink():
        raise Forbidden("%(path)s is not a regular file", path=path)
    return target


def read(path: Path, keyring: Keyring, *, unauthenticated: bool = False) -> Backup:
    """Return the records of a backup; ``Forbidden`` says in a sentence why it cannot be used.

    Nothing is parsed but the header before the whole file is known to be authentic. ``unauthenticated``: also one
    that has no authentication code, or another one.
    """
    try:
        with _open_regular(path) as file:
            found = _Reading(path, file, keyring, LARGEST).check()
            if not found.is_authentic and not unauthenticated:
                raise Forbidden("%(path)s %(detail)s", path=path, detail=found.reason())
            file.seek(0)
            largest = LARGEST if found.is_authentic else LARGEST_UNAUTHENTICATED
            again = _Reading(path, file, keyring, largest)
            records = again.parse()
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise Forbidden("%(path)s is not a whole backup of this service", path=path) from None
    if found.is_authentic and not again.is_authentic:
        raise Forbidden("%(path)s was changed while it was read", path=path)
    return Backup(records, again.key, again.is_authentic)


def _last_line(code: bytes) -> bytes:
    return _LAST_LINE + code.hex().encode() + b'"}'


class _Reading:
    """One pass through a backup, in memory of constant size but for the records that ``parse`` returns."""

    def __init__(self, path: Path, file: BinaryIO, keyring: Keyring, largest: int) -> None:
        self._path, self._file, self._keyring, self._largest = path, file, keyring, largest
        self._format = 0
        self._has_code = False
        self.key = ""
        self.is_authentic = False

    def check(self) -> "_Reading":
        """Read everything, and see whether the authentication code is right."""
        for _ in self._lines():
            pass
        return self

    def parse(self) -> Records:
        """Return the records."""
        found: list[tuple[str, Document]] = []
        seen = set()
        for line in self._lines():
            if line.count(b",") > _MOST_VALUES:
                raise ValueError("a record of too many values")
            entry = strict_json.loads(line)
            collection, document = entry["collection"], entry["document"]
            place = (collection, fold(document["name"][: _LONGEST_NAME + 1]))
            # Of two records of one name, the one that is shown might not be the one that is stored.
            if not _is_kept(collection, document) or len(document["name"]) > _LONGEST_NAME or place in seen:
                raise ValueError("a record that does not belong here")
            seen.add(place)
            found.append((collection, document))
        if len(found) != self._records:
            raise ValueError("fewer records than the header says")
        return found

    def reason(self) -> str:
        """Return why the backup is not authentic, as the rest of a sentence."""
        if self._format == _UNAUTHENTICATED_FORMAT:
            why = "was written by an earlier version, without an authentication code: whether it was changed is unknown"
        elif not self._has_code:
            why = "has no authentication code: it was cut off or changed after it was written"
        else:
            why = "was changed after it was written: its authentication code does not fit"
        return f"{why}. To restore it all the same, first review what --dry-run --unauthenticated shows"

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines of all records, and at their end know whether they are authentic."""
        lines = _lines_of(self._path, self._file, self._largest)
        header_line = next(lines, b"")
        self._read_header(header_line)
        code = hmac.new(self._keyring.derive(_PURPOSE, self.key), header_line + b"\n", hashlib.sha256)
        before: bytes | None = None
        for number, line in enumerate(lines):
            if number > self._records:
                raise ValueError("more lines than the header says")
            if before is not None:
                code.update(before + b"\n")
                yield before
            before = line
        if before is not None and before.startswith(_LAST_LINE) and self._format != _UNAUTHENTICATED_FORMAT:
            self._has_code = True
            self.is_authentic = hmac.compare_digest(before, _last_line(code.digest()))
        elif before is not None:
            yield before

    def _read_header(self, line: bytes) -> None:
        header = strict_json.loads(line)
        if not isinstance(header, dict) or header.get("datafor_token") != "backup":
            raise ValueError("no header")
        key, number = header["key"], header["records"]
        if (
            header["format"] not in (_FORMAT, _UNAUTHENTICATED_FORMAT)
            or not isinstance(key, str)
            or not _KEY_NAME.fullmatch(key)
        ):
            raise Forbidden("%(path)s is not a backup that this version knows", path=self._path)
        if type(number) is not int:
            raise TypeError("the number of records is none")
        if key not in self._keyring.identifiers:
            raise Forbidden(
                "%(path)s was written with the key %(key)s, which is not among the present ones (%(present)s): add that"
                " key on a line of its own at the end of config/secret_key (or after a comma in"
                " DATAFOR_TOKEN_SECRET_KEY), then restore again",
                path=self._path,
                key=key,
                present=", ".join(self._keyring.identifiers),
            )
        if number > min(MOST_RECORDS, self._largest // _SHORTEST_LINE):
            raise Forbidden(
                "%(path)s is larger than a backup of its kind may be (%(limits)s)",
                path=self._path,
                limits=_limits(self._largest),
            )
        self._format, self._records, self.key = header["format"], number, key


def _open_regular(path: Path) -> BinaryIO:
    # O_NONBLOCK: opening a pipe would wait for its writer.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Forbidden("%(path)s is no regular file", path=path)
    return file


def _lines_of(path: Path, file: BinaryIO, largest: int) -> Iterator[bytes]:
    """Yield the decompressed lines of one gzip member; raises ``EOFError``, ``ValueError`` or ``zlib.error``."""
    inflate = zlib.decompressobj(wbits=31)
    rest, size = b"", 0
    while not inflate.eof:
        compressed = inflate.unconsumed_tail or file.read(_PART)
        data = inflate.decompress(compressed, _PART)
        if not compressed and not data:
            raise EOFError
        size += len(data)
        if size > largest:
            raise Forbidden(
                "%(path)s is larger than a backup of its kind may be (%(limits)s)", path=path, limits=_limits(largest)
            )
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
        if len(rest) > LONGEST_LINE:
            raise Forbidden("%(path)s has a line that is longer than any record", path=path)
    if rest or inflate.unused_data or file.read(1):
        raise ValueError("something follows the last line")


def _limits(size: int) -> str:
    return f"{size // 1024**2} MiB of JSON, {MOST_RECORDS} records"


def _is_kept(collection: object, document: Document) -> bool:
    if collection in _KEPT:
        return True
    # The identifier, so that the store is the same one for its configuration folder after a restore.
    return collection == INSTANCE and (document.get("name") == FORMER or is_identifier(INSTANCE, document))


def under_present_key(backup: Backup, keyring: Keyring) -> Records:
    """Return the records of a backup with their secrets encrypted with the first key, also where another one did it.

    Raises ``RecordDamaged`` for a secret that cannot be read.
    """
    sealer = Sealer(keyring)
    records: list[tuple[str, Document]] = []
    for collection, document in backup.records:
        if collection == INSTANCE and document["name"] == FORMER:
            keyring.load_former_keys(document)
        elif collection == applications.COLLECTION and backup.key != keyring.identifier:
            records.append((collection, sealer.seal(sealer.unseal(document))))
        else:
            records.append((collection, document))
    if len(keyring.token_identifier_keys) > 1:
        # The revocations of a backup may be named under any of them.
        records.append((INSTANCE, keyring.former_keys_record(None)))
    return records


def identified(records: Records, known: str | None, path: Path, file: Path) -> Records:
    """Return the records of a backup with the identifier of this service's store, for those that have none.

    Raises ``Forbidden`` for a backup (``path``) of another store than the ``known`` one, which ``file`` names.
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
    return [*records, (INSTANCE, record_of(known))]


def merged(present: Records, kept: Records) -> Records:
    """Return the records after a restore: the backup's ones, with the present key and all revocations."""
    stays = [(collection, document) for collection, document in present if collection in (INSTANCE, REVOCATIONS)]
    names = {(collection, fold(document["name"])) for collection, document in kept}
    return [*kept, *(one for one in stays if (one[0], fold(one[1]["name"])) not in names)]


class Changes(NamedTuple):
    """Changes that a restore would make: names of what gives access, with the fields that differ; names; counts.

    Of deleted users each Administrator comes first, and is marked. Sessions and one-time links always end, and are
    not counted.
    """

    administrators: Sequence[str]
    users: Sequence[tuple[str, Sequence[str]]]
    applications: Sequence[tuple[str, Sequence[str]]]
    deleted_users: Sequence[str]
    deleted_applications: Sequence[str]
    counts: dict[str, int]


def changes(present: Records, after: Records, keyring: Keyring) -> Changes:
    """Compare the present records with those after a restore; a present record that is damaged counts as none."""
    old, new = _by_name(present), _by_name(after)
    administrators, changed_users, changed_applications = [], [], []
    for key, document in sorted(new.items(), key=lambda one: one[0]):
        before = old.get(key)
        if before == document:
            continue
        if key[0] == users.COLLECTION:
            was, user = _user(before), users.User.from_document(document)
            if user.administers and not (was is not None and was.administers):
                administrators.append(user.name)
            if was is not None and (fields := _changed_members(was, user)):
                changed_users.append((user.name, fields))
        elif key[0] == applications.COLLECTION:
            found = Sealer(keyring).unseal(document)
            if fields := _changed_trust(_application(before, keyring), found):
                changed_applications.append((found.name, fields))
    counts = {
        "created": len(new.keys() - old.keys()),
        "changed": sum(old[key] != new[key] for key in new.keys() & old.keys()),
        "deleted": len(old.keys() - new.keys()),
    }
    gone = [old[key] for key in sorted(old.keys() - new.keys()) if key[0] == users.COLLECTION]
    return Changes(
        administrators,
        changed_users,
        changed_applications,
        [
            *(f"{one['name']} (Administrator)" for one in gone if _administers(one)),
            *(one["name"] for one in gone if not _administers(one)),
        ],
        [old[key]["name"] for key in sorted(old.keys() - new.keys()) if key[0] == applications.COLLECTION],
        counts,
    )


def _by_name(records: Records) -> dict[tuple[str, str], Document]:
    # Without what the service stores about itself, and what no backup has.
    return {(one, fold(document["name"])): document for one, document in records if one in _KEPT}


def _administers(document: Document) -> bool:
    user = _user(document)
    return user is not None and user.administers


def _user(document: Document | None) -> users.User | None:
    try:
        return None if document is None else users.User.from_document(document)
    except RecordDamaged:
        return None


def _changed_members(before: users.User, after: users.User) -> list[str]:
    return [
        member
        for member in ("password", "type", "roles", "enabled")
        if getattr(before, member) != getattr(after, member)
    ]


def _application(document: Document | None, keyring: Keyring) -> applications.Application | None:
    try:
        return None if document is None else Sealer(keyring).unseal(document)
    except RecordDamaged:
        return None


def _changed_trust(before: applications.Application | None, after: applications.Application) -> list[str]:
    """Return the fields that decide whose tokens are accepted, and whom they may create."""
    if before is None:
        return ["new"]
    old: dict[str, Any] = {**before.to_document(), "previous": before.previous and before.previous.secret}
    new: dict[str, Any] = {**after.to_document(), "previous": after.previous and after.previous.secret}
    fields = ("secret", "previous", "algorithm", "enable", "inituser", "initroles", "initpwd", "fieldmap")
    return [field for field in fields if old[field] != new[field]]
