"""The list of applications: search, filter, and actions on several applications."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.console import flashes, guard, history, pages
from datafor_token.console.application_form import read
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, sentence
from datafor_token.console.trust_summary import trust_summary
from datafor_token.errors import DataforTokenError, MalformedRequest
from datafor_token.requests.schemas import NamesSchema, UpdateSchema
from datafor_token.validation.names import fold
from datafor_token.web.api.paths import proxy_prefix
from datafor_token.web.current import current
from datafor_token.web.services import services

_MISTYPED = "the number that was typed is not that of the applications"  # for the log
_names, _update = NamesSchema(), UpdateSchema()
_COLUMNS: Mapping[str, Callable[[IndexEntry], Any]] = {
    "name": lambda one: fold(one.name),
    "algorithm": lambda one: (one.algorithm, fold(one.name)),
}
STATES = ("enabled", "disabled", "grace")


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the list: an application, a summary of its trust policy, and its last events of the audit log."""

    application: Application
    trust: Sequence[str]
    activity: history.Activity
    in_grace: bool


@blueprint.get("/applications")
def applications() -> ResponseReturnValue:
    """Show a page of the applications that match the search and the state."""
    registry, now = services().registry, services().clock()
    listing = registry.index()
    state = current().args.get("state", "")
    matching = [one for one in listing.entries if state not in STATES or state in _states(one, now)]
    page = pages.page_of(
        matching, lambda one: f"{one.name} {one.algorithm} {one.token_name} {one.creator_id}", _COLUMNS
    )
    recent = history.of_applications()
    rows = [
        Row(one, trust_summary(one), recent.of(one.name), one.previous_secret(now) is not None)
        for one in registry.applications_of(page.items)[0]
    ]
    return pages.render(
        "applications.html",
        rows=rows,
        page=page,
        state=state,
        search=pages.search(),
        since=recent.since,
        any_exist=bool(listing.entries),
        damaged=listing.damaged,
    )


@blueprint.post("/several-applications")
def several() -> ResponseReturnValue:
    """Enable, disable or delete the selected applications; a separate page asks to confirm a deletion."""
    selected = guard.form().get("name", [])
    names = read(_names, {"name": selected})["name"] if selected else ()
    action = guard.text("action")
    if not names or action not in ("enable", "disable", "delete"):
        flashes.add(N_("Nothing was selected."))
        return pages.redirect_to("applications")
    if action == "delete" and guard.text("count") != str(len(names)):
        wrong = "count" in guard.form()
        mistyped = MalformedRequest(reason=_MISTYPED) if wrong else None
        return pages.render("several_delete.html", error=mistyped, names=names, wrong=wrong)
    errors = {name: error for name in names if (error := _attempt(name, action)) is not None}
    if errors:
        return pages.render(
            "several_failed.html",
            error=max(errors.values(), key=lambda error: error.status),
            failed={name: sentence(error.message) for name, error in errors.items()},
            succeeded=len(names) - len(errors),
        )
    _flash_several(action, names)
    back = None if action == "delete" else guard.allowed_target(guard.text("back"), guard.caller())
    return pages.redirect_to_path(proxy_prefix() + back) if back else pages.redirect_to("applications")


def _flash_several(action: str, names: Sequence[str]) -> None:
    fields: dict[str, str | list[str]] = {"name": list(names), "confirmed": "1"}
    if action == "enable":
        undo = flashes.Undo("several", {}, {**fields, "action": "disable"})
        flashes.add_count("Enabled %(num)s application.", "Enabled %(num)s applications.", len(names), undo)
    elif action == "disable":
        undo = flashes.Undo("several", {}, {**fields, "action": "enable"})
        flashes.add_count("Disabled %(num)s application.", "Disabled %(num)s applications.", len(names), undo)
    else:
        flashes.add_count("Deleted %(num)s application.", "Deleted %(num)s applications.", len(names))


def set_enabled(name: str, value: str) -> None:
    """Enable (``1``) or disable (``0``) one application, without changing its other fields."""
    services().registry.modify(name, lambda before: read(_update, {**before, "enable": value}))


def _attempt(name: str, action: str) -> DataforTokenError | None:
    """Carry out the action for one application; return the error, so that the others are tried as well."""
    try:
        if action == "delete":
            services().registry.delete(name)
        else:
            set_enabled(name, "1" if action == "enable" else "0")
    except DataforTokenError as error:
        return error
    return None


def _states(entry: IndexEntry, now: float) -> set[str]:
    return {"enabled" if entry.enable else "disabled", *({"grace"} if entry.in_grace(now) else ())}
