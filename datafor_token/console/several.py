"""Actions on the selected records of a list: enable at once; disable and delete after a question."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from flask.typing import ResponseReturnValue

from datafor_token.console import confirmation, flashes, guard, pages, rehearsals
from datafor_token.console.confirmation import Question
from datafor_token.console.language import N_, format_list, gettext, ngettext, sentence
from datafor_token.console.rehearsals import Changed, Trial
from datafor_token.errors import DataforTokenError, Forbidden, RecordDamaged, StoreUnavailable
from datafor_token.tokens.impact import Impact

# By the action, the one that reverses it.
_ACTIONS = {"enable": "disable", "disable": "enable", "delete": ""}


class Words(NamedTuple):
    """The texts of an action: about one record and about several, with their number; ``effect`` is about all."""

    title: tuple[str, str]
    effect: str
    button: tuple[str, str]
    done: tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Records:
    """A kind of records: the view of their list, and that of the POST with the selected ones.

    ``words`` are by the action. ``change`` carries out an action for the record of a name, and returns whether there
    was anything to change. ``impact`` is what an action on these names affects, if it can be counted. ``changed`` are
    the applications as an action would leave them, for a rehearsal; None if there is nothing to rehearse.
    """

    list_view: str
    view: str
    words: Mapping[str, Words]
    change: Callable[[str, str], bool]
    impact: Callable[[Sequence[str]], Impact | None]
    changed: Callable[[str, Sequence[str]], Changed] | None = None


def carry_out(records: Records) -> ResponseReturnValue:
    """Carry out the action of the form for each selected record, or ask first, and show the list again."""
    names, action = _selected(guard.form()), guard.text("action")
    if not names or action not in _ACTIONS:
        flashes.add(N_("Nothing was selected."))
    elif rehearsals.are_wanted() or (action != "enable" and not guard.text("confirmed")):
        return ask_again(records, guard.form())
    elif action == "delete" and guard.text(confirmation.TYPED) != str(len(names)):
        return confirmation.ask(_question(records, action, names, guard.text("back")), confirmation.mistyped())
    else:
        _change_all(records, action, names)
    return pages.redirect_to_path(guard.path_back(guard.text("back"), records.list_view))


def ask_again(records: Records, form: guard.Form) -> ResponseReturnValue:
    """Show the question of a form, also before records are enabled: the reader may have forgotten what was selected."""
    names, action = _selected(form), str(form.get("action", ""))
    if not names or action not in _ACTIONS:
        raise Forbidden(guard.OUTDATED)
    return confirmation.ask(_question(records, action, names, str(form.get("back", ""))))


def _selected(form: guard.Form) -> Sequence[str]:
    names = form.get("name", [])
    texts = [names] if isinstance(names, str) else names if isinstance(names, list) else []
    return list(dict.fromkeys(name for name in texts if isinstance(name, str)))


def _change_all(records: Records, action: str, names: Sequence[str]) -> None:
    """Carry out the action for each name; messages have the number, and the names of those that it failed for."""
    changed: list[str] = []
    failed: dict[str, list[str]] = {}
    try:
        for name in names:
            try:
                if records.change(name, action):
                    changed.append(name)
            except DataforTokenError as error:
                if isinstance(error, StoreUnavailable) and not isinstance(error, RecordDamaged):
                    # All others would fail too.
                    raise
                failed.setdefault(sentence(error.message), []).append(name)
    finally:
        undo = None
        if changed and _ACTIONS[action]:
            # Confirmed: Undo restores what was a moment ago.
            fields = {"action": _ACTIONS[action], "back": guard.text("back"), "confirmed": "1"}
            undo = flashes.Undo(records.view, {}, {"name": changed, **fields})
        flashes.add_count(*records.words[action].done, len(changed), undo)
        for reason, which in failed.items():
            flashes.add(N_("Not changed: %(names)s. %(reason)s."), names=format_list(which), reason=reason)


def _question(records: Records, action: str, names: Sequence[str], back: str) -> Question:
    number = len(names)
    words = records.words[action]
    return Question(
        ngettext(*words.title, number) % {"num": number},
        gettext(words.effect),
        ngettext(*words.button, number) % {"num": number},
        guard.path_back(back, records.list_view),
        None if action == "enable" else records.impact(names),
        affected=names,
        fields={"name": names, "action": action, "back": back},
        typed=str(number) if action == "delete" else "",
        trials=None if records.changed is None or action == "enable" else [Trial(records.changed(action, names))],
    )
