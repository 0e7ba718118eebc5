"""Actions on several applications of the list: enable at once; disable and delete after a question."""

from collections.abc import Iterable, Mapping, Sequence

from flask.typing import ResponseReturnValue

from datafor_token.console import confirmation, flashes, guard, pages
from datafor_token.console.application_form import read
from datafor_token.console.blueprint import blueprint
from datafor_token.console.confirmation import Question
from datafor_token.console.language import N_, gettext, ngettext, sentence
from datafor_token.errors import DataforTokenError, Forbidden
from datafor_token.requests.schemas import NamesSchema, UpdateSchema
from datafor_token.tokens.impact import Impact
from datafor_token.web.api.paths import proxy_prefix
from datafor_token.web.services import services

_names, _update = NamesSchema(), UpdateSchema()
_ACTIONS = ("enable", "disable", "delete")
# Each needs a search of the audit log: with more, the question has their names only.
_MOST_COUNTED = 20


@blueprint.post("/several-applications")
def several() -> ResponseReturnValue:
    """Enable, disable or delete the selected applications."""
    selected, action = guard.form().get("name", []), guard.text("action")
    names = read(_names, {"name": selected})["name"] if selected else ()
    if not names or action not in _ACTIONS:
        flashes.add(N_("Nothing was selected."))
        return _back()
    if action != "enable":
        question = _question(action, names)
        if not guard.text("confirmed"):
            return confirmation.ask(question)
        if not confirmation.is_typed(question):
            return confirmation.ask(question, confirmation.mistyped())
    changed: list[str] = []
    errors: dict[str, DataforTokenError] = {}
    for name in names:
        try:
            if _act(name, action):
                changed.append(name)
        except DataforTokenError as error:
            # The others are tried as well.
            errors[name] = error
    _flash(action, changed)
    if errors:
        return pages.render(
            "several_failed.html",
            error=max(errors.values(), key=lambda error: error.status),
            failed={name: sentence(error.message) for name, error in errors.items()},
        )
    return _back()


def set_enabled(name: str, value: str) -> None:
    """Enable (``1``) or disable (``0``) one application, without changing its other fields."""
    services().registry.modify(name, lambda before: read(_update, {**before, "enable": value}))


def _act(name: str, action: str) -> bool:
    """Carry out the action for one application; return whether it changed anything, so that Undo is exact."""
    if action == "delete":
        services().registry.delete(name)
        return True
    if services().registry.get(name).enable == (action == "enable"):
        return False
    set_enabled(name, "1" if action == "enable" else "0")
    return True


def _flash(action: str, names: Sequence[str]) -> None:
    if not names:
        flashes.add(N_("Nothing was changed."))
        return
    # Confirmed: Undo restores what was a moment ago.
    fields: dict[str, str | list[str]] = {"name": list(names), "confirmed": "1"}
    if action == "enable":
        undo = flashes.Undo("several", {}, {**fields, "action": "disable"})
        flashes.add_count("Enabled %(num)s application.", "Enabled %(num)s applications.", len(names), undo)
    elif action == "disable":
        undo = flashes.Undo("several", {}, {**fields, "action": "enable"})
        flashes.add_count("Disabled %(num)s application.", "Disabled %(num)s applications.", len(names), undo)
    else:
        flashes.add_count("Deleted %(num)s application.", "Deleted %(num)s applications.", len(names))


def _question(action: str, names: Sequence[str]) -> Question:
    number = len(names)
    if action == "disable":
        title = ngettext("Disable %(num)s application?", "Disable %(num)s applications?", number)
        effect = gettext(
            "Their tokens are refused at once, and the sessions that they opened end. You can enable them again."
        )
        button = ngettext("Disable %(num)s application", "Disable %(num)s applications", number)
    elif action == "enable":
        title = ngettext("Enable %(num)s application?", "Enable %(num)s applications?", number)
        effect = gettext("Their tokens are issued and accepted.")
        button = ngettext("Enable %(num)s application", "Enable %(num)s applications", number)
    else:
        title = ngettext("Delete %(num)s application?", "Delete %(num)s applications?", number)
        effect = gettext("Their tokens will be refused, and sessions opened with them end. This cannot be undone.")
        button = ngettext("Delete %(num)s application", "Delete %(num)s applications", number)
    return Question(
        title % {"num": number},
        effect,
        button % {"num": number},
        _back_path(),
        _impact(names) if number <= _MOST_COUNTED else None,
        affected=names,
        fields={"action": action, "name": list(names), "back": guard.text("back")},
        typed=str(number) if action == "delete" else "",
    )


def _impact(names: Iterable[str]) -> Impact:
    found = [services().impact.of_application(name) for name in names]
    tokens = [one.tokens for one in found]
    return Impact(
        sum(one.sessions for one in found),
        None if None in tokens else sum(one or 0 for one in tokens),
        any(one.more for one in found),
    )


def _back_path() -> str:
    """Return the path of the list with its search and filter, which the form has."""
    back = guard.allowed_target(guard.text("back"), guard.caller())
    return proxy_prefix() + back if back else pages.link_to("applications")


def _back() -> ResponseReturnValue:
    return pages.redirect_to_path(_back_path())


@guard.redisplays("several")
def _redisplay(_: Mapping[str, str], form: guard.Form) -> ResponseReturnValue:
    selected, action = form.get("name", []), form.get("action")
    if not selected or action not in _ACTIONS:
        raise Forbidden(guard.OUTDATED)
    # Also before enabling: the reader may have forgotten what was selected.
    return confirmation.ask(_question(str(action), read(_names, {"name": selected})["name"]))
