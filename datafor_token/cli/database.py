"""``datafor-token store init`` and ``datafor-token store migrate``, for records in a database."""

import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager

import click

from datafor_token.cli.folders import folder_options
from datafor_token.cli.output import REFUSED, UNAVAILABLE, echo
from datafor_token.cli.services import current_settings, open_services, services
from datafor_token.errors import RecordDamaged, RuleError
from datafor_token.operations import migration
from datafor_token.operations.installation import Opener
from datafor_token.settings import check_store
from datafor_token.store.base import Store
from datafor_token.store.files.disk import create_folder, outage
from datafor_token.store.opening import FILE, create_tables, open_store, with_store

_MANY = 1000  # records, above which progress is shown
_MOST_NAMED = 20


@click.command("init")
@folder_options
def init() -> None:
    """Create the tables in the database of STORE. Existing tables stay as they are.

    Example: datafor-token store init
    """
    settings = current_settings()
    if settings.store == FILE:
        echo("STORE is file: no tables are needed")
        return
    echo("The tables were created" if create_tables(settings) else "The tables exist already")


@click.command("migrate")
@folder_options
@click.option(
    "--to", "to", required=True, metavar="URL", help="URL of the database, or the word file for the data folder."
)
def migrate(to: str) -> None:
    """Copy all records into another store and compare them. The current store is not changed.

    Stop the service first: while a server uses the current store, nothing is copied. After an interruption, run it
    again. Every user of this host can see the URL: put the password into PGPASSWORD or ~/.pgpass.

    Example: datafor-token store migrate --to postgresql+psycopg://datafor@db.example/datafor
    """
    if to == FILE:
        # As the target, it need not exist.
        with outage("create the data folder"):
            create_folder(current_settings().data_dir)
    store = open_services(Opener.COMMAND).store
    faults = migration.damaged(store, services().store.collections)
    if faults:
        for fault in faults:
            echo(fault, err=True)
        echo("Nothing was copied: these records cannot be read", err=True)
        sys.exit(UNAVAILABLE)
    target = _target(to)
    outcome = migration.migrate(store, target, services().store.collections, services().keyring, _progress)
    for collection, name in outcome.changed[:_MOST_NAMED]:
        echo(f"{collection}/{name}: changed during the copy", err=True)
    if outcome.changed:
        echo(
            f"{len(outcome.changed)} records changed during the copy: stop the service and run this command again",
            err=True,
        )
        sys.exit(REFUSED)
    setting = 'STORE = "file"' if to == FILE else "STORE"
    echo(
        f"{outcome.records} records are equal in both stores ({outcome.written} written, {outcome.removed} removed);"
        f" now set {setting} and start the service"
    )


def _target(to: str) -> Store:
    try:
        check_store(to)
    except RuleError as error:
        raise click.BadParameter(str(error), param_hint="--to") from None
    current = services().settings
    if to == current.store:
        raise click.BadParameter("this is the current store", param_hint="--to")
    wanted = with_store(current, to)
    try:
        if to != FILE:
            create_tables(wanted)
        return open_store(wanted, services().store.collections)
    except RecordDamaged as error:
        echo(str(error.reason), err=True)
        sys.exit(UNAVAILABLE)


def _progress(places: migration.Names, label: str) -> AbstractContextManager[Iterable[migration.Place]]:
    return click.progressbar(places, length=len(places), label=label, file=sys.stderr, hidden=len(places) <= _MANY)
