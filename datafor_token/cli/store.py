"""``flask store``: look after the stored records."""

import errno
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from datafor_token.applications import record as applications
from datafor_token.applications.record import Sealer
from datafor_token.audit.events import Event, Kind
from datafor_token.cli.database import init, migrate
from datafor_token.cli.output import UNAVAILABLE, Commands, confirm, echo, yes_option
from datafor_token.crypto.at_rest import KEY_FILE, KEY_VARIABLE, Keyring, load_keys, store_key_identifier
from datafor_token.errors import Forbidden, NotFound, RecordDamaged, StoreUnavailable
from datafor_token.operations import backup
from datafor_token.operations import restore as restoring
from datafor_token.operations.store_identity import FILE as STORE_ID
from datafor_token.operations.store_identity import StoreIdentity, known_identifier
from datafor_token.store.base import Document
from datafor_token.store.files import snapshots
from datafor_token.store.files.disk import outage
from datafor_token.store.files.store import FileStore
from datafor_token.store.opening import FILE, has_records
from datafor_token.users import users
from datafor_token.web.services import Beginning, current_settings, open_services, services

store = Commands("store", help="Look after the stored records. Example: flask store check")

for command in (init, migrate):
    store.add_command(command)

_One = TypeVar("_One")
_ASIDE = "damaged"
# Only these say that no record is there, but a link, a folder or a device.
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})
_MANY = 1000  # records, above which progress is shown
_MOST_NAMED = 50


@store.command("check")
@click.option("--repair", is_flag=True, help="Move damaged files to data/damaged, and remove what killed writers left.")
def check(*, repair: bool) -> None:
    """Read and check every record, and say what is wrong, file by file; exit code 1 when something is.

    Example: flask store check --repair
    """
    if not isinstance(services().store, FileStore):
        _check_rows(repair=repair)
        return
    files = _files("")
    number = sum(len(list((files.folder / collection).glob("*.json"))) for collection in files.collections)
    with _progress(_judged(files), number, "Checking") as judged:
        faults = [(path, reason) for path, reason in judged if reason]
    for path, reason in faults:
        echo(f"{path}: {reason}")
    _print_complaints()
    left = [path for collection in files.collections for path in files.temp_files(collection)]
    for path in left:
        echo(f"{path}: left by a writer, or being written")
    if repair:
        with services().audit.change() as record:
            record(Event(kind=Kind.STORE_REPAIRED))
            for path, _ in faults:
                _move_aside(files, path)
        files.sweep()
        echo(f"Damaged files moved to {files.folder / _ASIDE}: {len(faults)}")
    elif faults:
        sys.exit(1)
    else:
        echo("All records are whole")


@store.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def make_backup(file: Path) -> None:
    """Write all records of one moment into a file, while the service runs. Keep config/secret_key apart from it.

    Example: flask store backup /backup/datafor_token.gz
    """
    try:
        records = snapshots.take(_files("back it up with `pg_dump`"))
    except RecordDamaged as error:
        raise Forbidden(
            "%(detail)s: move it aside with `flask store check --repair`, then try again", detail=error.reason
        ) from None
    number = backup.write(file, records, services().keyring)
    echo(f"{number} records are in {file}; without config/secret_key the secrets in it cannot be read")


