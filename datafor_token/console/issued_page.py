"""The page of issued tokens: filtered, newest first, each active one with a button that revokes it."""

from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.rules import TokenStatus
from datafor_token.console import application_form, flashes, guard, pages, user_access
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_
from datafor_token.errors import InvalidInput
from datafor_token.requests.revoke_schema import RevokeSchema
from datafor_token.requests.schemas import IssuedSchema
from datafor_token.tokens.issued import IssuedFilter
from datafor_token.web.current import current
from datafor_token.web.services import services

_issued, _revoke = IssuedSchema(), RevokeSchema()
_FIELDS = ("user", "application", "status", "page")


@blueprint.get("/issued")
def issued() -> ResponseReturnValue:
    """Show a page of the tokens that match the filters."""
    query = _query()
    form = FormState({**dict.fromkeys(_FIELDS, ""), **query})
    choices: dict[str, Any] = {"all_statuses": list(TokenStatus), "statuses": user_access.STATUSES}
    try:
        wanted = application_form.read(_issued, query)
        found = services().issued.page(IssuedFilter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return pages.render("issued.html", error=error, form=form, tokens=(), older=None, **choices)
    return pages.render("issued.html", form=form, tokens=found.events, older=found.next, **choices)


@blueprint.post("/issued/revoke")
def revoke_issued() -> ResponseReturnValue:
    """Revoke the token that the form names, and show the same page of the list again."""
    wanted = application_form.read(_revoke, {"id": guard.text("id")})
    services().revoker.by_identifier(wanted["id"])
    flashes.add(N_("The token was revoked."))
    return pages.redirect_to("issued", **_query())


def _query() -> dict[str, str]:
    typed = {name: current().args.get(name, "").strip()[:128] for name in _FIELDS}
    return {name: value for name, value in typed.items() if value}
