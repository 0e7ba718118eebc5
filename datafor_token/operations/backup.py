"""Backup file: gzip-compressed JSON lines, authenticated with a key that is derived from the service's own key.

The first line is a header, the last one an HMAC over all lines before it. A backup has no sessions, one-time links,
counts or logs: restoring them would bring back sessions that have ended.
"""

import errno
import gzip
import hashlib
import hmac
import os
import re
import secrets
import select
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from datafor_token.applications import record as applications
from datafor_token.crypto.at_rest import COLLECTION as INSTANCE
from datafor_token.crypto.at_rest import FORMER, Keyring
from datafor_token.errors import Forbidden, Message, StoreUnavailable
from datafor_token.gate.assertion_keys import RECORD as GATE_KEYS
from datafor_token.operations.store_identity import is_identifier
from datafor_token.store.base import Document
from datafor_token.store.files.disk import remove, sync_folder, write_new
from datafor_token.tokens.cut_offs import COLLECTION as CUT_OFFS
from datafor_token.tokens.personal import COLLECTION as PERSONAL_TOKENS
from datafor_token.tokens.revocations import COLLECTION as REVOCATIONS
from datafor_token.users import users
from datafor_token.validation import strict_json
from datafor_token.validation.names import fold

COLLECTIONS = (applications.COLLECTION, users.COLLECTION, REVOCATIONS, CUT_OFFS, PERSONAL_TOKENS)
MAX_LINE = 16 * 1024 * 1024 + 4096  # bytes; a record file may have 16 MiB
MAX_SIZE = 1024 * 1024 * 1024  # bytes, decompressed
# Anybody may have written an unauthenticated backup, and all of it is parsed.
MAX_UNAUTHENTICATED_SIZE = 64 * 1024 * 1024
MAX_RECORDS = 1_000_000
_FORMAT, _UNAUTHENTICATED_FORMAT = 2, 1
_PURPOSE = "backup"
_CODE_BEGINS = b'{"hmac": "'
_CHUNK = 1024 * 1024  # bytes, read or decompressed at once
_MIN_LINE = 200  # bytes; a revocation has 300
_MAX_VALUES = 10_000  # of one record: in memory a list takes twenty times what it takes in JSON
_MAX_NAME = 1024  # characters; the longest names are 128
_KEY_NAME = re.compile(r"[0-9a-f]{16}")

Records = Sequence[tuple[str, Document]]


class Backup(NamedTuple):
    """The records of a backup, the name of the key that its secrets are encrypted with, and whether it is authentic."""

    records: Records
    key: str
    is_authentic: bool


def write(path: Path, records: Records, keyring: Keyring, *, data_dir: Path | None = None) -> int:
    """Write a backup and return the number of its records. An older file is replaced once the new one is complete.

    Raise ``Forbidden`` if it cannot be written, or is in ``data_dir``, where it could replace a record.
    """
    target = _target(path)
    if data_dir is not None and target.is_relative_to(data_dir.resolve()):
        raise Forbidden(
            "%(path)s is in the data folder, with which a backup would be lost: name a file outside of %(folder)s",
            path=path,
            folder=data_dir,
        )
    data = _compressed(records, keyring)
    # A random name: two processes may write the same file, also in two containers with the same process IDs.
    temp = target.with_name(f".backup-{secrets.token_hex(8)}")
    try:
        write_new(temp, data)
        temp.rename(target)
    except (OSError, StoreUnavailable) as error:
        remove(temp)
        raise _unwritable(path, error) from error
    try:
        sync_folder(target.parent)
    except StoreUnavailable as error:
        # Some network file systems, to which backups are often written, cannot sync a folder.
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EINVAL:
            raise _unwritable(path, error) from error
    return _number(records)


def write_stream(stream: FileIO, name: str, records: Records, keyring: Keyring) -> int:
    """Write a backup to an unbuffered stream, and return the number of its records; raise ``Forbidden`` if that fails.

    ``name`` is that of the stream in errors.
    """
    rest = memoryview(_compressed(records, keyring))
    try:
        while rest:
            written = stream.write(rest)
            if written is None:
                # The other end of a pipe has made it non-blocking, as ssh does.
                select.select([], [stream], [])
            else:
                rest = rest[written:]
        if stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            os.fsync(stream.fileno())
    except OSError as error:
        raise _unwritable(name, error) from error
    return _number(records)


