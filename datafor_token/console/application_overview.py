"""The overview of an application: its state, its keys, what should be fixed, and what to do next."""

from flask.typing import ResponseReturnValue

from datafor_token.audit.filters import Filter
from datafor_token.console import application_enforce, application_keys, application_tabs, history, rehearsals
from datafor_token.console.blueprint import blueprint
from datafor_token.console.trust_summary import limits_summary, trust_summary
from datafor_token.validation.names import fold
from datafor_token.web.services import services

_EVENTS = 5


@blueprint.get("/applications/<name>")
def application(name: str) -> ResponseReturnValue:
    """Show the overview of an application."""
    found = application_tabs.find(name)
    uses = services().last_uses
    return application_tabs.render(
        "application",
        found,
        warnings=list(application_keys.warnings(found)),
        trust=trust_summary(found),
        limits=limits_summary(found),
        reported=application_enforce.reported(found),
        can_rehearse=rehearsals.are_possible(),
        used=uses.of_applications([found.name]).get(fold(found.name)),
        since=uses.since,
        recent=history.newest(Filter(application=found.name), _EVENTS),
        **application_keys.state(found),
    )
