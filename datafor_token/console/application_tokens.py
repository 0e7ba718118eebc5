"""The tabs of an application's issued tokens and of its events in the audit log."""

from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.rules import TokenStatus
from datafor_token.audit.filters import Filter
from datafor_token.console import (
    application_form,
    application_tabs,
    audit_rows,
    confirmation,
    flashes,
    guard,
    pages,
    user_access,
)
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.confirmation import Question
from datafor_token.console.language import N_, gettext
from datafor_token.errors import Forbidden, InvalidInput
from datafor_token.requests.audit_schema import AuditSchema
from datafor_token.requests.revoke_schema import RevokeSchema
from datafor_token.requests.schemas import IssuedSchema
from datafor_token.tokens.issued import IssuedFilter
from datafor_token.web.current import current
from datafor_token.web.services import services

_issued, _audit, _revoke = IssuedSchema(), AuditSchema(), RevokeSchema()


@blueprint.get("/applications/<name>/tokens")
def application_tokens(name: str) -> ResponseReturnValue:
    """Show a page of the tokens that were issued for an application, newest first."""
    found = application_tabs.find(name)
    query = _query("status", "page")
    form = FormState({"status": "", "page": "", **query})
    choices: dict[str, Any] = {"all_statuses": list(TokenStatus), "statuses": user_access.STATUSES}
    try:
        wanted = application_form.read(_issued, {**query, "application": found.name})
        listed = services().issued.page(
            IssuedFilter.of(wanted, services().clock()), wanted["limit"], wanted.get("page")
        )
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return application_tabs.render(
            "application_tokens", found, error=error, form=form, tokens=(), older=None, **choices
        )
    return application_tabs.render(
        "application_tokens", found, form=form, tokens=listed.events, older=listed.next, **choices
    )


@blueprint.get("/applications/<name>/tokens/revoke")
def ask_revoke_application_token(name: str) -> ResponseReturnValue:
    """Ask before one token is revoked, which the query names."""
    return _ask_revoke(name, current().args.get("id", ""))


@blueprint.post("/applications/<name>/tokens/revoke")
def revoke_application_token(name: str) -> ResponseReturnValue:
    """Revoke the token that the query names."""
    found = application_tabs.find(name)
    services().revoker.by_identifier(_checked(current().args.get("id", "")))
    flashes.add(N_("The token was revoked."))
    return pages.redirect_to("application_tokens", name=found.name)


@blueprint.get("/applications/<name>/activity")
def application_activity(name: str) -> ResponseReturnValue:
    """Show a page of the events about an application, newest first."""
    found = application_tabs.find(name)
    try:
        wanted = application_form.read(_audit, {**_query("page"), "application": found.name})
        listed = services().audit.page(Filter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))
    except InvalidInput as error:
        # The page of an old link: its place is no longer in the log.
        return application_tabs.render("application_activity", found, error=error, rows=(), older=None)
    rows = [audit_rows.row(event) for event in listed.events]
    return application_tabs.render("application_activity", found, rows=rows, older=listed.next)


def _ask_revoke(name: str, identifier: str) -> ResponseReturnValue:
    effect = gettext(
        "The token %(id)s is refused from now on, and the sessions that it opened end. This cannot be undone."
    )
    return confirmation.ask(
        Question(
            gettext("Revoke the token?"),
            effect % {"id": _checked(identifier)},
            gettext("Revoke token"),
            pages.link_to("application_tokens", name=application_tabs.find(name).name),
        )
    )


def _checked(identifier: str) -> str:
    """Return an identifier of a token as it is stored; raise ``InvalidInput``."""
    checked: str = application_form.read(_revoke, {"id": identifier})["id"]
    return checked


def _query(*names: str) -> dict[str, str]:
    typed = {name: current().args.get(name, "").strip()[:128] for name in names}
    return {name: value for name, value in typed.items() if value}


@guard.redisplays("revoke_application_token")
def _redisplay_revoke(arguments: Mapping[str, str], _: guard.Form) -> ResponseReturnValue:
    try:
        return _ask_revoke(arguments["name"], arguments.get("id", ""))
    except InvalidInput:
        raise Forbidden(guard.OUTDATED) from None
