"""File store: a readable JSON file for each record, a lock for each collection, crash-safe writes.

A write creates a temporary file in the same folder, syncs it, renames it into place and syncs the folder before it
returns (Pillai et al., OSDI 2014). Readers take no lock: a rename is atomic, so they read the old or the new record. An
edit by hand is seen at the next call.
"""

import contextlib
import os
import secrets
import struct
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote

from datafor_token.errors import RecordDamaged, RuleError, StoreUnavailable
from datafor_token.store.base import AlreadyExists, Change, Changed, Document
from datafor_token.store.files import probing, server_lock
from datafor_token.store.files.disk import (
    create_folder,
    outage,
    read,
    remove,
    short_path,
    status,
    sync_folder,
    write_new,
)
from datafor_token.store.files.locking import exclusive
from datafor_token.store.files.names import HASH_MARK, stem_of
from datafor_token.store.files.restoring import finish_if_left
from datafor_token.validation import strict_json, utf8
from datafor_token.validation.names import fold
from datafor_token.validation.strict_json import readable

_SUFFIX = ".json"
_TEMP_PREFIX = ".temp-"
_LOCK = ".lock"
_LONGEST_FINISH = 600.0  # seconds
_LONGEST_TICK = 50_000_000  # nanoseconds; the clock of file systems on Linux has ticks of 1 to 10 ms
_VERSION = struct.Struct("=Qqqq").pack


