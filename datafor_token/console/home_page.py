"""The home page: what an Administrator should do, the first steps, the last 24 hours, and facts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from flask.typing import ResponseReturnValue

from datafor_token.activity.hours import Hour
from datafor_token.console import chart, flashes, guard, pages
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_
from datafor_token.errors import StoreUnavailable
from datafor_token.operations import checklist, first_steps
from datafor_token.operations.checklist import Look
from datafor_token.operations.facts import facts
from datafor_token.operations.first_steps import Step
from datafor_token.users.users import FIRST_USER
from datafor_token.validation.names import fold
from datafor_token.web.current import current
from datafor_token.web.services import services

# Requests to these hosts do not leave the computer.
_LOOPBACK = frozenset(["localhost", "127.0.0.1", "[::1]"])
_STEPS: Mapping[str, str] = {
    "password": N_("Change the first password"),
    "https": N_("Serve https, and set PUBLIC_URL"),
    "application": N_("Register the first application"),
    "token": N_("Issue a token, and sign in with it"),
    "gate": N_("Sign in to a protected application"),
    "backup": N_("Write a backup"),
}
# Steps for which there is a page of the guide, and none of the console.
_GUIDE: Mapping[str, str] = {
    "https": "install#behind-a-reverse-proxy",
    "gate": "protect",
    "backup": "backup#write-a-backup",
}


class ShownStep(NamedTuple):
    """A first step: what to do, the path of its page (of the console or the guide), and whether it is done."""

    text: str
    path: str
    in_guide: bool
    is_done: bool


@blueprint.get("/")
def home() -> ResponseReturnValue:
    """Show the status to an Administrator, in an outage too; redirect others to their own page."""
    if not guard.is_administrator():
        return pages.redirect_to("own_page")
    look = _look()
    steps = _first_steps(look)
    asked = {check for step, is_done in steps.items() if not is_done for check in step.checks}
    hours = _hours()
    return pages.render(
        "home.html",
        # What an open step asks for is not asked for twice.
        findings=[one for one in checklist.findings(look) if one.check not in asked],
        fixes={"first_password": _password_path()},
        guide=checklist.GUIDE,
        steps=list(_shown(steps)),
        hours=hours,
        chart=None if hours is None else chart.bar_chart(hours),
        facts=facts(look),
        bad=checklist.Severity.BAD,
    )


@blueprint.get("/status")
def status() -> ResponseReturnValue:
    """Redirect from the former path of this page."""
    return pages.redirect_to("home")


@blueprint.post("/first-steps/hide")
def hide_first_steps() -> ResponseReturnValue:
    """Hide the first steps, for all Administrators."""
    first_steps.hide(services().milestones)
    flashes.add(N_("The first steps are hidden."), undo=flashes.Undo("show_first_steps", {}))
    return pages.redirect_to("home")


@blueprint.post("/first-steps/show")
def show_first_steps() -> ResponseReturnValue:
    """Show the first steps again."""
    first_steps.show(services().milestones)
    return pages.redirect_to("home")


def _look() -> Look:
    host = current().host.lower()
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return Look(services(), is_https=current().is_secure or name in _LOOPBACK)


def _first_steps(look: Look) -> Mapping[Step, bool]:
    try:
        return first_steps.first_steps(look)
    except StoreUnavailable:
        # The checklist says so.
        return {}


def _shown(steps: Mapping[Step, bool]) -> Iterator[ShownStep]:
    paths = {
        "password": _password_path(),
        "application": pages.link_to("new_application"),
        "token": pages.link_to("issue_token"),
    }
    for step, is_done in steps.items():
        in_guide = step.name in _GUIDE
        yield ShownStep(_STEPS[step.name], _GUIDE[step.name] if in_guide else paths[step.name], in_guide, is_done)


def _password_path() -> str:
    """Return the path of the page on which the reader can change the first password."""
    is_own = fold(guard.caller().user.name) == fold(FIRST_USER)
    return pages.link_to("own_page") if is_own else pages.link_to("user", name=FIRST_USER)


def _hours() -> Sequence[Hour] | None:
    try:
        return services().hours.last(24)
    except StoreUnavailable:
        return None
