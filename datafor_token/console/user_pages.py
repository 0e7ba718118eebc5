"""The pages of one user: create, profile, password, enable, disable and delete."""

import secrets
from collections.abc import Mapping
from typing import Any

from flask.typing import ResponseReturnValue

from datafor_token.console import confirmation, flashes, guard, history, pages, user_form, user_questions
from datafor_token.console.application_form import MOST_CHOICES, FormState
from datafor_token.console.blueprint import blueprint
from datafor_token.console.language import N_, format_list, gettext, sentence
from datafor_token.errors import ChangedMeanwhile, Conflict, DataforTokenError, InvalidInput, RuleError
from datafor_token.users.users import ADMINISTRATOR, User
from datafor_token.validation.names import USER_TYPES, fold, user_name
from datafor_token.web.current import current
from datafor_token.web.services import services

_RANDOM_BYTES = 18  # as for the password of the first start
_OWN_PASSWORD = N_("change your own password on the page of your account, where the old one is asked for")


def named(name: str) -> User:
    """Return the user of that name; raise ``InvalidInput`` or ``NotFound``."""
    try:
        return services().accounts.get(user_name(name))
    except RuleError as error:
        raise InvalidInput.of("username", error.message) from None


# The name is in the query: a slash in it, or a name of two dots, would change the path.
def from_url() -> User:
    """Return the user that the URL names."""
    return named(current().args.get("name", ""))


def is_own(user: User) -> bool:
    """Return whether this is the reader."""
    return fold(user.name) == fold(guard.caller().user.name)


@blueprint.get("/new-user")
def new_user() -> ResponseReturnValue:
    """Show the form of a new user."""
    return _new_page(FormState(user_form.NEW))


@blueprint.post("/new-user")
def create_user() -> ResponseReturnValue:
    """Create a user, with a password that was typed, a generated one that is shown once, or none."""
    values, typed = user_form.from_form(guard.form(), user_form.NEW), guard.text("password")
    without = bool(guard.text("without_password"))
    generated = None if typed or without else secrets.token_urlsafe(_RANDOM_BYTES)
    password = typed or generated
    try:
        if typed and without:
            raise InvalidInput.of("password", "must be empty for a user without a password")
        members = user_form.read_user(values, None, password)
        created = services().accounts.add(values["username"], password, **members)
    except InvalidInput as error:
        return _new_page(user_form.state(values, error), error=error)
    except Conflict as error:
        return _new_page(FormState(values, {"username": [sentence(error.message)]}), error=error)
    flashes.add(N_("Created %(name)s."), name=created.name)
    if generated is not None:
        return _show_password(created, generated)
    return pages.redirect_to("user", name=created.name)


@blueprint.get("/user")
def user() -> ResponseReturnValue:
    """Show the profile of a user."""
    found = from_url()
    return _page(found, FormState(user_form.from_user(found)))


@blueprint.post("/user")
def change_user() -> ResponseReturnValue:
    """Save the fields of the form that were changed, unless another Administrator has changed the user meanwhile."""
    found = from_url()
    stored = user_form.from_user(found)
    values = user_form.from_form(guard.form(), stored)
    seen = user_form.seen(guard.text("seen"), stored)
    changed = {field: value for field, value in values.items() if value not in (seen[field], stored[field])}
    if not changed:
        flashes.add(N_("There was nothing to save."))
        return pages.redirect_to("user", name=found.name)
    if seen != stored:
        return _changed_meanwhile(found, values, seen)
    try:
        return _save(found, values, changed)
    except InvalidInput as error:
        return _page(found, user_form.state(values, error), error=error)
    except ChangedMeanwhile:
        return _changed_meanwhile(named(found.name), values, seen)
    except Conflict as error:
        return _page(found, FormState(values), error=error, conflict=sentence(error.message))


