"""``datafor-token store init`` and ``datafor-token store migrate``, for records in a database."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from datafor_token.cli.failures import Failed, Unavailable
from datafor_token.cli.groups import Command
from datafor_token.cli.options import common_options
from datafor_token.cli.output import done, progress
from datafor_token.cli.services import current_settings, open_services, services
from datafor_token.errors import RecordDamaged, RuleError

if TYPE_CHECKING:
    from datafor_token.operations import migration
    from datafor_token.store.base import Store

_MOST_NAMED = 20


@click.command("init", cls=Command)
@common_options
def init() -> None:
    """Create the tables in the database of STORE. Existing tables stay as they are.

    Example: datafor-token store init
    """
    from datafor_token.store.opening import FILE, create_tables

    settings = current_settings()
    if settings.store == FILE:
        done("STORE is file: no tables are needed", created=False)
        return
    created = create_tables(settings)
    done("The tables were created" if created else "The tables exist already", created=created)


@click.command("migrate", cls=Command)
@common_options
@click.option(
    "--to", "to", required=True, metavar="URL", help="URL of the database, or the word file for the data folder."
)
def migrate(to: str) -> None:
    """Copy all records and the audit log into another store. The current store is not changed.

    The records are compared afterwards. An event that the other store has already is not copied again.

    Stop the service first: while a server uses the current store, nothing is copied. After an interruption, run it
    again. Every user of this host can see the URL: put the password into PGPASSWORD or ~/.pgpass.

    Example: datafor-token store migrate --to postgresql+psycopg://datafor@db.example/datafor
    """
    from datafor_token.audit.copying import Copied, copy
    from datafor_token.operations import migration
    from datafor_token.operations.audit_logs import audit_log_of
    from datafor_token.operations.installation import Opener
    from datafor_token.store.files.disk import create_folder, outage
    from datafor_token.store.opening import FILE

    if to == FILE:
        # As the target, it need not exist.
        with outage("create the data folder"):
            create_folder(current_settings().data_dir)
    store = open_services(Opener.COMMAND).store
    faults = migration.damaged(store, services().store.collections)
    if faults:
        raise Unavailable(*faults, "Nothing was copied: these records cannot be read")
    target, settings = _target(to), current_settings()
    events = Copied(0, 0)

    def copy_log() -> None:
        nonlocal events
        source_log, target_log = audit_log_of(store, settings), audit_log_of(target, settings)
        events = copy(source_log, target_log, settings.node_name)

    outcome = migration.migrate(store, target, services().store.collections, services().keyring, _progress, copy_log)
    if outcome.changed:
        raise Failed(
            *(f"{collection}/{name}: changed during the copy" for collection, name in outcome.changed[:_MOST_NAMED]),
            f"records changed during the copy ({len(outcome.changed)}): stop the service and run this command again",
        )
    if events.fault:
        raise Failed(f"both stores have equal records, and {events.added} events were copied", events.fault)
    setting = 'STORE = "file"' if to == FILE else "STORE"
    done(
        f"both stores are equal (records: {outcome.records}, written: {outcome.written}, removed: {outcome.removed};"
        f" events: {events.added}); now set {setting} and start the service",
        records=outcome.records,
        written=outcome.written,
        removed=outcome.removed,
        events=events.added,
    )


def _target(to: str) -> "Store":
    from datafor_token.store.opening import FILE, create_tables, open_store, with_store
    from datafor_token.validation.setting_values import check_store

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
        raise Unavailable(str(error.reason)) from None


def _progress(places: "migration.Names", label: str) -> AbstractContextManager[Iterable["migration.Place"]]:
    return progress(places, len(places), label)
