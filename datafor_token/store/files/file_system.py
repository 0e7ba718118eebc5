"""Check of the file system of a data folder, before anything is stored there.

The store relies on locks, on files that are created once, on renames and on syncs. Some network, FAT and emulated file
systems lack one of them and report no error until two writers meet or the power fails, so each is tried.
"""

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from datafor_token.errors import StoreNotReady
from datafor_token.store.files.disk import sync
from datafor_token.store.files.locking import hold
from datafor_token.validation import logs

log = logging.getLogger(__name__)

_MOUNTS = Path("/proc/self/mountinfo")
_PREFIX = ".file-system-check-"
_ON_A_LOCAL_DISK = "put the folder on a local disk (DATAFOR_TOKEN_DATA_DIR)"


class _Unfit(Exception):
    """The file system lacks something: ``args`` are the fault and what else to do about it."""


def check(folder: Path, *, is_new: bool) -> None:
    """Try what the store needs in the folder or, if it does not exist, in the nearest folder above it.

    It takes a few milliseconds and leaves nothing behind. Raise ``StoreNotReady`` with a sentence for the first thing
    that does not work. Where no file can be created nothing is tried, since a service on a full or read-only disk still
    verifies tokens. Things that an existing store can do without are refused only where a store ``is_new``, and logged
    elsewhere.
    """
    here = next((one for one in (folder, *folder.absolute().parents) if one.is_dir()), folder)
    with contextlib.ExitStack() as stack:
        try:
            temp = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, dir=here)))
            for name in ("one", "two"):
                (temp / name).write_text(name)
        except OSError:
            return
        for trial in _TRIALS:
            _run(trial, temp, folder, is_refused=is_new or trial not in _ADVISABLE)


def _run(trial: Callable[[Path], None], temp: Path, folder: Path, *, is_refused: bool) -> None:
    try:
        trial(temp)
    except _Unfit as error:
        fault, remedy = error.args
        sentence = f"the data folder {folder} is on a file system{_kind_of(temp)} where {fault}: {_ON_A_LOCAL_DISK}"
        if remedy:
            sentence += f", or {remedy}"
        if is_refused:
            raise StoreNotReady(sentence) from None
        log.warning(logs.event("unsuitable file system", reason=sentence))


def _locks(temp: Path) -> None:
    held: list[int | None] = []
    try:
        # ``flock`` belongs to the open file: the second one must be refused in the same process too.
        held.extend(hold(temp / "one") for _ in range(2))
    except OSError as error:
        raise _Unfit(
            f"locks (flock) fail ({_reason(error)})", "mount it with locks (NFS version 4, or 3 with rpc.statd)"
        ) from None
    finally:
        for descriptor in held:
            if descriptor is not None:
                os.close(descriptor)
    if held[0] is None or held[1] is not None:
        raise _Unfit("locks (flock) have no effect, so that writers could overwrite each other's changes", "")


def _creations(temp: Path) -> None:
    try:
        os.close(os.open(temp / "one", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    except OSError as error:
        raise _Unfit(f"creating a file (O_EXCL) fails ({_reason(error)})", "") from None
    raise _Unfit("a file can be created twice (O_EXCL), so that writers could overwrite each other's changes", "")


def _renames(temp: Path) -> None:
    try:
        (temp / "one").rename(temp / "two")
        replaced = (temp / "two").read_text() == "one" and not (temp / "one").exists()
    except OSError as error:
        raise _Unfit(f"a file cannot be replaced by a rename ({_reason(error)})", "") from None
    if not replaced:
        raise _Unfit("a rename does not replace a file", "")


def _syncs(temp: Path) -> None:
    try:
        with (temp / "two").open("rb+") as file:
            os.fsync(file.fileno())
        sync(temp)
    except OSError as error:
        raise _Unfit(
            f"files and folders cannot be synced (fsync: {_reason(error)}), so that a power cut could lose what was"
            " acknowledged",
            "",
        ) from None


def _modes(temp: Path) -> None:
    with (temp / "two").open("rb") as file:
        # Some file systems refuse to change the mode, which is fine if the mount's own is narrow.
        with contextlib.suppress(OSError):
            os.fchmod(file.fileno(), 0o600)
        mode = os.fstat(file.fileno()).st_mode & 0o777
    if mode & 0o077:
        raise _Unfit(
            f"files have the mode {mode:04o} whatever is set, so that other users of this host could read or change the"
            " records",
            "mount it for this user only (FAT: umask=077; SMB: file_mode=0600,dir_mode=0700)",
        )


def _links(temp: Path) -> None:
    try:
        (temp / "three").hardlink_to(temp / "two")
    except OSError as error:
        raise _Unfit(f"hard links, which `store restore` needs, cannot be created ({_reason(error)})", "") from None


_TRIALS: tuple[Callable[[Path], None], ...] = (_locks, _creations, _renames, _syncs, _modes, _links)
_ADVISABLE = frozenset({_modes, _links})


def _kind_of(folder: Path) -> str:
    """Return the type of the file system for a sentence; empty if the system does not tell."""
    found, best = "", Path("/")
    with contextlib.suppress(OSError, ValueError, IndexError):
        here = folder.resolve()
        # proc_pid_mountinfo(5): blanks in paths are octal escapes. A later mount hides an earlier one.
        for line in _MOUNTS.read_text(errors="replace").splitlines():
            left, _, right = line.partition(" - ")
            point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), left.split(" ")[4]))
            if here.is_relative_to(point) and point.is_relative_to(best):
                found, best = f" of the type {right.split(' ')[0]} (mounted at {point})", point
    return found


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0)
