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
from datafor_token.web.current import current
from datafor_token.web.services import services

_issued, _revoke = IssuedSchema(), RevokeSchema()
_FIELDS = ("user", "application", "status", "id", "page")
_SHOWN = 12  # digits of an identifier in a sentence
CHECK = "check"  # where a question was asked from, if not from the list


@blueprint.get("/tokens/issued")
def issued() -> ResponseReturnValue:
    """Show a page of the tokens that match the filters."""
    query = _query(current().args)
    form = FormState({**dict.fromkeys(_FIELDS, ""), **query})
    try:
        found = _listed(query)
    except InvalidInput as error:
        form.errors = application_form.errors_by_field(error)
        return _page(form, Page((), None), error)
    return _page(form, found)


@blueprint.get("/tokens/revoke")
def ask_revoke_tokens() -> ResponseReturnValue:
    """Ask before the token or link of the query is revoked."""
    args = current().args
    return _ask([_checked(args.get("id", ""))], args)


@blueprint.post("/tokens/revoke")
def revoke_tokens() -> ResponseReturnValue:
    """Revoke the selected tokens, or ask first."""
    args, selected = current().args, _selected(guard.form())
    if not selected:
        flashes.add(N_("Nothing was selected."))
        return pages.redirect_to("issued", **_query(args, "id"))
    if not guard.text("confirmed"):
        return _ask(selected, args)
    known = _tokens(args)
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
    if args.get("from") == CHECK:
        flashes.add(N_("The token was revoked."))
        return pages.redirect_to("check_token", id=selected[0])
    flashes.add_count("Revoked %(num)s token.", "Revoked %(num)s tokens.", revoked)
    return pages.redirect_to("issued", **_query(args, "id"))


def _ask(selected: Sequence[str], args: Mapping[str, str]) -> ResponseReturnValue:
    if len(selected) == 1:
        return _ask_about_one(selected[0], args)
    known = _tokens(args)
    number = len(selected)
    return confirmation.ask(
        Question(
            ngettext("Revoke %(num)s token?", "Revoke %(num)s tokens?", number) % {"num": number},
            gettext("They are refused from now on, and the sessions that they opened end. This cannot be undone."),
            ngettext("Revoke %(num)s token", "Revoke %(num)s tokens", number) % {"num": number},
            pages.link_to("issued", **_query(args, "id")),
            affected=[_line(identifier, known.get(identifier)) for identifier in selected],
            fields={"id": selected},
        )
    )


def _ask_about_one(identifier: str, args: Mapping[str, str]) -> ResponseReturnValue:
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
    is_checked = args.get("from") == CHECK
    return confirmation.ask(
        Question(
            title,
            gettext("It is refused from now on, and the sessions that it opened end. This cannot be undone."),
            gettext("Revoke link") if found is not None and found.is_link else gettext("Revoke token"),
            pages.link_to("check_token", id=identifier)
            if is_checked
            else pages.link_to("issued", **_query(args, "id")),
            affected=affected,
            fields={"id": identifier},
        )
    )


def _line(identifier: str, token: Mapping[str, Any] | None) -> str:
    digits = f"{identifier[:_SHOWN]}…"
    return digits if token is None else f"{digits} {token['user']}, {token['application']}"


def _listed(query: Mapping[str, str]) -> Page:
    wanted = application_form.read(_issued, query)
    return services().issued.page(IssuedFilter.of(wanted, services().clock()), wanted["limit"], wanted.get("page"))


def _tokens(args: Mapping[str, str]) -> Mapping[str, Mapping[str, Any]]:
    """Return the tokens on the page of the list that the reader saw, by identifier: one search finds them all."""
    try:
        return {token["id"]: token for token in _listed(_query(args, "id")).events}
    except InvalidInput:
        return {}


def _page(form: FormState, found: Page, error: InvalidInput | None = None) -> ResponseReturnValue:
    return pages.render(
        "issued.html",
        error=error,
        form=form,
        tokens=found.events,
        older=found.next,
        looked_back_to=found.looked_back_to,
        tabs=token_tabs.tabs(),
        all_statuses=list(TokenStatus),
        statuses=user_access.STATUSES,
        **token_tabs.choices(),
    )


@guard.redisplays("revoke_tokens")
def _redisplay(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _ask(_selected(form), arguments)


def _selected(form: guard.Form) -> Sequence[str]:
    sent = form.get("id", [])
    return [_checked(one) for one in ([sent] if isinstance(sent, str) else sent)]


def _checked(identifier: object) -> str:
    checked: str = application_form.read(_revoke, {"id": identifier})["id"]
    return checked


def _query(args: Mapping[str, str], *besides: str) -> dict[str, str]:
    """Return the filters and the page of the list in a URL, ``besides`` some: a question has the ``id`` to revoke."""
    typed = {name: args.get(name, "").strip()[:128] for name in _FIELDS if name not in besides}
    return {name: value for name, value in typed.items() if value}
