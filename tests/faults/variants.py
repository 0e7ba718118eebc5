"""The file store, and deliberately broken stores, on which the checks must fail."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datafor_token.errors import StoreUnavailable
from datafor_token.store.base import Change, Document
from datafor_token.store.files import disk, store
from datafor_token.store.files.store import FileStore

_WHOLE_WRITE = FileStore._write  # broken_wsgi replaces it
COLLECTIONS = ("records",)
LOCK_TIMEOUT = 2.0


def make_store(folder: Path, variant: str) -> FileStore:
    """Open a store of the variant; ``whole`` is the one of the service."""
    kind = VARIANTS[variant]
    return kind(folder, COLLECTIONS, LOCK_TIMEOUT)


class Whole(FileStore):
    """The store of the service."""


class NoFsync(FileStore):
    """Never syncs files."""

    def _write(self, file: str, document: Document) -> None:
        with replaced(os, "fsync", lambda _: None):
            super()._write(file, document)


class FsyncBeforeFlush(FileStore):
    """Syncs the file before its content is written."""

    def _write(self, file: str, document: Document) -> None:
        def early(target: str, data: bytes) -> None:
            with replaced(disk.os, "write", lambda _, rest: len(rest)):  # type: ignore[attr-defined]
                disk.write_new(target, data)
            with Path(target).open("r+b") as written:
                written.write(data)

        with replaced(store, "write_new", early):
            super()._write(file, document)


class NoFolderFsync(FileStore):
    """Never syncs the folder."""

    def _write(self, file: str, document: Document) -> None:
        with replaced(store, "sync_folder", lambda _: None):
            super()._write(file, document)


class NoTemp(FileStore):
    """Removes the record and writes it again under its own name."""

    def _write(self, file: str, document: Document) -> None:
        path = Path(file)
        path.unlink(missing_ok=True)
        disk.write_new(path, json.dumps(document).encode())
        disk.sync_folder(path.parent)


class PlainOverwrite(FileStore):
    """Overwrites the record in place, as most programs do."""

    def _write(self, file: str, document: Document) -> None:
        with disk.outage("write"):
            Path(file).write_text(json.dumps(document))


class NoLock(FileStore):
    """Does not lock, so that writers overlap."""

    @contextlib.contextmanager
    def locked(self, *_: object) -> Iterator[None]:
        yield


class AlwaysDone(FileStore):
    """Acknowledges every write, also one that failed."""

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        with contextlib.suppress(StoreUnavailable):
            return super().update(collection, name, change, wait=wait)
        return {"name": name, "value": 0}


class Lenient(FileStore):
    """Reports a record that cannot be read as missing."""

    def get(self, collection: str, name: str) -> Document | None:
        with contextlib.suppress(StoreUnavailable):
            return super().get(collection, name)
        return None


class Late(FileStore):
    """Acknowledges a write before it is stored."""

    def _write(self, file: str, document: Document) -> None:
        def later() -> None:
            time.sleep(0.05)
            _WHOLE_WRITE(self, file, document)

        threading.Thread(target=later).start()


VARIANTS: dict[str, type[FileStore]] = {
    "whole": Whole,
    "no fsync": NoFsync,
    "fsync before flush": FsyncBeforeFlush,
    "no folder fsync": NoFolderFsync,
    "no temp": NoTemp,
    "plain overwrite": PlainOverwrite,
    "no lock": NoLock,
    "always done": AlwaysDone,
    "lenient": Lenient,
    "late": Late,
}


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Callable[..., Any]) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