@store.command("restore", opens=False)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--unauthenticated",
    is_flag=True,
    help="Accept a backup of an earlier version, or one that was changed; an attacker may have added users to it.",
)
@yes_option
def restore(file: Path, *, dry_run: bool, unauthenticated: bool, yes: bool) -> None:
    """Put a backup back, all or nothing. All sessions and one-time links end; revoked tokens stay revoked.

    Says first which Administrators it would add, which passwords and secrets it would change, and which users and
    applications it would remove. A backup that was changed after it was written is refused. Where there is no store
    yet, as on a new host, put the service's config/secret_key there first.

    Example: flask store restore /backup/datafor_token.gz --dry-run
    """
    settings = current_settings()
    if settings.store != FILE:
        _refuse_database("put its own backup back with `pg_restore`")
    # Before anything is created: what the backup's key does not open must not leave a store with another key.
    beginning = Beginning.COMMAND if has_records(settings.data_dir) else Beginning.RESTORE
    is_new = beginning is Beginning.RESTORE
    keyring = _keys_of_a_new_host(settings.config_dir) if is_new else open_services(beginning).keyring
    found = backup.read(file, keyring, unauthenticated=unauthenticated)
    _check_all(found.records, keyring)
    kept = restoring.with_identifier(
        restoring.reencrypt(found, keyring),
        known_identifier(settings.config_dir),
        file,
        settings.config_dir / STORE_ID,
    )
    present = [] if is_new else snapshots.take(_files(""), without_damaged=True)
    changes = restoring.compare(present, restoring.merge(present, kept), keyring)
    if not found.is_authentic:
        echo(
            "This backup is not authenticated: an attacker may have added users and applications to it",
            err=True,
        )
    if found.key != keyring.identifier:
        echo(f"It was written with the former key {found.key}: its secrets are encrypted with {keyring.identifier} now")
    if is_new:
        echo(f"There is no store in {settings.data_dir} yet: this begins one there")
    _name(changes)
    said = ", ".join(f"{number} {what}" for what, number in changes.counts.items())
    if dry_run:
        echo(f"would be: {said}")
        return
    confirm(f"Replace all records ({said})?", yes=yes)
    open_services(beginning)
    files = _files("")
    # With the records of that moment: what was revoked while somebody thought it over stays revoked.
    with services().audit.change() as record:
        record(Event(kind=Kind.STORE_RESTORED, reason=None if found.is_authentic else "unauthenticated"))
        snapshots.restore(
            files,
            lambda at_last: restoring.merge(at_last, kept),
            lambda records: _progress(records, len(records), "Writing"),
        )
    StoreIdentity(files, settings.config_dir, str(settings.data_dir)).save()
    echo(said)


def _keys_of_a_new_host(config_dir: Path) -> Keyring:
    if KEY_VARIABLE not in os.environ and not os.path.lexists(config_dir / KEY_FILE):
        raise Forbidden(
            "%(config_dir)s is missing: copy the key of the backup (config/secret_key) there first",
            config_dir=config_dir / KEY_FILE,
        )
    return load_keys(config_dir, os.environ)


def _name(changes: restoring.Changes) -> None:
    """Name what a restore would give access to, new Administrators first, and what it would remove."""
    _listed("New Administrators", changes.administrators)
    for label, found in (("Changed users", changes.users), ("Changed applications", changes.applications)):
        _listed(label, [f"{name} ({', '.join(fields)})" for name, fields in found])
    _listed("Deleted users", changes.deleted_users)
    _listed("Deleted applications", changes.deleted_applications)


def _listed(label: str, texts: Sequence[str]) -> None:
    more = f", and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    if texts:
        echo(f"{label}: {', '.join(texts[:_MOST_NAMED])}{more}")


@store.command("rekey")
def rekey() -> None:
    """Encrypt every secret with the present key.

    To change the key: put the new one in front of the old one (in config/secret_key on a line of its own), restart the
    service, run this, then take the old one away. It can be run again after a break.

    Example: flask store rekey
    """
    listing = services().registry.index()
    if listing.damaged:
        echo(f"Nothing was changed: these records cannot be read: {', '.join(listing.damaged)}", err=True)
        sys.exit(1)
    try:
        services().audit.record(Event(kind=Kind.STORE_REKEYED))
        for application in listing.entries:
            try:
                services().registry.reseal(application.name)
            except NotFound:
                # Deleted in the meantime.
                continue
        services().revocations.rename_unkeyed()
        # Last: until here, the old key is the one that a start must know.
        store_key_identifier(services().store, services().keyring)
    except StoreUnavailable as error:
        echo(f"{error.message}: {error.reason}; run it again", err=True)
        sys.exit(UNAVAILABLE)
    number = len(listing.entries)
    what = "1 application is" if number == 1 else f"{number} applications are"
    echo(f"{what} encrypted with the key {services().keyring.identifier}")