def _save(found: User, values: user_form.Values, changed: user_form.Values) -> ResponseReturnValue:
    """Store the changed values of the form, after a question before an Administrator is demoted."""
    stored = user_form.from_user(found)
    members = user_form.read_user(changed, found)
    demotes = found.type == ADMINISTRATOR and members.get("type", ADMINISTRATOR) != ADMINISTRATOR
    if demotes and not is_own(found) and not guard.text("confirmed"):
        fields = {**values, "seen": user_form.as_seen(stored)}
        return confirmation.ask(user_questions.demote(found, members["type"], fields))
    after = services().accounts.change(found.name, expected=found, by=guard.caller().user, **members)
    saved = user_form.from_user(after)
    # Only the fields that were changed: the reverse does not depend on the others.
    fields = {field: stored[field] for field in changed}
    seen = user_form.as_seen({field: saved[field] for field in changed})
    undo = flashes.Undo("change_user", {"name": found.name}, {**fields, "seen": seen, "confirmed": "1"})
    flashes.add(N_("Saved the changes of %(name)s."), undo, name=found.name)
    return pages.redirect_to("user", name=found.name)


@blueprint.get("/user/password")
def ask_reset_password() -> ResponseReturnValue:
    """Ask for the new password of a user."""
    return _ask_password(from_url())


@blueprint.post("/user/password")
def reset_password() -> ResponseReturnValue:
    """Set the password that was typed, or without one generate it and show it once."""
    found = from_url()
    if is_own(found):
        # All sessions would end, and with this one a generated password that nobody has seen.
        return refused(found, Conflict(_OWN_PASSWORD))
    typed = "" if guard.text("generate") else guard.text("password")
    password = typed or secrets.token_urlsafe(_RANDOM_BYTES)
    try:
        services().accounts.set_password(found.name, password)
    except InvalidInput as error:
        return _ask_password(found, user_form.state({}, error), error)
    flashes.add(N_("Changed the password of %(name)s. All sessions of this user have ended."), name=found.name)
    return pages.redirect_to("user", name=found.name) if typed else _show_password(found, password)


@blueprint.get("/user/new-password")
def new_password() -> ResponseReturnValue:
    """Show a password that was generated, once."""
    result = flashes.take_result("new_password")
    # In an outage, this is part of the request that created the user, whose URL has no name.
    found = named(result["name"]) if result else from_url()
    return pages.render("new_password.html", user=found, result=result)


@blueprint.post("/user/enable")
def enable_user() -> ResponseReturnValue:
    """Enable a user."""
    found = from_url()
    services().accounts.change(found.name, enabled=True)
    undo = None if found.enabled else flashes.Undo("disable_user", {"name": found.name})
    flashes.add(N_("Enabled %(name)s."), undo, name=found.name)
    return pages.redirect_to("user", name=found.name)


@blueprint.get("/user/disable")
def ask_disable_user() -> ResponseReturnValue:
    """Ask before a user is disabled."""
    return confirmation.ask(user_questions.disable(from_url()))


@blueprint.post("/user/disable")
def disable_user() -> ResponseReturnValue:
    """Disable a user; the last enabled Administrator cannot be disabled, nor the reader."""
    found = from_url()
    try:
        services().accounts.change(found.name, enabled=False, by=guard.caller().user)
    except Conflict as error:
        return refused(found, error)
    undo = flashes.Undo("enable_user", {"name": found.name}) if found.enabled else None
    flashes.add(N_("Disabled %(name)s."), undo, name=found.name)
    return pages.redirect_to("user", name=found.name)


@blueprint.get("/user/delete")
def ask_delete_user() -> ResponseReturnValue:
    """Ask before a user is deleted."""
    return confirmation.ask(user_questions.delete(from_url()))


@blueprint.post("/user/delete")
def delete_user() -> ResponseReturnValue:
    """Delete a user if the exact name was typed; the last enabled Administrator cannot be deleted, nor the reader."""
    found = from_url()
    question = user_questions.delete(found)
    if not confirmation.is_typed(question):
        return confirmation.ask(question, confirmation.mistyped())
    try:
        services().accounts.remove(found.name, by=guard.caller().user)
    except Conflict as error:
        return refused(found, error)
    flashes.add(N_("Deleted %(name)s."), name=found.name)
    return pages.redirect_to("users")


def _show_password(found: User, password: str) -> ResponseReturnValue:
    return pages.show_once("new_password", {"name": found.name, "password": password}, name=found.name)


