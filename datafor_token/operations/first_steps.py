"""First steps of a new installation, and which of them are done. To add one, add a row to ``STEPS``."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from datafor_token.errors import StoreUnavailable
from datafor_token.operations import checklist
from datafor_token.operations.checklist import Look
from datafor_token.operations.milestones import BACKUP, FIRST_STEPS_OVER, GATE_SIGN_IN, Milestones
from datafor_token.store.files.store import FileStore


class Step(NamedTuple):
    """A step: its name, whether it is done, and the checks of the checklist that ask for the same."""

    name: str
    is_done: Callable[[Look], bool]
    checks: tuple[str, ...] = ()


def _is_found(check: str) -> Callable[[Look], bool]:
    """Return the function that tells whether a check finds nothing."""
    look_for = next(one.look for one in checklist.CHECKS if one.name == check)
    return lambda look: next(look_for(look), None) is None


STEPS: Sequence[Step] = (
    Step("password", _is_found("first_password"), ("first_password",)),
    Step(
        "https",
        lambda look: look.services.settings.public_url.lower().startswith("https:"),
        ("https", "public_url"),
    ),
    Step("application", lambda look: bool(look.applications.entries)),
    Step("token", lambda look: bool(look.services.last_uses.all_applications())),
    Step("gate", lambda look: GATE_SIGN_IN in look.milestones),
    Step("backup", lambda look: BACKUP in look.milestones, ("backup",)),
)


def first_steps(look: Look) -> Mapping[Step, bool]:
    """Return the steps and whether each is done; none at all when they are over: all done, or hidden.

    Raises ``StoreUnavailable``.
    """
    if FIRST_STEPS_OVER in look.milestones:
        return {}
    found = {step: step.is_done(look) for step in STEPS if step.name != "backup" or _writes_backups(look)}
    if all(found.values()):
        # Else they would come back when, for example, the last application is deleted.
        look.services.milestones.reach(FIRST_STEPS_OVER)
        return {}
    return found


def hide(milestones: Milestones) -> None:
    """Hide the first steps for everybody; raise ``StoreUnavailable``."""
    if not milestones.reach(FIRST_STEPS_OVER):
        raise StoreUnavailable(reason="the end of the first steps is not stored")


def show(milestones: Milestones) -> None:
    """Show the first steps again; raise ``StoreUnavailable``."""
    if not milestones.withdraw(FIRST_STEPS_OVER):
        raise StoreUnavailable(reason="the end of the first steps is not removed")


def _writes_backups(look: Look) -> bool:
    return isinstance(look.services.store, FileStore)
