"""``datafor-token store``: check, backup, restore and key change of the stored records."""

import sys
from pathlib import Path

import click

from datafor_token.cli.database import init, migrate
from datafor_token.cli.failures import Failed, Unavailable
from datafor_token.cli.groups import Commands
from datafor_token.cli.inputs import yes_option
from datafor_token.cli.output import done, note
from datafor_token.cli.services import current_settings, services
from datafor_token.errors import Forbidden, NotFound, RecordDamaged, StoreUnavailable

store = Commands("store", help="Manage the stored records. Example: datafor-token store check")

for command in (init, migrate):
    store.add_command(command)


_STANDARD = "-"  # standard input or output instead of a file; ./- is a file of that name


@store.command("check")
@click.option(
    "--repair", is_flag=True, help="Move damaged files to data/damaged, and delete temporary files of killed writers."
)
def check(*, repair: bool) -> None:
    """Check every record. Errors are printed file by file; the exit code is 1 if there are any.

    Example: datafor-token store check --repair
    """
    from datafor_token.cli import checking

    checking.check(repair=repair)


@store.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
def make_backup(file: str) -> None:
    """Write a consistent backup of all records while the service runs. Store config/secret_key elsewhere.

    With - as FILE, the backup goes to standard output, for a pipe such as `| ssh backup 'cat > datafor_token.gz'`.

    Example: datafor-token store backup /backup/datafor_token.gz
    """
    from datafor_token.cli.checking import files_or_refuse
    from datafor_token.operations import backup
    from datafor_token.operations.milestones import BACKUP
    from datafor_token.store.files import snapshots

    if file == _STANDARD and sys.stdout is None:
        raise Forbidden("standard output is closed: redirect it into a file or a pipe, or name a file")
    if file == _STANDARD and sys.stdout.isatty():
        raise Forbidden("standard output is a terminal: redirect it into a file or a pipe, or name a file")
    try:
        records = snapshots.take(files_or_refuse("back it up with `pg_dump`"))
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
    if not services().milestones.reach(BACKUP, f"datafor-token store backup {file}"):
        note("The backup is complete, but its time could not be stored: the console does not know of it")
    where = "standard output" if file == _STANDARD else file
    what = "1 record was" if number == 1 else f"{number} records were"
    done(
        f"{what} written to {where}; without config/secret_key, its secrets cannot be read",
        err=file == _STANDARD,
        file=file,
        records=number,
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
    from datafor_token.cli import restoring

    restoring.restore(
        None if file == _STANDARD else Path(file), dry_run=dry_run, unauthenticated=unauthenticated, yes=yes
    )


@store.command("rekey")
def rekey() -> None:
    """Encrypt every secret with the current key.

    To change the key: put the new one before the old one (in config/secret_key on a line of its own), restart the
    service, run this command, then remove the old one. After an interruption, run it again.

    Example: datafor-token store rekey
    """
    from datafor_token.audit.events import Event, Kind
    from datafor_token.crypto.at_rest import store_key_identifier

    listing = services().registry.index()
    if listing.damaged:
        raise Failed(f"Nothing was changed: these records cannot be read: {', '.join(listing.damaged)}")
    try:
        services().audit.record(Event(kind=Kind.STORE_REKEYED))
        for application in listing.entries:
            try:
                services().registry.reseal(application.name)
            except NotFound:
                # Deleted meanwhile.
                continue
        services().assertion_keys.reseal()
        services().revocations.rename_unkeyed()
        # Last, because a start needs the old key until all is encrypted again.
        store_key_identifier(services().store, services().keyring)
    except StoreUnavailable as error:
        raise Unavailable(f"{error.message}: {error.reason}; run this command again") from error
    number, key = len(listing.entries), services().keyring.identifier
    what = "1 application is" if number == 1 else f"{number} applications are"
    done(f"{what} encrypted with the key {key}", applications=number, key=key)
