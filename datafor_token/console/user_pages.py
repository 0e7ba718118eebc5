"""The users: who there is, how they came in, what they may do; and a new password for one of them."""

import secrets

from flask.typing import ResponseReturnValue

from datafor_token.console import application_form, guard, history, pages
from datafor_token.console.application_form import Filled
from datafor_token.console.blueprint import blueprint
from datafor_token.errors import InvalidInput, RuleError
from datafor_token.users.users import User
from datafor_token.validation.names import USER_TYPES, fold, user_name
from datafor_token.web.current import current
from datafor_token.web.services import services

_RANDOM_BYTES = 18  # as the first start's password


@blueprint.get("/users")
def users() -> ResponseReturnValue:
    """The users that a search keeps, a hundred on a page."""
    found, damaged = services().accounts.all()
    kind = current().args.get("type", "")
    kept = [user for user in found if kind not in USER_TYPES or user.type == kind]
    page = pages.page_of(kept, lambda user: " ".join((user.name, user.full_name, user.email, *user.roles)))
    return pages.render(
        "users.html",
        page=page,
        traces=history.of_users(),
        fold=fold,
        kind=kind,
        user_types=USER_TYPES,
        search=pages.search(),
        damaged=damaged,
    )


# A user's name may have a slash, or be two dots: it stands in the query, where nothing else is made of it.
@blueprint.get("/user")
def user() -> ResponseReturnValue:
    """One user."""
    return _one(_named())


@blueprint.post("/user/password")
def reset_password() -> ResponseReturnValue:
    """A new password: the typed one, or one that is made here and shown this once."""
    found = _named()
    made = secrets.token_urlsafe(_RANDOM_BYTES) if guard.text("make") else None
    try:
        services().accounts.set_password(found.name, made or guard.text("password"))
    except InvalidInput as error:
        return _one(found, status=400, form=Filled({}, application_form.beside_fields(error, {})))
    if made is not None:
        return pages.render("new_password.html", user=found, made=made)
    return pages.redirect_to("user", "password", name=found.name)


@blueprint.post("/user/enable")
def enable_user() -> ResponseReturnValue:
    """Let a user sign in again."""
    changed = services().accounts.change(_named().name, enabled=True)
    return pages.redirect_to("user", "enabled", name=changed.name)


@blueprint.post("/user/disable")
def disable_user() -> ResponseReturnValue:
    """Let a user sign in no longer; the last Administrator stays."""
    changed = services().accounts.change(_named().name, enabled=False)
    return pages.redirect_to("user", "disabled", name=changed.name)


def _named() -> User:
    """The user whom the address names."""
    try:
        return services().accounts.get(user_name(current().args.get("name", "")))
    except RuleError as error:
        raise InvalidInput.of("username", error.message) from None


def _one(found: User, *, status: int = 200, form: Filled | None = None) -> ResponseReturnValue:
    traces = history.of_users().get(fold(found.name), history.Traces())
    return pages.render(
        "user.html",
        status=status,
        user=found,
        traces=traces,
        form=form or Filled({}),
        events=history.about_user(found.name),
        labels=application_form.labels(),
    )
