"""Enabling an application, and the tab of what ends its tokens: disable, revoke all tokens, delete. Each asks first."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.record import Application
from datafor_token.console import application_tabs, confirmation, flashes, guard, pages, rehearsals
from datafor_token.console.application_form import read
from datafor_token.console.blueprint import blueprint
from datafor_token.console.confirmation import Question
from datafor_token.console.language import N_, format_time, gettext
from datafor_token.console.rehearsals import Trial
from datafor_token.requests.schemas import ApplicationSchema
from datafor_token.web.services import services

_update = ApplicationSchema()


@blueprint.get("/applications/<name>/danger")
def application_danger(name: str) -> ResponseReturnValue:
    """Show what ends the tokens of an application, and the cut-offs in force."""
    found = application_tabs.find(name)
    cut_offs = services().cut_offs.of_application(found.name)
    return application_tabs.render("application_danger", found, cut_offs=cut_offs)


@blueprint.post("/applications/<name>/enable")
def enable_application(name: str) -> ResponseReturnValue:
    """Enable an application: its tokens are accepted."""
    found = application_tabs.find(name)
    set_enabled(found.name, "1")
    undo = None if found.enable else flashes.Undo("disable_application", {"name": found.name})
    flashes.add(N_("Enabled %(name)s."), undo, name=found.name)
    return pages.redirect_to("application", name=found.name)


def set_enabled(name: str, value: str) -> None:
    """Enable (``1``) or disable (``0``) one application, without changing its other fields."""
    services().registry.modify(name, lambda before: read(_update, {**before, "enable": value}))


@blueprint.get("/applications/<name>/disable")
def ask_disable_application(name: str) -> ResponseReturnValue:
    """Ask before an application is disabled."""
    return confirmation.ask(_disabling(application_tabs.find(name)))


@blueprint.post("/applications/<name>/disable")
def disable_application(name: str) -> ResponseReturnValue:
    """Disable an application: its tokens are refused, and sessions opened with them end."""
    found = application_tabs.find(name)
    if rehearsals.are_wanted():
        return confirmation.ask(_disabling(found))
    set_enabled(found.name, "0")
    undo = flashes.Undo("enable_application", {"name": found.name}) if found.enable else None
    flashes.add(N_("Disabled %(name)s."), undo, name=found.name)
    return pages.redirect_to("application", name=found.name)


def _disabling(found: Application) -> Question:
    return Question(
        gettext("Disable %(name)s?") % {"name": found.name},
        gettext("Its tokens are refused at once, and the sessions that they opened end. You can enable it again."),
        gettext("Disable %(name)s") % {"name": found.name},
        pages.link_to("application", name=found.name),
        services().impact.of_application(found.name),
        trials=[Trial({found.name: disabled(found)})],
    )


def disabled(application: Application) -> Application:
    """Return the application as it is when it is disabled, for a rehearsal."""
    return dataclasses.replace(application, enable=False)


@blueprint.get("/applications/<name>/revoke-tokens")
def ask_cut_off_application(name: str) -> ResponseReturnValue:
    """Ask before all tokens of an application issued until now are revoked."""
    return confirmation.ask(_cut_off(application_tabs.find(name)))


@blueprint.post("/applications/<name>/revoke-tokens")
def cut_off_application(name: str) -> ResponseReturnValue:
    """Revoke all tokens of an application issued until now, if its exact name was typed."""
    found = application_tabs.find(name)
    question = _cut_off(found)
    if not confirmation.is_typed(question):
        return confirmation.ask(question, confirmation.mistyped())
    services().cut_offs.set(None, found.name, None)
    flashes.add(N_("Revoked all tokens of %(name)s issued until now."), name=found.name)
    return pages.redirect_to("application_danger", name=found.name)


def _cut_off(found: Application) -> Question:
    until = services().cut_offs.wanted("", found.name, None).until * 1000
    effect = gettext(
        "All tokens of this application issued until now are refused, for all users. Sessions and one-time links from "
        "them end too; sessions opened with a password remain valid. Tokens that do not say when they were issued are "
        "refused until %(time)s. This cannot be undone."
    )
    return Question(
        gettext("Revoke all tokens of %(name)s?") % {"name": found.name},
        effect % {"time": format_time(until)},
        gettext("Revoke all tokens of %(name)s") % {"name": found.name},
        pages.link_to("application_danger", name=found.name),
        services().impact.of_application(found.name),
        typed=found.name,
    )


@blueprint.get("/applications/<name>/delete")
def ask_delete_application(name: str) -> ResponseReturnValue:
    """Ask before an application is deleted."""
    return confirmation.ask(_deletion(application_tabs.find(name)))


@blueprint.post("/applications/<name>/delete")
def delete_application(name: str) -> ResponseReturnValue:
    """Delete an application if its exact name was typed."""
    found = application_tabs.find(name)
    question = _deletion(found)
    if rehearsals.are_wanted():
        return confirmation.ask(question)
    if not confirmation.is_typed(question):
        return confirmation.ask(question, confirmation.mistyped())
    services().registry.delete(found.name)
    flashes.add(N_("Deleted %(name)s."), name=found.name)
    return pages.redirect_to("applications")


def _deletion(found: Application) -> Question:
    return Question(
        gettext("Delete %(name)s?") % {"name": found.name},
        gettext("Its tokens will be refused, and sessions opened with them end. This cannot be undone."),
        gettext("Delete %(name)s") % {"name": found.name},
        pages.link_to("application_danger", name=found.name),
        services().impact.of_application(found.name),
        typed=found.name,
        trials=[Trial({found.name: None})],
    )


def _redisplays(view: str, ask: Any) -> None:
    """Show a question again whose form cannot be processed; nothing was typed that must be kept."""

    @guard.redisplays(view)
    def redisplay(arguments: Mapping[str, Any], _: guard.Form) -> ResponseReturnValue:
        page: ResponseReturnValue = ask(arguments["name"])
        return page


_redisplays("disable_application", ask_disable_application)
_redisplays("cut_off_application", ask_cut_off_application)
_redisplays("delete_application", ask_delete_application)
