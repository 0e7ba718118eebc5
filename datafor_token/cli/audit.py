"""``datafor-token audit``: the audit log."""

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datafor_token.cli.failures import Failed
from datafor_token.cli.groups import Commands
from datafor_token.cli.output import done, note, show, wants_json
from datafor_token.cli.parameters import Number, application_name, user_name
from datafor_token.cli.services import services
from datafor_token.errors import Forbidden

if TYPE_CHECKING:
    from datafor_token.audit.changes import Change

audit = Commands("audit", help="Search the audit log. Example: datafor-token audit show --since 24h --user lena")
_DETAILS = ("rule", "reason", "audience", "outcome", "count", "first", "tokens_before", "expires", "iat", "jti")


@audit.command("show")
@click.option("--since", help="Start: a time (RFC 3339), a day, or an age such as 90m, 24h, 7d.")
@click.option("--until", help="End, not included; the same forms.")
@click.option("--event", help="Kind of event, such as sign_in_refused, or several with commas.")
@click.option("--user", type=user_name, help="Name of the acting or the affected user.")
@click.option("--application", type=application_name, help="Name of the affected application.")
@click.option("--id", help="Identifier of a token, or its first 12 digits; `token decode` shows it.")
@click.option("--address", help="Address of the client, or a network such as 10.0.0.0/8.")
@click.option("--request", "request_id", help="Reference of a request: 32 hex digits.")
@click.option("--search", "q", help="Words that must all occur in the values of an event.")
@click.option("--limit", type=Number(1), default=50, show_default=True, help="Maximum number of events; --csv has all.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all matching events as CSV.")
def show_events(*, limit: int, as_csv: bool, **given: str | None) -> None:
    """Show events, newest first. Rotated files are searched, too.

    Example: datafor-token audit show --since 24h --event sign_in_refused
    """
    from datafor_token.audit.export import csv_lines
    from datafor_token.audit.filters import Filter
    from datafor_token.audit.search import newest
    from datafor_token.requests.audit_schema import AuditSchema
    from datafor_token.requests.forms import Body

    if as_csv and wants_json():
        raise click.UsageError("--csv and --json exclude each other")
    sent = {name: value for name, value in given.items() if value is not None}
    wanted = Filter.of(AuditSchema().read(Body(sent, is_form=True)), services().clock())
    if as_csv:
        every = services().audit.every(wanted)
        for line in csv_lines(event for event in every if event is not None):
            click.echo(line, nl=False)
        return
    found = newest(functools.partial(services().audit.page, wanted), limit)
    show(found.events if wants_json() else [_row(event) for event in found.events])
    if found.next is not None:
        note(f"there may be older events than these {limit}: raise --limit, or give --until {found.looked_back_to}")


@audit.command("import")
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
def import_events(folder: Path | None) -> None:
    """Add the events of audit.log files to the audit log in the database, also of rotated and compressed ones.

    FOLDER has the files; by default it is the data folder. An event that the database has already is not added again.
    If a file is damaged, the command adds the events that can be read, and fails.

    Run it once on each node that had an audit log of its own, then move the files aside. Events without the name of a
    node get that of this one (NODE).

    Example: datafor-token audit import
    """
    from datafor_token.audit.copying import copy
    from datafor_token.audit.reader import FILE
    from datafor_token.audit.writer import AuditLog
    from datafor_token.operations.audit_logs import audit_log_of

    settings = services().settings
    folder = folder or settings.data_dir
    source, target = AuditLog(folder), audit_log_of(services().store, settings)
    if isinstance(target, AuditLog):
        raise Forbidden("STORE is file: the audit log is in files already")
    copied = copy(source, target, settings.node_name)
    what = "1 event was" if copied.added == 1 else f"{copied.added} events were"
    if not any(folder.glob(f"{FILE}*")):
        note(f"{folder} has no {FILE}: name the folder with the files if they were moved")
    skipped = f"; lines that are no events: {copied.skipped}" if copied.skipped else ""
    sentence = f"{what} added to the audit log in the database{skipped}"
    if copied.fault:
        raise Failed(sentence, copied.fault)
    done(sentence, added=copied.added, skipped=copied.skipped)


def _row(event: dict[str, Any]) -> dict[str, Any]:
    from datafor_token.audit.changes import changes_of
    from datafor_token.audit.events import REFUSALS

    changed = [_shown(change) for change in changes_of(event)]
    details = {name: event[name] for name in _DETAILS if name in event}
    if event["event"] in REFUSALS and event.get("request_id"):
        # What `token explain --request` takes.
        details["request"] = event["request_id"]
    return {
        "time": event["time"],
        "event": event["event"],
        "actor": event.get("actor") or "",
        "way": event.get("way") or "",
        "address": event.get("address") or "",
        "target": event["target"],
        "details": ({"changed": "; ".join(changed)} if changed else {})
        | {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in details.items()},
    }


def _shown(change: "Change") -> str:
    if not change.has_values:
        # A secret or password, or a line of an earlier version.
        return change.field
    before, after = ("nothing" if one is None else json.dumps(one, ensure_ascii=False) for one in change[1:3])
    return f"{change.field} from {before} to {after}"
