"""Enforcing a rule of an application that is only reported, after a rehearsal of it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flask.typing import ResponseReturnValue

from datafor_token.applications.policy import REPORTABLE
from datafor_token.applications.record import Application
from datafor_token.console import application_form, application_tabs, confirmation, flashes, guard, pages, rehearsals
from datafor_token.console.blueprint import blueprint
from datafor_token.console.confirmation import Question
from datafor_token.console.language import N_, gettext, sentence
from datafor_token.console.rehearsals import Shown, Trial
from datafor_token.errors import InvalidInput, NotFound
from datafor_token.requests.schemas import ApplicationSchema
from datafor_token.web.services import services

_update = ApplicationSchema()
_FIELD = "field"


class Reported(NamedTuple):
    """Field whose rule is only reported, its label, and the rehearsal of enforcing it, unless it would be slow."""

    field: str
    label: str
    shown: Shown | None


def reported(found: Application) -> Sequence[Reported]:
    """Return the fields of an application whose rules are only reported, for its overview."""
    fields, labels = found.report or (), application_form.labels()
    trials = [_trial(found, field) for field in fields] if rehearsals.are_possible() else []
    shown = dict(zip(fields, rehearsals.show_all(trials), strict=False))
    return [Reported(field, labels[field], shown.get(field)) for field in fields]


@blueprint.get("/applications/<name>/enforce")
def ask_enforce(name: str) -> ResponseReturnValue:
    """Ask before a rule that is only reported is enforced; the query names its field."""
    return confirmation.ask(_enforcing(application_tabs.find(name), pages.args().get(_FIELD, "")))


@blueprint.post("/applications/<name>/enforce")
def enforce(name: str) -> ResponseReturnValue:
    """Enforce a rule that is only reported."""
    found, field = application_tabs.find(name), guard.text(_FIELD)
    question = _enforcing(found, field)
    if rehearsals.are_wanted():
        return confirmation.ask(question)
    try:
        services().registry.modify(found.name, lambda before: _without_report(before, field))
    except InvalidInput as error:
        reason = " ".join(sentence(one) for messages in error.errors.values() for one in messages)
        flashes.add(N_("Not changed: %(names)s. %(reason)s."), names=found.name, reason=reason)
    else:
        undo = flashes.Undo("report_again", {"name": found.name}, {_FIELD: field})
        flashes.add(N_("The rule %(rule)s of %(name)s is enforced."), undo, rule=_label(field), name=found.name)
    return pages.redirect_to("application", name=found.name)


@blueprint.post("/applications/<name>/report")
def report_again(name: str) -> ResponseReturnValue:
    """Only report a rule again that was enforced a moment ago."""
    found, field = application_tabs.find(name), guard.text(_FIELD)
    if field not in REPORTABLE:
        raise NotFound("the rule does not exist")
    services().registry.modify(
        found.name,
        lambda before: application_form.read(_update, {**before, "report": [*before.get("report", ()), field]}),
    )
    flashes.add(N_("The rule %(rule)s of %(name)s is only reported."), rule=_label(field), name=found.name)
    return pages.redirect_to("application", name=found.name)


def _without_report(before: Mapping[str, Any], field: str) -> dict[str, Any]:
    left = [one for one in before.get("report", ()) if one != field]
    return application_form.read(_update, {**before, "report": left})


def _trial(found: Application, field: str) -> Trial:
    left = tuple(one for one in found.report or () if one != field)
    return Trial({found.name: dataclasses.replace(found, report=left or None)})


def _enforcing(found: Application, field: str) -> Question:
    if field not in (found.report or ()):
        raise NotFound("no such rule is only reported: reload the page of the application")
    return Question(
        gettext("Enforce the rule %(rule)s of %(name)s?") % {"rule": _label(field), "name": found.name},
        gettext("Tokens that break it are refused at once. Until now, they are accepted and reported."),
        gettext("Enforce the rule"),
        pages.link_to("application", name=found.name),
        fields={_FIELD: field},
        trials=[_trial(found, field)],
    )


def _label(field: str) -> str:
    return application_form.labels()[field]


@guard.redisplays("enforce")
def _redisplay(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return confirmation.ask(_enforcing(application_tabs.find(arguments["name"]), str(form.get(_FIELD, ""))))
