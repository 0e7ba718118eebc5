"""The page of tokens, tab Issued tokens: filtered, newest first; revoke one or several."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.applications.rules import TokenStatus
from datafor_token.audit.search import Page
from datafor_token.console import application_form, confirmation, flashes, guard, pages, token_tabs, user_access
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.confirmation import Question
from datafor_token.console.language import N_, format_time, gettext, ngettext
from datafor_token.errors import InvalidInput
from datafor_token.requests.revoke_schema import RevokeSchema
from datafor_token.requests.schemas import IssuedSchema
from datafor_token.tokens.issued import IssuedFilter
from datafor_token.web.services import services

_issued, _revoke = IssuedSchema(), RevokeSchema()
_FIELDS = ("user", "application", "status", "id", "page")
_LISTED = ("user", "application", "status", "page")  # in the URL of a question, whose ``id`` is the one to revoke
_SHOWN = 12  # digits of an identifier in a sentence


@blueprint.get("/tokens/issued")
def issued() -> ResponseReturnValue:
    """Show a page of the tokens that match the filters."""
    query = pages.query(*_FIELDS)
    form = FormState({**dict.fromkeys(_FIELDS, ""), **query})
    try:
        found = listed(query)
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _page(form, Page((), None), error)
    return _page(form, found)


def listed(query: Mapping[str, str]) -> Page:
    """Return a page of tokens, which the fields of ``token/issued`` select; raise ``InvalidInput``."""
    wanted = application_form.read(_issued, query)
    return services().issued.page(IssuedFilter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))


@blueprint.get("/tokens/revoke")
def ask_revoke_tokens() -> ResponseReturnValue:
    """Ask before the token or link of the query is revoked; ``back`` is the page to return to, if not the list."""
    return _ask([_checked(pages.args().get("id", ""))])


@blueprint.post("/tokens/revoke")
def revoke_tokens() -> ResponseReturnValue:
    """Revoke the selected tokens, or ask first."""
    selected = _selected(guard.form())
    if not selected:
        flashes.add(N_("Nothing was selected."))
        return pages.redirect_to_path(_back())
    if not guard.text("confirmed"):
        return _ask(selected)
    known = _tokens()
    revoked = 0
    for identifier in dict.fromkeys(selected):
        token = known.get(identifier)
        if token is None:
            services().revoker.by_identifier(identifier)
        elif token["status"] == TokenStatus.REVOKED:
            continue
        else:
            # Also one that has expired meanwhile: it may be accepted a little longer.
            services().revoker.listed(token)
        revoked += 1
    flashes.add_count("Revoked %(num)s token.", "Revoked %(num)s tokens.", revoked)
    return pages.redirect_to_path(_back())


def _ask(selected: Sequence[str]) -> ResponseReturnValue:
    return confirmation.ask(_about_one(selected[0]) if len(selected) == 1 else _about_several(selected))


def _about_several(selected: Sequence[str]) -> Question:
    known = _tokens()
    number = len(selected)
    return Question(
        ngettext("Revoke %(num)s token?", "Revoke %(num)s tokens?", number) % {"num": number},
        gettext("They are refused from now on, and the sessions that they opened end. This cannot be undone."),
        ngettext("Revoke %(num)s token", "Revoke %(num)s tokens", number) % {"num": number},
        _back(),
        affected=[_line(identifier, known.get(identifier)) for identifier in selected],
        fields={"id": selected},
    )


def _about_one(identifier: str) -> Question:
    found = services().known_tokens.find(identifier)
    sessions = services().impact.of_token(found.user, identifier) if found is not None and found.user else 0
    names = {"user": found.user, "application": found.application} if found else {"user": None}
    if None in names.values():
        title = gettext("Revoke the token %(id)s?") % {"id": f"{identifier[:_SHOWN]}…"}
    elif found is not None and found.is_link:
        title = gettext("Revoke the one-time link of %(user)s for %(application)s?") % names
    else:
        title = gettext("Revoke the token of %(user)s for %(application)s?") % names
    affected = [identifier]
    if found is not None and found.expires_at is not None:
        affected.append(gettext("valid until %(time)s") % {"time": format_time(found.expires_at)})
    affected.append(ngettext("%(num)s valid session", "%(num)s valid sessions", sessions) % {"num": sessions})
    return Question(
        title,
        gettext("It is refused from now on, and the sessions that it opened end. This cannot be undone."),
        gettext("Revoke link") if found is not None and found.is_link else gettext("Revoke token"),
        _back(),
        affected=affected,
        fields={"id": identifier},
    )


def _line(identifier: str, token: Mapping[str, Any] | None) -> str:
    digits = f"{identifier[:_SHOWN]}…"
    return digits if token is None else f"{digits} {token['user']}, {token['application']}"


def _tokens() -> Mapping[str, Mapping[str, Any]]:
    """Return the tokens on the page of the list that the reader saw, by identifier: one search finds them all."""
    try:
        return {token["id"]: token for token in listed(pages.query(*_LISTED)).events}
    except InvalidInput:
        return {}


def _back() -> str:
    return guard.path_back(pages.args().get("back"), "issued", **pages.query(*_LISTED))


def _page(form: FormState, found: Page, error: InvalidInput | None = None) -> ResponseReturnValue:
    return pages.render(
        "issued.html",
        error=error,
        form=form,
        tokens=found.events,
        older=found.next,
        asked=pages.query(*_LISTED),
        looked_back_to=found.looked_back_to,
        tabs=token_tabs.tabs(),
        all_statuses=list(TokenStatus),
        statuses=user_access.STATUSES,
        **token_tabs.choices(),
    )


@guard.redisplays("revoke_tokens")
def _redisplay(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _ask(_selected(form))


def _selected(form: guard.Form) -> Sequence[str]:
    sent = form.get("id", [])
    return [_checked(one) for one in ([sent] if isinstance(sent, str) else sent)]


def _checked(identifier: object) -> str:
    """Return an identifier of a token as it is stored; raise ``InvalidInput``."""
    checked: str = application_form.read(_revoke, {"id": identifier})["id"]
    return checked
