"""Rehearsals in commands: the options of a dry run, and the lines that show its result."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import click

from datafor_token.cli.parameters import Number
from datafor_token.validation import times

days_option = click.option(
    "--days", type=Number(1), help="Rehearse with the sign-ins of so many days. Default: all that are kept."
)


class DryRun(NamedTuple):
    """A dry run: ``days`` is the number of days whose sign-ins are checked, None for all that are kept."""

    days: int | None


def dry_run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--dry-run`` and ``--days`` to a command, whose function gets ``dry_run``: a ``DryRun`` or None."""

    @functools.wraps(function)
    def checked(*args: Any, dry_run: bool, days: int | None, **kwargs: Any) -> Any:
        if days is not None and not dry_run:
            # Somebody who asks about days does not expect a change.
            raise click.UsageError("Give --days together with --dry-run", click.get_current_context())
        return function(*args, dry_run=DryRun(days) if dry_run else None, **kwargs)

    text = "Change nothing: print the changes, and which sign-ins of the last days they would have refused."
    return click.option("--dry-run", is_flag=True, help=text)(days_option(checked))


def lines_of(rehearsal: Mapping[str, Any] | None, when: str = "") -> Iterator[str]:
    """Yield the lines that show a rehearsal, as in responses. ``when``: of which state, if there are several."""
    if rehearsal is None:
        yield "not rehearsed, as no sign-ins are kept: set REHEARSAL_DAYS, and rehearse some days later"
        return
    since = times.show(rehearsal["since"] / 1000)
    refused, checked = rehearsal["refused"], rehearsal["sign_ins"]
    if not checked:
        yield f"{when}no sign-in is kept that the change concerns: whom it refuses is not known"
    else:
        yield f"{when}{refused} of {checked} sign-ins since {since} would have been refused"
    for rule in rehearsal["rules"]:
        numbers = f"sign-ins: {rule['sign_ins']}, users: {rule['users']}, addresses: {rule['sources']}"
        yield f"  {rule['reason']} ({rule['application']}): {numbers}"
        for one in rule["examples"]:
            reference = f", request {one['request_id']}" if one["request_id"] else ""
            yield f"    {one['user']} from {one['address']} at {times.show(one['time'] / 1000)}{reference}:"
            yield f"      {one['detail']}"
    yield from _names("users", rehearsal["users"], rehearsal["user_count"])
    yield from _names("addresses", rehearsal["sources"], rehearsal["source_count"])
    if rehearsal["unknown"]:
        yield f"  not known of {rehearsal['unknown']} sign-ins:"
        yield from (f"    {sentence}" for sentence in rehearsal["unknown_because"])
    if rehearsal["already_refused"]:
        yield f"  refused by the present rules too: {rehearsal['already_refused']}"
    if rehearsal["not_kept"]:
        yield f"  not kept, as there were too many on one day: {rehearsal['not_kept']}"


def _names(what: str, names: list[str], number: int) -> Iterator[str]:
    """Yield the line with names of which a response has only the first ones."""
    if names:
        more = f" and {number - len(names)} more" if number > len(names) else ""
        yield f"  {what}: {', '.join(names)}{more}"