def _files(instead: str) -> FileStore:
    found = services().store
    if not isinstance(found, FileStore):
        _refuse_database(instead)
    return found


def _refuse_database(instead: str) -> NoReturn:
    raise Forbidden("this is for records in files; yours are in a database: %(instead)s", instead=instead)


def _check_rows(*, repair: bool) -> None:
    """``check`` for a store without files."""
    if repair:
        _files("remove the rows of datafor_records that the check names, with `psql`")
    present = services().store
    number = sum(len(present.names(collection)) for collection in present.collections)
    pairs = ((collection, *one) for collection in present.collections for one in present.documents(collection))
    faults = 0
    with _progress(pairs, number, "Checking") as progress:
        for collection, name, found in progress:
            reason = _fault(collection, found, services().keyring)
            faults += bool(reason)
            if reason:
                echo(f"{collection}/{name}: {reason}")
    _print_complaints()
    if faults:
        sys.exit(1)
    echo("All records are whole")


def _print_complaints() -> None:
    """Name stored values that break a rule of this version; they continue to work, and nothing is damaged."""
    found = [(f"application {one.name}", one.rule_violations) for one in services().registry.index().entries]
    found += [(f"user {one.name}", tuple(one.rule_violations)) for one in services().accounts.all()[0]]
    for where, rule_violations in found:
        for complaint in rule_violations:
            echo(f"note: {where}: {complaint}")


def _progress(found: Iterable[_One], number: int, label: str) -> AbstractContextManager[Iterable[_One]]:
    return click.progressbar(found, length=number, label=label, file=sys.stderr, hidden=number <= _MANY)


def _judged(files: FileStore) -> Iterator[tuple[Path, str]]:
    """Every file, and why it is no record of its collection; the empty text where it is one."""
    for collection in files.collections:
        for path, _, found in files.files(collection):
            yield path, _fault(collection, found, services().keyring)


def _fault(collection: str, found: Document | RecordDamaged, keyring: Keyring) -> str:
    """Why a record is none of its collection; the empty text where it is one.

    Raises ``StoreUnavailable`` for one that cannot be read at the moment: it may be sound, and must not be moved aside.
    """
    cause = found.__cause__ if isinstance(found, RecordDamaged) else None
    if isinstance(found, RecordDamaged) and isinstance(cause, OSError) and cause.errno not in _NO_FILE:
        raise StoreUnavailable(reason=found.reason)
    try:
        if isinstance(found, RecordDamaged):
            raise found
        _read(collection, found, keyring)
    except RecordDamaged as error:
        return str(error.reason)
    return ""


def _check_all(kept: backup.Records, keyring: Keyring) -> None:
    """Refuse a backup with a record that is none, before anything is touched."""
    with _progress(kept, len(kept), "Checking") as progress:
        try:
            found = [_read(collection, document, keyring) for collection, document in progress]
        except RecordDamaged as error:
            raise Forbidden("it holds a record that is not valid: %(detail)s", detail=error.reason) from None
    if not any(isinstance(one, users.User) and one.administers for one in found):
        raise Forbidden("it holds no enabled Administrator")


def _read(collection: str, document: Document, keyring: Keyring) -> applications.Application | users.User | None:
    """The application or user of a record; ``RecordDamaged`` where it is none, ``None`` in other collections."""
    if collection == applications.COLLECTION:
        return Sealer(keyring).unseal(document)
    return users.User.from_document(document) if collection == users.COLLECTION else None


def _move_aside(files: FileStore, path: Path) -> None:
    aside = files.folder / _ASIDE
    with outage(f"move {path.name} aside"):
        aside.mkdir(mode=0o700, exist_ok=True)
        with files.locked(path.parent.name):
            # A name that no earlier one has: nothing that was moved aside is ever replaced.
            path.rename(aside / f"{path.parent.name}-{secrets.token_hex(4)}-{path.name}")
