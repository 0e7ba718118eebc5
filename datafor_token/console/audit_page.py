"""The page of the audit log: filtered events, newest first."""

from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.audit.events import Kind
from datafor_token.audit.filters import Filter
from datafor_token.console import application_form, pages
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.errors import InvalidInput
from datafor_token.requests.audit_schema import AuditSchema
from datafor_token.web.current import current
from datafor_token.web.services import services

_audit = AuditSchema()
_FIELDS = ("event", "user", "application", "since", "until", "page")


@blueprint.get("/audit")
def audit() -> ResponseReturnValue:
    """Show a page of the events that match the filters."""
    typed = {name: current().args.get(name, "").strip()[:128] for name in _FIELDS}
    query = {name: value for name, value in typed.items() if value}
    for name in ("since", "until"):
        # A browser's datetime-local input has neither seconds nor a time zone; its label states UTC.
        if len(query.get(name, "")) == 16:
            query[name] += ":00Z"
    form = FormState(typed)
    try:
        wanted = application_form.read(_audit, query)
        found = services().audit.page(Filter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return pages.render("audit.html", error=error, form=form, events=(), older=None, **_choices())
    return pages.render("audit.html", form=form, events=found.events, older=found.next, **_choices())


def _choices() -> dict[str, Any]:
    return {"kinds": list(Kind)}
