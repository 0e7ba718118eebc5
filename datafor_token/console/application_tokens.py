"""The tabs of an application's issued tokens and of its events in the audit log."""

from flask.typing import ResponseReturnValue

from datafor_token.applications.rules import TokenStatus
from datafor_token.audit.filters import Filter
from datafor_token.audit.search import Page
from datafor_token.console import application_form, application_tabs, audit_rows, issued_page, pages, user_access
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.errors import InvalidInput
from datafor_token.requests.audit_schema import AuditSchema
from datafor_token.web.services import services

_audit = AuditSchema()


@blueprint.get("/applications/<name>/tokens")
def application_tokens(name: str) -> ResponseReturnValue:
    """Show a page of the tokens that were issued for an application, newest first."""
    found = application_tabs.find(name)
    query = pages.query("status", "page")
    form = FormState({"status": "", "page": "", **query})
    listed, error = Page((), None), None
    try:
        listed = issued_page.listed({**query, "application": found.name})
    except InvalidInput as refused:
        error, form.errors = refused, application_form.errors_by_field(refused)
    return application_tabs.render(
        "application_tokens",
        found,
        error=error,
        form=form,
        tokens=listed.events,
        older=listed.next,
        all_statuses=list(TokenStatus),
        statuses=user_access.STATUSES,
    )


@blueprint.get("/applications/<name>/activity")
def application_activity(name: str) -> ResponseReturnValue:
    """Show a page of the events about an application, newest first."""
    found = application_tabs.find(name)
    try:
        wanted = application_form.read(_audit, {**pages.query("page"), "application": found.name})
        listed = services().audit.page(Filter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))
    except InvalidInput as error:
        # The page of an old link: its place is no longer in the log.
        return application_tabs.render("application_activity", found, error=error, rows=(), older=None)
    rows = [audit_rows.row(event) for event in listed.events]
    return application_tabs.render("application_activity", found, rows=rows, older=listed.next)
