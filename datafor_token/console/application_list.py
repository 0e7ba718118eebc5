"""The list of applications: search, state, and what is done to several at once."""

import dataclasses

from flask.typing import ResponseReturnValue

from datafor_token.applications.index import IndexEntry
from datafor_token.applications.record import Application
from datafor_token.console import guard, history, pages
from datafor_token.console.application_form import read
from datafor_token.console.blueprint import blueprint
from datafor_token.errors import DataforTokenError
from datafor_token.requests.schemas import NamesSchema, UpdateSchema
from datafor_token.validation.names import fold
from datafor_token.web.api.paths import proxy_prefix
from datafor_token.web.current import current
from datafor_token.web.services import services

_names, _update = NamesSchema(), UpdateSchema()
STATES = ("enabled", "disabled", "grace")


@dataclasses.dataclass(frozen=True)
class Row:
    """One application of the list, with what the audit log tells of it."""

    application: Application
    traces: history.Traces
    in_grace: bool


@blueprint.get("/")
def home() -> ResponseReturnValue:
    """Where the reader begins: the applications for an Administrator, else their own page."""
    view = "applications" if guard.is_administrator() else "own_page"
    return pages.redirect_to(view, current().args.get("done"))


@blueprint.get("/applications")
def applications() -> ResponseReturnValue:
    """The applications that a search keeps, a hundred on a page."""
    registry, now = services().registry, services().clock()
    listing = registry.index()
    state = current().args.get("state", "")
    kept = [one for one in listing.entries if state not in STATES or state in _states(one, now)]
    page = pages.page_of(kept, lambda one: f"{one.name} {one.algorithm} {one.token_name} {one.creator_id}")
    traces = history.of_applications()
    rows = [
        Row(one, traces.get(fold(one.name), history.Traces()), one.previous_secret(now) is not None)
        for one in registry.applications_of(page.items)[0]
    ]
    return pages.render(
        "applications.html",
        rows=rows,
        page=page,
        state=state,
        search=pages.search(),
        there_are=len(listing.entries),
        damaged=listing.damaged,
    )


@blueprint.post("/several-applications")
def several() -> ResponseReturnValue:
    """Enable, disable or delete what was ticked; deleting asks once more, on a page of its own."""
    ticked = guard.form().get("name", [])
    names = read(_names, {"name": ticked})["name"] if ticked else ()
    action, back = guard.text("action"), guard.text("back")
    if not names:
        return pages.redirect_to("applications", "nothing")
    sure = action == "delete" and guard.text("count") == str(len(names))
    if sure or action in ("enable", "disable"):
        failed = {name: error for name in names if (error := _tried(name, action)) is not None}
        if failed:
            status = max(error.status for error in failed.values())
            reasons = {name: error.message for name, error in failed.items()}
            return pages.render("several_failed.html", status=status, failed=reasons, done=len(names) - len(failed))
        if sure:
            return pages.redirect_to("applications", "deleted")
        there = guard.page_to_go_to(back, guard.caller())
        address = proxy_prefix() + there if there else pages.link_to("applications", done=f"{action}d")
        return pages.go_to(address)
    if action != "delete":
        return pages.redirect_to("applications", "nothing")
    wrong = action == "delete" and "count" in guard.form()
    return pages.render("several_delete.html", status=400 if wrong else 200, names=names, wrong=wrong)


def set_enabled(name: str, value: str) -> None:
    """Enable (``1``) or disable (``0``) one application, its other fields as they are."""
    services().registry.modify(name, lambda before: read(_update, {**before, "enable": value}))


def _tried(name: str, action: str) -> DataforTokenError | None:
    """What keeps one of several from being changed, be it an outage; the others go on."""
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
