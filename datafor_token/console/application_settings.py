"""The tabs of an application with a form: its settings, and its trust policy with the limits."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.console import (
    application_edits,
    application_form,
    application_tabs,
    flashes,
    guard,
    pages,
    rehearsals,
)
from datafor_token.console.application_edits import OthersChange, Overtaken
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_
from datafor_token.console.rehearsals import Shown
from datafor_token.errors import DataforTokenError, InvalidInput
from datafor_token.validation.names import USER_TYPES
from datafor_token.web.services import services

# By the view of each page: its fields, how the registry's fields are built from its values, and where it is sent.
_Read = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
_PAGES: Mapping[str, tuple[Sequence[str], _Read, str]] = {
    "application_settings": (application_form.SETTINGS, application_form.read_settings, "change_application"),
    "application_trust": (application_form.TRUST, application_form.read_trust, "change_trust"),
}


@blueprint.get("/applications/<name>/settings")
def application_settings(name: str) -> ResponseReturnValue:
    """Show the settings of an application, without its secret and its trust policy."""
    return _page("application_settings", application_tabs.find(name))


@blueprint.post("/applications/<name>/settings")
def change_application(name: str) -> ResponseReturnValue:
    """Save the settings."""
    return _save("application_settings", name)


@blueprint.get("/applications/<name>/trust")
def application_trust(name: str) -> ResponseReturnValue:
    """Show which tokens an application accepts, and its limits."""
    return _page("application_trust", application_tabs.find(name))


@blueprint.post("/applications/<name>/trust")
def change_trust(name: str) -> ResponseReturnValue:
    """Save the trust policy and the limits."""
    return _save("application_trust", name)


def _save(tab: str, name: str) -> ResponseReturnValue:
    found = application_tabs.find(name)
    fields, read, view = _PAGES[tab]
    typed = _typed(fields, guard.form())
    base = application_edits.read_base(guard.text(application_edits.BASE))
    former: dict[str, Any] = {}

    def build(before: dict[str, Any]) -> Mapping[str, Any]:
        stored = _part(fields, application_form.from_fields(before))
        application_edits.check(base, stored)
        former.clear()
        former.update(stored)
        return read(before, typed)

    try:
        preview = services().registry.preview_change(found.name, build)
        shown = rehearsals.of_form(preview, typed)
        if shown or rehearsals.are_wanted():
            return _page(tab, found, FormState(typed), base=base, shown=shown)
        saved = services().registry.modify(found.name, build).application
    except Overtaken as error:
        values, changes = application_edits.merge(base, error.stored, typed)
        return _page(tab, found, FormState(values), error=error, base=error.stored, changes=changes)
    except InvalidInput as error:
        errors = application_form.errors_by_field(error, found.algorithm, fields)
        return _page(tab, found, FormState(typed, errors), error=error, base=base)
    present = _part(fields, application_form.from_application(saved))
    if present == former and typed.get("initpwd") == former.get("initpwd"):
        flashes.add(N_("No changes of %(name)s to save."), name=saved.name)
    else:
        flashes.add(
            N_("Saved the changes of %(name)s."), _undo(view, saved.name, former, present, typed), name=saved.name
        )
    return pages.redirect_to(tab, name=saved.name)


def _undo(
    view: str, name: str, former: Mapping[str, Any], present: Mapping[str, Any], typed: Mapping[str, Any]
) -> flashes.Undo | None:
    """Return the form with the former values, or None if they cannot be restored, as the password of new users."""
    if typed.get("initpwd") != former.get("initpwd"):
        return None
    further = {
        application_edits.BASE: application_edits.to_base(present),
        # What was in force a moment ago needs no rehearsal.
        rehearsals.REHEARSED: rehearsals.digest(former),
    }
    return flashes.Undo(view, {"name": name}, {**application_edits.flat(former), **further})


def _part(fields: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in fields}


def _typed(fields: Sequence[str], form: guard.Form) -> dict[str, Any]:
    return _part(fields, application_form.from_form(form))


def _page(  # noqa: PLR0913 - what differs between a fresh form, one with errors and one that was overtaken
    tab: str,
    found: Application,
    form: FormState | None = None,
    *,
    error: DataforTokenError | None = None,
    base: Mapping[str, Any] | None = None,
    changes: Sequence[OthersChange] = (),
    shown: Sequence[Shown] = (),
) -> ResponseReturnValue:
    fields, _, view = _PAGES[tab]
    stored = _part(fields, application_form.from_application(found))
    form = form or FormState(stored)
    return application_tabs.render(
        tab,
        found,
        error=error,
        form=form,
        rehearsals=shown,
        rehearsed=rehearsals.digest(form.values) if shown else "",
        can_rehearse=rehearsals.are_possible(),
        base=application_edits.to_base(base or stored),
        changes=changes,
        view=view,
        labels=application_form.labels(),
        user_types=USER_TYPES,
        synced=application_edits.synced_labels(),
    )


def _redisplay(tab: str, arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    found = application_tabs.find(arguments["name"])
    fields, *_ = _PAGES[tab]
    values = _typed(fields, form)
    if "initpwd" in values:
        # The typed password was not stored; saving an empty field would remove the stored one.
        values["initpwd"] = application_form.from_application(found)["initpwd"]
    return _page(tab, found, FormState(values), base=application_edits.read_base(str(form.get(application_edits.BASE))))


@guard.redisplays("change_application")
def _redisplay_settings(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _redisplay("application_settings", arguments, form)


@guard.redisplays("change_trust")
def _redisplay_trust(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _redisplay("application_trust", arguments, form)
