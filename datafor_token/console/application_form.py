"""The form of an application: conversion to and from the fields of ``token/update``, labels and errors.

It has no rules of its own: the schema of ``token/update`` checks the fields. The fields of an application are those of
``DEFAULTS``; a new text or flag needs a label here, a place in ``SETTINGS``, and an input in settings_fields.html.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any

from datafor_token.applications.record import DEFAULTS, Application
from datafor_token.console import trust_form
from datafor_token.console.durations import in_largest_unit, to_seconds
from datafor_token.console.guard import Form
from datafor_token.console.language import gettext, sentence
from datafor_token.crypto.algorithms import is_shared
from datafor_token.crypto.keys import new_secret
from datafor_token.errors import InvalidInput, Message, about, predicate_of
from datafor_token.requests.fields import CallSchema
from datafor_token.requests.forms import Body
from datafor_token.requests.schemas import ApplicationSchema

_FLAGS = tuple(name for name, default in DEFAULTS.items() if default in ("0", "1"))
_CLAIMS = tuple(DEFAULTS["fieldmap"])
_UNIT = "unit"
# The fields of each page of a stored application; all others are on the page of the trust policy.
SETTINGS = ("expire", _UNIT, "token_name", "self_service", "fieldmap", "inituser", "initroles", "initpwd")
KEYS = ("algorithm", "secret", "public_key", "jwks_uri", "issuer")
TRUST = trust_form.FIELDS
MOST_CHOICES = 200  # names in a list to choose from; any other name can be typed
_update = ApplicationSchema()
# For errors in fields of another page: the field that was changed instead.
_RELATED = {
    "expire": "max_lifetime", "fieldmap.name": "sync", "fieldmap.email": "sync", "self_service": "algorithm",
    "issuer": "jwks_uri",
}  # fmt: skip


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


def duplicate_values(application: Application) -> dict[str, Any]:
    """Return the values of a new application's form with the settings of another, without its secrets and keys."""
    return {**from_application(application), "name": "", "initpwd": "", "jwks_uri": ""}


def from_application(application: Application) -> dict[str, Any]:
    """Return the values of the fields of a stored application; its secret is empty."""
    return from_fields(application.to_response(0))


def from_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for the fields of an application in a response."""
    return _to_form(fields)


def _to_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    number, unit = in_largest_unit(fields["expire"])
    return {
        **{name: fields[name] for name in ("name", *DEFAULTS)},
        "secret": "",
        "public_key": "",
        "expire": number,
        "unit": unit,
        "initroles": "\n".join(fields["initroles"]),
        **trust_form.to_form(fields),
    }


def from_form(form: Form) -> dict[str, Any]:
    """Return the values of a form that was sent, exactly as typed."""
    fieldmap = form.get("fieldmap")
    return {
        **{name: _text(form.get(name)) for name in new_values()},
        # Browsers do not send an unchecked box.
        **{flag: "1" if form.get(flag) == "1" else "0" for flag in _FLAGS},
        "fieldmap": {claim: _text(fieldmap.get(claim) if isinstance(fieldmap, Mapping) else None) for claim in _CLAIMS},
        **trust_form.from_form(form),
    }


def read_new(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked fields of ``token/update`` for a new application; raise ``InvalidInput`` with all errors."""
    policy, errors = trust_form.to_call(values)
    call = {"name": values["name"], "enable": values["enable"], **settings_call(values), **policy, **_keys_call(values)}
    if "secret" not in call and not values["jwks_uri"]:
        # The registry reports this only if all else is valid; the reader should see all errors at once.
        errors["secret"] = [about("secret", Message("is missing"))]
    return _checked(call, errors)


