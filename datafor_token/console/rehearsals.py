"""Rehearsals on pages: which sign-ins of the last days a change would have refused, shown before it is stored.

A form is rehearsed when its button "Rehearse" or "Save" is pressed. A question shows its rehearsal at once if that is
quick, else after its button "Rehearse".
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from datafor_token.applications.record import Application
from datafor_token.applications.registry import Preview
from datafor_token.console import application_edits, guard
from datafor_token.console.language import sentence
from datafor_token.errors import Overloaded, StoreUnavailable
from datafor_token.rehearsal.records import COLLECTION, DAY
from datafor_token.rehearsal.rehearsals import Rehearsal
from datafor_token.web.current import current
from datafor_token.web.services import services

WANTED = "rehearse"  # the button of a form, and in the query of a page
REHEARSED = "rehearsed"  # the hidden field with the digest of the values that were rehearsed
MOST_AT_ONCE = 500  # users whose sign-ins a page checks although nobody asked for it
# All other fields of an application can refuse a sign-in; these concern new tokens, users and sessions only.
_HARMLESS = frozenset([
    "expire", "self_service", "initroles", "initpwd", "sync", "roles_claim", "roles_map", "origins", "session_idle",
    "session_max", "rate",
])  # fmt: skip

Changed = Mapping[str, Application | None]


class Trial(NamedTuple):
    """Change to rehearse, as ``Rehearsals.rehearse`` takes it; the title is empty if it is the only one of a page."""

    changed: Changed
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Shown:
    """Rehearsal for a page. Without a result, ``error`` says why it could not be done."""

    title: str
    result: Rehearsal | None
    error: str = ""

    @property
    def days(self) -> int:
        """The number of days that were rehearsed, at least one."""
        return 1 if self.result is None else max(1, round((self.result.until - self.result.since) / 1000 / DAY))

    @property
    def is_harmless(self) -> bool:
        """True if it is known that the change would have refused nobody."""
        return self.result is not None and not self.result.refused and not self.result.unknown


def are_possible() -> bool:
    """Return whether sign-ins are kept."""
    return services().rehearsals.enabled


def are_wanted() -> bool:
    """Return whether the reader pressed the button "Rehearse" of a form, or followed such a link."""
    return bool(guard.text(WANTED) if current().method == "POST" else current().args.get(WANTED))


def are_quick(number: int = 1) -> bool:
    """Return whether a page can have this number of rehearsals without being slow."""
    try:
        return number * len(services().store.names(COLLECTION)) <= MOST_AT_ONCE
    except StoreUnavailable:
        # The rehearsal reports it.
        return True


def show(trial: Trial) -> Shown:
    """Rehearse a change. What hinders the rehearsal does not hinder the change: it is reported instead."""
    try:
        return Shown(trial.title, services().rehearsals.rehearse(trial.changed))
    except (Overloaded, StoreUnavailable) as error:
        return Shown(trial.title, None, sentence(error.message))


def show_all(trials: Sequence[Trial]) -> Sequence[Shown]:
    """Rehearse changes if the reader asked for it, or if it is quick; else return nothing."""
    return [show(one) for one in trials] if trials and (are_wanted() or are_quick(len(trials))) else []


def of_form(preview: Preview, values: Mapping[str, Any]) -> Sequence[Shown]:
    """Return the rehearsal of a form to show instead of saving it; none if it can be saved.

    It is shown if the reader asked for it, and if the change would or may have refused somebody. It can be saved if
    these ``values`` were rehearsed before: the reader has seen the result.
    """
    if not are_possible() or (not are_wanted() and not _has_to_be_rehearsed(preview, values)):
        return ()
    shown = show(Trial({preview.application.name: preview.application}))
    return () if shown.is_harmless and not are_wanted() else (shown,)


def digest(values: Mapping[str, Any]) -> str:
    """Return the digest of the values of a form, without the password, for its hidden field."""
    compared = {name: value for name, value in values.items() if name != "initpwd"}
    return hashlib.sha256(application_edits.to_base(compared).encode()).hexdigest()


def _has_to_be_rehearsed(preview: Preview, values: Mapping[str, Any]) -> bool:
    return guard.text(REHEARSED) != digest(values) and not preview.changes.keys() <= _HARMLESS
