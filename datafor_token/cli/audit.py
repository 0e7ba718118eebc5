"""``datafor-token audit``: the audit log."""

import functools
from typing import Any

import click

from datafor_token.cli.groups import Commands
from datafor_token.cli.output import show, wants_json
from datafor_token.cli.parameters import Number, application_name, user_name
from datafor_token.cli.services import services

audit = Commands("audit", help="Search the audit log. Example: datafor-token audit show --since 24h --user lena")


@audit.command("show")
@click.option("--since", help="Start: a time (RFC 3339), a day, or an age such as 90m, 24h, 7d.")
@click.option("--until", help="End, not included; the same forms.")
@click.option("--event", help="Kind of event, such as sign_in_refused.")
@click.option("--user", type=user_name, help="Name of the acting or the affected user.")
@click.option("--application", type=application_name, help="Name of the affected application.")
@click.option("--limit", type=Number(1), default=50, show_default=True, help="Maximum number of events.")
def show_events(*, limit: int, **given: str | None) -> None:
    """Show events, newest first. Rotated files are searched, too.

    Example: datafor-token audit show --since 24h --event sign_in_refused
    """
    from datafor_token.audit.log import Filter
    from datafor_token.audit.search import newest
    from datafor_token.requests.forms import Body
    from datafor_token.requests.schemas import AuditSchema

    sent = {name: value for name, value in given.items() if value is not None}
    wanted = Filter.of(AuditSchema().read(Body(sent, is_form=True)), services().clock())
    events = newest(functools.partial(services().audit.page, wanted), limit)
    show(events if wants_json() else [_row(event) for event in events])


def _row(event: dict[str, Any]) -> dict[str, Any]:
    details = {
        name: event[name]
        for name in (
            "fields",
            "before",
            "after",
            "reason",
            "audience",
            "outcome",
            "count",
            "first",
            "tokens_before",
            "expires",
            "iat",
            "jti",
        )
        if name in event
    }
    return {
        "time": event["time"],
        "event": event["event"],
        "actor": event.get("actor") or "",
        "way": event.get("way") or "",
        "address": event.get("address") or "",
        "target": event["target"],
        "details": {name: ", ".join(value) if isinstance(value, list) else value for name, value in details.items()},
    }
