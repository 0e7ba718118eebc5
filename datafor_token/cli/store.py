"""``datafor-token store``: check, backup, restore and key change of the stored records."""

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
from datafor_token.cli.services import current_settings, open_services, services
from datafor_token.crypto.at_rest import KEY_FILE, KEY_VARIABLE, Keyring, load_keys, store_key_identifier
from datafor_token.errors import Forbidden, NotFound, RecordDamaged, StoreUnavailable
from datafor_token.operations import backup
from datafor_token.operations import restore as restoring
from datafor_token.operations.installation import Opener
from datafor_token.operations.store_identity import FILE as STORE_ID
from datafor_token.operations.store_identity import StoreIdentity, known_identifier
from datafor_token.store.base import Document
from datafor_token.store.files import snapshots
from datafor_token.store.files.disk import outage
from datafor_token.store.files.store import FileStore
from datafor_token.store.opening import FILE, has_records
from datafor_token.users import users

store = Commands("store", help="Manage the stored records. Example: datafor-token store check")

for command in (init, migrate):
    store.add_command(command)

_One = TypeVar("_One")
_ASIDE = "damaged"
# A link, a folder or a device instead of a file. After any other error, the record can be intact.
_NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV})
_MANY = 1000  # records, above which progress is shown
_MOST_NAMED = 50
_STANDARD = "-"  # standard input or output instead of a file; ./- is a file of that name


@store.command("check")
@click.option(
    "--repair", is_flag=True, help="Move damaged files to data/damaged, and delete temporary files of killed writers."
)
def check(*, repair: bool) -> None:
    """Check every record. Errors are printed file by file; the exit code is 1 if there are any.

    Example: datafor-token store check --repair
    """
    if not isinstance(services().store, FileStore):
        _check_rows(repair=repair)
        return
    files = _files("")
    number = sum(len(list((files.folder / collection).glob("*.json"))) for collection in files.collections)
    with _progress(_checked(files), number, "Checking") as checked:
        faults = [(path, reason) for path, reason in checked if reason]
    for path, reason in faults:
        echo(f"{path}: {reason}")
    _print_violations()
    left = [path for collection in files.collections for path in files.temp_files(collection)]
    for path in left:
        echo(f"{path}: temporary file of a writer")
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
        echo("All records are valid")


@store.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
def make_backup(file: str) -> None:
    """Write a consistent backup of all records while the service runs. Store config/secret_key elsewhere.

    With - as FILE, the backup goes to standard output, for a pipe such as `| ssh backup 'cat > datafor_token.gz'`.

    Example: datafor-token store backup /backup/datafor_token.gz
    """
    if file == _STANDARD and sys.stdout.isatty():
        raise Forbidden("standard output is a terminal: redirect it into a file or a pipe, or name a file")
    try:
        records = snapshots.take(_files("back it up with `pg_dump`"))
    except RecordDamaged as error:
        raise Forbidden(
            "%(detail)s: move it aside with `datafor-token store check --repair`, then try again", detail=error.reason
        ) from None
    keyring = services().keyring
    if file == _STANDARD:
        # Unbuffered: after an error, the end of the process would write the rest of a buffer again.
        with open(sys.stdout.fileno(), "wb", buffering=0, closefd=False) as stream:
            number = backup.write_stream(stream, "standard output", records, keyring)
    else:
        number = backup.write(Path(file), records, keyring, data_dir=current_settings().data_dir)
    where = "standard output" if file == _STANDARD else file
    echo(
        f"{number} records were written to {where}; without config/secret_key, its secrets cannot be read",
        err=file == _STANDARD,
    )


@store.command("restore", opens=False)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Only print the changes.")
@click.option(
    "--unauthenticated",
    is_flag=True,
    help="Accept a backup of an earlier version, or one that was changed: an attacker may have added users to it.",
)
@yes_option
def restore(file: str, *, dry_run: bool, unauthenticated: bool, yes: bool) -> None:
    """Restore a backup, all or nothing. All sessions and one-time links end; revoked tokens remain revoked.

    The changes are printed first: new Administrators, changed passwords and secrets, deleted users and applications. A
    backup that was changed after it was written is refused. On a new host, copy the service's config/secret_key first.
    With - as FILE, the backup is read from standard input; give --yes or --dry-run.

    Example: datafor-token store restore /backup/datafor_token.gz --dry-run
    """
    settings = current_settings()
    if settings.store != FILE:
        _refuse_database("restore its own backup with `pg_restore`")
    # Checked before anything is created: after a refused backup, no store with another key must remain.
    opener = Opener.COMMAND if has_records(settings.data_dir) else Opener.RESTORE
    is_new = opener is Opener.RESTORE
    keyring = _keys_of_a_new_host(settings.config_dir) if is_new else open_services(opener).keyring
    if file == _STANDARD:
        file = "standard input"
        if sys.stdin.isatty():
            raise Forbidden("standard input is a terminal: redirect the backup into it, or name a file")
        found = backup.read_stream(sys.stdin.buffer, file, keyring, unauthenticated=unauthenticated)
    else:
        found = backup.read(Path(file), keyring, unauthenticated=unauthenticated)
    _check_all(found.records, keyring)
    records = restoring.with_identifier(
        restoring.reencrypt(found, keyring),
        known_identifier(settings.config_dir),
        file,
        settings.config_dir / STORE_ID,
    )
    current = [] if is_new else snapshots.take(_files(""), without_damaged=True)
    changes = restoring.compare(current, restoring.merge(current, records), keyring)
    if not found.is_authentic:
        echo(
            "This backup is not authenticated: an attacker may have added users and applications to it",
            err=True,
        )
    if found.key != keyring.identifier:
        echo(f"It was written with the former key {found.key}: its secrets will be encrypted with {keyring.identifier}")
    if is_new:
        echo(f"No store exists in {settings.data_dir}: this creates one")
    _print_changes(changes)
    summary = ", ".join(f"{number} {what}" for what, number in changes.counts.items())
    if dry_run:
        echo(f"would be: {summary}")
        return
    confirm(f"Replace all records ({summary})?", yes=yes)
    open_services(opener)
    files = _files("")
    # Merged again with the current records: a token that was revoked during the prompt remains revoked.
    with services().audit.change() as record:
        record(Event(kind=Kind.STORE_RESTORED, reason=None if found.is_authentic else "unauthenticated"))
        snapshots.restore(
            files,
            lambda latest: restoring.merge(latest, records),
            lambda writes: _progress(writes, len(writes), "Writing"),
        )
    StoreIdentity(files, settings.config_dir, str(settings.data_dir)).save()
    echo(summary)