def _compressed(records: Records, keyring: Keyring) -> bytes:
    """Return the content of a backup."""
    included = [(collection, document) for collection, document in records if _belongs_in_backup(collection, document)]
    header = {"datafor_token": "backup", "format": _FORMAT, "key": keyring.identifier, "records": len(included)}
    lines = [header, *({"collection": collection, "document": document} for collection, document in included)]
    data = "".join(strict_json.readable(line) + "\n" for line in lines).encode()
    if len(data) > MAX_SIZE or len(included) > MAX_RECORDS:
        raise Forbidden(
            "the records are more than a backup may have (%(limits)s): copy the data folder instead",
            limits=_limits(MAX_SIZE),
        )
    data += _code_line(hmac.digest(keyring.derive(_PURPOSE), data, hashlib.sha256)) + b"\n"
    return gzip.compress(data)


def _number(records: Records) -> int:
    return sum(collection in COLLECTIONS for collection, _ in records)


def _unwritable(path: object, error: OSError | StoreUnavailable) -> Forbidden:
    cause = error.__cause__ if isinstance(error, StoreUnavailable) else error
    reason = os.strerror(cause.errno or 0) if isinstance(cause, OSError) else str(error)
    return Forbidden("%(path)s cannot be written: %(detail)s", path=path, detail=reason)