class FileStore:
    """A ``Store`` (see ``store.base``) in a folder: ``<folder>/<collection>/<record>.json``."""

    clock_offset = 0.0

    def __init__(
        self,
        folder: Path,
        collections: tuple[str, ...],
        lock_timeout: float,
        waited: Callable[[float], None] | None = None,
    ) -> None:
        """Create missing folders with mode 0700.

        ``lock_timeout`` is in seconds. ``waited`` is called with the seconds that each lock was waited for.
        """
        self.folder = folder
        self._prefix = f"{folder}/"
        self.collections = collections
        self._lock_timeout = lock_timeout
        self._waited = waited
        with outage("create the folders"):
            for path in (folder, *(folder / collection for collection in collections)):
                create_folder(path)

    def sweep(self) -> None:
        """Remove the temporary files of killed writers. Call it at the start."""
        for collection in self.collections:
            with self.locked(collection), outage(f"sweep {collection}"):
                # No writer is active under the lock: every temporary file is from a killed one.
                for path in self.temp_files(collection):
                    path.unlink(missing_ok=True)
        probing.sweep(self.folder)

    def get(self, collection: str, name: str) -> Document | None:
        file = self._file(collection, name)
        try:
            document = _read(file)
        except StoreUnavailable:
            self._finish_restore(collection)
            document = _read(file)
        if document is not None and fold(document["name"]) != fold(name):
            raise RecordDamaged(reason=f"{short_path(file)} holds the record of another name")
        return document

    def names(self, collection: str) -> list[str]:
        found = []
        for stem in self._stems(collection):
            # Only the record has a name that is too long for a file name.
            if HASH_MARK not in stem:
                found.append(unquote(stem))
            elif (record := self._read_stem(collection, stem)) is not None:
                found.append(record[0])
        return found

    def documents(self, collection: str) -> Iterator[tuple[str, Document | RecordDamaged]]:
        for _, name, found in self.files(collection):
            yield name, found

    def files(self, collection: str) -> Iterator[tuple[Path, str, Document | RecordDamaged]]:
        """Yield the file, the name and the content of every record, as ``documents`` does without the file."""
        for stem, name, found in self._read_stems(collection, self._stems(collection)):
            yield self.folder / collection / f"{stem}{_SUFFIX}", name, found

    def temp_files(self, collection: str) -> list[Path]:
        """Return the temporary files of killed and of active writers."""
        return [self.folder / collection / name for name in self._files(collection) if name.startswith(_TEMP_PREFIX)]

    def put(self, collection: str, document: Document) -> None:
        self.update(collection, document["name"], lambda _: document)

    def create(self, collection: str, document: Document) -> None:
        file = self._file(collection, document["name"])
        with self.locked(collection):
            with outage(f"look for {short_path(file)}"):
                if os.path.lexists(file):
                    raise AlreadyExists
            self._write(file, document)

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        with self.locked(collection, wait):
            document = change(self.get(collection, name))
            if fold(document["name"]) != fold(name):
                raise ValueError("an update cannot rename a record")
            self._write(self._file(collection, name), document)
        return document

    def delete(self, collection: str, name: str, check: Callable[[Document], object] | None = None) -> bool:
        path = Path(self._file(collection, name))
        with self.locked(collection):
            document = self.get(collection, name)
            if document is None:
                return False
            if check is not None:
                check(document)
            with outage(f"delete {short_path(path)}"):
                path.unlink(missing_ok=True)
            sync_folder(path.parent)
        return True

    def version(self, collection: str, name: str) -> Hashable | None:
        file = self._file(collection, name)
        try:
            found = status(file)
        except StoreUnavailable:
            self._finish_restore(collection)
            found = status(file)
        return None if found is None else _version(found)

    def stamp(self, collection: str) -> Hashable:
        # Creating, renaming or removing a file changes the status of its folder.
        with outage(f"look at {collection}"):
            try:
                return _version(os.stat(f"{self._prefix}{collection}"))  # noqa: PTH116 - creating a path object takes longer
            except FileNotFoundError:
                self._finish_restore(collection)
                return _version(os.stat(f"{self._prefix}{collection}"))  # noqa: PTH116 - as above

    def changes(self, collection: str, known: Mapping[str, Hashable]) -> tuple[dict[str, Hashable], Iterator[Changed]]:
        versions: dict[str, Hashable] = {}
        for stem in self._stems(collection):
            found = status(f"{self._prefix}{collection}/{stem}{_SUFFIX}")
            if found is not None:
                versions[stem] = _version(found)
        return versions, self._read_stems(
            collection, [stem for stem, version in versions.items() if known.get(stem) != version]
        )

    def check_readable(self) -> None:
        for collection in self.collections:
            with outage(f"list {collection}"), os.scandir(f"{self._prefix}{collection}") as entries:
                next(entries, None)

    def check_writable(self) -> None:
        probing.check(self.folder, [self.folder / collection for collection in self.collections])

    def serve(self) -> None:
        """Hold the lock of servers as long as this store exists; raise ``StoreNotReady`` during a migration."""
        server_lock.share(self.folder / server_lock.FILE, self.folder, self)

    @contextlib.contextmanager
    def exclude_servers(self) -> Iterator[Callable[[], None]]:
        with server_lock.exclude(self.folder / server_lock.FILE, self.folder):
            yield lambda: None

    def _file(self, collection: str, name: str) -> str:
        """Return the path of a record's file; no name leaves the folder, and no two names collide.

        Names become paths here only.
        """
        if collection not in self.collections:
            raise ValueError(f"no collection {collection!r}")
        return f"{self._prefix}{collection}/{stem_of(name)}{_SUFFIX}"

    def _stems(self, collection: str) -> list[str]:
        return [name.removesuffix(_SUFFIX) for name in self._files(collection) if name.endswith(_SUFFIX)]

    def _files(self, collection: str) -> list[str]:
        with outage(f"list {collection}"):
            try:
                return os.listdir(f"{self._prefix}{collection}")  # noqa: PTH208 - path objects take ten times longer
            except FileNotFoundError:
                self._finish_restore(collection)
                return os.listdir(f"{self._prefix}{collection}")  # noqa: PTH208 - as above

    def _read_stems(self, collection: str, stems: Iterable[str]) -> Iterator[Changed]:
        """Yield the records of these files, except files removed since the folder was listed."""
        for stem in stems:
            found = self._read_stem(collection, stem)
            if found is not None:
                yield stem, *found

    def _read_stem(self, collection: str, stem: str) -> tuple[str, Document | RecordDamaged] | None:
        """Return the name and the content of the record in a file, or None if the file does not exist."""
        # As text: with 100,000 records, path objects would take a third of the time.
        file = f"{self._prefix}{collection}/{stem}{_SUFFIX}"
        try:
            document = _read(file)
            if document is None:
                return None
            if stem_of(document["name"]) != stem:
                raise RecordDamaged(reason=f"{short_path(file)} holds the record of another name")
        except RecordDamaged as error:
            return unquote(stem), error
        return document["name"], document

    @contextlib.contextmanager
    def locked(self, collection: str, wait: float | None = None) -> Iterator[None]:
        """Hold the collection's lock, and finish an interrupted restore first; raise ``LockTimeout``."""
        timeout = self._lock_timeout if wait is None else wait
        with contextlib.ExitStack() as stack:
            # Only for the lock: errors inside of it have their own messages.
            with outage(f"lock {collection}"):
                lock = f"{self._prefix}{collection}/{_LOCK}"
                try:
                    stack.enter_context(exclusive(lock, timeout, self._waited))
                except FileNotFoundError:
                    self._finish_restore(collection)
                    stack.enter_context(exclusive(lock, timeout, self._waited))
            finish_if_left(self.folder, self.collections, _LONGEST_FINISH)
            yield

    def _finish_restore(self, collection: str) -> None:
        """Finish an interrupted restore if the collection is away.

        Without this, a running process would not find the collection before the next start of the service.
        """
        if not os.path.lexists(f"{self._prefix}{collection}"):
            finish_if_left(self.folder, self.collections, self._lock_timeout)

    def _write(self, file: str, document: Document) -> None:
        # One line for each member, for readable files and diffs. The encoder's ``indent`` is many times slower.
        members = ",\n".join([f"  {readable(name)}: {readable(value)}" for name, value in document.items()])
        data = f"{{\n{members}\n}}\n".encode()
        folder = file.rpartition("/")[0]
        temp = _temp(folder)
        try:
            write_new(temp, data)
            with outage(f"rename to {short_path(file)}"):
                os.rename(temp, file)  # noqa: PTH104 - a path object takes as long
        except BaseException:
            remove(temp)
            raise
        sync_folder(folder)


def _temp(folder: str) -> str:
    return f"{folder}/{_TEMP_PREFIX}{secrets.token_hex(8)}"


def _read(file: str) -> Document | None:
    """Return the document in a file, or None if the file does not exist."""
    data = read(file)
    if data is None:
        return None
    try:
        document = strict_json.loads(utf8.decode(data))
    except (RuleError, strict_json.JSONError) as error:
        raise RecordDamaged(reason=f"{short_path(file)} {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise RecordDamaged(reason=f"{short_path(file)} is not a JSON object with a name")
    return document


def _version(found: os.stat_result) -> Hashable:
    # All four: a new file can have the inode, size or time of the one it replaced. Packed, since many are cached.
    version = _VERSION(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    # Two writes within one tick of the file system's clock look the same: until it is over, a version equals no other.
    return version if time.time_ns() - found.st_ctime_ns > _LONGEST_TICK else (version, object())