def _ask_password(
    found: User, form: FormState | None = None, error: DataforTokenError | None = None
) -> ResponseReturnValue:
    return confirmation.ask(user_questions.reset_password(found), error, form=form or FormState({}), user=found)


def _new_page(
    form: FormState, *, error: DataforTokenError | None = None, without_password: bool | None = None
) -> ResponseReturnValue:
    without = bool(guard.text("without_password")) if without_password is None else without_password
    if error is not None and guard.text("password") and "password" not in form.errors:
        # It is not sent back, and left empty it would be generated.
        form.errors["password"] = [gettext("Enter the password again.")]
    return pages.render("new_user.html", error=error, form=form, without_password=without, **_choices())


def _choices() -> dict[str, Any]:
    return {
        "labels": user_form.labels(),
        "user_types": USER_TYPES,
        "names": [one.name for one in services().registry.index().entries[:MOST_CHOICES]],
    }


def page_values(found: User, tab: str) -> dict[str, Any]:
    """Return the values that the template of every tab of a user needs."""
    return {"user": found, "tab": tab, "is_own": is_own(found)}


def refused(found: User, error: DataforTokenError) -> ResponseReturnValue:
    """Show the profile with the reason why nothing was done."""
    return _page(found, FormState(user_form.from_user(found)), error=error, conflict=sentence(error.message))


def _changed_meanwhile(found: User, typed: user_form.Values, seen: user_form.Values) -> ResponseReturnValue:
    """Show the form with what another Administrator has changed since, and on top of that what the reader changed."""
    stored = user_form.from_user(found)
    names = user_form.labels()
    values, errors = dict(stored), {}
    others = [field for field in stored if stored[field] != seen[field]]
    for field in stored:
        if typed[field] != seen[field]:
            values[field] = typed[field]
            if field in others and typed[field] != stored[field]:
                now = format_list(stored[field].split("\n")) or gettext("empty")
                errors[field] = [gettext("Another Administrator has changed this to: %(value)s") % {"value": now}]
    conflict = gettext(
        "Nothing was saved, because another Administrator has changed this user meanwhile: %(fields)s. The form has "
        "their changes and yours. Save again to store it."
    ) % {"fields": format_list(names[field] for field in others)}
    return _page(found, FormState(values, errors), error=ChangedMeanwhile(), conflict=conflict)


def _page(
    found: User, form: FormState, *, error: DataforTokenError | None = None, conflict: str = ""
) -> ResponseReturnValue:
    uses = services().last_uses
    return pages.render(
        "user.html",
        error=error,
        conflict=conflict,
        form=form,
        seen=user_form.as_seen(user_form.from_user(found)),
        creation=history.creation_of_user(found.name),
        used=uses.of_users([found.name]).get(fold(found.name)),
        since=uses.since,
        **_choices(),
        **page_values(found, "user"),
    )


@guard.redisplays("create_user")
def _redisplay_new(_: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    values = user_form.from_form(form, user_form.NEW)
    return _new_page(FormState(values), without_password=bool(form.get("without_password")))


@guard.redisplays("change_user")
def _redisplay_change(arguments: Mapping[str, Any], form: guard.Form) -> ResponseReturnValue:
    found = named(arguments.get("name", ""))
    stored = user_form.from_user(found)
    values = user_form.from_form(form, stored)
    seen = user_form.seen(str(form.get("seen", "")), stored)
    if seen != stored:
        return _changed_meanwhile(found, values, seen)
    return _page(found, FormState(values))


@guard.redisplays("reset_password")
def _redisplay_password(arguments: Mapping[str, Any], _: guard.Form) -> ResponseReturnValue:
    return _ask_password(named(arguments.get("name", "")))


@guard.redisplays("disable_user")
def _redisplay_disabling(arguments: Mapping[str, Any], _: guard.Form) -> ResponseReturnValue:
    return confirmation.ask(user_questions.disable(named(arguments.get("name", ""))))


@guard.redisplays("delete_user")
def _redisplay_deletion(arguments: Mapping[str, Any], _: guard.Form) -> ResponseReturnValue:
    return confirmation.ask(user_questions.delete(named(arguments.get("name", ""))))
