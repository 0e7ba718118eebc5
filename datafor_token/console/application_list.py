"""The list of applications: search, filter, sorting, and actions on several applications."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.console import guard, pages, several
from datafor_token.console.application_danger import disabled, set_enabled
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, NN_
from datafor_token.console.rehearsals import Changed
from datafor_token.console.several import Records, Words
from datafor_token.console.trust_summary import trust_summary
from datafor_token.errors import NotFound, RecordDamaged
from datafor_token.tokens.impact import Impact
from datafor_token.validation.names import fold
from datafor_token.web.current import current
from datafor_token.web.services import services

_Key = Callable[[IndexEntry], Any]
STATES = ("enabled", "disabled", "grace")
# Each needs a search of the audit log: with more, the question has their names only.
_MOST_COUNTED = 20


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


@blueprint.post("/several-applications")
def several_applications() -> ResponseReturnValue:
    """Enable the selected applications; after a question, disable or delete them."""
    return several.carry_out(_RECORDS)


@guard.redisplays("several_applications")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return several.ask_again(_RECORDS, form)


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


def _change(name: str, action: str) -> bool:
    """Carry out the action for one application; return whether there was anything to change."""
    if action == "delete":
        services().registry.delete(name)
        return True
    if services().registry.get(name).enable == (action == "enable"):
        return False
    set_enabled(name, "1" if action == "enable" else "0")
    return True


def _impact(names: Sequence[str]) -> Impact | None:
    if len(names) > _MOST_COUNTED:
        return None
    found = [services().impact.of_application(name) for name in names]
    tokens = [one.tokens for one in found]
    return Impact(
        sum(one.sessions for one in found),
        None if None in tokens else sum(one or 0 for one in tokens),
        any(one.more for one in found),
    )


def _changed(action: str, names: Sequence[str]) -> Changed:
    """Return the applications as the action would leave them; those that do not exist any more are left out."""
    changed: dict[str, Application | None] = {}
    for name in names:
        with contextlib.suppress(NotFound, RecordDamaged):
            found = services().registry.get(name)
            changed[found.name] = None if action == "delete" else disabled(found)
    return changed


_RECORDS = Records(
    "applications",
    "several_applications",
    {
        "enable": Words(
            NN_("Enable %(num)s application?", "Enable %(num)s applications?"),
            N_("Their tokens are issued and accepted."),
            NN_("Enable %(num)s application", "Enable %(num)s applications"),
            NN_("Enabled %(num)s application.", "Enabled %(num)s applications."),
        ),
        "disable": Words(
            NN_("Disable %(num)s application?", "Disable %(num)s applications?"),
            N_("Their tokens are refused at once, and the sessions that they opened end. You can enable them again."),
            NN_("Disable %(num)s application", "Disable %(num)s applications"),
            NN_("Disabled %(num)s application.", "Disabled %(num)s applications."),
        ),
        "delete": Words(
            NN_("Delete %(num)s application?", "Delete %(num)s applications?"),
            N_("Their tokens will be refused, and sessions opened with them end. This cannot be undone."),
            NN_("Delete %(num)s application", "Delete %(num)s applications"),
            NN_("Deleted %(num)s application.", "Deleted %(num)s applications."),
        ),
    },
    _change,
    _impact,
    _changed,
)
