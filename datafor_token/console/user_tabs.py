"""The further tabs of one user: sessions, tokens and history."""

from collections.abc import Mapping
from typing import Any

from flask import g
from flask.typing import ResponseReturnValue

from datafor_token.audit.filters import Filter
from datafor_token.audit.search import Page
from datafor_token.console import confirmation, flashes, guard, history, pages, user_access, user_questions
from datafor_token.console.application_form import MOST_CHOICES, FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, format_time, sentence
from datafor_token.console.user_pages import from_url, named, page_values
from datafor_token.errors import AuditUnavailable, DataforTokenError, NotFound
from datafor_token.tokens.issued import IssuedFilter
from datafor_token.users.users import User
from datafor_token.web.current import current
from datafor_token.web.services import services

_MOST_TOKENS, _MOST_EVENTS = 20, 50  # on a page; a link leads to all


@blueprint.get("/user/sessions")
def user_sessions() -> ResponseReturnValue:
    """Show the sessions of a user."""
    found = from_url()
    return pages.render("user_sessions.html", **page_values(found, "user_sessions"), **user_access.sessions_of(found))


@blueprint.get("/user/sessions/end")
def ask_end_sessions() -> ResponseReturnValue:
    """Ask before all sessions of a user end."""
    return confirmation.ask(user_questions.end_sessions(from_url()))


@blueprint.post("/user/sessions/end")
def end_sessions() -> ResponseReturnValue:
    """End one session of a user, or all of them."""
    found = from_url()
    return user_access.end_sessions(found, "user_sessions", name=found.name)


@blueprint.get("/user/tokens")
def user_tokens() -> ResponseReturnValue:
    """Show the personal tokens of a user, and the newest tokens that were issued for them."""
    found = from_url()
    page = Page((), None)
    try:
        page = services().issued.page(IssuedFilter(user=found.name), _MOST_TOKENS)
    except AuditUnavailable:
        g.audit_unreadable = True
    return pages.render(
        "user_tokens.html",
        issued=[one for one in page.events if one["kind"] != "personal"],
        older=page.next,
        cut_offs=services().cut_offs.of_user(found.name),
        **page_values(found, "user_tokens"),
        **user_access.tokens_of(found),
    )


@blueprint.get("/user/token/revoke")
def ask_revoke_personal_token() -> ResponseReturnValue:
    """Ask before a personal token of a user is revoked."""
    return _ask_personal(from_url(), current().args.get("jti", ""))


@blueprint.post("/user/token/revoke")
def revoke_personal_token() -> ResponseReturnValue:
    """Revoke a personal token of a user."""
    found = from_url()
    return user_access.revoke_token(found, "user_tokens", name=found.name)


@blueprint.get("/user/revoke-tokens")
def ask_cut_off_user() -> ResponseReturnValue:
    """Ask before all tokens of a user are revoked."""
    return _ask_cut_off(from_url())


@blueprint.post("/user/revoke-tokens")
def cut_off_user() -> ResponseReturnValue:
    """Revoke all tokens of a user issued until now, of all applications or of one, if the user's name was typed."""
    found = from_url()
    application = guard.text("application")
    form = FormState({"application": application})
    if not confirmation.is_typed(user_questions.revoke_tokens(found)):
        return _ask_cut_off(found, form, confirmation.mistyped())
    try:
        wanted = services().registry.get(application).name if application else None
    except NotFound as error:
        form.errors["application"] = [sentence(error.message)]
        return _ask_cut_off(found, form, error)
    services().cut_offs.set(found.name, wanted, None)
    flashes.add(N_("Revoked all tokens of %(name)s issued until now."), name=found.name)
    return pages.redirect_to("user_tokens", name=found.name)


@blueprint.get("/user/history")
def user_history() -> ResponseReturnValue:
    """Show the last events by or about a user."""
    found = from_url()
    recent = history.newest(Filter(user=found.name), _MOST_EVENTS)
    return pages.render("user_history.html", recent=recent, **page_values(found, "user_history"))


def _ask_personal(found: User, jti: str) -> ResponseReturnValue:
    token = next((one for one in services().personal_tokens.listed(found.name) if one["jti"] == jti), None)
    if token is None:
        raise NotFound("token not found")
    label = token["label"] or format_time(token["issued_at"])
    return confirmation.ask(user_questions.revoke_token(found, label, {"jti": jti}))


def _ask_cut_off(
    found: User, form: FormState | None = None, error: DataforTokenError | None = None
) -> ResponseReturnValue:
    names = [one.name for one in services().registry.index().entries[:MOST_CHOICES]]
    form = form or FormState({"application": ""})
    return confirmation.ask(user_questions.revoke_tokens(found), error, form=form, names=names)


@guard.redisplays("end_sessions")
def _redisplay_sessions(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    found = named(arguments.get("name", ""))
    if form.get("all"):
        return confirmation.ask(user_questions.end_sessions(found))
    return pages.redirect_to("user_sessions", name=found.name)


@guard.redisplays("revoke_personal_token")
def _redisplay_personal(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _ask_personal(named(arguments.get("name", "")), str(form.get("jti", "")))


@guard.redisplays("cut_off_user")
def _redisplay_cut_off(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    return _ask_cut_off(named(arguments.get("name", "")), FormState({"application": str(form.get("application", ""))}))
