"""The form of a user: conversion to and from the fields of ``user/insertOrUpdate``, labels and errors.

It has no rules of its own: the schema of the call and ``Accounts`` check the fields. Roles are one per line, because a
stored role may contain any other separator, such as ``&``.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datafor_token.console.application_form import FormState, read
from datafor_token.console.guard import Form
from datafor_token.console.language import gettext, sentence
from datafor_token.errors import InvalidInput, predicate_of
from datafor_token.requests.user_schemas import SaveUserSchema
from datafor_token.users.users import User
from datafor_token.validation import strict_json
from datafor_token.validation.names import DEFAULT_USER_TYPE
from datafor_token.web.api.users import MEMBERS, existing_application
from datafor_token.web.services import services

Values = Mapping[str, str]
NEW: Values = {
    **dict.fromkeys(("username", "name", "email"), ""),
    "usertype": DEFAULT_USER_TYPE,
    **dict.fromkeys(("roles", "application", "mobile", "dept", "title"), ""),
}
_save = SaveUserSchema()


def from_user(user: User) -> Values:
    """Return the values of the form of a stored user."""
    values = {field: getattr(user, MEMBERS.get(field, field)) for field in NEW if field != "username"}
    return {**values, "roles": _lines(user.roles)}


def from_form(form: Form, stored: Values) -> Values:
    """Return the values of a form that was sent, exactly as typed; a field that is missing has the stored value."""
    typed = {field: form.get(field, value) for field, value in stored.items()}
    texts = {field: value if isinstance(value, str) else "" for field, value in typed.items()}
    # Browsers send line breaks as CR and LF.
    return {**texts, "roles": "\n".join(texts["roles"].splitlines())}


def as_seen(values: Values) -> str:
    """Return values as the text of the hidden field ``seen``, which tells what the reader saw."""
    return json.dumps(values, ensure_ascii=False)


def seen(text: str, stored: Values) -> Values:
    """Return the values that the reader saw; without a valid text, the stored ones."""
    try:
        found = strict_json.loads(text)
    except strict_json.JSONError:
        return stored
    known = found if isinstance(found, dict) else {}
    return {field: value if isinstance(value := known.get(field), str) else stored[field] for field in stored}


def read_user(values: Values, stored: User | None, password: str | None = None) -> dict[str, Any]:
    """Return the members of ``User`` for the values of a form; raise ``InvalidInput`` with all errors.

    ``values`` of a user who is stored are those that were changed.
    """
    call: dict[str, Any] = dict(values)
    if "roles" in values:
        call["roles"] = _roles(values["roles"], () if stored is None else stored.roles)
    name = values["username"] if stored is None else stored.name
    typed: dict[str, Any] = {
        MEMBERS.get(field, field): tuple(value) if isinstance(value, list) else value
        for field, value in call.items()
        if field != "username"
    }
    user = dataclasses.replace(stored or User(name=name), **typed)
    checks: tuple[Callable[[], Any], ...] = (
        lambda: read(_save, {**call, "username": name}),
        lambda: services().accounts.check(user, stored, password),
        lambda: existing_application(user.application) if typed.get("application") else "",
    )
    found: list[Any] = []
    errors: dict[str, list[str]] = {}
    for check in checks:
        try:
            found.append(check())
        except InvalidInput as error:
            errors = {**error.errors, **errors}
    if errors:
        raise InvalidInput(errors)
    members = {MEMBERS.get(field, field): value for field, value in found[0].items() if field != "username"}
    return {**members, "application": found[2]} if found[2] else members


def state(values: Values, error: InvalidInput | None = None) -> FormState:
    """Return the state of the form, with the translated messages of an error in the order of the fields."""
    found = {} if error is None else error.errors
    order = list(labels())
    fields = sorted(found, key=lambda field: order.index(field) if field in order else len(order))
    return FormState(values, {field: [sentence(predicate_of(one)) for one in found[field]] for field in fields})


def labels() -> dict[str, str]:
    """Return the labels of the fields, in their order on the pages."""
    return {
        "username": gettext("User name"),
        "name": gettext("Display name"),
        "email": gettext("Email address"),
        "usertype": gettext("User type"),
        "roles": gettext("Roles"),
        "application": gettext("Application"),
        "mobile": gettext("Telephone number"),
        "dept": gettext("Department"),
        "title": gettext("Title"),
        "password": gettext("Password"),
    }


def _lines(roles: Sequence[str]) -> str:
    return "\n".join(roles)


def _roles(text: str, stored: Sequence[str]) -> list[str]:
    """Return the roles in the lines of a text; spaces at the ends belong to a role only if it is stored like that."""
    if text == _lines(stored):
        return list(stored)
    roles = (line if line in stored else line.strip() for line in text.split("\n"))
    return list(dict.fromkeys(role for role in roles if role))
