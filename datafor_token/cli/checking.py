"""Checks of ``datafor-token store check``: which stored records are valid."""

import errno
import secrets
from collections.abc import Iterator
from pathlib import Path

import click

from datafor_token.activity import activity
from datafor_token.activity.records import COLLECTION as ACTIVITY
from datafor_token.applications import record as applications
from datafor_token.applications.sealing import Sealer
from datafor_token.audit.events import Event, Kind
from datafor_token.cli.output import progress, report
from datafor_token.cli.services import services
from datafor_token.crypto import at_rest
from datafor_token.crypto.at_rest import Keyring
from datafor_token.errors import Forbidden, RecordDamaged, StoreUnavailable
from datafor_token.gate import assertion_keys
from datafor_token.operations import checklist
from datafor_token.rehearsal.records import COLLECTION as SIGN_INS
from datafor_token.rehearsal.records import UserRecord
from datafor_token.store.base import Document, Store
from datafor_token.store.files.disk import outage
from datafor_token.store.files.store import FileStore
from datafor_token.tokens import cut_offs, personal
from datafor_token.users import users

_ASIDE = "damaged"
# A link, a folder or a device instead of a file. After any other error, the record can be intact.
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})


def check(*, repair: bool) -> None:
    """Check every record, and report the errors; with ``repair``, move damaged files aside."""
    found = services().store
    if isinstance(found, FileStore):
        _check_files(found, repair=repair)
    else:
        _check_rows(repair=repair)


def files_or_refuse(instead: str) -> FileStore:
    """Return the store of files; raise ``Forbidden`` with what to do instead if the records are in a database."""
    found = services().store
    if not isinstance(found, FileStore):
        raise database_refused(instead)
    return found


def database_refused(instead: str) -> Forbidden:
    """Return the error of a command that is for records in files only."""
    return Forbidden("this command is for records in files, but STORE is a database: %(instead)s", instead=instead)


def read(collection: str, document: Document, keyring: Keyring) -> applications.Application | users.User | None:
    """Parse a record and return it if it is an application or a user, else None; raise ``RecordDamaged``."""
    if collection == applications.COLLECTION:
        return Sealer(keyring).unseal(document)
    if collection == cut_offs.COLLECTION:
        cut_offs.CutOff.from_document(document)
    if collection == at_rest.COLLECTION and document["name"] == assertion_keys.RECORD:
        assertion_keys.read(document, keyring)
    if collection == personal.COLLECTION:
        personal.tokens_of(document)
    if collection == ACTIVITY:
        activity.check(document)
    if collection == SIGN_INS:
        UserRecord.from_document(document)
    return users.User.from_document(document) if collection == users.COLLECTION else None


def _check_files(files: FileStore, *, repair: bool) -> None:
    number = sum(len(list((files.folder / collection).glob("*.json"))) for collection in files.collections)
    with progress(_checked(files), number, "Checking") as checked:
        faults = {path: reason for path, reason in checked if reason}
    left = [path for collection in files.collections for path in files.temp_files(collection)]
    if repair:
        with services().audit.change() as record:
            record(Event(kind=Kind.STORE_REPAIRED))
            for path in faults:
                _move_aside(files, path)
        files.sweep()
    _report(
        {str(path): reason for path, reason in faults.items()},
        temporary=[str(path) for path in left],
        aside=files.folder / _ASIDE if repair else None,
    )


def _check_rows(*, repair: bool) -> None:
    """Check the records of a database."""
    if repair:
        raise database_refused("delete the rows of datafor_records that the check prints, with `psql`")
    current: Store = services().store
    number = sum(len(current.names(collection)) for collection in current.collections)
    pairs = ((collection, *one) for collection in current.collections for one in current.documents(collection))
    with progress(pairs, number, "Checking") as found:
        reasons = {
            f"{collection}/{name}": _fault(collection, one, services().keyring) for collection, name, one in found
        }
    _report({record: reason for record, reason in reasons.items() if reason}, temporary=[], aside=None)


def _report(faults: dict[str, str], temporary: list[str], aside: Path | None) -> None:
    """Report the result; exit with 1 if a damaged record remains. ``aside``: the folder of moved files."""
    notes = list(_violations())
    lines = [
        *(f"{record}: {reason}" for record, reason in faults.items()),
        *(f"note: {one}" for one in notes),
        *(f"{path}: temporary file of a writer" for path in temporary),
    ]
    if aside is not None:
        lines.append(f"Damaged files moved to {aside}: {len(faults)}")
    elif not faults:
        lines.append("All records are valid")
    report(
        *lines,
        valid=not faults,
        faults=[{"record": record, "reason": reason} for record, reason in faults.items()],
        notes=notes,
        temporary=temporary,
        moved_to=None if aside is None else str(aside),
    )
    if faults and aside is None:
        click.get_current_context().exit(1)


def _violations() -> Iterator[str]:
    """Yield stored values that break a rule of this version. They continue to work; nothing is damaged."""
    return (f"{one.kind} {one.name}: {one.reason}" for one in checklist.rule_violations(checklist.Look(services())))


def _checked(files: FileStore) -> Iterator[tuple[Path, str]]:
    """Yield every file, with the reason why it is not a valid record; empty if it is valid."""
    for collection in files.collections:
        for path, _, found in files.files(collection):
            yield path, _fault(collection, found, services().keyring)


def _fault(collection: str, found: Document | RecordDamaged, keyring: Keyring) -> str:
    """Return the reason why a record is not valid; empty if it is valid.

    Raises ``StoreUnavailable`` if it cannot be read now: it may be intact, and must not be moved aside.
    """
    if isinstance(found, RecordDamaged):
        cause = found.__cause__
        if isinstance(cause, OSError) and cause.errno not in _NO_FILE:
            raise StoreUnavailable(reason=found.reason)
        return str(found.reason)
    try:
        read(collection, found, keyring)
    except RecordDamaged as error:
        return str(error.reason)
    return ""


def _move_aside(files: FileStore, path: Path) -> None:
    aside = files.folder / _ASIDE
    with outage(f"move {path.name} aside"):
        aside.mkdir(mode=0o700, exist_ok=True)
        with files.locked(path.parent.name):
            # A unique name, so that no file that was moved aside is ever replaced.
            path.rename(aside / f"{path.parent.name}-{secrets.token_hex(4)}-{path.name}")
