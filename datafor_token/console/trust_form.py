"""Trust policy and limits in the form of an application: conversion to and from the fields of ``token/update``.

The entries of lists and the members of objects are lines, with plain text where that is unambiguous, else JSON:
``"7"`` is a text and ``7`` a number, and quotes protect blanks at the ends. Thus an unchanged form changes nothing.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from datafor_token.applications.policy import REPORTABLE, SYNCED
from datafor_token.applications.record import POLICY
from datafor_token.console.durations import in_largest_unit, to_seconds
from datafor_token.errors import RuleError, about
from datafor_token.validation import strict_json

_TEXTS = ("jwks_uri", "issuer", "users", "roles_claim", "rate")
_LISTS = ("audience", "token_types", "networks", "origins")
_OBJECTS = ("require", "roles_map")
# Each has an input for its unit, too, and the unit of an empty one.
_DURATIONS = {"max_lifetime": "hours", "session_idle": "minutes", "session_max": "hours"}
# Each has a box for each member.
BOXES = {"sync": SYNCED, "report": REPORTABLE}
_INPUTS = (*_TEXTS, *_LISTS, *_OBJECTS, *_DURATIONS)
# The inputs of a stored application's page; the source of the keys is on another one.
FIELDS = (*(name for name in _INPUTS if name != "jwks_uri"), *BOXES, *(f"{name}_unit" for name in _DURATIONS))
# Those of the section about the gate and limits; all others are in the section Trust.
_LIMITS = ("origins", "session_idle", "session_max", "rate")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# Blanks around the equals sign allow another one in the name, such as CN=Sales.
_MEMBER = re.compile(rf"({_QUOTED}|.*?) = (.*)")
_MEMBER_WITHOUT_BLANKS = re.compile(rf"({_QUOTED}|[^=]*)=(.*)")


def to_form(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the sections for the fields of an application, some of which may be left out."""
    durations = {
        name: in_largest_unit(fields[name]) if name in fields else ("", unit) for name, unit in _DURATIONS.items()
    }
    return {
        **{name: fields.get(name, "") for name in _TEXTS},
        **{name: "\n".join(_shown(entry, _text) for entry in fields.get(name, [])) for name in _LISTS},
        "require": _shown_members(fields.get("require", {}), _json),
        "roles_map": _shown_members(fields.get("roles_map", {}), _text),
        **{name: number for name, (number, _) in durations.items()},
        **{_unit(name): unit for name, (_, unit) in durations.items()},
        **{
            name: {member: "1" if member in fields.get(name, []) else "0" for member in members}
            for name, members in BOXES.items()
        },
    }


def from_form(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the sections in a form that was sent, exactly as typed."""
    sent = {name: form.get(name) for name in BOXES}
    checked = {name: boxes if isinstance(boxes, Mapping) else {} for name, boxes in sent.items()}
    typed = {name: form.get(name) for name in (*_INPUTS, *map(_unit, _DURATIONS))}
    return {
        **{name: value if isinstance(value, str) else "" for name, value in typed.items()},
        **{
            name: {member: "1" if checked[name].get(member) == "1" else "0" for member in members}
            for name, members in BOXES.items()
        },
    }


def to_call(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return the fields of the policy for the values of the sections, and the errors of those with unreadable lines.

    An empty input becomes an empty value, which clears the field.
    """
    fields = {
        **{name: values[name] for name in _TEXTS},
        **{name: to_seconds(values[name], values[_unit(name)]) if values[name] else "" for name in _DURATIONS},
        **{name: [one for one in members if values[name][one] == "1"] for name, members in BOXES.items()},
    }
    errors: dict[str, list[str]] = {}
    readers: dict[str, Callable[[str], Any]] = {
        **dict.fromkeys(_LISTS, _entries),
        "require": lambda text: _members(text, _json),
        "roles_map": lambda text: _members(text, _text),
    }
    for name, read in readers.items():
        try:
            fields[name] = read(values[name])
        except RuleError as error:
            errors[name] = [about(name, error.message)]
    return fields, errors


def is_trust_open(values: Mapping[str, Any], errors: Collection[str]) -> bool:
    """Return whether an input of the section Trust has a value or an error."""
    names = set(POLICY) - set(_LIMITS)
    is_ticked = any("1" in values[name].values() for name in BOXES)
    return is_ticked or any(values[name] for name in names - BOXES.keys()) or bool(names & set(errors))


def is_limits_open(values: Mapping[str, Any], errors: Collection[str]) -> bool:
    """Return whether an input of the section about the gate and limits has a value or an error."""
    return any(values[name] or name in errors for name in _LIMITS)


def _unit(name: str) -> str:
    """Return the name of the input for the unit of a duration."""
    return f"{name}_unit"


def _lines(text: str) -> list[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers, without blanks at the ends."""
    lines = enumerate(re.split("\r\n|\r|\n", text), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _entries(text: str) -> list[str]:
    entries = []
    for number, line in _lines(text):
        try:
            entries.append(_text(line))
        except ValueError:
            raise RuleError(
                "must have valid JSON in line %(number)s, which begins with a quote", number=number
            ) from None
    return entries


def _members(text: str, read: Callable[[str], Any]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    line_of: dict[str, int] = {}
    for number, line in _lines(text):
        try:
            name, value = _member(line, read)
        except ValueError:
            raise RuleError(
                "must have a name, an equals sign and a value in line %(number)s; what begins with a quote or bracket "
                "must be valid JSON",
                number=number,
            ) from None
        if name in members:
            raise RuleError(
                "has the same name in lines %(first)s and %(second)s: keep one of them",
                first=line_of[name],
                second=number,
            )
        members[name], line_of[name] = value, number
    return members


def _member(line: str, read: Callable[[str], Any]) -> tuple[str, Any]:
    """Return the name and the value of a line; raise ``ValueError``."""
    found = _MEMBER.fullmatch(line) or _MEMBER_WITHOUT_BLANKS.fullmatch(line)
    name, value = (part.strip() for part in found.groups()) if found else ("", "")
    if not name or not value:
        raise ValueError(line)
    return _text(name), read(value)


def _text(text: str) -> str:
    """Return plain text unchanged, and the text that a JSON text in quotes stands for; raise ``ValueError``."""
    return str(_json(text)) if text.startswith('"') else text


def _json(text: str) -> Any:
    """Return the value of a JSON text, or the text itself if it is plain text; raise ``ValueError``."""
    try:
        return strict_json.loads(text)
    except strict_json.JSONError:
        if text.startswith(('"', "[", "{")):
            raise
        return text


def _shown(value: Any, read: Callable[[str], Any]) -> str:
    """Return the text of a value that ``read`` reads as that value: the text itself, if that is possible."""
    if isinstance(value, str) and value == value.strip():
        try:
            if read(value) == value:
                return value
        except ValueError:
            pass
    return strict_json.readable(value)


def _shown_members(members: Mapping[str, Any], read: Callable[[str], Any]) -> str:
    return "\n".join(f"{_shown_name(name)} = {_shown(value, read)}" for name, value in members.items())


def _shown_name(name: str) -> str:
    try:
        if _member(f"{name} = x", _text) == (name, "x"):
            return name
    except ValueError:
        pass
    return strict_json.readable(name)
