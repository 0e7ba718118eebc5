"""The question before a dangerous action: what it will do, to what, and the button that does it.

The button on a page is a link to the question (``ask_link`` in the templates), and the question's form is sent to the
path of the action. With a script, the same page opens in a dialog.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from flask.typing import ResponseReturnValue

from datafor_token.console import guard, pages, rehearsals
from datafor_token.console.language import gettext
from datafor_token.console.rehearsals import Trial
from datafor_token.errors import DataforTokenError, MalformedRequest
from datafor_token.tokens.impact import Impact
from datafor_token.web.api.paths import proxy_prefix

_MISTYPED = "the text that was typed is not the one to confirm"  # for the log
TYPED = "typed_name"  # the field for the text to confirm


@dataclasses.dataclass(frozen=True)
class Question:
    """A question in the reader's language.

    ``title`` asks, ``effect`` says what will happen, and ``button`` is the label of the button that does it. ``back``
    is where "Cancel" leads: a path of this service. ``affected`` are the names of several records. ``fields`` are sent
    with the form. With ``typed``, the reader has to type this text. ``template`` has further fields of the form.
    ``trials`` are the changes to rehearse; None if the action refuses nobody. None of them, but a button for them, if
    they depend on what is typed.
    """

    title: str
    effect: str
    button: str
    back: str
    impact: Impact | None = None
    affected: Sequence[str] = ()
    fields: Mapping[str, str | Sequence[str]] = dataclasses.field(default_factory=dict)
    typed: str = ""
    template: str = ""
    trials: Sequence[Trial] | None = None


def ask(question: Question, error: DataforTokenError | None = None, **values: object) -> ResponseReturnValue:
    """Show the question; its form is sent to the path of this request. ``values`` are for its template.

    After a sign-in, the question of the form that was sent before is shown again, with the path of that form.
    """
    action = proxy_prefix() + (guard.redisplayed_path() or guard.own_path())
    mistyped = error is not None and question.typed and not is_typed(question)
    wrong = [gettext("The text does not match, so nothing was changed.")] if mistyped else []
    trials = question.trials if rehearsals.are_possible() else None
    shown = rehearsals.show_all(trials or ())
    return pages.render(
        "confirm.html",
        error=error,
        question=question,
        action=action,
        wrong=wrong,
        rehearsals=shown,
        can_rehearse=trials is not None and (not shown or question.template),
        **values,
    )


def is_typed(question: Question) -> bool:
    """Return whether the form has the text that the question asks to type."""
    return guard.text(TYPED) == question.typed


def mistyped() -> DataforTokenError:
    """Return the error of a form without that text, for the log and for the status of the page."""
    return MalformedRequest(reason=_MISTYPED)
