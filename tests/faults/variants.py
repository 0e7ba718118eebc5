"""The file store, and stores that are broken on purpose: a check that passes one of those is no check."""

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

_WHOLE_WRITE = FileStore._write  # also where another one was put in its place
COLLECTIONS = ("records",)
LOCK_TIMEOUT = 2.0


def make_store(folder: Path, variant: str) -> FileStore:
    """A store of the variant; ``whole`` is the one that the service uses."""
    kind = VARIANTS[variant]
    return kind(folder, COLLECTIONS, LOCK_TIMEOUT)


class Whole(FileStore):
    """The store as it is."""


class NoFsync(FileStore):
    """Files are never synced."""

    def _write(self, file: str, document: Document) -> None:
        with replaced(os, "fsync", lambda _: None):
            super()._write(file, document)


class FsyncBeforeFlush(FileStore):
    """The file is synced before anything is written into it."""

    def _write(self, file: str, document: Document) -> None:
        def early(target: str, data: bytes) -> None:
            with replaced(disk.os, "write", lambda _, rest: len(rest)):  # type: ignore[attr-defined]
                disk.write_new(target, data)
            with Path(target).open("r+b") as written:
                written.write(data)

        with replaced(store, "write_new", early):
            super()._write(file, document)


class NoFolderFsync(FileStore):
    """The folder is never synced."""

    def _write(self, file: str, document: Document) -> None:
        with replaced(store, "sync_folder", lambda _: None):
            super()._write(file, document)


class NoTemp(FileStore):
    """The record is removed and written anew in its own place."""

    def _write(self, file: str, document: Document) -> None:
        path = Path(file)
        path.unlink(missing_ok=True)
        disk.write_new(path, json.dumps(document).encode())
        disk.sync_folder(path.parent)


class PlainOverwrite(FileStore):
    """What most programs do."""

    def _write(self, file: str, document: Document) -> None:
        with disk.outage("write"):
            Path(file).write_text(json.dumps(document))


class NoLock(FileStore):
    """Writers do not exclude each other."""

    @contextlib.contextmanager
    def locked(self, *_: object) -> Iterator[None]:
        yield


class AlwaysDone(FileStore):
    """Says that it is done whatever happens."""

    def update(self, collection: str, name: str, change: Change, *, wait: float | None = None) -> Document:
        with contextlib.suppress(StoreUnavailable):
            return super().update(collection, name, change, wait=wait)
        return {"name": name, "value": 0}


class Lenient(FileStore):
    """Takes what it cannot read for nothing."""

    def get(self, collection: str, name: str) -> Document | None:
        with contextlib.suppress(StoreUnavailable):
            return super().get(collection, name)
        return None


class Late(FileStore):
    """Answers first and writes a little later."""

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