def read_settings(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for new settings of an application, whose fields are ``before``."""
    return _checked({**before, **settings_call(values)}, {})


def read_trust(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for a new trust policy of an application, whose fields are ``before``."""
    policy, errors = trust_form.to_call({**values, "jwks_uri": ""})
    del policy["jwks_uri"]
    if "audience" not in before and not policy.get("audience"):
        # Sent empty, it would end what an application from before the rule may do without one.
        policy.pop("audience", None)
    return _checked({**before, **policy}, errors)


def read_keys(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same for another algorithm or other keys of an application, whose fields are ``before``.

    Without a new key, the stored one is kept if it fits the algorithm.
    """
    call = {**before, **_keys_call(values)}
    for name in ("jwks_uri", "issuer"):
        call[name] = values[name]
    if call["secret"] != before["secret"] and call["jwks_uri"] == before.get("jwks_uri"):
        # The page shows the stored URL. A key that is typed beside it replaces it.
        del call["jwks_uri"]
    return _checked(call, {})


def _checked(call: Mapping[str, Any], errors: Mapping[str, list[str]]) -> dict[str, Any]:
    try:
        wanted = read(_update, call)
    except InvalidInput as error:
        raise InvalidInput({**error.errors, **errors}) from None
    if errors:
        raise InvalidInput({**errors})
    return wanted


def settings_call(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``token/update`` on the page of the settings."""
    # Only line breaks separate names: without its blank, a stored role such as "Administrator " would be another one.
    roles = re.split("\r\n|\r|\n", values["initroles"])
    return {
        **{name: values[name] for name in SETTINGS if name != _UNIT},
        "expire": to_seconds(values["expire"], values[_UNIT]),
        "initroles": [role for role in roles if role],
    }


def generated_secret(values: Mapping[str, str]) -> str | None:
    """Return a new secret if the algorithm needs one and none was typed, else None."""
    is_wanted = is_shared(values["algorithm"]) and not (values["secret"] or values["public_key"])
    return new_secret(values["algorithm"]) if is_wanted else None


def _keys_call(values: Mapping[str, Any]) -> dict[str, Any]:
    first, second = ("secret", "public_key") if is_shared(values["algorithm"]) else ("public_key", "secret")
    # A value in the field of the other kind of algorithm is checked too, so that an error about it is shown.
    secret = values[first] or values[second]
    return {"algorithm": values["algorithm"], **({"secret": secret} if secret else {})}


def read(schema: CallSchema, call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked fields of a call; raise ``InvalidInput``."""
    return schema.read(Body(dict(call), is_form=True))


def errors_by_field(
    error: InvalidInput, algorithm: str = "HS256", shown: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Return the translated messages of an error by the form's field, in the order of the fields on the page.

    ``shown`` are the fields of the page, if it has not all: a message about another one begins with its label.
    """
    found: dict[str, list[str]] = {}
    for field, messages in error.errors.items():
        input_name = "public_key" if field == "secret" and not is_shared(algorithm) else field
        # Without the name of the field, which has a label.
        texts = [sentence(predicate_of(message)) for message in messages]
        if shown is None or input_name.partition(".")[0] in shown:
            found.setdefault(input_name, []).extend(texts)
        else:
            # Such as the lifetime of tokens, which is longer than a new maximum.
            label = labels().get(input_name, input_name)
            found.setdefault(_RELATED.get(input_name, next(iter(shown))), []).extend(
                f"{label}: {text}" for text in texts
            )
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
        "jwks_uri": gettext("Key set URL"),
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
        "issuer": gettext("Issuer"),
        "audience": gettext("Audience"),
        "token_types": gettext("Token types"),
        "max_lifetime": gettext("Maximum lifetime"),
        "require": gettext("Required claims"),
        "networks": gettext("Networks"),
        "users": gettext("Accepted users"),
        "report": gettext("Only reported rules"),
        "sync": gettext("Update from tokens"),
        "roles_claim": gettext("Roles claim"),
        "roles_map": gettext("Role mapping"),
        "origins": gettext("Embedding origins"),
        "session_idle": gettext("Session idle timeout"),
        "session_max": gettext("Session lifetime"),
        "rate": gettext("Rate limit"),
        "grace": gettext("Grace period"),
        "username": gettext("User"),
        "request_id": gettext("Reference"),
        "next": gettext("Target page"),
        "ttl": gettext("Link lifetime"),
        "privateKey": gettext("Private key"),
        "token": gettext("Token"),
        "old": gettext("Current password"),
        "new": gettext("New password"),
        "password": gettext("New password"),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
