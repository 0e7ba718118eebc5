"""The pages of users: their list, and one user with enabling, disabling, a password reset, sessions and tokens."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import (
    application_form,
    confirmation,
    cut_off_form,
    flashes,
    guard,
    history,
    pages,
    user_access,
)
from datafor_token.console.application_form import FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, gettext
from datafor_token.errors import DataforTokenError, InvalidInput, RuleError
from datafor_token.users.users import User
from datafor_token.validation.names import USER_TYPES, fold, user_name
from datafor_token.web.current import current
from datafor_token.web.services import services

_COLUMNS: Mapping[str, Callable[[User], Any]] = {
    "name": lambda user: fold(user.name),
    "type": lambda user: (user.type, fold(user.name)),
}
_RANDOM_BYTES = 18  # as for the password of the first start


@blueprint.get("/users")
def users() -> ResponseReturnValue:
    """Show a page of the users that match the search."""
    found, damaged = services().accounts.all()
    kind = current().args.get("type", "")
    matching = [user for user in found if kind not in USER_TYPES or user.type == kind]
    page = pages.page_of(
        matching, lambda user: " ".join((user.name, user.full_name, user.email, *user.roles)), _COLUMNS
    )
    return pages.render(
        "users.html",
        page=page,
        recent=history.of_users(),
        kind=kind,
        user_types=USER_TYPES,
        search=pages.search(),
        damaged=damaged,
    )


# The name is in the query: a slash in it, or a name of two dots, would change the path.
@blueprint.get("/user")
def user() -> ResponseReturnValue:
    """Show one user."""
    return _page(_from_url())


@blueprint.post("/user/password")
def reset_password() -> ResponseReturnValue:
    """Set the password that was typed, or generate one and show it once."""
    found = _from_url()
    generated = secrets.token_urlsafe(_RANDOM_BYTES) if guard.text("generate") else None
    try:
        services().accounts.set_password(found.name, generated or guard.text("password"))
    except InvalidInput as error:
        return _page(found, error=error, form=FormState({}, application_form.errors_by_field(error)))
    if generated is not None:
        return pages.show_once("new_password", {"password": generated}, name=found.name)
    flashes.add(N_("Changed the password of %(name)s. All sessions of this user have ended."), name=found.name)
    return pages.redirect_to("user", name=found.name)


@blueprint.get("/user/new-password")
def new_password() -> ResponseReturnValue:
    """Show a password that was generated, once."""
    return pages.render("new_password.html", user=_from_url(), result=flashes.take_result("new_password"))


@blueprint.post("/user/enable")
def enable_user() -> ResponseReturnValue:
    """Enable a user."""
    changed = services().accounts.change(_from_url().name, enabled=True)
    flashes.add(N_("Enabled %(name)s."), name=changed.name)
    return pages.redirect_to("user", name=changed.name)


@blueprint.get("/user/disable")
def ask_disable_user() -> ResponseReturnValue:
    """Ask before a user is disabled."""
    found = _from_url()
    return confirmation.ask(
        confirmation.Question(
            gettext("Disable %(name)s?") % {"name": found.name},
            gettext("The user cannot sign in any more, and all sessions end. You can enable the user again."),
            gettext("Disable %(name)s") % {"name": found.name},
            pages.link_to("user", name=found.name),
            services().impact.of_user(found.name),
        )
    )


@blueprint.post("/user/disable")
def disable_user() -> ResponseReturnValue:
    """Disable a user; the last enabled Administrator cannot be disabled."""
    changed = services().accounts.change(_from_url().name, enabled=False, by=guard.caller().user)
    undo = flashes.Undo("enable_user", {"name": changed.name})
    flashes.add(N_("Disabled %(name)s."), undo, name=changed.name)
    return pages.redirect_to("user", name=changed.name)


@blueprint.post("/user/sessions/end")
def end_sessions() -> ResponseReturnValue:
    """End one session of a user, or all of them."""
    found = _from_url()
    return user_access.end_sessions(found, "user", name=found.name)


@blueprint.post("/user/token/revoke")
def revoke_personal_token() -> ResponseReturnValue:
    """Revoke a personal token of a user."""
    found = _from_url()
    return user_access.revoke_token(found, "user", name=found.name)


@blueprint.post("/user/revoke-tokens")
def cut_off_user() -> ResponseReturnValue:
    """Revoke all tokens of a user issued until now, of all applications or of one, if the user's name was typed."""
    found = _from_url()
    form, error = cut_off_form.revoke_all(found.name, found.name)
    if error is not None:
        return _page(found, error=error, cut_off=form)
    flashes.add(N_("Revoked all tokens of %(name)s issued until now."), name=found.name)
    return pages.redirect_to("user", name=found.name)


def _from_url() -> User:
    """Return the user that the URL names."""
    try:
        return services().accounts.get(user_name(current().args.get("name", "")))
    except RuleError as error:
        raise InvalidInput.of("username", error.message) from None


def _page(
    found: User,
    *,
    error: DataforTokenError | None = None,
    form: FormState | None = None,
    **values: Any,
) -> ResponseReturnValue:
    recent, events = history.of_user(found.name)
    return pages.render(
        "user.html",
        error=error,
        user=found,
        activity=recent.of(found.name),
        since=recent.since,
        form=form or FormState({}),
        events=events,
        labels=application_form.labels(),
        names=[one.name for one in services().registry.index().entries[: application_form.MOST_CHOICES]],
        **user_access.of_user(found),
        **cut_off_form.values(services().cut_offs.of_user(found.name), user=found.name) | values,
    )