def _target(path: Path) -> Path:
    """Return the file to write; for a link, such as /dev/stdout, the regular file that it points to."""
    try:
        target = path.resolve()
        exists = path.exists()
        # The kernel follows some links to a file without a path, such as a pipe or a deleted file.
        is_replaceable = not exists or (path.is_file() and target.exists() and target.samefile(path))
    except (OSError, RuntimeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "its links form a circle"
        raise Forbidden("%(path)s cannot be written: %(detail)s", path=path, detail=reason) from None
    if not is_replaceable or target.is_symlink():
        raise Forbidden("%(path)s is not a regular file", path=path)
    return target


def read(path: Path, keyring: Keyring, *, unauthenticated: bool = False) -> Backup:
    """Read a backup; raise ``Forbidden`` with a sentence that explains why it cannot be used.

    Only the header is parsed before the whole file is known to be authentic. With ``unauthenticated`` a backup without
    a valid authentication code is accepted too.
    """
    try:
        file = _open_regular(path)
    except OSError as error:
        raise Forbidden(
            "%(path)s cannot be read: %(detail)s", path=path, detail=os.strerror(error.errno or 0)
        ) from None
    with file:
        return _read(file, path, keyring, unauthenticated=unauthenticated)


def read_stream(stream: BinaryIO, name: str, keyring: Keyring, *, unauthenticated: bool = False) -> Backup:
    """Read a backup from a stream that can be read once only, as ``read`` does; ``name`` is that of the stream."""
    try:
        with tempfile.TemporaryFile() as file:
            while part := stream.read(_CHUNK):
                file.write(part)
                if file.tell() > MAX_SIZE:
                    raise _too_large(name, MAX_SIZE)
            file.seek(0)
            return _read(file, name, keyring, unauthenticated=unauthenticated)
    except OSError as error:
        # tempfile tries several folders, and then reports that it found none.
        is_none = isinstance(error, FileNotFoundError)
        raise Forbidden(
            "%(path)s cannot be copied to a temporary file (TMPDIR names its folder): %(detail)s",
            path=name,
            detail="no folder can be written" if is_none else os.strerror(error.errno or 0),
        ) from None


def _read(file: BinaryIO, path: object, keyring: Keyring, *, unauthenticated: bool) -> Backup:
    """Read a backup; ``path`` names it in errors."""
    try:
        check = _Reader(path, file, keyring, MAX_SIZE)
        for _ in check.record_lines():
            pass
        if check.fault is not None and not unauthenticated:
            raise Forbidden(
                "%(path)s %(fault)s. To restore it all the same, first review what --dry-run --unauthenticated shows",
                path=path,
                fault=check.fault,
            )
        file.seek(0)
        reader = _Reader(path, file, keyring, MAX_SIZE if check.fault is None else MAX_UNAUTHENTICATED_SIZE)
        records = _parse(reader.record_lines(), reader.header.records)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        raise Forbidden("%(path)s is not a whole backup of this service", path=path) from None
    if check.fault is None and reader.fault is not None:
        raise Forbidden("%(path)s was changed while it was read", path=path)
    return Backup(records, reader.header.key, reader.fault is None)


class _Header(NamedTuple):
    format: int
    key: str
    records: int


class _Reader:
    """One pass through a backup, in constant memory.

    ``fault`` is why the backup is not authentic, as the predicate of a sentence, or None; it is known after the last
    line.
    """

    def __init__(self, path: object, file: BinaryIO, keyring: Keyring, max_size: int) -> None:
        self._lines = _lines_of(path, file, max_size)
        line = next(self._lines, b"")
        self.header = _read_header(line, path, keyring, max_size)
        self.fault: str | None = Message("was not read to its end")
        self._code = hmac.new(keyring.derive(_PURPOSE, self.header.key), line + b"\n", hashlib.sha256)

    def record_lines(self) -> Iterator[bytes]:
        """Yield the lines of all records."""
        last: bytes | None = None
        for number, line in enumerate(self._lines):
            if number > self.header.records:
                raise ValueError("more lines than the header says")
            if last is not None:
                self._code.update(last + b"\n")
                yield last
            last = line
        has_code = last is not None and last.startswith(_CODE_BEGINS) and self.header.format == _FORMAT
        if last is not None and not has_code:
            yield last
        if self.header.format == _UNAUTHENTICATED_FORMAT:
            self.fault = Message(
                "was written by an earlier version, without an authentication code: whether it was changed is unknown"
            )
        elif last is None or not has_code:
            self.fault = Message("has no authentication code: it was cut off or changed after it was written")
        elif not hmac.compare_digest(last, _code_line(self._code.digest())):
            self.fault = Message("was changed after it was written: its authentication code does not fit")
        else:
            self.fault = None


def _read_header(line: bytes, path: object, keyring: Keyring, max_size: int) -> _Header:
    header = strict_json.loads(line)
    if not isinstance(header, dict) or header.get("datafor_token") != "backup":
        raise ValueError("no header")
    version, key, records = header["format"], header["key"], header["records"]
    if (
        version not in (_FORMAT, _UNAUTHENTICATED_FORMAT)
        or not isinstance(key, str)
        or not _KEY_NAME.fullmatch(key)
    ):  # fmt: skip
        raise Forbidden("%(path)s is not a backup that this version can read", path=path)
    if type(records) is not int:
        raise TypeError("the number of records is not a number")
    if key not in keyring.identifiers:
        raise Forbidden(
            "%(path)s was written with the key %(key)s, which is not among the present ones (%(present)s): add that"
            " key on a line of its own at the end of config/secret_key (or after a comma in"
            " DATAFOR_TOKEN_SECRET_KEY), then restore again",
            path=path,
            key=key,
            present=", ".join(keyring.identifiers),
        )
    if records > min(MAX_RECORDS, max_size // _MIN_LINE):
        raise _too_large(path, max_size)
    return _Header(version, key, records)


def _parse(lines: Iterable[bytes], number: int) -> Records:
    """Return the records of these lines; raise ``ValueError``, ``KeyError`` or ``TypeError`` for invalid ones."""
    records: list[tuple[str, Document]] = []
    names = set()
    for line in lines:
        if line.count(b",") > _MAX_VALUES:
            raise ValueError("a record with too many values")
        entry = strict_json.loads(line)
        collection, document = entry["collection"], entry["document"]
        if not isinstance(document["name"], str):
            raise TypeError("a record whose name is not text")
        name = (collection, fold(document["name"][: _MAX_NAME + 1]))
        # Of two records with one name, the one that is shown might not be the one that is stored.
        if not _belongs_in_backup(collection, document) or len(document["name"]) > _MAX_NAME or name in names:
            raise ValueError("a record that does not belong in a backup")
        names.add(name)
        records.append((collection, document))
    if len(records) != number:
        raise ValueError("fewer records than the header says")
    return records


def _belongs_in_backup(collection: object, document: Document) -> bool:
    if collection in COLLECTIONS:
        return True
    # The store's identifier too, so that the configuration folder still fits the store after a restore.
    return collection == INSTANCE and (document.get("name") in (FORMER, GATE_KEYS) or is_identifier(INSTANCE, document))


def _open_regular(path: Path) -> BinaryIO:
    # O_NONBLOCK: opening a pipe would wait for its writer.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Forbidden("%(path)s is not a regular file", path=path)
    return file


def _lines_of(path: object, file: BinaryIO, max_size: int) -> Iterator[bytes]:
    """Yield the decompressed lines of one gzip member; raise ``EOFError``, ``ValueError`` or ``zlib.error``."""
    inflate = zlib.decompressobj(wbits=31)
    rest, size = b"", 0
    while not inflate.eof:
        compressed = inflate.unconsumed_tail or file.read(_CHUNK)
        data = inflate.decompress(compressed, _CHUNK)
        if not compressed and not data:
            raise EOFError
        size += len(data)
        if size > max_size:
            raise _too_large(path, max_size)
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
        if len(rest) > MAX_LINE:
            raise Forbidden("%(path)s has a line that is longer than any record", path=path)
    if rest or inflate.unused_data or file.read(1):
        raise ValueError("data after the last line")


def _code_line(code: bytes) -> bytes:
    return _CODE_BEGINS + code.hex().encode() + b'"}'


def _too_large(path: object, max_size: int) -> Forbidden:
    return Forbidden(
        "%(path)s is larger than a backup of its kind may be (%(limits)s)", path=path, limits=_limits(max_size)
    )


def _limits(max_size: int) -> str:
    return f"{max_size // 1024**2} MiB of JSON, {MAX_RECORDS} records"
