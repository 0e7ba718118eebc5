"""The list of applications: search, filter and sort."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.console import pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.trust_summary import trust_summary
from datafor_token.validation.names import fold
from datafor_token.web.current import current
from datafor_token.web.services import services

_Key = Callable[[IndexEntry], Any]
STATES = ("enabled", "disabled", "grace")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the list: an application, a summary of its trust policy, and its last use (ms since 1970), if any."""

    application: Application
    trust: Sequence[str]
    used: int | None
    in_grace: bool


@blueprint.get("/applications")
def applications() -> ResponseReturnValue:
    """Show a page of the applications that match the search and the state."""
    registry, now = services().registry, services().clock()
    listing = registry.index()
    state = current().args.get("state", "")
    matching = [one for one in listing.entries if state not in STATES or state in _states(one, now)]
    page = pages.page_of(
        matching, lambda one: f"{one.name} {one.algorithm} {one.token_name} {one.creator_id}", _columns(now)
    )
    uses = services().last_uses
    used = uses.of_applications(one.name for one in page.items)
    found, damaged = registry.applications_of(page.items)
    rows = [
        Row(one, trust_summary(one), used.get(fold(one.name)), one.previous_secret(now) is not None) for one in found
    ]
    return pages.render(
        "applications.html",
        rows=rows,
        page=page,
        state=state,
        search=pages.search(),
        since=uses.since,
        any_exist=bool(listing.entries),
        damaged=sorted({*listing.damaged, *damaged}),
    )


def _columns(now: float) -> Mapping[str, _Key]:
    """Return the sort key of each column; ties are sorted by name, since the index is."""
    columns: dict[str, _Key] = {
        "name": lambda one: fold(one.name),
        "state": lambda one: (one.enable, not one.in_grace(now)),
        "algorithm": lambda one: one.algorithm,
        "lifetime": lambda one: one.expire,
        "changed": lambda one: one.changed,
        "used": lambda one: used.get(fold(one.name), 0),
    }
    # Read only where the order needs the last uses of all.
    used = services().last_uses.all_applications() if pages.sorting(columns)[0] == "used" else {}
    return columns


def _states(entry: IndexEntry, now: float) -> set[str]:
    return {"enabled" if entry.enable else "disabled", *({"grace"} if entry.in_grace(now) else ())}