def _keys_of_a_new_host(config_dir: Path) -> Keyring:
    if KEY_VARIABLE not in os.environ and not os.path.lexists(config_dir / KEY_FILE):
        raise Forbidden(
            "%(path)s is missing: copy the key of the backup (config/secret_key) there first",
            path=config_dir / KEY_FILE,
        )
    return load_keys(config_dir, os.environ)


def _print_changes(changes: restoring.Changes) -> None:
    """Print the changes of a restore: first those that give access, above all new Administrators, then deletions."""
    _print_names("New Administrators", changes.administrators)
    for label, found in (("Changed users", changes.users), ("Changed applications", changes.applications)):
        _print_names(label, [f"{name} ({', '.join(fields)})" for name, fields in found])
    _print_names("Deleted users", changes.deleted_users)
    _print_names("Deleted applications", changes.deleted_applications)


def _print_names(label: str, texts: Sequence[str]) -> None:
    more = f", and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    if texts:
        echo(f"{label}: {', '.join(texts[:_MOST_NAMED])}{more}")


@store.command("rekey")
def rekey() -> None:
    """Encrypt every secret with the current key.

    To change the key: put the new one before the old one (in config/secret_key on a line of its own), restart the
    service, run this command, then remove the old one. After an interruption, run it again.

    Example: datafor-token store rekey
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
                # Deleted meanwhile.
                continue
        services().revocations.rename_unkeyed()
        # Last, because a start needs the old key until all is encrypted again.
        store_key_identifier(services().store, services().keyring)
    except StoreUnavailable as error:
        echo(f"{error.message}: {error.reason}; run this command again", err=True)
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
    raise Forbidden("this command is for records in files, but STORE is a database: %(instead)s", instead=instead)


def _check_rows(*, repair: bool) -> None:
    """Check the records of a database."""
    if repair:
        _files("delete the rows of datafor_records that the check prints, with `psql`")
    current = services().store
    number = sum(len(current.names(collection)) for collection in current.collections)
    pairs = ((collection, *one) for collection in current.collections for one in current.documents(collection))
    faults = 0
    with _progress(pairs, number, "Checking") as progress:
        for collection, name, found in progress:
            reason = _fault(collection, found, services().keyring)
            faults += bool(reason)
            if reason:
                echo(f"{collection}/{name}: {reason}")
    _print_violations()
    if faults:
        sys.exit(1)
    echo("All records are valid")


def _print_violations() -> None:
    """Print stored values that break a rule of this version. They continue to work; nothing is damaged."""
    found = [(f"application {one.name}", one.rule_violations) for one in services().registry.index().entries]
    found += [(f"user {one.name}", tuple(one.rule_violations)) for one in services().accounts.all()[0]]
    for where, rule_violations in found:
        for violation in rule_violations:
            echo(f"note: {where}: {violation}")


def _progress(found: Iterable[_One], number: int, label: str) -> AbstractContextManager[Iterable[_One]]:
    return click.progressbar(found, length=number, label=label, file=sys.stderr, hidden=number <= _MANY)


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
        _read(collection, found, keyring)
    except RecordDamaged as error:
        return str(error.reason)
    return ""


def _check_all(records: backup.Records, keyring: Keyring) -> None:
    """Refuse a backup with a record that is not valid, before anything is changed."""
    with _progress(records, len(records), "Checking") as progress:
        try:
            found = [_read(collection, document, keyring) for collection, document in progress]
        except RecordDamaged as error:
            raise Forbidden("the backup has a record that is not valid: %(detail)s", detail=error.reason) from None
    if not any(isinstance(one, users.User) and one.administers for one in found):
        raise Forbidden("the backup has no enabled Administrator")


def _read(collection: str, document: Document, keyring: Keyring) -> applications.Application | users.User | None:
    """Parse the application or user of a record, None in other collections; raise ``RecordDamaged``."""
    if collection == applications.COLLECTION:
        return Sealer(keyring).unseal(document)
    return users.User.from_document(document) if collection == users.COLLECTION else None


def _move_aside(files: FileStore, path: Path) -> None:
    aside = files.folder / _ASIDE
    with outage(f"move {path.name} aside"):
        aside.mkdir(mode=0o700, exist_ok=True)
        with files.locked(path.parent.name):
            # A unique name, so that no file that was moved aside is ever replaced.
            path.rename(aside / f"{path.parent.name}-{secrets.token_hex(4)}-{path.name}")
