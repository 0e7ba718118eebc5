"""The form of one application: what its fields show, what is read from it, and what is wrong beside which field.

It has no rules: a form becomes the body of ``token/update``, whose schema checks it.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from datafor_token.applications.record import DEFAULTS, MASK, Application
from datafor_token.console.guard import Form
from datafor_token.console.language import gettext, sentence
from datafor_token.crypto.keys import is_shared
from datafor_token.errors import InvalidInput, Message
from datafor_token.requests.fields import CallSchema
from datafor_token.requests.forms import Body

UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_FLAGS = ("enable", "inituser", "self_service")
_CLAIMS = ("username", "name", "email")


def _in_units(seconds: int) -> tuple[str, str]:
    """Return a lifetime as a number in the largest unit that divides it, and that unit."""
    unit = [name for name, size in UNITS.items() if seconds % size == 0 and seconds >= size][-1]
    return str(seconds // UNITS[unit]), unit


_expire, _unit = _in_units(DEFAULTS["expire"])
NEW: dict[str, Any] = {
    **{name: default for name, default in DEFAULTS.items() if name != "fieldmap"},
    "name": "", "secret": "", "public_key": "", "expire": _expire, "unit": _unit, "claims": DEFAULTS["fieldmap"],
    "initroles": "\n".join(DEFAULTS["initroles"]),
}  # fmt: skip


@dataclasses.dataclass
class Filled:
    """A form as it is shown: the values of its fields, and the sentences that stand beside them."""

    values: Mapping[str, Any]
    errors: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def of(self, field: str) -> list[str]:
        """What is wrong with a field."""
        return self.errors.get(field, [])


def from_application(application: Application) -> dict[str, Any]:
    """The values of a form that shows a stored application; its secret stays out, and empty keeps it."""
    expire, unit = _in_units(application.expire)
    return {
        "name": application.name,
        "token_name": application.token_name,
        "algorithm": application.algorithm,
        "secret": "",
        "public_key": "",
        "expire": expire,
        "unit": unit,
        "claims": {claim: getattr(application.fieldmap, claim) for claim in _CLAIMS},
        "enable": "1" if application.enable else "0",
        "inituser": "1" if application.inituser else "0",
        "initroles": "\n".join(application.initroles),
        "initpwd": MASK if application.initpwd else "",
        "self_service": "1" if application.self_service else "0",
    }


def from_form(form: Form) -> dict[str, Any]:
    """The values of a form that was sent, exactly as typed."""
    claims = form.get("claims", {})
    texts = {name: _text(form.get(name)) for name in NEW if name not in ("claims", *_FLAGS)}
    return {
        **texts,
        # A box that is not ticked is not sent.
        **{flag: "1" if form.get(flag) == "1" else "0" for flag in _FLAGS},
        "claims": {claim: _text(claims.get(claim) if isinstance(claims, Mapping) else None) for claim in _CLAIMS},
    }


def to_call(values: Mapping[str, Any]) -> dict[str, Any]:
    """The body of ``token/update`` that the form means."""
    call = {name: values[name] for name in ("name", "token_name", "algorithm", "initpwd", *_FLAGS)}
    shared = is_shared(values["algorithm"])
    first, second = (values["secret"], values["public_key"]) if shared else (values["public_key"], values["secret"])
    # What was typed into the other algorithm's field is shown what is wrong with it, rather than left unsaid.
    secret = first or second
    # Blanks stay: without them, a stored role such as "Administrator " would become another one.
    roles = re.split("\r\n|\r|\n", values["initroles"])
    return {
        **call,
        "expire": _seconds(values["expire"], values["unit"]),
        "fieldmap": dict(values["claims"]),
        "initroles": [role for role in roles if role],
        **({"secret": secret} if secret else {}),
    }


def read(schema: CallSchema, call: Mapping[str, Any]) -> dict[str, Any]:
    """The call, checked; raises ``InvalidInput``."""
    return schema.read(Body(dict(call), is_form=True))


def beside_fields(error: InvalidInput, values: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is wrong, by the form's fields, in the order in which they stand there."""
    found: dict[str, list[str]] = {}
    for field, sentences in error.errors.items():
        shown = field.replace("fieldmap.", "claims.")
        if shown == "secret" and not is_shared(values.get("algorithm", "")):
            shown = "public_key"
        found[shown] = [sentence(_without_field(one)) for one in sentences]
    order = list(labels())
    return dict(sorted(found.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order)))


def _without_field(message: str) -> str:
    # The field's label stands beside the message already.
    predicate = message.parameters.get("predicate") if isinstance(message, Message) else None
    return predicate if isinstance(predicate, str) else message


def labels() -> dict[str, str]:
    """What each field is called, in the order in which they stand on a page."""
    return {
        "name": gettext("Name"),
        "enable": gettext("Enabled"),
        "algorithm": gettext("Algorithm"),
        "secret": gettext("Shared secret"),
        "public_key": gettext("Public key"),
        "expire": gettext("A token lasts"),
        "token_name": gettext("URL parameter"),
        "self_service": gettext("Users may make their own tokens"),
        "fieldmap": gettext("Claims"),
        "claims.username": gettext("Claim of the user name"),
        "claims.name": gettext("Claim of the display name"),
        "claims.email": gettext("Claim of the email address"),
        "inituser": gettext("Make unknown users"),
        "initroles": gettext("Roles of new users"),
        "initpwd": gettext("Password of new users"),
        "grace": gettext("The old secret goes on for"),
        "username": gettext("User"),
        "next": gettext("Page"),
        "privateKey": gettext("Private key"),
        "token": gettext("Token"),
        "old": gettext("Present password"),
        "new": gettext("New password"),
        "password": gettext("New password"),
    }


def _seconds(number: str, unit: str) -> object:
    # Only what is a plain number: whatever else was typed goes on as it is, and the schema says what is wrong.
    if number.isascii() and number.isdigit() and len(number) < 10 and unit in UNITS and not number.startswith("0"):
        return str(int(number) * UNITS[unit])
    return number if unit in UNITS else f"{number} {unit}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def read_grace(number: str, unit: str) -> object:
    """The seconds of a grace time that was typed."""
    return number if number == "0" and unit in UNITS else _seconds(number, unit)
