"""The form of an application: conversion to and from the fields of ``token/update``, labels and errors.

It has no rules of its own: the schema of ``token/update`` checks the fields. The fields of an application are those of
``DEFAULTS``; a new text or flag needs a label here and an input in application_fields.html.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from datafor_token.applications.record import DEFAULTS, Application
from datafor_token.console.guard import Form
from datafor_token.console.language import gettext, sentence
from datafor_token.crypto.algorithms import is_shared
from datafor_token.errors import InvalidInput, predicate_of
from datafor_token.requests.fields import CallSchema
from datafor_token.requests.forms import Body

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_FLAGS = tuple(name for name, default in DEFAULTS.items() if default in ("0", "1"))
_CLAIMS = tuple(DEFAULTS["fieldmap"])


@dataclasses.dataclass
class FormState:
    """State of a form on a page: the values of its fields, and the messages about them."""

    values: Mapping[str, Any]
    errors: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def errors_of(self, field: str) -> list[str]:
        """Return the messages about a field."""
        return self.errors.get(field, [])


def new_values() -> dict[str, Any]:
    """Return the values of the form of a new application."""
    return _to_form({"name": "", **DEFAULTS})


def from_application(application: Application) -> dict[str, Any]:
    """Return the values of the form of a stored application; its secret is empty, which keeps the stored one."""
    return _to_form(application.to_response(0))


def _to_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    # The largest unit that divides the lifetime.
    unit = [name for name, size in UNITS.items() if fields["expire"] % size == 0][-1]
    return {
        **{name: fields[name] for name in ("name", *DEFAULTS)},
        "secret": "",
        "public_key": "",
        "expire": str(fields["expire"] // UNITS[unit]),
        "unit": unit,
        "initroles": "\n".join(fields["initroles"]),
    }


def from_form(form: Form) -> dict[str, Any]:
    """Return the values of a form that was sent, exactly as typed."""
    fieldmap = form.get("fieldmap")
    return {
        **{name: _text(form.get(name)) for name in new_values()},
        # Browsers do not send an unchecked box.
        **{flag: "1" if form.get(flag) == "1" else "0" for flag in _FLAGS},
        "fieldmap": {claim: _text(fieldmap.get(claim) if isinstance(fieldmap, Mapping) else None) for claim in _CLAIMS},
    }


def to_call(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of ``token/update`` for the values of a form."""
    first, second = ("secret", "public_key") if is_shared(values["algorithm"]) else ("public_key", "secret")
    # A value in the field of the other kind of algorithm is checked too, so that an error about it is shown.
    secret = values[first] or values[second]
    # Only line breaks separate names: without its blank, a stored role such as "Administrator " would be another one.
    roles = re.split("\r\n|\r|\n", values["initroles"])
    return {
        **{name: values[name] for name in ("name", *DEFAULTS)},
        "expire": to_seconds(values["expire"], values["unit"]),
        "initroles": [role for role in roles if role],
        **({"secret": secret} if secret else {}),
    }


def to_seconds(number: str, unit: str, *, may_be_zero: bool = False) -> str:
    """Convert a typed duration to a number of seconds.

    Any text other than a plain decimal number is returned unchanged: the schema refuses it with its message.
    """
    if number == "0" and may_be_zero and unit in UNITS:
        return number
    if re.fullmatch("[1-9][0-9]{0,8}", number) and unit in UNITS:
        return str(int(number) * UNITS[unit])
    return number if unit in UNITS else f"{number} {unit}"


def read(schema: CallSchema, call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked fields of a call; raise ``InvalidInput``."""
    return schema.read(Body(dict(call), is_form=True))


def errors_by_field(error: InvalidInput, algorithm: str = "HS256") -> dict[str, list[str]]:
    """Return the translated messages of an error by the form's field, in the order of the fields on the page."""
    found = {}
    for field, messages in error.errors.items():
        input_name = "public_key" if field == "secret" and not is_shared(algorithm) else field
        # Without the name of the field, which has a label.
        found[input_name] = [sentence(predicate_of(message)) for message in messages]
    order = list(labels())
    return dict(sorted(found.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order)))


def labels() -> dict[str, str]:
    """Return the labels of all fields, in the order of the fields on the pages."""
    return {
        "name": gettext("Name"),
        "enable": gettext("Enabled"),
        "algorithm": gettext("Algorithm"),
        "secret": gettext("Shared secret"),
        "public_key": gettext("Public key"),
        "expire": gettext("Token lifetime"),
        "token_name": gettext("URL parameter"),
        "self_service": gettext("Allow personal tokens"),
        "fieldmap": gettext("Claims"),
        "fieldmap.username": gettext("User name claim"),
        "fieldmap.name": gettext("Display name claim"),
        "fieldmap.email": gettext("Email claim"),
        "inituser": gettext("Create unknown users"),
        "initroles": gettext("Roles of new users"),
        "initpwd": gettext("Password of new users"),
        "grace": gettext("Grace period"),
        "username": gettext("User"),
        "next": gettext("Target page"),
        "privateKey": gettext("Private key"),
        "token": gettext("Token"),
        "old": gettext("Current password"),
        "new": gettext("New password"),
        "password": gettext("New password"),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
